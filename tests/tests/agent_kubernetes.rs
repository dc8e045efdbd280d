//! The agent as a process at a real API server, with no more rights than its pod has.

#![expect(clippy::unwrap_used, reason = "these functions serve tests only, which may panic")]

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::api::{DeleteParams, Patch, PatchParams};
use kube::{Api, ResourceExt as _};
use muster_model::{HTTP_PORT, Role};
use muster_relation::{Assignment, Report, Run, Service, ToAgent};
use muster_testkit::kubernetes::{Cluster, Level};
use muster_testkit::servers::workspace;
use muster_testkit::standin::ENVIRONMENT;
use muster_testkit::{Process, binaries, wait_until};
use muster_tests::agent::{SOON, Unit, is_alive, update};
use nix::sys::signal::{Signal, kill};
use serde_json::json;

const NAMESPACE: &str = "shop";
const UNIT: &str = "mimir-read-0";
const SECRET: &str = "mimir-cluster";

/// What a coordinator may do for its workers' pods, and one such pod, which never runs.
const OBJECTS: &str = r#"
{apiVersion: v1, kind: ServiceAccount, metadata: {name: mimir-read}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: mimir-worker}
rules:
  - {apiGroups: [""], resources: [secrets], resourceNames: [mimir-cluster], verbs: [get, list, watch]}
  - {apiGroups: [muster.dev], resources: [units], verbs: [get, list, watch]}
  - {apiGroups: [muster.dev], resources: [units/status], verbs: [patch]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: mimir-worker}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: mimir-worker}
subjects: [{kind: ServiceAccount, name: mimir-read}]
---
apiVersion: v1
kind: Pod
metadata: {name: mimir-read-0}
spec:
  serviceAccountName: mimir-read
  automountServiceAccountToken: false
  containers: [{name: workload, image: none}]
"#;

/// The other end of the channel, as the operator is it.
struct Operator {
    cluster: Cluster,
    unit: Unit,
    pod_uid: String,
    units: Api<muster_api::Unit>,
    secrets: Api<Secret>,
}

impl Operator {
    /// A cluster with a pod's rights and nothing yet for it to do.
    async fn start() -> Self {
        let cluster = Cluster::start(Level::Api);
        cluster.enter();
        let unit = Unit::new();
        let kubectl = |arguments: &[&str]| cluster.kubectl(arguments).unwrap();
        kubectl(&["apply", "-f", workspace().join("deploy/install.yaml").to_str().unwrap()]);
        kubectl(&["wait", "--for=condition=Established", "crd/units.muster.dev", "--timeout=30s"]);
        kubectl(&["create", "namespace", NAMESPACE]);
        let objects = unit.directory.path().join("objects.yaml");
        fs::write(&objects, OBJECTS).unwrap();
        kubectl(&["apply", "-n", NAMESPACE, "-f", objects.to_str().unwrap()]);
        let client = cluster.client().await;
        let pods: Api<Pod> = Api::namespaced(client.clone(), NAMESPACE);
        let pod_uid = pods.get(UNIT).await.unwrap().uid().unwrap();
        let units = Api::namespaced(client.clone(), NAMESPACE);
        let secrets = Api::namespaced(client, NAMESPACE);
        Self { cluster, unit, pod_uid, units, secrets }
    }

    /// The access of the unit's pod, as the kubelet gives it.
    fn kubeconfig(&self) -> String {
        let bound = ["--bound-object-kind", "Pod", "--bound-object-name", UNIT];
        let mut arguments = vec!["create", "token", "mimir-read", "-n", NAMESPACE];
        arguments.extend(bound);
        arguments.extend(["--bound-object-uid", &self.pod_uid]);
        let token = self.cluster.kubectl(&arguments).unwrap();
        let directory = self.unit.directory.path();
        fs::write(directory.join("token"), token.trim()).unwrap();
        let authority = self.cluster.kubeconfig().with_file_name("ca.crt");
        let server = json!({"server": "https://10.77.0.1:6443", "certificate-authority": authority});
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "pod",
            "clusters": [{"name": "cluster", "cluster": server}],
            "users": [{"name": "pod", "user": {"tokenFile": directory.join("token")}}],
            "contexts": [{"name": "pod", "context": {"cluster": "cluster", "user": "pod"}}],
        });
        let path = directory.join("kubeconfig");
        fs::write(&path, config.to_string()).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// The agent with the environment that its pod would have.
    fn agent(&self) -> Process {
        let mut command = Command::new(binaries::path("worker"));
        let listen = format!("--listen {}:{HTTP_PORT}", self.unit.address);
        command
            .arg("run")
            .env("KUBECONFIG", self.kubeconfig())
            .env("MUSTER_UNIT", "mimir-read/0")
            .env("MUSTER_INSTANCE", &self.pod_uid)
            .env("MUSTER_ADDRESS", self.unit.address.to_string())
            .env("MUSTER_DIRECTORY", self.unit.directory())
            .env("MUSTER_NAMESPACE", NAMESPACE)
            .env("MUSTER_RELATION_SECRET", SECRET)
            .env("MUSTER_BINARY", binaries::path("standin"))
            .env(ENVIRONMENT, format!("{listen} --record {}", self.unit.record().display()));
        self.unit.spawn(command)
    }

    /// Tells the unit what to run: first what is shared, then the assignment.
    async fn tell(&self, order: &ToAgent) {
        let ToAgent::Update { assignment, cluster } = order;
        let data = cluster.to_entries().into_iter();
        let secret = Secret {
            metadata: kube::api::ObjectMeta { name: Some(SECRET.to_owned()), ..Default::default() },
            data: Some(data.map(|(name, text)| (name, ByteString(text.expose().into()))).collect()),
            ..Secret::default()
        };
        let params = PatchParams::apply("test").force();
        self.secrets.patch(SECRET, &params, &Patch::Apply(&secret)).await.unwrap();
        self.assign(assignment).await;
    }

    async fn assign(&self, assignment: &Assignment) {
        let spec = json!({
            "application": "mimir-read",
            "coordinator": "mimir",
            "podUID": self.pod_uid,
            "assignment": assignment,
        });
        let unit = json!({
            "apiVersion": "muster.dev/v1alpha1", "kind": "Unit", "metadata": {"name": UNIT}, "spec": spec,
        });
        let params = PatchParams::apply("test").force();
        self.units.patch(UNIT, &params, &Patch::Apply(&unit)).await.unwrap();
    }

    /// Waits for a report that `is` holds for.
    async fn report(&self, what: &str, is: impl Fn(&Report) -> bool) -> Report {
        let report = wait_until(what, SOON, async || {
            let report = self.units.get_opt(UNIT).await.ok()??.status?.report?;
            serde_json::from_value(report).ok().filter(&is)
        });
        report.await.unwrap()
    }
}

fn order(epoch: u64, role: Role, run: Run) -> ToAgent {
    update(epoch, "a: 1\n", &[role], run)
}

#[tokio::test]
async fn an_agent_is_told_and_reports_through_the_api_server_and_does_without_it() {
    let operator = Operator::start().await;
    let unit = &operator.unit;
    let mut agent = operator.agent();
    operator.tell(&order(1, Role::Querier, Run::Start)).await;
    let serves = |r: &Report| r.ready && r.service == Service::Running && r.epoch == 1;
    let report = operator.report("a ready service", serves).await;
    assert_eq!((report.instance, report.restarts), (operator.pod_uid.clone(), 0));

    // A role toggled: one write of the operator, and the old process is asked to end.
    let mut waits = Vec::new();
    for epoch in 2..12 {
        let ToAgent::Update { assignment, .. } =
            order(epoch, if epoch % 2 == 0 { Role::Distributor } else { Role::Querier }, Run::Start);
        let before = Instant::now();
        operator.assign(&assignment).await;
        let stops = usize::try_from(epoch - 1).unwrap();
        wait_until("SIGTERM", SOON, async || (unit.count("SIGTERM") == stops).then_some(())).await.unwrap();
        waits.push(before.elapsed());
        let runs = |r: &Report| r.ready && r.applied.as_ref().is_some_and(|a| a.roles == assignment.roles);
        operator.report("the new process", runs).await;
    }
    waits.sort();
    println!("role toggled to old process asked to end: median {:?}, longest {:?}", waits[5], waits[9]);
    assert!(waits[5] < Duration::from_secs(1));

    // Made by hand, or gone: the report is there again.
    let forged = json!({"status": {"report": {"ready": false, "lastError": "forged"}}});
    operator.units.patch_status(UNIT, &PatchParams::default(), &Patch::Merge(forged)).await.unwrap();
    operator.report("the true report", |r| r.ready && r.last_error.is_none()).await;
    operator.units.delete(UNIT, &DeleteParams::default()).await.unwrap();
    let ToAgent::Update { assignment, .. } = order(12, Role::Querier, Run::Start);
    operator.assign(&assignment).await;
    operator.report("a report in the new Unit", |r| r.ready && r.epoch == 12).await;

    // Without an API server: what runs goes on, and is started again.
    operator.cluster.run(&["kill", "apiserver"]);
    let workload = *unit.pids("start").last().unwrap();
    assert!(is_alive(workload));
    kill(workload, Signal::SIGKILL).unwrap();
    let started = unit.pids("start").len();
    let again = async || (unit.pids("start").len() > started).then_some(());
    wait_until("a restart", SOON, again).await.unwrap();
    operator.cluster.run(&["start", "apiserver"]);
    operator.report("the restart", |r| r.restarts == 1 && r.ready).await;
    let ToAgent::Update { assignment, .. } = order(13, Role::Distributor, Run::Start);
    operator.assign(&assignment).await;
    operator.report("the next order", |r| r.epoch == 13 && r.ready).await;

    // Stopped without what is shared.
    operator.secrets.delete(SECRET, &DeleteParams::default()).await.unwrap();
    let ToAgent::Update { assignment, .. } = order(14, Role::Distributor, Run::Stop);
    operator.assign(&assignment).await;
    operator.report("a stopped service", |r| r.epoch == 14 && r.service == Service::Stopped).await;
    operator.tell(&order(15, Role::Querier, Run::Start)).await;
    operator.report("a started service", |r| r.epoch == 15 && r.ready).await;

    // Its last word.
    assert!(agent.stop(Signal::SIGTERM, SOON).await.unwrap().success());
    let report = operator.report("a report", |_| true).await;
    assert_eq!((report.service, report.ready), (Service::Stopped, false));
}
