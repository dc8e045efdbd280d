//! One unit that is not played: the real agent with a stand-in for Mimir, and no more rights than its pod has.

use std::fs;
use std::process::Command;

use anyhow::Context as _;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use muster_manifests::names::{cluster_secret, pod_name};
use muster_model::{AppName, HTTP_PORT, UnitName};
use muster_testkit::standin::ENVIRONMENT;
use muster_testkit::{Process, binaries, wait_until};
use muster_tests::agent::Unit;
use muster_tests::kubernetes::Site;
use muster_tests::kubernetes::doubles::Doubles;
use serde_json::json;
use tempfile::TempDir;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

use super::SOON;

/// It ends with this value.
pub(super) struct Agent {
    unit: Unit,
    _process: Process,
    _state: TempDir,
}

impl Agent {
    /// Starts the agent of a unit whose pod is about to be made. Its kubelet is played.
    pub(super) async fn start(
        site: &Site,
        doubles: &Doubles,
        namespace: &str,
        coordinator: &AppName,
        name: &UnitName,
    ) -> anyhow::Result<Self> {
        let pod = pod_name(name);
        doubles.silence(namespace, &pod);
        let pods = site.api::<Pod>(namespace);
        let there = wait_until("the unit's pod", SOON, async || pods.get_opt(&pod).await.ok()?).await?;
        let uid = there.uid().context("an object has a uid")?;
        let account =
            there.spec.and_then(|spec| spec.service_account_name).context("a pod has an account")?;
        let bound = ["--bound-object-kind", "Pod", "--bound-object-name", &pod, "--bound-object-uid", &uid];
        let mut arguments = vec!["create", "token", &account, "-n", namespace];
        arguments.extend(bound);
        let token = site.cluster.kubectl(&arguments).map_err(anyhow::Error::msg)?;

        let unit = Unit::new();
        // In a pod this is a volume in memory, to which nothing is written through to a disk.
        let state = tempfile::Builder::new().prefix("m-").tempdir_in("/dev/shm")?;
        let directory = unit.directory.path();
        fs::write(directory.join("token"), token.trim())?;
        let authority = site.cluster.kubeconfig().with_file_name("ca.crt");
        let server = json!({"server": "https://10.77.0.1:6443", "certificate-authority": authority});
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "pod",
            "clusters": [{"name": "cluster", "cluster": server}],
            "users": [{"name": "pod", "user": {"tokenFile": directory.join("token")}}],
            "contexts": [{"name": "pod", "context": {"cluster": "cluster", "user": "pod"}}],
        });
        let kubeconfig = directory.join("kubeconfig");
        fs::write(&kubeconfig, config.to_string())?;

        let mut command = Command::new(binaries::path("worker"));
        let listen = format!("--listen {}:{HTTP_PORT}", unit.address);
        command
            .arg("run")
            .env("KUBECONFIG", kubeconfig)
            .env("MUSTER_UNIT", name.to_string())
            .env("MUSTER_INSTANCE", uid)
            .env("MUSTER_ADDRESS", unit.address.to_string())
            .env("MUSTER_DIRECTORY", state.path())
            .env("MUSTER_NAMESPACE", namespace)
            .env("MUSTER_RELATION_SECRET", cluster_secret(coordinator))
            .env("MUSTER_BINARY", binaries::path("standin"))
            .env(ENVIRONMENT, format!("{listen} --record {}", unit.record().display()));
        let process = unit.spawn(command);
        Ok(Self { unit, _process: process, _state: state })
    }

    /// A connection to the present process: the kernel closes it when that ends.
    pub(super) async fn attend(&self) -> anyhow::Result<Attendance> {
        let stream = TcpStream::connect((self.unit.address, HTTP_PORT)).await;
        Ok(Attendance(stream.context("no workload runs")?))
    }
}

/// Tells when a process has ended, at once.
pub(super) struct Attendance(TcpStream);

impl Attendance {
    pub(super) async fn ended(mut self) -> anyhow::Result<()> {
        // Asked for nothing, the stand-in says nothing.
        let end = tokio::time::timeout(SOON, self.0.read(&mut [0])).await;
        // Closed or reset, it is over.
        end.map(drop).context("the process was not stopped")
    }
}
