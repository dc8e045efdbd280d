//! The operator at a real API server, with doubles of kubelets and agents: what a user asks for and what becomes of it.

#![expect(clippy::unwrap_used, reason = "these functions serve tests only, which may panic")]

use std::time::Duration;

use muster_testkit::kubernetes::Level;
use muster_testkit::wait_until;
use muster_tests::kubernetes::{Site, objects};
use serde_json::json;

/// How long a step may take on a machine that builds and tests at the same time.
const SETTLED: Duration = Duration::from_secs(30);

#[tokio::test]
async fn a_deployment_comes_changes_and_goes() {
    let site = Site::start(Level::Controllers).await;
    let _doubles = site.doubles();
    let operator = site.operator("operator-0");
    operator.wait_leads(SETTLED).await;
    site.namespace("shop").await;
    site.apply(
        "shop",
        &[
            json!({"apiVersion": "muster.dev/v1alpha1", "kind": "Coordinator", "metadata": {"name": "mimir"},
                   "spec": {"product": "mimir", "s3": {"secret": "s3"}}}),
            json!({"apiVersion": "muster.dev/v1alpha1", "kind": "Worker", "metadata": {"name": "mimir-worker"},
                   "spec": {"coordinator": "mimir"}}),
        ],
    )
    .await;
    site.wait_active("shop", "mimir", SETTLED).await;
    let table = site.cluster.kubectl(&["get", "coordinators,workers,units", "-n", "shop"]).unwrap();
    println!("{table}");

    site.cluster.kubectl(&["scale", "-n", "shop", "worker/mimir-worker", "--replicas=3"]).unwrap();
    wait_until("three units", SETTLED, async || {
        let sets = objects::api(&site.client, "shop", "StatefulSet");
        let set = sets.get("mimir-worker").await.ok()?;
        (set.data["status"]["replicas"] == 3).then_some(())
    })
    .await
    .unwrap();
    site.wait_active("shop", "mimir", SETTLED).await;

    site.cluster
        .kubectl(&["delete", "-n", "shop", "coordinator/mimir", "worker/mimir-worker", "--timeout=30s"])
        .unwrap();
    wait_until("an empty namespace", SETTLED, async || {
        let left = objects::settled(&site.client, "shop").await.ok()?;
        left.keys()
            .all(|name| name == "Secret/s3" || name.starts_with("PersistentVolumeClaim/"))
            .then_some(())
    })
    .await
    .unwrap();
}
