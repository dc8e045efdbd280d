//! What the objects of a deployment are called, and the labels that tell them from others.

use muster_model::{AppName, GOSSIP_PORT, UnitName};

/// The label that every object of Muster carries, with [`MANAGER`] as its value: what lacks it is somebody else's.
pub const MANAGED_BY_LABEL: &str = "app.kubernetes.io/managed-by";
/// The value of [`MANAGED_BY_LABEL`], and the field manager of every write.
pub const MANAGER: &str = "muster";
/// The label with the coordinator that an object belongs to.
pub const COORDINATOR_LABEL: &str = "muster.dev/coordinator";
/// The label with the application that an object belongs to.
pub const APPLICATION_LABEL: &str = "muster.dev/application";
/// The label of pods that says what they are: [`WORKER`] or [`BALANCER`].
pub const COMPONENT_LABEL: &str = "app.kubernetes.io/component";
/// A worker's unit.
pub const WORKER: &str = "worker";
/// A coordinator's load balancer unit.
pub const BALANCER: &str = "load-balancer";
/// Keeps coordinators and workers until their units have stopped.
pub const FINALIZER: &str = "muster.dev/units";
/// The annotations of coordinators and workers in which a person consents to lose what a unit holds begin so; the unit's number follows.
pub const CONSENT_ANNOTATIONS: &str = "abandon-data.muster.dev/";
/// The container that an agent and its workload run in.
pub const WORKLOAD_CONTAINER: &str = "workload";

/// The Secret with what all worker units of a coordinator share.
#[must_use]
pub fn cluster_secret(coordinator: &AppName) -> String {
    format!("{coordinator}-cluster")
}

/// The Secret with what all load balancer units of a coordinator share.
#[must_use]
pub fn balancer_secret(coordinator: &AppName) -> String {
    format!("{coordinator}-balancer")
}

/// What worker units may do.
#[must_use]
pub fn worker_role(coordinator: &AppName) -> String {
    format!("{coordinator}-worker")
}

/// What load balancer units may do.
#[must_use]
pub fn balancer_role(coordinator: &AppName) -> String {
    format!("{coordinator}-balancer")
}

/// Selects an application's pods.
#[must_use]
pub fn unit_selector(application: &AppName) -> String {
    format!("{MANAGED_BY_LABEL}={MANAGER},{APPLICATION_LABEL}={application}")
}

/// The headless Service of all worker units, ready or not.
#[must_use]
pub fn gossip_service(coordinator: &AppName) -> String {
    format!("{coordinator}-gossip")
}

/// Where the units of a coordinator find each other. `dns+` asks for every address of the name (Mimir's
/// `memberlist.join_members`); the cluster's own domain is left to the pods' search path.
#[must_use]
pub fn gossip_address(coordinator: &AppName, namespace: &str) -> String {
    format!("dns+{}.{namespace}.svc:{GOSSIP_PORT}", gossip_service(coordinator))
}

/// Where clients, in whatever namespace, reach the load balancer of a coordinator: the Service is named like it.
#[must_use]
pub fn gateway_address(coordinator: &str, namespace: &str) -> String {
    format!("{coordinator}.{namespace}.svc")
}

/// The pod and the Unit of a unit: the StatefulSet is named like the application.
#[must_use]
pub fn pod_name(unit: &UnitName) -> String {
    format!("{}-{}", unit.application(), unit.number())
}

/// The number of the unit whose pod or Unit has this name, if it is one of the application's.
#[must_use]
pub fn unit_number(application: &AppName, pod: &str) -> Option<u32> {
    let number = pod.strip_prefix(application.as_str())?.strip_prefix('-')?;
    let parsed: u32 = number.parse().ok()?;
    // Neither "+1" nor "01" is a name that a StatefulSet gives.
    (parsed.to_string() == number).then_some(parsed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_are_units_and_back() {
        let app = AppName::new("mimir-read").unwrap();
        assert_eq!(pod_name(&app.unit(12)), "mimir-read-12");
        assert_eq!(unit_number(&app, "mimir-read-12"), Some(12));
        for other in
            ["mimir-read", "mimir-read-", "mimir-read-x", "mimir-read-01", "mimir-read-+1", "mimir-1"]
        {
            assert_eq!(unit_number(&app, other), None, "{other}");
        }
    }
}
