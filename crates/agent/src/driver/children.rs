//! Every child process of this agent, and the one place that waits for them.
//!
//! The agent is the reaper of all its descendants: as process 1 of a container, else as their subreaper. Only one part of
//! a process can wait for "any child", so nothing here uses `tokio::process` or `std`'s `Child::wait`: [`reap`] collects
//! everything and hands the endings of known children to those who started them. A child is known before anyone can
//! wait for it, because starting and reaping hold the same lock.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill, killpg};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};
use nix::unistd::Pid;
use tokio::sync::oneshot;
use tokio::time::sleep;

/// How often strangers are looked for, at most, and the pause in between: a second altogether.
const STRANGER_ROUNDS: u32 = 200;
const STRANGER_PAUSE: Duration = Duration::from_millis(5);

static KNOWN: Mutex<BTreeMap<i32, oneshot::Sender<Ending>>> = Mutex::new(BTreeMap::new());

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// It ended with this code.
    Code(i32),
    /// It was ended by this signal.
    Signal(Signal),
    /// It ended by a real-time signal, which has no name.
    Unknown,
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit code {code}"),
            Self::Signal(signal) => write!(f, "signal {} ({signal})", *signal as i32),
            Self::Unknown => f.write_str("a real-time signal"),
        }
    }
}

/// A child that was started. Its ending comes through `ended`.
#[derive(Debug)]
pub(crate) struct Started {
    /// Its process id, which is also its group's.
    pub(crate) pid: Pid,
    /// The pipes that were asked for. Never waited for.
    pub(crate) child: Child,
    /// Told when the child has ended and the rest of its group was killed.
    pub(crate) ended: oneshot::Receiver<Ending>,
}

fn known() -> MutexGuard<'static, BTreeMap<i32, oneshot::Sender<Ending>>> {
    KNOWN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts a child in a process group of its own.
pub(crate) fn start(command: &mut Command) -> io::Result<Started> {
    let mut known = known();
    let child = command.process_group(0).spawn()?;
    // Process ids fit: the kernel's own limit is 2^22.
    let pid = Pid::from_raw(child.id().cast_signed());
    let (sender, ended) = oneshot::channel();
    known.insert(pid.as_raw(), sender);
    Ok(Started { pid, child, ended })
}

/// Sends a signal to the group of a child. Whether it was sent: a child that was reaped gets none, because its number
/// may be someone else's by now.
pub(crate) fn signal_group(pid: Pid, signal: Signal) -> bool {
    known().contains_key(&pid.as_raw()) && killpg(pid, signal).is_ok()
}

/// Sends a signal to a child alone.
pub(crate) fn signal(pid: Pid, signal: Signal) -> bool {
    known().contains_key(&pid.as_raw()) && kill(pid, signal).is_ok()
}

/// Collects every child that has ended. To be called on each SIGCHLD, which may stand for many of them.
pub(crate) fn reap() {
    let mut known = known();
    let peek = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    loop {
        match waitid(Id::All, peek) {
            Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return,
            Ok(status) => match status.pid() {
                Some(pid) => collect(&mut known, pid),
                None => return,
            },
            // Ended by a real-time signal, for which there is no value: look at everyone.
            Err(Errno::EINVAL) => collect_unnamed(&mut known),
            Err(Errno::EINTR) => {}
            Err(error) => {
                tracing::error!(%error, "cannot wait for children");
                return;
            }
        }
    }
}

fn collect(known: &mut BTreeMap<i32, oneshot::Sender<Ending>>, pid: Pid) {
    let sender = known.remove(&pid.as_raw());
    if sender.is_some() {
        // While the leader is a zombie its number, and so the group's, cannot be given to anyone else.
        let _ = killpg(pid, Signal::SIGKILL);
    }
    let ending = ending(waitpid(pid, Some(WaitPidFlag::WNOHANG)));
    if let Some(sender) = sender {
        let _ = sender.send(ending);
    }
}

fn collect_unnamed(known: &mut BTreeMap<i32, oneshot::Sender<Ending>>) {
    let pids: Vec<_> = known.keys().copied().map(Pid::from_raw).collect();
    let peek = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    let mut found = false;
    for pid in pids {
        if !matches!(waitid(Id::Pid(pid), peek), Ok(WaitStatus::StillAlive)) {
            found = true;
            collect(known, pid);
        }
    }
    if !found {
        // A stranger, then. Should a known child have ended just now, its ending is handed on all the same.
        if let Ok(status) = waitpid(None, Some(WaitPidFlag::WNOHANG))
            && let Some(sender) = status.pid().and_then(|pid| known.remove(&pid.as_raw()))
        {
            let _ = sender.send(ending(Ok(status)));
        }
    }
}

fn ending(status: nix::Result<WaitStatus>) -> Ending {
    match status {
        Ok(WaitStatus::Exited(_, code)) => Ending::Code(code),
        Ok(WaitStatus::Signaled(_, signal, _)) => Ending::Signal(signal),
        _ => Ending::Unknown,
    }
}

/// Kills what was handed to this agent by a process that has ended: descendants that had left its group. Killing one
/// hands on its own children, so this goes on until none is left.
pub(crate) async fn kill_strangers() {
    for _ in 0..STRANGER_ROUNDS {
        // A zombie is listed too, until it is reaped.
        reap();
        let strangers = strangers();
        if strangers.is_empty() {
            return;
        }
        for pid in strangers {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        sleep(STRANGER_PAUSE).await;
    }
    tracing::warn!("processes that the workload left behind do not end");
}

fn strangers() -> Vec<i32> {
    let known = known();
    children().into_iter().filter(|pid| !known.contains_key(pid)).collect()
}

/// The direct children of this process.
fn children() -> Vec<i32> {
    children_of("self")
}

/// The direct children of a process, as the kernel lists them for each of its threads. `of` is its number in `/proc`.
pub(crate) fn children_of(of: &str) -> Vec<i32> {
    let Ok(tasks) = std::fs::read_dir(format!("/proc/{of}/task")) else { return Vec::new() };
    let listed =
        tasks.flatten().filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok());
    listed
        .flat_map(|pids| pids.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>())
        .collect()
}
