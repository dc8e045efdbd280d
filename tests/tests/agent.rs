//! The agent as a process, with stand-ins for its workload: kind ones, and hostile ones.

#![expect(clippy::unwrap_used, reason = "these functions serve tests only, which may panic")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use muster_agent::channel::socket;
use muster_model::route::Upstream;
use muster_model::{AGENT_PORT, AppName, HTTP_PORT, Product, Role, RoleSet};
use muster_relation::{Report, Run, Service, ToAgent};
use muster_testkit::http::Client;
use muster_testkit::standin::{REJECT, REJECTION};
use muster_testkit::{binaries, directory, wait_until};
use muster_tests::agent::{SOON, Unit, is_alive, revision, start, stop, toggles, update};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

#[tokio::test]
async fn a_workload_is_started_watched_and_stopped() {
    let unit = Unit::new();
    let _agent = unit.spawn(unit.mimir("--ready-after 300"));
    let mut coordinator = unit.coordinator().await;
    let first = coordinator.next().await.unwrap();
    assert_eq!((first.service, first.epoch, first.instance.as_str()), (Service::Inactive, 0, "one"));
    coordinator.send(&update(1, "at: ${muster:unit-address}\n", &[Role::Ingester], Run::Start)).await;
    let report = coordinator.running(1).await;
    assert_eq!(report.applied.as_ref().unwrap().roles, RoleSet::from([Role::Ingester]));
    // Where nothing ran, a start says as much as a check.
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
    let takes_data = "DELETE /ingester/prepare-instance-ring-downscale";
    assert_eq!(noted[1..], [takes_data, "POST /ingester/prepare-shutdown", "SIGTERM"], "{noted:?}");
    assert!(health.get("/ready", SOON).await.is_err());
}

/// Units that have gone are looked for in the ring, and who left its place behind loses it.
#[tokio::test]
async fn a_place_in_the_ring_that_was_left_behind_is_given_up() {
    let unit = Unit::new();
    let _agent = unit.spawn(unit.mimir("--ring w-0,w-1,w-2"));
    let mut coordinator = unit.coordinator().await;
    let gone: BTreeSet<_> = [1, 3].map(|number| AppName::new("w").unwrap().unit(number)).into();
    let mut told = update(1, "at: 1\n", &[Role::Ingester], Run::Start);
    let ToAgent::Update { assignment, .. } = &mut told;
    assignment.forgets.clone_from(&gone);
    coordinator.send(&told).await;
    coordinator.running(1).await;
    let said = async {
        loop {
            // Nothing may be said for longer than other reports take.
            if coordinator.next().await.is_some_and(|report| report.forgotten == gone) {
                return;
            }
        }
    };
    tokio::time::timeout(SOON * 4, said).await.expect("nobody says who has left");
    let noted = unit.noted();
    let forgets: Vec<_> = noted.iter().filter(|line| line.contains("/ring")).collect();
    assert_eq!(forgets, ["POST /ingester/ring forget=w-1"], "{noted:?}");
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
    let grandchildren = wait_until("grandchildren", SOON, async || {
        Some(unit.pids("grandchild")).filter(|pids| pids.len() == 4)
    });
    let grandchildren = grandchildren.await.unwrap();
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
        assert_eq!((report.check, report.service), (None, Service::Starting));
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
    let log = unit.workload_log();
    let agent = unit.spawn(unit.fixed(&["--log", log.to_str().unwrap()], "--flood --endless-line"));
    let mut coordinator = unit.coordinator().await;
    coordinator.send(&start(1)).await;
    coordinator.running(1).await;
    // The file is cut when more than 10 MiB were written, again and again. It is looked at every 50 ms, and no server writes as fast.
    let rotated = log.with_extension("log.1");
    let size = |path: &Path| fs::metadata(path).map_or(0, |m| m.len());
    let written = || fs::metadata(&rotated).and_then(|metadata| metadata.modified()).ok();
    let first = wait_until("a rotated log", SOON, async || written()).await.unwrap();
    let again = async || written().is_some_and(|at| at > first).then_some(());
    wait_until("another rotated log", SOON, again).await.unwrap();
    assert!(size(&rotated) <= 10 << 20 && size(&log) < 1 << 30);
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
    // It is told once to take data, unless it is asked to end before.
    let calls = unit.noted().into_iter().filter(|line| !line.starts_with("DELETE "));
    assert_eq!(calls.skip(1).collect::<Vec<_>>(), ["SIGTERM"]);
}

#[tokio::test]
async fn after_a_kill_the_next_agent_ends_the_orphan_and_goes_on_without_a_coordinator() {
    the_next_agent_ends_the_orphan(true).await;
}

#[tokio::test]
async fn an_agent_that_was_killed_before_it_noted_its_process_leaves_an_orphan_that_the_next_one_finds() {
    the_next_agent_ends_the_orphan(false).await;
}

async fn the_next_agent_ends_the_orphan(noted: bool) {
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
    if !noted {
        fs::remove_file(unit.directory().join("workload.json")).unwrap();
    }

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

/// An agent of a workload with a log of its own. Through a pipe to the agent it would end with the next line after the agent's end, or
/// wait for ever once the pipe is full.
#[tokio::test]
async fn after_a_kill_of_the_agent_the_workload_goes_on_and_the_next_agent_takes_it_over() {
    let unit = Unit::new();
    let log = unit.workload_log();
    let written = || fs::metadata(&log).map_or(0, |metadata| metadata.len());
    let mut agent = unit.with_log("--chat 50 --stop-after 300");
    let mut coordinator = unit.coordinator().await;
    coordinator.send(&update(7, "a: 1\n", &[Role::Ingester], Run::Start)).await;
    coordinator.running(7).await;
    let told = async |times| {
        let takes_data = "DELETE /ingester/prepare-instance-ring-downscale";
        let told = async || (unit.count(takes_data) == times).then_some(());
        wait_until("the process to be told to take data", SOON, told).await.unwrap();
    };
    told(1).await;
    agent.stop(Signal::SIGKILL, SOON).await.unwrap();
    let orphan = unit.pids("start")[0];
    let before = written();
    // More than a pipe takes.
    let much = async || (written() > before + (128 << 10)).then_some(());
    wait_until("much more output", SOON, much).await.unwrap();
    assert!(is_alive(orphan));

    let mut agent = unit.with_log("--lines 30 --die 1000 3");
    let mut coordinator = unit.coordinator().await;
    let first = coordinator.next().await.unwrap();
    assert_eq!((first.epoch, first.service, first.ready), (7, Service::Running, true));
    assert_eq!(first.applied.unwrap().revision, revision("a: 1\n"));
    assert_eq!((unit.pids("start"), unit.count("SIGTERM")), (vec![orphan], 0));
    // It may have been told anything by the agent before.
    told(2).await;

    // Once more, and the process with it while nobody looks: the next one notices.
    agent.stop(Signal::SIGKILL, SOON).await.unwrap();
    let mut agent = unit.with_log("--lines 30 --die 1000 3");
    let mut coordinator = unit.coordinator().await;
    assert!(coordinator.next().await.unwrap().ready);
    kill(orphan, Signal::SIGKILL).unwrap();
    let down = |r: &Report| r.service == Service::Backoff;
    let exit = coordinator.report("an end that nobody asked for", down).await.last_exit.unwrap();
    assert!(exit.cause.contains("former agent"), "{}", exit.cause);
    assert!(exit.lines.last().unwrap().starts_with("chat "), "{:?}", exit.lines);
    let report = coordinator.report("another end", |r| r.restarts == 1 && down(r)).await;
    let exit = report.last_exit.unwrap();
    assert_eq!((&*exit.cause, exit.lines.len()), ("exit code 3", 20));
    assert_eq!((&*exit.lines[0], &*exit.lines[19]), ("line 10", "line 29"));
    assert!(agent.stop(Signal::SIGTERM, SOON).await.unwrap().success());
    let text = fs::read_to_string(&log).unwrap();
    assert!(text.starts_with("chat ") && text.ends_with("line 29\n"), "the next one goes on with it");
}

/// What a killed agent had asked to end, or would run as something else, is not gone on with.
#[tokio::test]
async fn a_process_that_was_asked_to_end_or_that_is_not_what_is_wanted_is_not_taken_over() {
    let unit = Unit::new();
    let mut agent = unit.with_log("--stop-after 1000");
    let mut coordinator = unit.coordinator().await;
    coordinator.send(&update(1, "a: 1\n", &[Role::Ingester], Run::Start)).await;
    coordinator.running(1).await;
    // It ends the process, to start it with another config.
    coordinator.send(&update(2, "a: 2\n", &[Role::Ingester], Run::Start)).await;
    coordinator.report("an end that was asked for", |r| r.service == Service::Stopping).await;
    let first = unit.pids("start");
    agent.stop(Signal::SIGKILL, SOON).await.unwrap();
    let mut agent = unit.with_log("--stop-after 1000");
    let mut coordinator = unit.coordinator().await;
    let report = coordinator.running(2).await;
    assert_eq!(report.applied.unwrap().revision, revision("a: 2\n"));
    unit.gone(&first).await;

    // It is told to end itself, and is killed before its workload has ended.
    kill(agent.pid(), Signal::SIGTERM).unwrap();
    let asked = unit.count("SIGTERM");
    wait_until("the workload to be asked to end", SOON, async || {
        (unit.count("SIGTERM") > asked).then_some(())
    })
    .await
    .unwrap();
    agent.stop(Signal::SIGKILL, SOON).await.unwrap();
    let second = unit.pids("start");
    let _agent = unit.with_log("");
    let mut coordinator = unit.coordinator().await;
    assert_eq!(coordinator.next().await.unwrap().service, Service::Stopping);
    coordinator.running(2).await;
    assert_eq!(unit.pids("start").len(), 3);
    unit.gone(&second).await;
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
    let beyond = toggles(100, Duration::from_millis(20)).await;
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
    let distributors = Upstream { role: Role::Distributor, port: HTTP_PORT };
    let upstreams =
        BTreeMap::from([(distributors, vec![muster_nginx::Server::new(mark, HTTP_PORT).unwrap()])]);
    let (options, _) = muster_products::charm::coordinator(Product::Mimir).validate(&BTreeMap::new());
    let listeners = muster_products::workload(Product::Mimir).listeners(&options);
    let layout = muster_nginx::Layout {
        product: Product::Mimir,
        listeners: &listeners,
        upstreams: &upstreams,
        tls: false,
        tenant: muster_nginx::Tenant::MustBeSaid,
    };
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

/// Tempo's `all` does not end by itself. What it says of its services tells that it may be killed, also an agent that did not start it and
/// has nothing left of its config.
#[tokio::test]
async fn who_left_and_does_not_end_is_killed_by_the_next_agent_too() {
    let unit = Unit::new();
    let flags = "--ignore-signals --services |ingester|Terminated|";
    let mut agent = unit.spawn(unit.mimir(flags));
    let mut coordinator = unit.coordinator().await;
    let tempo = |epoch, run| {
        let mut told = update(epoch, "a: 1\n", &[Role::All], run);
        let ToAgent::Update { cluster, .. } = &mut told;
        (cluster.product, cluster.version) = (Product::Tempo, "2.10".parse().unwrap());
        if run == Run::Stop {
            cluster.documents.clear();
        }
        told
    };
    coordinator.send(&tempo(1, Run::Start)).await;
    coordinator.running(1).await;
    coordinator.send(&tempo(2, Run::Stop)).await;
    let asked = async || (unit.count("SIGTERM") == 1).then_some(());
    wait_until("the process to be asked to end", SOON, asked).await.unwrap();
    agent.stop(Signal::SIGKILL, SOON).await.unwrap();
    let left = unit.pids("start");
    assert!(is_alive(left[0]));

    let _agent = unit.spawn(unit.mimir(flags));
    let mut coordinator = unit.coordinator().await;
    let stopped =
        async { while !coordinator.next().await.is_some_and(|report| report.service == Service::Stopped) {} };
    tokio::time::timeout(SOON * 4, stopped).await.expect("the unit never stops");
    unit.gone(&left).await;
}
