//! A workload that a former agent started and could not end, because it was killed itself.
//!
//! One that runs just what is wanted, and was not asked to leave or end, is taken over as it is; any other is ended.
//!
//! It is known by the record that is written once it was started, and else, should the agent have been killed in between, by
//! its standard input: a file that no other process has.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use muster_model::{Revision, Role, RoleSet};
use muster_relation::Assignment;
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::{Pid, getpgid};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{PidfdFlags, pidfd_open};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use tokio::time::sleep;

use crate::machine::{Order, StopSignal};
use crate::workload::Launch;

/// How often an orphan is looked at where the kernel does not tell of its end. Its parent is someone else.
const PAUSE: Duration = Duration::from_millis(20);

/// Names one process beyond doubt, also after its number was given to another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ProcessRecord {
    /// Its process id and its group's.
    pub(crate) pid: i32,
    /// When it was started, in the kernel's ticks since the machine was.
    pub(crate) start_time: u64,
    /// Which start of the machine that was.
    pub(crate) boot_id: String,
    /// How long it may take to end, in milliseconds.
    pub(crate) kill_delay_ms: u64,
    /// Whether SIGQUIT ends it, not SIGTERM.
    pub(crate) quits: bool,
    /// What it runs, until it is asked to leave or end.
    #[serde(default)]
    pub(crate) runs: Option<Runs>,
}

/// What a process runs: all by which another one for the same unit would differ.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Runs {
    program: PathBuf,
    arguments: Vec<String>,
    revision: Revision,
    roles: RoleSet,
    peers: BTreeMap<Role, String>,
}

impl Runs {
    pub(crate) fn new(launch: &Launch, order: &Order) -> Self {
        let Assignment { revision, roles, peers, .. } = order.assignment.clone();
        Self { program: launch.program.clone(), arguments: launch.arguments.clone(), revision, roles, peers }
    }

    /// The same once the process has taken over another order.
    pub(crate) fn with(self, order: &Order) -> Self {
        let Assignment { revision, roles, peers, .. } = order.assignment.clone();
        Self { revision, roles, peers, ..self }
    }
}

impl ProcessRecord {
    /// The record of a process that is alive now.
    pub(crate) fn of(pid: Pid, kill_delay: Duration, stop: StopSignal) -> Option<Self> {
        Some(Self {
            pid: pid.as_raw(),
            start_time: start_time(pid.as_raw())?.0,
            boot_id: boot_id()?,
            kill_delay_ms: u64::try_from(kill_delay.as_millis()).unwrap_or(u64::MAX),
            quits: stop == StopSignal::Quit,
            runs: None,
        })
    }

    /// A process that leads its group and has this file as its standard input. Others than those of this user are not seen.
    pub(crate) fn reading(stdin: &Path, kill_delay: Duration, stop: StopSignal) -> Option<Self> {
        let stdin = stdin.canonicalize().ok()?;
        let reads = |pid: &Pid| fs::read_link(format!("/proc/{pid}/fd/0")).is_ok_and(|file| file == stdin);
        let leads = |pid: &Pid| getpgid(Some(*pid)) == Ok(*pid);
        let names = fs::read_dir("/proc").ok()?.flatten().map(|entry| entry.file_name());
        let mut pids = names.filter_map(|name| name.to_str()?.parse().ok().map(Pid::from_raw));
        Self::of(pids.find(|pid| reads(pid) && leads(pid))?, kill_delay, stop)
    }

    /// A text that no other process shares.
    pub(crate) fn name(&self) -> String {
        format!("{}/{}/{}", self.boot_id, self.start_time, self.pid)
    }

    /// The signal that asks it to end.
    pub(crate) fn stop_signal(&self) -> StopSignal {
        if self.quits { StopSignal::Quit } else { StopSignal::Terminate }
    }

    /// Whether the process itself is alive.
    pub(crate) fn is_alive(&self) -> bool {
        let same_machine = boot_id().is_some_and(|boot| boot == self.boot_id);
        let alive = start_time(self.pid).is_some_and(|(start, alive)| alive && start == self.start_time);
        same_machine && alive && self.pid > 1
    }

    /// Sends a signal to its group, if it is alive.
    pub(crate) fn signal_group(&self, signal: Signal) {
        if self.is_alive() {
            let _ = killpg(Pid::from_raw(self.pid), signal);
        }
    }

    /// Sends a signal to the process alone. Whether it was sent.
    pub(crate) fn signal(&self, signal: Signal) -> bool {
        self.is_alive() && kill(Pid::from_raw(self.pid), signal).is_ok()
    }

    /// Kills what is left of its group after its end. A group keeps its number from being used again, so a number
    /// without a process of its own belongs to the group.
    pub(crate) fn kill_rest(&self) {
        let same_machine = boot_id().is_some_and(|boot| boot == self.boot_id);
        let leader = start_time(self.pid);
        let leader_is_another = leader.is_some_and(|(start, _)| start != self.start_time);
        if same_machine && !leader_is_another && self.pid > 1 {
            let _ = killpg(Pid::from_raw(self.pid), Signal::SIGKILL);
        }
    }

    /// Told when the process that has its number now ends, where the kernel can tell.
    fn end(&self) -> Option<oneshot::Receiver<()>> {
        let process = pidfd_open(rustix::process::Pid::from_raw(self.pid)?, PidfdFlags::empty()).ok()?;
        let (sender, receiver) = oneshot::channel();
        let wait = move || {
            let mut ends = [PollFd::new(&process, PollFlags::IN)];
            while poll(&mut ends, None) == Err(rustix::io::Errno::INTR) {}
            let _ = sender.send(());
        };
        // A thread of its own, which ends with the process: it may be there for as long as the agent.
        std::thread::Builder::new().name("orphan".to_owned()).stack_size(64 << 10).spawn(wait).ok()?;
        Some(receiver)
    }

    /// Comes back when it and the rest of its group have ended.
    pub(crate) async fn ended(&self) {
        if let Some(end) = self.end()
            && self.is_alive()
        {
            let _ = end.await;
        }
        while self.is_alive() {
            sleep(PAUSE).await;
        }
        self.kill_rest();
    }
}

/// The start time of a process, and whether it is more than a zombie.
fn start_time(pid: i32) -> Option<(u64, bool)> {
    parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// The name, in parentheses, may hold anything; fields are counted from its end. See proc(5): 3 is the state, 22 the start.
fn parse_stat(stat: &str) -> Option<(u64, bool)> {
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut fields = fields.split(' ');
    let alive = !matches!(fields.next()?, "Z" | "X" | "x");
    Some((fields.nth(18)?.parse().ok()?, alive))
}

fn boot_id() -> Option<String> {
    Some(fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_told_from_another_with_its_number() {
        let me = Pid::this();
        let record = ProcessRecord::of(me, Duration::from_secs(1), StopSignal::Quit).unwrap();
        assert!(record.is_alive());
        assert_eq!(record.stop_signal(), StopSignal::Quit);
        assert!(!ProcessRecord { start_time: record.start_time + 1, ..record.clone() }.is_alive());
        assert!(!ProcessRecord { boot_id: "another".into(), ..record }.is_alive());
    }

    #[test]
    fn names_with_parentheses_and_spaces_do_not_confuse() {
        let stat = "42 (a) S 1 (b)) Z 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 777 20";
        assert_eq!(parse_stat(stat), Some((777, false)));
        for broken in ["", "42", "42 (x) S", "42 (x) S 1 2 3"] {
            assert_eq!(parse_stat(broken), None);
        }
    }
}
