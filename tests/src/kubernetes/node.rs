//! Clusters with nodes, and what users type at them.

use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::Service;
use muster_testkit::kubernetes::{Cluster, Level};
use muster_testkit::servers::workspace;
use muster_testkit::{binaries, wait_until};
use serde_json::Value;

use super::Site;

/// How long a step may take until everything is active, on two cores that do everything.
pub const ACTIVE: Duration = Duration::from_secs(180);

/// Runs a test on a cluster with nodes and disks. All of its threads are in the cluster's network.
pub fn in_cluster(nodes: u8, volumes: u8, test: impl AsyncFnOnce(Site)) {
    // Two cores carry one cluster with nodes at a time.
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    // The main thread enters the network before the runtime starts its threads.
    let cluster = Cluster::start(Level::Nodes(nodes));
    cluster.enter();
    cluster.add_volumes(nodes, volumes);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async { test(Site::install(cluster, Level::Nodes(nodes)).await).await });
}

/// The path of an example.
#[must_use]
pub fn example(name: &str) -> String {
    workspace().join("deploy/examples").join(name).display().to_string()
}

/// Runs a command that must succeed, and answers what it printed.
pub fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {out}{err}");
    format!("{out}{err}")
}

/// The user's tool, at a namespace of the cluster.
#[must_use]
pub fn muster_command(site: &Site, namespace: &str) -> Command {
    let mut command = Command::new(binaries::path("muster"));
    command.arg("--kubeconfig").arg(site.cluster.kubeconfig()).args(["--namespace", namespace]);
    command
}

/// Runs the user's tool.
pub fn muster(site: &Site, namespace: &str, arguments: &[&str]) -> String {
    run(muster_command(site, namespace).args(arguments))
}

/// The status as users' programs read it, unless the API server does not answer.
#[must_use]
pub fn try_status(site: &Site, namespace: &str) -> Option<Value> {
    let output = muster_command(site, namespace).args(["status", "-o", "json"]).output().unwrap();
    output.status.success().then(|| serde_json::from_slice(&output.stdout).unwrap())
}

/// Waits until the status is as wanted.
pub async fn wait_status(
    site: &Site,
    namespace: &str,
    what: &str,
    within: Duration,
    wanted: impl Fn(&Value) -> bool,
) -> Value {
    let mut last = Value::Null;
    let there = wait_until(what, within, async || {
        last = tokio::task::block_in_place(|| try_status(site, namespace))?;
        wanted(&last).then_some(())
    });
    if let Err(error) = there.await {
        let pods = site.cluster.kubectl(&["get", "pods", "-A", "-o", "wide"]).unwrap();
        panic!("{error:#}: {last:#}\n{pods}");
    }
    last
}

/// Waits until an application has so many units and all are active.
pub async fn wait_units(site: &Site, namespace: &str, application: &str, units: usize) {
    let what = format!("{units} active units of {application}");
    wait_status(site, namespace, &what, ACTIVE, |status| {
        let app = &status["applications"][application];
        let all = app["units"].as_object().into_iter().flat_map(|units| units.values());
        let found = all.filter(|unit| unit["status"] == "active").count();
        found == units && app["status"] == "active"
    })
    .await;
}

/// Waits until every application of a namespace is active.
pub async fn wait_all_active(site: &Site, namespace: &str) {
    wait_status(site, namespace, "everything active", ACTIVE, |status| {
        let all = status["applications"].as_object();
        all.is_some_and(|all| !all.is_empty() && all.values().all(|app| app["status"] == "active"))
    })
    .await;
}

/// `HOST:PORT` of a coordinator's load balancer, as pods see it.
pub async fn address(site: &Site, namespace: &str, coordinator: &str, port: u16) -> String {
    let service = site.api::<Service>(namespace).get(coordinator).await.unwrap();
    format!("{}:{port}", service.spec.unwrap().cluster_ip.unwrap())
}

/// Screens of a test run belong into its output.
#[allow(clippy::print_stdout, reason = "this is what it is for")]
pub fn say(text: &str) {
    println!("{text}");
}
