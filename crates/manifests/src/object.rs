//! One object of a deployment, of whatever kind.

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{Secret, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use serde::Serialize;

/// An object that a plan asks for, as it is to be applied: complete, with labels and its one owner. It is written as the object
/// itself; its `Debug` shows no Secret's values.
#[derive(Clone, PartialEq, Serialize)]
#[serde(untagged)]
#[expect(clippy::large_enum_variant, reason = "there are few at a time, and each is moved once")]
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

impl std::fmt::Debug for Object {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::ServiceAccount(object) => object.fmt(f),
            Self::Role(object) => object.fmt(f),
            Self::RoleBinding(object) => object.fmt(f),
            Self::Secret(object) => {
                let keys: Vec<&String> = object.data.iter().flat_map(|data| data.keys()).collect();
                let mut shown = f.debug_struct("Secret");
                shown.field("name", &object.metadata.name).field("keys", &keys).finish_non_exhaustive()
            }
            Self::Service(object) => object.fmt(f),
            Self::StatefulSet(object) => object.fmt(f),
            Self::PodDisruptionBudget(object) => object.fmt(f),
            Self::NetworkPolicy(object) => object.fmt(f),
        }
    }
}
