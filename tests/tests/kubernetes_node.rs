//! Muster on a real cluster with nodes: the installation and the examples as users apply them, with the real Mimir, nginx and an S3
//! server in pods.

#![expect(clippy::unwrap_used, reason = "these functions serve tests only, which may panic")]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::ResourceExt as _;
use kube::api::ListParams;
use muster_testkit::{binaries, wait_until};
use muster_tests::kubernetes::node::{self, ACTIVE, example, in_cluster, run, say};
use muster_tests::kubernetes::{Site, objects};
use muster_tests::traffic::Traffic;

const NAMESPACE: &str = "default";

/// Runs the user's tool at the cluster.
fn muster(site: &Site, arguments: &[&str]) -> String {
    node::muster(site, NAMESPACE, arguments)
}

/// Waits until an application has so many units and all are active.
async fn wait_units(site: &Site, application: &str, units: usize) {
    node::wait_units(site, NAMESPACE, application, units).await;
}

/// kubectl that finds its plugins beside the user's tool.
fn kubectl_with_plugins(site: &Site) -> Command {
    let directory = binaries::path("kubectl-muster").parent().unwrap().to_owned();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let paths = std::iter::once(directory).chain(std::env::split_paths(&path).collect::<Vec<PathBuf>>());
    let mut command = Command::new(muster_testkit::kubernetes::binaries::built("kubectl"));
    command.env("PATH", std::env::join_paths(paths).unwrap()).env("KUBECONFIG", site.cluster.kubeconfig());
    command
}

/// The uid and the number of restarts of every pod of an application, by name.
async fn pods(site: &Site, application: &str) -> BTreeMap<String, (String, i32)> {
    let selector = format!("muster.dev/application={application}");
    let pods = site.api::<Pod>(NAMESPACE).list(&ListParams::default().labels(&selector)).await.unwrap();
    let restarts = |pod: &Pod| {
        let statuses = pod.status.as_ref().and_then(|s| s.container_statuses.as_ref());
        statuses.into_iter().flatten().map(|status| status.restart_count).sum()
    };
    pods.into_iter().map(|pod| (pod.name_any(), (pod.uid().unwrap(), restarts(&pod)))).collect()
}

async fn gateway(site: &Site, coordinator: &str) -> String {
    format!("http://{}", node::address(site, NAMESPACE, coordinator, 8080).await)
}

/// Everything that a user does from the installation to the end, while samples are written throughout.
#[test]
fn from_the_installation_to_the_end() {
    in_cluster(2, 12, async |site| {
        let kubectl = |arguments: &[&str]| site.cluster.kubectl(arguments).unwrap();
        kubectl(&[
            "wait",
            "-n",
            "muster-system",
            "--for=condition=Available",
            "deploy/muster-operator",
            "--timeout=120s",
        ]);
        kubectl(&["label", "namespace", NAMESPACE, "pod-security.kubernetes.io/enforce=restricted"]);
        kubectl(&["apply", "-f", &example("object-store.yaml"), "-f", &example("mimir-monolithic.yaml")]);
        kubectl(&["wait", "--for=condition=Available", "coordinator/mimir", "--timeout=180s"]);
        wait_units(&site, "mimir-worker", 1).await;
        // Units that go would stay two minutes longer, which another test sees.
        let hold = r#"{"spec":{"transitions":{"readHold":"Never"}}}"#;
        kubectl(&["patch", "coordinator", "mimir", "--type", "merge", "-p", hold]);
        say(&kubectl(&["get", "coordinators,workers,units"]));
        say(&kubectl(&["explain", "worker.spec"]));
        let gateway = gateway(&site, "mimir").await;
        let traffic = Traffic::through(&gateway, "kubernetes").await.unwrap();

        // Two more workers with the tool's verbs.
        kubectl(&["scale", "worker/mimir-worker", "--replicas=3"]);
        wait_units(&site, "mimir-worker", 3).await;
        deploy(&site, "mimir-read", 2, "read");
        wait_units(&site, "mimir-read", 2).await;
        say(&run(kubectl_with_plugins(&site).args(["muster", "status"])));

        // A role goes on: the pods stay, and no container of them is started again.
        let before = pods(&site, "mimir-read").await;
        say(&muster(&site, &["config", "mimir-read", "role-write=true"]));
        wait_roles(&site, "mimir-read", 2, "ingester").await;
        let patch = r#"{"spec":{"roles":{"overrides-exporter":true}}}"#;
        kubectl(&["patch", "worker", "mimir-read", "--type", "merge", "-p", patch]);
        wait_roles(&site, "mimir-read", 2, "overrides-exporter").await;
        assert_eq!(pods(&site, "mimir-read").await, before, "the pods were made anew");
        traffic.flows().await.unwrap();
        deploy(&site, "mimir-backend", 1, "backend");
        wait_units(&site, "mimir-backend", 1).await;

        // More load balancers, more and fewer units, an autoscaler.
        kubectl(&["scale", "coordinator/mimir", "--replicas=3"]);
        wait_units(&site, "mimir", 3).await;
        muster(&site, &["scale", "mimir-read", "3"]);
        wait_units(&site, "mimir-read", 3).await;
        kubectl(&["autoscale", "worker/mimir-worker", "--min=4", "--max=5", "--cpu=80%"]);
        wait_units(&site, "mimir-worker", 4).await;
        kubectl(&["delete", "hpa", "mimir-worker"]);
        muster(&site, &["scale", "mimir-worker", "3"]);
        wait_units(&site, "mimir-worker", 3).await;
        traffic.flows().await.unwrap();

        // The first worker goes; its disks stay.
        kubectl(&["delete", "worker", "mimir-worker", "--timeout=180s"]);
        let gone = async || pods(&site, "mimir-worker").await.is_empty().then_some(());
        wait_until("an end of its pods", ACTIVE, gone).await.unwrap();
        wait_units(&site, "mimir-read", 3).await;
        let claims = site.api::<PersistentVolumeClaim>(NAMESPACE).list(&ListParams::default()).await.unwrap();
        let claims: Vec<_> = claims.iter().map(kube::ResourceExt::name_any).collect();
        assert!(claims.contains(&"data-mimir-worker-0".to_owned()), "{claims:?}");
        traffic.flows().await.unwrap();
        let journal = traffic.finish().await.unwrap();
        say(&format!("longest write gap {:?}", journal.longest_gap()));

        kubectl(&["delete", "coordinator", "mimir", "--timeout=180s"]);
        kubectl(&["delete", "worker", "mimir-read", "mimir-backend", "--timeout=180s"]);
        let ours = async || {
            let all = objects::settled(&site.client, NAMESPACE).await.ok()?;
            let left: Vec<_> = all
                .into_iter()
                .filter(|(name, object)| {
                    !name.starts_with("PersistentVolumeClaim")
                        && object["labels"]["app.kubernetes.io/managed-by"] == "muster"
                })
                .collect();
            left.is_empty().then_some(())
        };
        wait_until("an end of all objects", ACTIVE, ours).await.unwrap();
    });
}

/// A deployment that can lose any one unit, on two nodes.
const SCALABLE: &str = "
{apiVersion: muster.dev/v1alpha1, kind: Coordinator, metadata: {name: mimir}, spec: {product: mimir, units: 2, s3: {secret: s3}}}
---
{apiVersion: muster.dev/v1alpha1, kind: Worker, metadata: {name: mimir-read},
 spec: {coordinator: mimir, units: 2, roles: {read: true}}}
---
{apiVersion: muster.dev/v1alpha1, kind: Worker, metadata: {name: mimir-write},
 spec: {coordinator: mimir, units: 3, roles: {write: true}}}
---
{apiVersion: muster.dev/v1alpha1, kind: Worker, metadata: {name: mimir-backend},
 spec: {coordinator: mimir, units: 2, roles: {backend: true}}}
";

/// Samples are written through pods that are deleted, nodes that go silent, and an API server and an etcd that are away.
#[test]
fn what_runs_goes_on_through_faults_of_the_cluster() {
    in_cluster(2, 12, async |site| {
        let kubectl = |arguments: &[&str]| site.cluster.kubectl(arguments).unwrap();
        let cluster = |arguments: &[&str]| site.cluster.run(arguments);
        let ready = ["deploy/muster-operator", "-n", "muster-system", "--for=condition=Available"];
        kubectl(&[&["wait", "--timeout=120s"], &ready[..]].concat());
        let file = site.directory.path().join("model.yaml");
        std::fs::write(&file, SCALABLE).unwrap();
        kubectl(&["apply", "-f", &example("object-store.yaml"), "-f", file.to_str().unwrap()]);
        wait_all(&site).await;
        let traffic = Traffic::through(&gateway(&site, "mimir").await, "faults").await.unwrap();
        let started = Instant::now();
        let next = |fault: &str| say(&format!("after {:.1} s: {fault}", started.elapsed().as_secs_f64()));

        // A pod of each kind: it is back under its name, with its disk, and nobody was sent to it when it ended.
        for (application, pod) in [("mimir-write", "mimir-write-1"), ("mimir", "mimir-0")] {
            next(&format!("{pod} is deleted"));
            let before = pods(&site, application).await;
            kubectl(&["delete", "pod", pod]);
            wait_until("another pod", ACTIVE, async || {
                let now = pods(&site, application).await;
                now.get(pod).is_some_and(|now| now.0 != before[pod].0).then_some(())
            })
            .await
            .unwrap();
            wait_all(&site).await;
            traffic.flows().await.unwrap();
        }
        // A load balancer that is scaled away leaves its Service first.
        next("a load balancer comes and goes");
        kubectl(&["scale", "coordinator/mimir", "--replicas=3"]);
        wait_units(&site, "mimir", 3).await;
        kubectl(&["scale", "coordinator/mimir", "--replicas=2"]);
        wait_all(&site).await;
        traffic.flows().await.unwrap();
        let calm = Instant::now();

        // A node whose kubelet is silent: what runs there goes on, and the status says what cannot be seen.
        // One load balancer stays reachable through the Service: where the scheduler put both on one node, the other one it is.
        let balancers = nodes_of(&site, "load-balancer").await;
        let silent = if balancers.values().all(|node| node == "node2") { "1" } else { "2" };
        let workers = nodes_of(&site, "worker").await;
        let on_it = workers.iter().find(|(_, node)| node.ends_with(silent));
        let pod = on_it.expect("seven units are spread over two nodes").0;
        let (worker, _) = pod.rsplit_once('-').unwrap();
        let kubelet = format!("kubelet@{silent}");
        next("a kubelet is killed");
        cluster(&["kill", &kubelet]);
        site.wait_worker(NAMESPACE, worker, "error", "cannot be reached", ACTIVE).await;
        traffic.flows().await.unwrap();
        next("the kubelet is started");
        cluster(&["start", &kubelet]);
        wait_all(&site).await;

        // An API server that is away for a minute: writes and reads go on, and an agent starts what ended. The one that ends is none that
        // the load balancer sends requests to: until it serves, nobody could tell the load balancer to leave it out.
        let processes = |node: &str| -> Vec<String> {
            let listed = "pgrep -f 'mimir .*-target=[a-z,-]*[c]ompactor' || true";
            let listed = cluster(&["exec", "-n", node, "sh", "-c", listed]);
            listed.lines().map(str::to_owned).collect()
        };
        let node = ["1", "2"].into_iter().find(|node| !processes(node).is_empty()).expect("two of them run");
        // A controller manager that hears nothing for so long loses its lease and starts anew. One that went on would take the nodes for
        // lost that could not be heard either, and their pods out of all Services.
        next("the API server and a process are killed");
        cluster(&["kill", "kcm"]);
        cluster(&["kill", "apiserver"]);
        let away = Instant::now();
        let before = processes(node);
        cluster(&["exec", "-n", node, "kill", "-KILL", &before[0]]);
        // The scheduler decides how many are on this node.
        wait_until("another process in its place", ACTIVE, async || {
            let now = processes(node);
            (now.len() == before.len() && !now.contains(&before[0])).then_some(())
        })
        .await
        .unwrap();
        while away.elapsed() < AWAY {
            traffic.flows().await.unwrap();
        }
        next("the API server is started");
        cluster(&["start", "apiserver"]);
        cluster(&["start", "kcm"]);
        wait_all(&site).await;
        next("a role is moved");
        muster(&site, &["config", "mimir-backend", "role-overrides-exporter=false"]);
        muster(&site, &["config", "mimir-read", "role-overrides-exporter=true"]);
        wait_roles(&site, "mimir-read", 2, "overrides-exporter").await;
        wait_all(&site).await;

        next("etcd is started anew");
        cluster(&["kill", "etcd"]);
        traffic.is_written().await.unwrap();
        cluster(&["start", "etcd"]);
        kubectl(&["scale", "worker/mimir-read", "--replicas=3"]);
        wait_units(&site, "mimir-read", 3).await;
        wait_all(&site).await;
        next("all is well");
        let journal = traffic.finish().await.unwrap();
        assert!(journal.longest_gap() < Duration::from_secs(10), "{:?}", journal.longest_gap());
        // A load balancer that ends closes connections, on one of which a request may just be coming: two have ended.
        let failed = journal.failures.iter().filter(|failure| failure.at < calm).collect::<Vec<_>>();
        assert!(failed.len() <= 2, "{failed:?}");
    });
}

/// The node of every pod of one kind, by the pod's name.
async fn nodes_of(site: &Site, component: &str) -> BTreeMap<String, String> {
    let selector = format!("app.kubernetes.io/component={component}");
    let pods = site.api::<Pod>(NAMESPACE).list(&ListParams::default().labels(&selector)).await.unwrap();
    let node = |pod: &Pod| pod.spec.as_ref().and_then(|spec| spec.node_name.clone()).unwrap_or_default();
    pods.iter().map(|pod| (pod.name_any(), node(pod))).collect()
}

/// How long the API server is away.
const AWAY: Duration = Duration::from_secs(60);

/// Waits until the scalable deployment is whole and active.
async fn wait_all(site: &Site) {
    for (application, units) in [("mimir", 2), ("mimir-write", 3), ("mimir-backend", 2)] {
        wait_units(site, application, units).await;
    }
    site.wait_active(NAMESPACE, "mimir", ACTIVE).await;
}

/// Deploys a worker with one role and relates it.
fn deploy(site: &Site, worker: &str, units: u32, role: &str) {
    let (units, role) = (units.to_string(), format!("role-{role}=true"));
    let config = ["--config", "role-all=false", "--config", &role];
    let deploy = [&["deploy", "mimir-worker-k8s", worker, "--units", &units], &config[..]].concat();
    say(&muster(site, &deploy));
    say(&muster(site, &["integrate", "mimir", worker]));
}

/// Waits until every unit of a worker runs a role and is ready.
async fn wait_roles(site: &Site, worker: &str, units: usize, role: &str) {
    wait_until(&format!("{role} on {units} units of {worker}"), ACTIVE, async || {
        let listed = site.api::<muster_api::Unit>(NAMESPACE).list(&ListParams::default()).await.ok()?;
        let runs = |unit: &&muster_api::Unit| {
            let report = unit.status.as_ref().and_then(|status| status.report.as_ref());
            unit.spec.application == worker
                && report.is_some_and(|report| {
                    let roles = report["applied"]["roles"].as_array();
                    report["ready"] == true && roles.is_some_and(|roles| roles.iter().any(|r| r == role))
                })
        };
        (listed.iter().filter(runs).count() == units).then_some(())
    })
    .await
    .unwrap();
}
