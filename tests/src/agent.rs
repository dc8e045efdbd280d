//! An agent as a process of its own, with a stand-in for its workload, and the other end of its channel.
//!
//! What is here panics where something does not happen, as a test does.

#![expect(clippy::unwrap_used, reason = "these functions serve tests and benchmarks only, which may panic")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use muster_agent::channel::socket;
use muster_model::{HTTP_PORT, ObjectStorage, Product, Revision, Role, Secret};
use muster_relation::{Assignment, ClusterData, Frame as _, Report, Run, Service, ToAgent, ToCoordinator};
use muster_testkit::standin::{ENVIRONMENT, now_nanos};
use muster_testkit::{Process, binaries, directory, wait_until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;

/// How long anything that happens at once may take on a busy machine.
pub const SOON: Duration = Duration::from_secs(15);

/// An address of this machine that no other test uses.
fn address() -> Ipv4Addr {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let [_, _, high, low] = std::process::id().to_be_bytes();
    Ipv4Addr::new(127, 128 | (high & 0x3f), low, NEXT.fetch_add(1, Ordering::Relaxed))
}

/// The revision of a document.
pub fn revision(document: &str) -> Revision {
    Revision::of([document.as_bytes()])
}

/// An update to run `document` with `roles`.
pub fn update(epoch: u64, document: &str, roles: &[Role], run: Run) -> ToAgent {
    let storage = [
        ("endpoint", "http://127.0.0.1:9"),
        ("bucket", "bucket"),
        ("access-key", "AK"),
        ("secret-key", "SK"),
    ];
    let storage = storage.map(|(key, value)| (key.to_owned(), Secret::new(value)));
    ToAgent::Update {
        assignment: Assignment {
            epoch,
            revision: revision(document),
            roles: roles.iter().copied().collect(),
            run,
            gives_up: false,
            quiesces: false,
            forgets: BTreeSet::new(),
            peers: std::collections::BTreeMap::new(),
            seeds: Vec::new(),
        },
        cluster: Box::new(ClusterData {
            product: Product::Mimir,
            version: "2.17".parse().unwrap(),
            documents: BTreeMap::from([(revision(document), document.to_owned())]),
            object_storage: Some(ObjectStorage::from_secret(&storage.into()).unwrap()),
            tls: None,
        }),
    }
}

/// An update to run with one role.
pub fn start(epoch: u64) -> ToAgent {
    update(epoch, "a: 1\n", &[Role::Querier], Run::Start)
}

/// An update to stop.
pub fn stop(epoch: u64) -> ToAgent {
    update(epoch, "a: 1\n", &[Role::Querier], Run::Stop)
}

/// A unit's directory, and all the processes that stand-ins have noted in its record. They are ended when it is dropped.
pub struct Unit {
    /// What the test keeps beside the unit's own directory.
    pub directory: TempDir,
    /// The unit's own directory, below the other.
    pub name: String,
    /// Where its agent and its workload listen.
    pub address: Ipv4Addr,
}

/// Set for everything that a test starts, so that the guard ends nothing else.
const MARK: &str = "MUSTER_TEST_UNIT";

impl Unit {
    /// A directory and an address of its own; no agent yet.
    #[must_use]
    pub fn new() -> Self {
        Self { directory: directory::temporary(), name: "unit".to_owned(), address: address() }
    }

    /// The unit's own directory.
    #[must_use]
    pub fn directory(&self) -> PathBuf {
        self.directory.path().join(&self.name)
    }

    /// The file in which stand-ins note what happens.
    #[must_use]
    pub fn record(&self) -> PathBuf {
        self.directory.path().join("record")
    }

    /// The file with the output of everything that was spawned.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.directory.path().join("log")
    }

    /// The worker with that subcommand for this unit.
    #[must_use]
    pub fn command(&self, subcommand: &str) -> Command {
        let mut command = Command::new(binaries::path("worker"));
        command.arg(subcommand).args(["--unit", "mimir-read/0", "--instance", "one"]);
        command.args(["--address", &self.address.to_string()]).arg("--directory").arg(self.directory());
        command
    }

    /// An agent around a stand-in as a fixed command.
    pub fn fixed(&self, agent: &[&str], flags: &str) -> Command {
        let mut command = self.command("run-command");
        command.args(agent).arg("--").arg(binaries::path("standin")).args(flags.split_whitespace());
        command.arg("--record").arg(self.record());
        command
    }

    /// An agent around a stand-in for Mimir.
    pub fn mimir(&self, flags: &str) -> Command {
        let mut command = self.command("run");
        command.arg("--binary").arg(binaries::path("standin"));
        let listen = format!("--listen {}:{HTTP_PORT}", self.address);
        command.env(ENVIRONMENT, format!("{listen} {flags} --record {}", self.record().display()));
        command
    }

    /// The log of workloads whose agents are [`with_log`](Self::with_log).
    #[must_use]
    pub fn workload_log(&self) -> PathBuf {
        self.directory.path().join("workload.log")
    }

    /// Starts an agent around a stand-in for Mimir that has a log of its own, so that it can outlive its agent.
    #[must_use]
    pub fn with_log(&self, flags: &str) -> Process {
        let mut command = self.mimir(flags);
        command.arg("--log").arg(self.workload_log());
        self.spawn(command)
    }

    /// Starts a command that ends with the test.
    #[must_use]
    pub fn spawn(&self, mut command: Command) -> Process {
        Process::spawn(command.env(MARK, self.directory.path()), &self.log()).unwrap()
    }

    /// Connects to the agent as its coordinator does.
    pub async fn coordinator(&self) -> Coordinator {
        let stream = wait_until("agent's socket", SOON, async || {
            socket::connect(&self.directory(), socket::NAME).await.ok()
        });
        Coordinator::new(stream.await.unwrap())
    }

    /// What stand-ins noted, line by line.
    pub fn noted(&self) -> Vec<String> {
        fs::read_to_string(self.record()).unwrap_or_default().lines().map(str::to_owned).collect()
    }

    /// How often stand-ins noted exactly that.
    #[must_use]
    pub fn count(&self, what: &str) -> usize {
        self.noted().iter().filter(|line| line.as_str() == what).count()
    }

    /// The processes that were noted: stand-ins (`start`), or what they started (`grandchild`).
    pub fn pids(&self, kind: &str) -> Vec<Pid> {
        let noted = self.noted();
        let pids =
            noted.iter().filter_map(|line| line.strip_prefix(kind)?.split_whitespace().next()?.parse().ok());
        pids.map(Pid::from_raw).collect()
    }

    /// Waits until none of the processes is alive.
    pub async fn gone(&self, pids: &[Pid]) {
        wait_until("end of processes", SOON, async || pids.iter().all(|pid| !is_alive(*pid)).then_some(()))
            .await
            .unwrap();
    }
}

impl Default for Unit {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Unit {
    fn drop(&mut self) {
        for pid in self.pids("start").into_iter().chain(self.pids("grandchild")) {
            let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            let mark = format!("{MARK}={}", self.directory.path().display());
            if environment.split(|byte| *byte == 0).any(|variable| variable == mark.as_bytes()) {
                let _ = kill(pid, Signal::SIGKILL);
            }
        }
    }
}

/// Whether a process is there and more than a zombie.
#[must_use]
pub fn is_alive(pid: Pid) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

/// The other end of the channel.
pub struct Coordinator {
    /// The connection.
    pub stream: BufReader<UnixStream>,
    last: Option<Report>,
}

impl Coordinator {
    /// The coordinator at the end of that connection.
    #[must_use]
    pub fn new(stream: UnixStream) -> Self {
        Self { stream: BufReader::new(stream), last: None }
    }

    /// Sends one message.
    pub async fn send(&mut self, message: &ToAgent) {
        self.stream.write_all(message.to_line().as_bytes()).await.unwrap();
    }

    /// The next report; none when the agent has closed the connection.
    pub async fn next(&mut self) -> Option<Report> {
        let mut line = String::new();
        let read = tokio::time::timeout(SOON, self.stream.read_line(&mut line)).await.ok()?.ok()?;
        if read == 0 {
            return None;
        }
        let ToCoordinator::Report(report) = ToCoordinator::from_line(&line).unwrap();
        assert_ne!(self.last.as_ref(), Some(&report), "a report comes only when something changed");
        self.last = Some(report.clone());
        Some(report)
    }

    /// The next report that `is` holds for.
    pub async fn report(&mut self, what: &str, is: impl Fn(&Report) -> bool) -> Report {
        let wait = async {
            loop {
                let report = self.next().await?;
                if is(&report) {
                    return Some(report);
                }
            }
        };
        let report = tokio::time::timeout(SOON * 2, wait).await.ok().flatten();
        report.unwrap_or_else(|| panic!("no report of {what}; the last one is {:?}", self.last))
    }

    /// The report of a ready service at that epoch.
    pub async fn running(&mut self, epoch: u64) -> Report {
        self.report("a ready service", |r| r.epoch == epoch && r.service == Service::Running && r.ready).await
    }
}

/// Toggles a stand-in's roles `times` times and returns, in order of size, how long each took from the message until the new
/// process ran, beyond the `stop` that the stand-in takes to end.
pub async fn toggles(times: u64, stop: Duration) -> Vec<Duration> {
    let unit = Unit::new();
    let _agent = unit.spawn(unit.mimir(&format!("--stop-after {}", stop.as_millis())));
    let mut coordinator = unit.coordinator().await;
    coordinator.send(&start(1)).await;
    coordinator.running(1).await;
    let mut beyond = Vec::new();
    for toggle in 0..times {
        let role = if toggle % 2 == 0 { Role::Distributor } else { Role::Querier };
        let sent = now_nanos();
        coordinator.send(&update(toggle + 2, "a: 1\n", &[role], Run::Start)).await;
        let applied = |r: &Report| {
            r.epoch == toggle + 2 && r.ready && r.applied.as_ref().is_some_and(|a| a.roles.contains(role))
        };
        coordinator.report("the new process", applied).await;
        let noted = unit.noted();
        let mut starts = noted.iter().rev().filter_map(|line| line.strip_prefix("start ")?.split_once(' '));
        let started: u128 = starts.next().unwrap().1.parse().unwrap();
        beyond.push(Duration::from_nanos(u64::try_from(started - sent).unwrap()).saturating_sub(stop));
    }
    assert_eq!(unit.count("SIGTERM") as u64, times, "each toggle is one stop");
    beyond.sort();
    beyond
}
