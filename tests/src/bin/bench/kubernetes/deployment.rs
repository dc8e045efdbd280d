//! What is deployed, and when it has settled.

use std::time::Duration;

use anyhow::Context as _;
use muster_api::Worker;
use muster_testkit::wait_until;
use muster_tests::kubernetes::Site;
use serde_json::{Value, json};

/// How long a change may take until it has settled.
pub(super) const SETTLED: Duration = Duration::from_secs(120);
/// Workers that together have all the roles of Mimir.
const BASE: [(&str, &str); 3] =
    [("mimir-read", "read"), ("mimir-write", "write"), ("mimir-backend", "backend")];

pub(super) fn coordinator(name: &str, s3: &str) -> Value {
    json!({
        "apiVersion": "muster.dev/v1alpha1", "kind": "Coordinator", "metadata": {"name": name},
        "spec": {"product": "mimir", "s3": {"secret": s3}, "transitions": {"readHold": "Never"}},
    })
}

pub(super) fn worker(name: &str, coordinator: &str, units: u32, role: &str) -> Value {
    json!({
        "apiVersion": "muster.dev/v1alpha1", "kind": "Worker", "metadata": {"name": name},
        "spec": {"coordinator": coordinator, "units": units, "roles": {role: true}},
    })
}

/// A coordinator `mimir` with one unit of each of Mimir's parts.
pub(super) fn base() -> Vec<Value> {
    let workers = BASE.into_iter().map(|(name, role)| worker(name, "mimir", 1, role));
    std::iter::once(coordinator("mimir", "s3")).chain(workers).collect()
}

/// Waits until a worker has so many units that all are as its newest spec says, and its coordinator `mimir` is active.
pub(super) async fn settled(site: &Site, namespace: &str, worker: &str, units: u32) -> anyhow::Result<()> {
    let workers = site.api::<Worker>(namespace);
    let mut last = String::new();
    wait_until(&format!("{namespace}/{worker} settled"), SETTLED, async || {
        let worker = workers.get(worker).await.ok()?;
        let status = worker.status?;
        last = format!("{} {} {}/{}", status.status, status.message, status.ready, status.units);
        let current = status.observed_generation == worker.metadata.generation;
        let all = status.units == units && status.ready == units;
        (current && all && status.status == "active").then_some(())
    })
    .await
    .context(last)?;
    site.wait_active(namespace, "mimir", SETTLED).await;
    Ok(())
}
