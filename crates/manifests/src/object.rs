//! One object of a deployment, of whatever kind.

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{Secret, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};

/// An object that a plan asks for, as it is to be applied: complete, with labels and its one owner.
#[derive(Debug, Clone, PartialEq)]
pub enum Object {
    /// The identity of an application's pods.
    ServiceAccount(ServiceAccount),
    /// What one kind of pods may do.
    Role(Role),
    /// Who may do it.
    RoleBinding(RoleBinding),
    /// What units share.
    Secret(Secret),
    /// Where units are reached.
    Service(Service),
    /// The pods of an application.
    StatefulSet(Box<StatefulSet>),
    /// How many pods may be evicted.
    PodDisruptionBudget(PodDisruptionBudget),
    /// Who may talk to whom.
    NetworkPolicy(NetworkPolicy),
}
