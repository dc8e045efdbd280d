//! Units: what one pod is to run, and where its agent reports.

use muster_api::{Unit, UnitSpec, Worker};
use muster_model::{AppName, UnitName};
use serde_json::Value;

use crate::Deployment;
use crate::names::pod_name;

/// What one Unit is made from.
#[derive(Debug, Clone)]
pub struct UnitObject<'a> {
    /// The unit's name.
    pub name: &'a UnitName,
    /// The worker that owns it. The coordinator owns the units of its load balancer.
    pub worker: Option<&'a Worker>,
    /// The uid of its pod.
    pub pod_uid: Option<String>,
    /// What it is to run (`muster_relation::Assignment`).
    pub assignment: Option<Value>,
}

/// One Unit, as it is to be applied: without the status, which belongs to its agent.
#[must_use]
pub fn unit(deployment: &Deployment<'_>, coordinator: &AppName, unit: UnitObject<'_>) -> Unit {
    let UnitObject { name, worker, pod_uid, assignment } = unit;
    let application = name.application();
    let metadata = match worker {
        Some(worker) => deployment.of_worker(coordinator, application, worker, pod_name(name)),
        None => deployment.of_coordinator(coordinator, pod_name(name)),
    };
    let spec = UnitSpec {
        application: application.to_string(),
        coordinator: coordinator.to_string(),
        pod_uid,
        assignment,
    };
    Unit { metadata, spec, status: None }
}
