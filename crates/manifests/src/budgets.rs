//! How many pods may be evicted: never more than the planner would take away itself.
//!
//! The eviction API refuses to evict a pod that two budgets select. Applications that share a ring therefore share a budget.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use muster_api::Worker;
use muster_model::{AppName, Role, RoleSet};

use crate::line::Line;
use crate::names::{APPLICATION_LABEL, MANAGED_BY_LABEL, MANAGER};
use crate::{Deployment, Object};

/// What may be evicted of units that are in no ring. The planner takes away half of them, rounded down, but always one; the
/// eviction API rounds up: half of three would be two.
const OF_NO_RING: &str = "33%";

/// Workers that share a ring, and the ring roles of all of them.
#[derive(Debug, PartialEq)]
struct Group<'a> {
    applications: BTreeSet<&'a AppName>,
    ring_roles: BTreeSet<Role>,
}

pub(crate) fn objects(deployment: &Deployment<'_>, name: &AppName, line: &Line) -> Vec<Object> {
    let one = IntOrString::Int(1);
    let mut objects = vec![object(deployment, name, name, &[name].into(), one.clone())];
    let ring_roles = deployment.workers.iter().map(|(application, worker)| {
        let roles = line.table.expand(&roles(deployment, application, worker));
        (application, roles.iter().filter(|role| line.workload.in_ring(*role)).collect())
    });
    for group in groups(ring_roles) {
        let Some(first) = group.applications.first() else { continue };
        let allowed = if group.ring_roles.is_empty() {
            IntOrString::String(OF_NO_RING.to_owned())
        } else {
            one.clone()
        };
        objects.push(object(deployment, name, first, &group.applications, allowed));
    }
    objects
}

/// The roles of a worker: the ones that are switched on, and those that its units still run, be it because they are yet to change
/// or because what was switched on is refused.
fn roles(deployment: &Deployment<'_>, application: &AppName, worker: &Worker) -> RoleSet {
    let on = worker.spec.roles.iter().filter(|(_, on)| **on);
    let mut roles: RoleSet = on.filter_map(|(role, _)| role.parse().ok()).collect();
    let units = deployment.observed.workers.get(application).map(|worker| worker.units.values());
    for unit in units.into_iter().flatten() {
        roles.extend(unit.current_roles().iter());
    }
    roles
}

fn groups<'a>(ring_roles: impl Iterator<Item = (&'a AppName, BTreeSet<Role>)>) -> Vec<Group<'a>> {
    let mut groups: Vec<Group<'a>> = Vec::new();
    for (application, ring_roles) in ring_roles {
        let mut merged = Group { applications: [application].into(), ring_roles };
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
                match_labels: Some(BTreeMap::from([(MANAGED_BY_LABEL.to_owned(), MANAGER.to_owned())])),
                match_expressions: Some(vec![among]),
            }),
            // A unit that is not ready is no loss, and may be what keeps a node from being drained.
            unhealthy_pod_eviction_policy: Some("AlwaysAllow".to_owned()),
            ..PodDisruptionBudgetSpec::default()
        }),
        status: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn app(name: &str) -> AppName {
        AppName::new(name).unwrap()
    }

    #[test]
    fn who_shares_a_ring_shares_a_budget() {
        let [a, b, c, d, e] = ["a", "b", "c", "d", "e"].map(app);
        let workers = [
            (&a, BTreeSet::from([Role::Ingester])),
            (&b, BTreeSet::new()),
            (&c, BTreeSet::from([Role::StoreGateway])),
            (&d, BTreeSet::from([Role::Ingester, Role::StoreGateway])),
            (&e, BTreeSet::new()),
        ];
        let mut found: Vec<_> = groups(workers.into_iter()).into_iter().map(|g| g.applications).collect();
        found.sort();
        assert_eq!(found, [BTreeSet::from([&a, &c, &d]), [&b].into(), [&e].into()]);
    }

    /// The arithmetic of the disruption controller beside the planner's.
    #[test]
    fn no_more_is_evicted_than_the_planner_takes_away() {
        let percent: u32 = OF_NO_RING.trim_end_matches('%').parse().unwrap();
        for units in 1..=10_000_u32 {
            let evicted = (units * percent).div_ceil(100);
            assert!((1..=(units / 2).max(1)).contains(&evicted), "{evicted} of {units}");
        }
    }
}
