//! How many pods may be evicted: what the planner allows itself, told to the eviction API.
//!
//! That API knows of one budget per pod. Applications that share a ring therefore share a budget.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use muster_api::Worker;
use muster_model::{AppName, Role, RoleSet};
use muster_products::{Workload, role_table, workload};

use crate::names::{APPLICATION_LABEL, MANAGED_BY_LABEL, MANAGER};
use crate::{Deployment, Object};

/// Workers that share a ring, and the ring roles of all of them.
#[derive(Debug, Default)]
struct Group<'a> {
    applications: BTreeSet<&'a AppName>,
    ring_roles: BTreeSet<Role>,
}

pub(crate) fn objects(deployment: &Deployment<'_>, name: &AppName) -> Vec<Object> {
    let one = IntOrString::Int(1);
    let mut objects = vec![object(deployment, name, name, &[name].into(), one.clone())];
    let Some((product, version)) = deployment.product() else { return objects };
    let (Some(workload), Ok(table)) = (workload(product), role_table(product, version)) else {
        return objects;
    };
    for group in groups(deployment.workers, workload, |roles| table.expand(roles)) {
        let Some(first) = group.applications.first() else { continue };
        let allowed =
            if group.ring_roles.is_empty() { IntOrString::String("50%".to_owned()) } else { one.clone() };
        objects.push(object(deployment, name, first, &group.applications, allowed));
    }
    objects
}

fn groups<'a>(
    workers: &'a BTreeMap<AppName, &Worker>,
    workload: &dyn Workload,
    expand: impl Fn(&RoleSet) -> RoleSet,
) -> Vec<Group<'a>> {
    let mut groups: Vec<Group<'a>> = Vec::new();
    for (name, worker) in workers {
        let on = worker.spec.roles.iter().filter(|(_, on)| **on);
        // A role that does not exist is the planner's to complain about.
        let declared: RoleSet = on.filter_map(|(role, _)| role.parse().ok()).collect();
        let ring_roles = expand(&declared).iter().filter(|role| workload.in_ring(*role)).collect();
        let mut merged = Group { applications: [name].into(), ring_roles };
        let (shares, others): (Vec<_>, Vec<_>) =
            groups.into_iter().partition(|group| !group.ring_roles.is_disjoint(&merged.ring_roles));
        for group in shares {
            merged.applications.extend(group.applications);
            merged.ring_roles.extend(group.ring_roles);
        }
        groups = others;
        groups.push(merged);
    }
    groups
}

fn object(
    deployment: &Deployment<'_>,
    coordinator: &AppName,
    first: &AppName,
    applications: &BTreeSet<&AppName>,
    allowed: IntOrString,
) -> Object {
    let among = LabelSelectorRequirement {
        key: APPLICATION_LABEL.to_owned(),
        operator: "In".to_owned(),
        values: Some(applications.iter().map(ToString::to_string).collect()),
    };
    Object::PodDisruptionBudget(PodDisruptionBudget {
        metadata: deployment.of_coordinator(coordinator, first.as_str()),
        spec: Some(PodDisruptionBudgetSpec {
            max_unavailable: Some(allowed),
            selector: Some(LabelSelector {
                match_labels: Some([(MANAGED_BY_LABEL.to_owned(), MANAGER.to_owned())].into()),
                match_expressions: Some(vec![among]),
            }),
            // A unit that is not ready is no loss, and may be what keeps a node from being drained.
            unhealthy_pod_eviction_policy: Some("AlwaysAllow".to_owned()),
            ..PodDisruptionBudgetSpec::default()
        }),
        status: None,
    })
}
