//! `coordinator operate` as a process.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use muster_testkit::kubernetes::Cluster;
use muster_testkit::{Process, http, wait_until};
use nix::sys::signal::Signal;
use serde_json::json;

/// How long an operator may take to start or end.
const SOON: Duration = Duration::from_secs(20);

/// An operator. It is killed when it is dropped.
pub struct Operator {
    process: Process,
    admin: String,
    command: Box<dyn Fn() -> Command + Send>,
    log: PathBuf,
}

impl Operator {
    pub(super) fn start(
        cluster: &Cluster,
        directory: &Path,
        program: &Path,
        identity: &str,
        namespace: Option<&str>,
    ) -> Self {
        // Each has an address of its own: several run in one network.
        static NEXT: AtomicU16 = AtomicU16::new(3100);
        let admin = format!("127.0.0.1:{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let kubeconfig = kubeconfig(cluster, directory);
        let log = directory.join(format!("{identity}.log"));
        let command = {
            let (admin, program) = (admin.clone(), program.to_owned());
            let (identity, namespace) = (identity.to_owned(), namespace.map(str::to_owned));
            Box::new(move || {
                let mut command = Command::new(&program);
                command
                    .args(["operate", "--image", "ghcr.io/muster-dev/muster:0.1.0"])
                    .args(["--identity", &identity, "--admin-address", &admin])
                    .env("KUBECONFIG", &kubeconfig)
                    .env_remove("POD_NAMESPACE");
                if let Some(namespace) = &namespace {
                    command.args(["--namespace", namespace]);
                }
                command
            })
        };
        let process = Process::spawn(&mut command(), &log).unwrap();
        Self { process, admin, command, log }
    }

    /// Kills it with SIGKILL and starts it again under the same identity, as a kubelet does with a container.
    pub async fn restart(&mut self) {
        self.kill().await;
        self.start_again();
    }

    /// Starts it again under the same identity after it has ended.
    pub fn start_again(&mut self) {
        self.process = Process::spawn(&mut (self.command)(), &self.log).unwrap();
    }

    /// Kills it with SIGKILL.
    pub async fn kill(&mut self) {
        self.process.stop(Signal::SIGKILL, SOON).await.unwrap();
    }

    /// Ends it with SIGTERM.
    pub async fn stop(&mut self) {
        let status = self.process.stop(Signal::SIGTERM, SOON).await.unwrap();
        assert!(status.success(), "{status}: {}", self.process.last_output());
    }

    /// The process.
    #[must_use]
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Everything that it, and what ran under its identity before it, has logged.
    #[must_use]
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// How many requests it made that change something, besides the lease and events.
    pub async fn writes(&self) -> u64 {
        let (all, reads) = (
            self.metric("muster_operator_requests_total", "").await.unwrap(),
            self.metric("muster_operator_requests_total", "verb=\"get\"").await.unwrap(),
        );
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a counter is whole")]
        let writes = (all - reads) as u64;
        writes
    }

    /// The resident memory of the process, in bytes.
    #[must_use]
    pub fn resident(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.pid())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or(0) * 1024
    }

    /// The value of a metric, summed over its series whose labels contain `labels`.
    pub async fn metric(&self, name: &str, labels: &str) -> Option<f64> {
        let mut client = http::Client::new(&format!("http://{}", self.admin)).ok()?;
        let page = client.get("/metrics", Duration::from_secs(5)).await.ok()?;
        let page = String::from_utf8_lossy(&page).into_owned();
        let lines = page.lines().filter(|line| line.starts_with(name) && line.contains(labels));
        Some(lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum())
    }

    /// Whether it holds the lease.
    pub async fn leads(&self) -> bool {
        self.metric("muster_operator_leader", "").await == Some(1.0)
    }

    /// Waits until it holds the lease.
    pub async fn wait_leads(&self, within: Duration) {
        wait_until("an operator that leads", within, async || self.leads().await.then_some(()))
            .await
            .unwrap();
    }
}

/// A kubeconfig with a token of the operator's ServiceAccount: what it may not do as a pod fails here too.
fn kubeconfig(cluster: &Cluster, directory: &Path) -> PathBuf {
    let token =
        cluster.kubectl(&["create", "token", "muster-operator", "-n", "muster-system", "--duration=6h"]);
    let authority = cluster.kubeconfig().with_file_name("ca.crt");
    let server = json!({"server": "https://10.77.0.1:6443", "certificate-authority": authority});
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "operator",
        "clusters": [{"name": "cluster", "cluster": server}],
        "users": [{"name": "operator", "user": {"token": token.unwrap().trim()}}],
        "contexts": [{"name": "operator", "context": {"cluster": "cluster", "user": "operator"}}],
    });
    let path = directory.join("operator.kubeconfig");
    fs::write(&path, config.to_string()).unwrap();
    path
}
