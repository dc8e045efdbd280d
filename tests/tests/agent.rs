//! The agent as a process, with stand-ins for its workload: kind ones, and hostile ones.

#![expect(clippy::unwrap_used, reason = "these functions serve tests only, which may panic")]

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use muster_agent::channel::socket;
use muster_model::{AGENT_PORT, HTTP_PORT, ObjectStorage, Product, Revision, Role, RoleSet, Secret};
use muster_relation::{Assignment, ClusterData, Frame as _, Report, Run, Service, ToAgent, ToCoordinator};
use muster_testkit::http::Client;
use muster_testkit::standin::{ENVIRONMENT, REJECT, REJECTION, now_nanos};
use muster_testkit::{Process, binaries, directory, wait_until};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;

/// How long anything that happens at once may take on a busy machine.
const SOON: Duration = Duration::from_secs(15);

/// An address of this machine that no other test uses.
fn address() -> Ipv4Addr {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let [_, _, high, low] = std::process::id().to_be_bytes();
    Ipv4Addr::new(127, 128 | (high & 0x3f), low, NEXT.fetch_add(1, Ordering::Relaxed))
}

fn revision(document: &str) -> Revision {
    Revision::of([document.as_bytes()])
}

/// An update to run `document` with `roles`.
fn update(epoch: u64, document: &str, roles: &[Role], run: Run) -> ToAgent {
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
            drain: None,
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

fn start(epoch: u64) -> ToAgent {
    update(epoch, "a: 1\n", &[Role::Querier], Run::Start)
}

fn stop(epoch: u64) -> ToAgent {
    update(epoch, "a: 1\n", &[Role::Querier], Run::Stop)
}

/// A unit's directory, and all the processes that stand-ins have noted in its record. They are ended when it is dropped.
struct Unit {
    /// What the test keeps beside the unit's own directory.
    directory: TempDir,
    /// The unit's own directory, below the other.
    name: String,
    address: Ipv4Addr,
}

/// Set for everything that a test starts, so that the guard ends nothing else.
const MARK: &str = "MUSTER_TEST_UNIT";

impl Unit {
    fn new() -> Self {
        Self { directory: directory::temporary(), name: "unit".to_owned(), address: address() }
    }

    fn directory(&self) -> PathBuf {
        self.directory.path().join(&self.name)
    }

    fn record(&self) -> PathBuf {
        self.directory.path().join("record")
    }

    fn log(&self) -> PathBuf {
        self.directory.path().join("log")
    }

    fn command(&self, subcommand: &str) -> Command {
        let mut command = Command::new(binaries::path("worker"));
        command.arg(subcommand).args(["--unit", "mimir-read/0", "--instance", "one"]);
        command.args(["--address", &self.address.to_string()]).arg("--directory").arg(self.directory());
        command
    }

    /// An agent around a stand-in as a fixed command.
    fn fixed(&self, agent: &[&str], flags: &str) -> Command {
        let mut command = self.command("run-command");
        command.args(agent).arg("--").arg(binaries::path("standin")).args(flags.split_whitespace());
        command.arg("--record").arg(self.record());
        command
    }

    /// An agent around a stand-in for Mimir.
    fn mimir(&self, flags: &str) -> Command {
        let mut command = self.command("run");
        command.arg("--binary").arg(binaries::path("standin"));
        let listen = format!("--listen {}:{HTTP_PORT}", self.address);
        command.env(ENVIRONMENT, format!("{listen} {flags} --record {}", self.record().display()));
        command
    }

    fn spawn(&self, mut command: Command) -> Process {
        Process::spawn(command.env(MARK, self.directory.path()), &self.log()).unwrap()
    }

    async fn coordinator(&self) -> Coordinator {
        let stream =
            wait_until("agent's socket", SOON, async || socket::connect(&self.directory(), socket::NAME).await.ok());
        Coordinator::new(stream.await.unwrap())
    }

    /// What stand-ins noted, line by line.
    fn noted(&self) -> Vec<String> {
        fs::read_to_string(self.record()).unwrap_or_default().lines().map(str::to_owned).collect()
    }

    fn count(&self, what: &str) -> usize {
        self.noted().iter().filter(|line| line.as_str() == what).count()
    }

    /// The processes that were noted: stand-ins (`start`), or what they started (`grandchild`).
    fn pids(&self, kind: &str) -> Vec<Pid> {
        let noted = self.noted();
        let pids =
            noted.iter().filter_map(|line| line.strip_prefix(kind)?.split_whitespace().next()?.parse().ok());
        pids.map(Pid::from_raw).collect()
    }

    async fn gone(&self, pids: &[Pid]) {
        wait_until("end of processes", SOON, async || pids.iter().all(|pid| !is_alive(*pid)).then_some(()))
            .await
            .unwrap();
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

fn is_alive(pid: Pid) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

/// The other end of the channel.
struct Coordinator {
    stream: BufReader<UnixStream>,
    last: Option<Report>,
}

impl Coordinator {
    fn new(stream: UnixStream) -> Self {
        Self { stream: BufReader::new(stream), last: None }
    }

    async fn send(&mut self, message: &ToAgent) {
        self.stream.write_all(message.to_line().as_bytes()).await.unwrap();
    }

    /// The next report; none when the agent has closed the connection.
    async fn next(&mut self) -> Option<Report> {
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

    async fn report(&mut self, what: &str, is: impl Fn(&Report) -> bool) -> Report {
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

    async fn running(&mut self, epoch: u64) -> Report {
        self.report("a ready service", |r| r.epoch == epoch && r.service == Service::Running && r.ready).await
    }
}

#[tokio::test]
async fn a_workload_is_started_watched_and_stopped() {
    let unit = Unit::new();
    let _agent = unit.spawn(unit.mimir("--ready-after 300"));
    let mut coordinator = unit.coordinator().await;
    let first = coordinator.next().await.unwrap();
    assert_eq!((first.service, first.epoch, first.instance.as_str()), (Service::Inactive, 0, "one"));
    coordinator.send(&update(1, "at: ${muster:unit-address}\n", &[Role::Ingester], Run::Start)).await;
    let report = coordinator.running(1).await;
    assert_eq!(report.applied.unwrap().roles, RoleSet::from([Role::Ingester]));
    assert_eq!(report.check.unwrap().rejected, None);
    let config = unit.directory().join("run/live/config.yaml");
    assert!(fs::read_to_string(&config).unwrap().contains(&unit.address.to_string()));
    assert_eq!(fs::metadata(&config).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::metadata(unit.directory()).unwrap().permissions().mode() & 0o777, 0o700);

    let mut health = Client::new(&format!("http://{}:{AGENT_PORT}", unit.address)).unwrap();
    for page in ["/live", "/ready"] {
        health.get(page, SOON).await.unwrap();
    }
    let metrics = health.get("/metrics", SOON).await.unwrap();
    assert!(String::from_utf8_lossy(&metrics).contains("muster_agent_service_state{state=\"running\"} 1"));
    assert!(health.get("/stop", SOON).await.is_err());

    coordinator.send(&update(2, "at: 1\n", &[Role::Ingester], Run::Stop)).await;
    coordinator.report("a stopped service", |r| r.service == Service::Stopped && !r.ready).await;
    let noted = unit.noted();
    assert_eq!(noted[2..], ["POST /ingester/prepare-shutdown", "SIGTERM"], "{noted:?}");
    assert!(health.get("/ready", SOON).await.is_err());
}

#[tokio::test]
async fn a_refused_config_leaves_the_old_process_alone() {
    let unit = Unit::new();
    let _agent = unit.spawn(unit.mimir(""));
    let mut coordinator = unit.coordinator().await;
    coordinator.send(&start(1)).await;
    coordinator.running(1).await;
    let document = format!("a: {REJECT}\n");
    coordinator.send(&update(2, &document, &[Role::Querier], Run::Start)).await;
    let refused = |r: &Report| r.check.as_ref().is_some_and(|check| check.rejected.is_some());
    let report = coordinator.report("a refusal", refused).await;
    assert_eq!(report.check.unwrap().rejected.as_deref(), Some(REJECTION));
    assert_eq!(report.applied.unwrap().revision, revision("a: 1\n"));
    // An old epoch does nothing; a document that cannot be filled is a refusal too.
    coordinator.send(&stop(1)).await;
    coordinator.send(&update(3, "a: ${muster:nonsense}\n", &[Role::Querier], Run::Start)).await;
    let nonsense = |r: &Report| {
        r.check.as_ref().and_then(|check| check.rejected.as_ref()).is_some_and(|why| why.contains("nonsense"))
    };
    let report = coordinator.report("another refusal", nonsense).await;
    assert_eq!((report.epoch, report.ready), (3, true));
    assert_eq!((unit.count("SIGTERM"), unit.pids("start").len()), (0, 1));
}

#[tokio::test]
async fn a_child_that_ignores_sigterm_gets_it_once_and_is_killed() {
    let unit = Unit::new();
    let _agent = unit.spawn(unit.fixed(&["--kill-delay", "1"], "--ignore-signals"));
    let mut coordinator = unit.coordinator().await;
    coordinator.send(&start(1)).await;
    coordinator.running(1).await;
    coordinator.send(&stop(2)).await;
    coordinator.send(&stop(3)).await;
    coordinator.report("a stopped service", |r| r.service == Service::Stopped).await;
    assert_eq!(unit.count("SIGTERM"), 1);
    unit.gone(&unit.pids("start")).await;
}

#[tokio::test]
async fn descendants_end_with_the_process_also_those_that_left_its_group() {
    let unit = Unit::new();
    let _agent = unit.spawn(unit.fixed(&[], "--grandchildren 3 --daemon"));
    let mut coordinator = unit.coordinator().await;
    coordinator.send(&start(1)).await;
    coordinator.running(1).await;
    let grandchildren = unit.pids("grandchild");
    assert_eq!(grandchildren.len(), 4);
    assert!(grandchildren.iter().all(|pid| is_alive(*pid)));
    coordinator.send(&stop(2)).await;
    coordinator.report("a stopped service", |r| r.service == Service::Stopped).await;
    unit.gone(&grandchildren).await;
}

#[tokio::test]
async fn a_child_that_ends_by_itself_is_started_again_with_growing_waits() {
    for (die, cause) in [("--die 30 3", "exit code 3"), ("--die 30 0", "exit code 0")] {
        let unit = Unit::new();
        let _agent = unit.spawn(unit.fixed(&[], &format!("--lines 30 {die}")));
        let mut coordinator = unit.coordinator().await;
        coordinator.send(&start(1)).await;
        let mut waits = Vec::new();
        for restarts in 0..3 {
            let down = |r: &Report| r.service == Service::Backoff && r.restarts == restarts;
            let exit = coordinator.report("a back-off", down).await.last_exit.unwrap();
            assert_eq!(exit.cause, cause);
            assert_eq!(exit.lines, (10..30).map(|n| format!("line {n}")).collect::<Vec<_>>());
            waits.push(exit.retry_in_ms);
        }
        for (wait, base) in waits.iter().zip([500, 1000, 2000]) {
            assert!((base..=base + base / 10).contains(wait), "{waits:?}");
        }
        // A stop ends the waiting.
        coordinator.send(&stop(2)).await;
        coordinator.report("a stopped service", |r| r.service == Service::Stopped).await;
    }
}

#[tokio::test]
async fn a_program_that_cannot_be_started_is_reported() {
    let unit = Unit::new();
    let program = unit.directory.path().join("program");
    for (content, expected) in [(None, "is not there"), (Some("text"), "may not be executed")] {
        if let Some(content) = content {
            fs::write(&program, content).unwrap();
        }
        let mut command = unit.command("run-command");
        command.arg("--").arg(&program);
        let mut agent = unit.spawn(command);
        let mut coordinator = unit.coordinator().await;
        coordinator.send(&start(1)).await;
        let exit =
            coordinator.report("a failed start", |r| r.service == Service::Backoff).await.last_exit.unwrap();
        assert!(exit.cause.contains(expected) && exit.cause.contains("/program"), "{}", exit.cause);
        // And where there is a check before: nothing is known of the config, so it is tried again.
        assert!(agent.stop(Signal::SIGTERM, SOON).await.unwrap().success());
        fs::remove_dir_all(unit.directory()).unwrap();
        let mut command = unit.command("run");
        command.arg("--binary").arg(&program);
        let mut agent = unit.spawn(command);
        let mut coordinator = unit.coordinator().await;
        coordinator.send(&start(1)).await;
        let report = coordinator.report("a check that failed", |r| r.last_error.is_some()).await;
        assert!(report.last_error.unwrap().contains(expected));
        assert_eq!((report.check, report.service), (None, Service::Inactive));
        assert!(agent.stop(Signal::SIGTERM, SOON).await.unwrap().success());
        fs::remove_dir_all(unit.directory()).unwrap();
    }
}

/// The resident memory of a process, in kB.
fn resident(pid: Pid) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[tokio::test]
async fn a_flood_of_output_neither_stops_the_agent_nor_fills_its_memory() {
    let unit = Unit::new();
    let log = unit.directory.path().join("workload.log");
    let agent = unit.spawn(unit.fixed(&["--log", log.to_str().unwrap()], "--flood --endless-line"));
    let mut coordinator = unit.coordinator().await;
    coordinator.send(&start(1)).await;
    coordinator.running(1).await;
    // The file is rotated when more than 10 MiB came through.
    let rotated = log.with_extension("log.1");
    wait_until("a rotated log", SOON, async || rotated.exists().then_some(())).await.unwrap();
    let size = |path: &Path| fs::metadata(path).map_or(0, |m| m.len());
    assert!(size(&log) <= 10 << 20 && size(&rotated) <= 10 << 20);
    let memory = resident(agent.pid());
    println!("resident memory under a flood of output: {memory} kB");
    assert!(memory < 32 << 10);
    coordinator.send(&stop(2)).await;
    coordinator.report("a stopped service", |r| r.service == Service::Stopped).await;
}

#[tokio::test]
async fn a_reader_who_does_not_read_stops_neither_agent_nor_workload() {
    let unit = Unit::new();
    let (unread, writer) = std::io::pipe().unwrap();
    let mut command = unit.fixed(&[], "--flood");
    // The shell hands the pipe on in place of the log.
    let worker =
        format!("exec \"$@\" >/proc/{}/fd/{}", std::process::id(), std::os::fd::AsRawFd::as_raw_fd(&writer));
    let mut shell = Command::new("sh");
    shell.args(["-c", &worker, "sh"]).arg(command.get_program()).args(command.get_args());
    std::mem::swap(&mut command, &mut shell);
    let mut agent = unit.spawn(command);
    let mut coordinator = unit.coordinator().await;
    coordinator.send(&start(1)).await;
    coordinator.running(1).await;
    coordinator.send(&stop(2)).await;
    coordinator.report("a stopped service", |r| r.service == Service::Stopped).await;
    assert!(agent.stop(Signal::SIGTERM, SOON).await.unwrap().success());
    drop(unread);
}

#[tokio::test]
async fn an_agent_that_ends_takes_its_workload_along_without_leaving_calls() {
    let unit = Unit::new();
    let mut agent = unit.spawn(unit.mimir("--stop-after 200"));
    let mut coordinator = unit.coordinator().await;
    coordinator.send(&update(1, "a: 1\n", &[Role::Ingester], Run::Start)).await;
    coordinator.running(1).await;
    assert!(agent.stop(Signal::SIGTERM, SOON).await.unwrap().success());
    assert!(unit.pids("start").iter().all(|pid| !is_alive(*pid)));
    assert_eq!(unit.noted()[2..], ["SIGTERM"]);
}

#[tokio::test]
async fn after_a_kill_the_next_agent_ends_the_orphan_and_goes_on_without_a_coordinator() {
    let unit = Unit::new();
    let mut agent = unit.spawn(unit.mimir("--stop-after 300 --grandchildren 1"));
    let mut coordinator = unit.coordinator().await;
    coordinator.send(&update(7, "a: 1\n", &[Role::Ingester], Run::Start)).await;
    coordinator.running(7).await;
    let grandchildren = unit.pids("grandchild");
    agent.stop(Signal::SIGKILL, SOON).await.unwrap();
    let orphans = unit.pids("start");
    assert!(is_alive(orphans[0]), "the workload outlives the agent");
    // What is broken on disk is put aside, not trusted: here only the lock's content.
    fs::write(unit.directory().join("agent.lock"), "not a number").unwrap();

    let _agent = unit.spawn(unit.mimir(""));
    let mut coordinator = unit.coordinator().await;
    let first = coordinator.next().await.unwrap();
    assert_eq!((first.epoch, first.service), (7, Service::Stopping));
    let report = coordinator.running(7).await;
    assert_eq!(report.restarts, 0);
    assert_eq!((unit.pids("start").len(), unit.count("SIGTERM")), (2, 1));
    unit.gone(&orphans).await;
    unit.gone(&grandchildren).await;
}

#[tokio::test]
async fn broken_state_is_put_aside() {
    let unit = Unit::new();
    fs::create_dir(unit.directory()).unwrap();
    for name in ["applied.json", "workload.json"] {
        fs::write(unit.directory().join(name), b"\xff{").unwrap();
    }
    let _agent = unit.spawn(unit.fixed(&[], ""));
    let mut coordinator = unit.coordinator().await;
    assert_eq!(coordinator.next().await.unwrap().service, Service::Inactive);
    assert!(unit.directory().join("applied.json.unusable").exists());
    coordinator.send(&start(1)).await;
    coordinator.running(1).await;
}

#[tokio::test]
async fn a_directory_has_one_agent() {
    let unit = Unit::new();
    let first = unit.spawn(unit.fixed(&[], ""));
    unit.coordinator().await;
    let second = unit.fixed(&[], "").output().unwrap();
    let error = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(!second.status.success());
    assert!(error.contains(&format!("another agent (process {})", first.pid())), "{error}");
}

#[tokio::test]
async fn garbage_closes_its_connection_and_nothing_else() {
    let unit = Unit::new();
    let _agent = unit.spawn(unit.fixed(&[], ""));
    let mut coordinator = unit.coordinator().await;
    coordinator.send(&start(1)).await;
    coordinator.running(1).await;
    let long = vec![b' '; muster_relation::MAX_FRAME_LEN + 2];
    for garbage in [&b"\xff\xfe\n"[..], b"{}\n", b"\n", b"{\"type\":\"update\"}\n", b"\0\0\0\0\n", &long] {
        let mut hostile = unit.coordinator().await;
        hostile.next().await.unwrap();
        // The agent may close before everything is written.
        let _ = hostile.stream.get_mut().write_all(garbage).await;
        let mut rest = Vec::new();
        let _ =
            tokio::time::timeout(SOON, hostile.stream.read_to_end(&mut rest)).await.expect("it is closed");
    }
    // The newest connection wins: the one before it is closed.
    let mut older = unit.coordinator().await;
    older.next().await.unwrap();
    let mut newer = unit.coordinator().await;
    newer.next().await.unwrap();
    assert_eq!(older.next().await, None);
    newer.send(&stop(2)).await;
    newer.report("a stopped service", |r| r.service == Service::Stopped).await;
}

#[tokio::test]
async fn a_directory_with_a_long_path_works() {
    let mut unit = Unit::new();
    unit.name = format!("{}/{}", "x".repeat(100), "y".repeat(100));
    let _agent = unit.spawn(unit.fixed(&[], ""));
    unit.coordinator().await.next().await.unwrap();
    let socket = unit.directory().join(socket::NAME);
    assert_eq!(fs::metadata(socket).unwrap().permissions().mode() & 0o777, 0o600);
}

#[tokio::test]
async fn a_taken_port_is_reported_and_the_workload_runs_all_the_same() {
    let unit = Unit::new();
    let taken = std::net::TcpListener::bind((unit.address, AGENT_PORT)).unwrap();
    let _agent = unit.spawn(unit.fixed(&[], ""));
    let mut coordinator = unit.coordinator().await;
    coordinator.send(&start(1)).await;
    let report = coordinator.running(1).await;
    assert!(report.last_error.unwrap().contains("no health pages"));
    drop(taken);
}

#[tokio::test]
async fn a_toggled_role_is_a_new_process_at_once() {
    const TOGGLES: u64 = 100;
    const STOP: Duration = Duration::from_millis(20);
    let unit = Unit::new();
    let _agent = unit.spawn(unit.mimir(&format!("--stop-after {}", STOP.as_millis())));
    let mut coordinator = unit.coordinator().await;
    coordinator.send(&start(1)).await;
    coordinator.running(1).await;
    let mut beyond = Vec::new();
    for toggle in 0..TOGGLES {
        let role = if toggle % 2 == 0 { Role::Distributor } else { Role::Querier };
        let sent = now_nanos();
        coordinator.send(&update(toggle + 2, "a: 1\n", &[role], Run::Start)).await;
        let applied = |r: &Report| {
            r.epoch == toggle + 2 && r.ready && r.applied.as_ref().is_some_and(|a| a.roles.contains(role))
        };
        coordinator.report("the new process", applied).await;
        let started = unit
            .noted()
            .iter()
            .rev()
            .find_map(|line| line.strip_prefix("start ")?.split_once(' ')?.1.parse().ok());
        let started: u128 = started.unwrap();
        beyond.push(Duration::from_nanos(u64::try_from(started - sent).unwrap()).saturating_sub(STOP));
    }
    assert_eq!(unit.count("SIGTERM") as u64, TOGGLES);
    beyond.sort();
    let median = beyond[beyond.len() / 2];
    println!(
        "role toggled to new process, beyond the stop time: median {median:?}, longest {:?}",
        beyond.last().unwrap()
    );
    assert!(median <= Duration::from_millis(50));
}

/// A small file system that is unmounted when dropped.
struct Tmpfs(PathBuf);

impl Tmpfs {
    fn mount(path: PathBuf, options: &str) -> Self {
        fs::create_dir_all(&path).unwrap();
        mount(Some("tmpfs"), &path, Some("tmpfs"), MsFlags::empty(), Some(options))
            .expect("this test needs root to mount");
        Self(path)
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = umount2(&self.0, MntFlags::MNT_DETACH);
    }
}

#[tokio::test]
async fn a_full_disk_keeps_the_old_process_and_is_reported() {
    let unit = Unit::new();
    let disk = Tmpfs::mount(unit.directory(), "size=256k,mode=0700");
    let _agent = unit.spawn(unit.mimir(""));
    let mut coordinator = unit.coordinator().await;
    coordinator.send(&start(1)).await;
    coordinator.running(1).await;
    let filler = disk.0.join("filler");
    let mut file = fs::File::create(&filler).unwrap();
    while file.write_all(&[0; 512]).is_ok() {}
    drop(file);
    // Longer than what is there, so that it needs space.
    let document = format!("a: {}\n", "x".repeat(9000));
    coordinator.send(&update(2, &document, &[Role::Querier], Run::Start)).await;
    let report = coordinator.report("a full disk", |r| r.last_error.is_some()).await;
    assert!(report.last_error.as_ref().unwrap().contains("No space left"), "{report:?}");
    assert_eq!(report.applied.unwrap().revision, revision("a: 1\n"));
    assert_eq!(unit.count("SIGTERM"), 0);
    // A crash on the full disk is survived with what is there.
    kill(unit.pids("start")[0], Signal::SIGKILL).unwrap();
    coordinator.report("a restart", |r| r.restarts == 1 && r.ready).await;
    fs::remove_file(filler).unwrap();
    let done = |r: &Report| {
        r.ready
            && r.last_error.is_none()
            && r.applied.as_ref().is_some_and(|a| a.revision == revision(&document))
    };
    coordinator.report("the new revision", done).await;
}

#[tokio::test]
async fn as_process_one_the_agent_reaps_orphans_and_ends_with_its_workload() {
    let unit = Unit::new();
    let inner = unit.fixed(&[], "--orphans 50 --stop-after 100");
    let mut command = Command::new("unshare");
    command
        .args(["--pid", "--fork", "--mount-proc", "--kill-child"])
        .arg(inner.get_program())
        .args(inner.get_args());
    let mut namespace = unit.spawn(command);
    let mut coordinator = unit.coordinator().await;
    coordinator.send(&start(1)).await;
    coordinator.running(1).await;
    let agent = wait_until("the agent's process", SOON, async || {
        let children = format!("/proc/{0}/task/{0}/children", namespace.pid());
        fs::read_to_string(children).ok()?.trim().parse().ok().map(Pid::from_raw)
    });
    let agent = agent.await.unwrap();
    let children = || fs::read_to_string(format!("/proc/{agent}/task/{agent}/children")).unwrap_or_default();
    let alone = async || (children().split_whitespace().count() == 1).then_some(());
    wait_until("the workload alone, without any zombie", SOON, alone).await.unwrap();
    assert!(fs::read_to_string(format!("/proc/{agent}/status")).unwrap().contains("NSpid:"));
    // Its own child is still its own: the exit status of the workload is seen.
    let workload: i32 = children().trim().parse().unwrap();
    kill(Pid::from_raw(workload), Signal::SIGUSR1).unwrap();
    let exit = coordinator.report("a crash", |r| r.service == Service::Backoff).await.last_exit.unwrap();
    assert_eq!(exit.cause, "signal 10 (SIGUSR1)");
    coordinator.report("a restart", |r| r.service == Service::Running && r.restarts == 1).await;
    kill(agent, Signal::SIGTERM).unwrap();
    assert!(namespace.ended(SOON).await.unwrap().success());
    assert_eq!(unit.count("SIGTERM"), 1, "the workload got the signal");
}

#[tokio::test]
async fn install_copies_the_program_whole() {
    let directory = directory::temporary();
    let path = directory.path().join("worker");
    let worker = binaries::path("worker");
    assert!(Command::new(&worker).arg("install").arg(&path).status().unwrap().success());
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o755);
    assert_eq!(fs::read(&path).unwrap(), fs::read(worker).unwrap());
    let nowhere = Command::new(&path).args(["install", "/proc/nowhere/worker"]).output().unwrap();
    assert!(!nowhere.status.success());
    assert!(String::from_utf8_lossy(&nowhere.stderr).contains("failed to install to /proc/nowhere/worker"));
}

/// A load balancer's document; without units behind it every route answers 503.
fn proxy_document(mark: &str) -> String {
    let upstreams =
        BTreeMap::from([(Role::Distributor, vec![muster_nginx::Server::new(mark, 8080).unwrap()])]);
    let routes = muster_products::workload(Product::Mimir).unwrap().routes();
    let layout = muster_nginx::Layout { product: Product::Mimir, routes, upstreams: &upstreams, tls: false };
    muster_nginx::layout(&layout).to_string()
}

#[tokio::test]
async fn nginx_is_reloaded_not_restarted_and_a_bad_document_is_refused() {
    let unit = Unit::new();
    let mut command = Command::new(binaries::path("coordinator"));
    command.args(["proxy", "--unit", "mimir/0", "--instance", "one", "--address", &unit.address.to_string()]);
    command.arg("--directory").arg(unit.directory());
    let mut agent = unit.spawn(command);
    let mut coordinator = unit.coordinator().await;
    let (first, second) = (proxy_document("127.0.0.8"), proxy_document("127.0.0.9"));
    coordinator.send(&update(1, &first, &[], Run::Start)).await;
    coordinator.running(1).await;
    let master = || fs::read_to_string(unit.directory().join("run/live/nginx.pid")).unwrap();
    let pid = master();
    let ready = async |document: &str| {
        let mut client = Client::new(&format!("http://{}:{HTTP_PORT}", unit.address)).unwrap();
        let body = client.get("/ready", SOON).await.unwrap();
        assert_eq!(String::from_utf8_lossy(&body), muster_nginx::ready_body(&revision(document)));
    };
    ready(&first).await;
    for (epoch, document) in [(2, &second), (3, &first), (4, &second)] {
        coordinator.send(&update(epoch, document, &[], Run::Start)).await;
        let applied = |r: &Report| r.applied.as_ref().is_some_and(|a| a.revision == revision(document));
        let report = coordinator.report("the new document", applied).await;
        assert_eq!((report.ready, report.restarts, report.service), (true, 0, Service::Running));
        ready(document).await;
    }
    let broken = second.replacen("http", "nonsense", 1);
    coordinator.send(&update(5, &broken, &[], Run::Start)).await;
    let refused = |r: &Report| r.check.as_ref().is_some_and(|check| check.rejected.is_some());
    let message = coordinator.report("a refusal", refused).await.check.unwrap().rejected.unwrap();
    assert!(message.contains("nonsense"), "{message}");
    ready(&second).await;
    assert_eq!(master(), pid, "one master all the time");
    assert!(agent.stop(Signal::SIGTERM, SOON).await.unwrap().success());
    assert!(!is_alive(Pid::from_raw(pid.trim().parse().unwrap())));
}
