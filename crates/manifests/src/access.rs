//! What pods may do: an identity for each application, which may read one Secret and the Units, and write reports.
//!
//! Which pod may write which report is not for roles to say: the admission policy of the installation binds a report's writer to its
//! own pod.

use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::api::rbac::v1::{PolicyRule, Role, RoleBinding, RoleRef, Subject};
use muster_api::GROUP;
use muster_model::AppName;

use crate::names::{balancer_role, balancer_secret, cluster_secret, worker_role};
use crate::{Deployment, Object};

const RBAC: &str = "rbac.authorization.k8s.io";

pub(crate) fn objects(deployment: &Deployment<'_>, name: &AppName) -> Vec<Object> {
    let account = |metadata| {
        Object::ServiceAccount(ServiceAccount {
            metadata,
            // Pods that need the token mount it themselves.
            automount_service_account_token: Some(false),
            ..ServiceAccount::default()
        })
    };
    let mut objects = vec![account(deployment.of_coordinator(name, name.as_str()))];
    let workers = deployment.workers.iter();
    objects
        .extend(workers.map(|(app, worker)| account(deployment.of_worker(name, app, worker, app.as_str()))));
    objects.push(role(deployment, name, balancer_role(name), balancer_secret(name)));
    objects.push(binding(deployment, name, balancer_role(name), [name].into_iter()));
    objects.push(role(deployment, name, worker_role(name), cluster_secret(name)));
    // Of nobody as well: a worker that left must not keep what it was allowed.
    objects.push(binding(deployment, name, worker_role(name), deployment.workers.keys()));
    objects
}

fn role(deployment: &Deployment<'_>, name: &AppName, role: String, secret: String) -> Object {
    let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    Object::Role(Role {
        metadata: deployment.of_coordinator(name, role),
        rules: Some(vec![
            PolicyRule {
                api_groups: Some(texts(&[""])),
                resources: Some(texts(&["secrets"])),
                resource_names: Some(vec![secret]),
                // Lists and watches stay within the one name.
                verbs: texts(&["get", "list", "watch"]),
                ..PolicyRule::default()
            },
            PolicyRule {
                api_groups: Some(texts(&[GROUP])),
                resources: Some(texts(&["units"])),
                verbs: texts(&["get", "list", "watch"]),
                ..PolicyRule::default()
            },
            PolicyRule {
                api_groups: Some(texts(&[GROUP])),
                resources: Some(texts(&["units/status"])),
                verbs: texts(&["patch"]),
                ..PolicyRule::default()
            },
        ]),
    })
}

fn binding<'a>(
    deployment: &Deployment<'_>,
    name: &AppName,
    role: String,
    applications: impl Iterator<Item = &'a AppName>,
) -> Object {
    let subject = |application: &AppName| Subject {
        kind: "ServiceAccount".to_owned(),
        name: application.to_string(),
        namespace: Some(deployment.namespace.to_owned()),
        api_group: None,
    };
    Object::RoleBinding(RoleBinding {
        metadata: deployment.of_coordinator(name, role.clone()),
        role_ref: RoleRef { api_group: RBAC.to_owned(), kind: "Role".to_owned(), name: role },
        subjects: Some(applications.map(subject).collect()),
    })
}
