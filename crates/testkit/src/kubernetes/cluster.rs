//! A cluster that belongs to the process that started it.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use nix::sched::{CloneFlags, setns};
use tempfile::TempDir;

use super::binaries::{directory, images, kit};
use crate::directory::temporary;

/// How much of a cluster there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// API server and etcd. No controllers: StatefulSets make no pods, nothing is collected.
    Api,
    /// The same with the controller manager: pods are made, and never run.
    Controllers,
    /// Everything, with so many nodes that run pods: 1 to 3.
    Nodes(u8),
}

/// A cluster in namespaces of its own. It ends with this value, and with the process however that ends: the script that started it
/// waits for the end of its input.
pub struct Cluster {
    name: String,
    directory: TempDir,
    script: Child,
    audited: bool,
}

impl Cluster {
    /// Starts a cluster and waits until its API server is ready, and its nodes where it has any.
    ///
    /// # Panics
    /// The binaries are missing, or the cluster does not come up.
    #[must_use]
    pub fn start(level: Level) -> Self {
        Self::start_with(level, false)
    }

    /// The same with a log of every write at the API server: [`Cluster::audit_log`].
    ///
    /// # Panics
    /// As [`Cluster::start`].
    #[must_use]
    pub fn start_audited(level: Level) -> Self {
        Self::start_with(level, true)
    }

    fn start_with(level: Level, audited: bool) -> Self {
        let binaries = directory().expect("the cluster's pin can be read");
        assert!(
            binaries.join("kubectl").is_file(),
            "{} is missing: run `cargo xtask servers kubernetes` first",
            binaries.join("kubectl").display()
        );
        let directory = temporary();
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("muster-{}-{number}", std::process::id());
        let mut script = command(&name, directory.path(), audited);
        script.arg("run");
        match level {
            Level::Api | Level::Controllers => script.arg("--api-only"),
            Level::Nodes(nodes) => script.args(["--nodes", &nodes.to_string()]),
        };
        // cat says when the cluster is up, and that nobody needs it any more.
        script.arg("cat").stdin(Stdio::piped()).stdout(Stdio::piped());
        let log = File::create(directory.path().join("script.log")).expect("the directory is ours");
        let mut script = script.stderr(log).spawn().expect("the cluster's script can be started");
        let mut input = script.stdin.take().expect("the input is piped");
        let mut output = BufReader::new(script.stdout.take().expect("the output is piped"));
        input.write_all(b"is up\n").expect("the script reads");
        let mut line = String::new();
        while !line.ends_with("is up\n") {
            line.clear();
            if output.read_line(&mut line).unwrap_or(0) == 0 {
                let log = fs::read_to_string(directory.path().join("script.log")).unwrap_or_default();
                panic!("the cluster does not come up:\n{log}");
            }
        }
        script.stdin = Some(input);
        let cluster = Self { name, directory, script, audited };
        if level == Level::Controllers {
            cluster.run(&["start", "kcm"]);
        }
        cluster
    }

    /// Moves the calling thread into the cluster's network. What it starts from now on, threads and processes, reaches the API server
    /// at `https://10.77.0.1:6443`, Services and pods; other threads are not touched.
    ///
    /// # Panics
    /// Not root.
    pub fn enter(&self) {
        let init =
            fs::read_to_string(self.directory.path().join("init")).expect("a cluster has its first process");
        let network = File::open(format!("/proc/{}/ns/net", init.trim())).expect("the cluster is up");
        setns(network, CloneFlags::CLONE_NEWNET).expect("root may enter a network");
    }

    /// A client with all rights.
    ///
    /// # Panics
    /// The kubeconfig is not usable.
    pub async fn client(&self) -> Client {
        client(&self.kubeconfig()).await
    }

    /// The file with the administrator's access.
    #[must_use]
    pub fn kubeconfig(&self) -> PathBuf {
        self.directory.path().join("pki/admin.conf")
    }

    /// Runs kubectl as the administrator. Answers its output.
    ///
    /// # Errors
    /// What it complained about.
    pub fn kubectl(&self, arguments: &[&str]) -> Result<String, String> {
        let mut all = vec!["kubectl"];
        all.extend(arguments);
        self.try_run(&all)
    }

    /// Runs a verb of the script: `kill apiserver`, `start etcd`, `node-off 2`, `exec -n 1 COMMAND` …
    ///
    /// # Panics
    /// It fails.
    pub fn run(&self, arguments: &[&str]) -> String {
        self.try_run(arguments).unwrap_or_else(|error| panic!("cluster {arguments:?}: {error}"))
    }

    fn try_run(&self, arguments: &[&str]) -> Result<String, String> {
        let output = command(&self.name, self.directory.path(), self.audited)
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .map_err(|error| error.to_string())?;
        if output.status.success() {
            Ok(String::from_utf8_lossy(&output.stdout).into_owned())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    }

    /// One line of JSON for each write, by whom and with which answer (`audit.k8s.io/v1`), without those of Kubernetes' own parts.
    #[must_use]
    pub fn audit_log(&self) -> PathBuf {
        audit_log(self.directory.path())
    }

    /// Where the cluster keeps its logs.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        drop(self.script.stdin.take());
        let _ = self.script.wait();
    }
}

/// A client with the access that a kubeconfig gives.
///
/// # Panics
/// The file is not usable.
pub async fn client(kubeconfig: &Path) -> Client {
    let file = Kubeconfig::read_from(kubeconfig).expect("the kubeconfig is there");
    let config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await;
    Client::try_from(config.expect("the kubeconfig is usable")).expect("the kubeconfig is usable")
}

fn audit_log(directory: &Path) -> PathBuf {
    directory.join("audit.log")
}

fn command(name: &str, directory: &Path, audited: bool) -> Command {
    let mut command = Command::new(kit().join("cluster"));
    command
        .env("MUSTER_KUBE_NAME", name)
        .env("MUSTER_KUBE_DIR", directory)
        .env("MUSTER_KUBE_BIN", super::binaries::directory().expect("the cluster's pin can be read"))
        .env("MUSTER_KUBE_IMAGES", images());
    if audited {
        let (policy, log) = (kit().join("conf/audit.yaml"), audit_log(directory));
        let arguments =
            format!("--audit-policy-file={} --audit-log-path={}", policy.display(), log.display());
        command.env("MUSTER_KUBE_APISERVER_ARGS", arguments);
    }
    command
}
