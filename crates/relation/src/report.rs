//! What a unit tells the coordinator.

use std::collections::BTreeSet;
use std::time::Duration;

use muster_model::{Revision, RoleSet, UnitName};
use serde::{Deserialize, Serialize};

/// What is true of one unit. Written only when something changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The pod's uid, or on one machine an id made when the unit was. Tells a unit from a later one of the same name.
    pub instance: String,
    /// The address that others reach the unit at, without a port.
    pub address: String,
    /// The agent's own version.
    pub agent_version: String,
    /// The epoch of the last assignment that the agent has acted on.
    pub epoch: u64,
    /// What the running process was started with. Absent while none runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub applied: Option<Applied>,
    /// The state of the service.
    pub service: Service,
    /// Whether the workload answers that it is ready.
    pub ready: bool,
    /// Whether it is about to be asked to end, and serves for a moment more so that nobody is sent to it any longer when it does.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ending: bool,
    /// What the workload says that is alive for long and not ready yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting: Option<Waiting>,
    /// The last offline check of a config.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub check: Option<Check>,
    /// Whether the unit's disk may hold acknowledged data that is nowhere else.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub holds_data: bool,
    /// What keeps a unit from leaving that has tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain: Option<Drain>,
    /// What a unit that quiesces has come to. Absent until nothing it holds is missing in the object store, and again once its process
    /// has ended or takes data again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quiet: Option<Quiet>,
    /// Those of [`Assignment::forgets`](crate::Assignment::forgets) that the ring which the unit's process sees has no place for any more.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub forgotten: BTreeSet<UnitName>,
    /// How the process last ended without being asked to, with its last log lines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_exit: Option<Exit>,
    /// What keeps the agent from acting (a file that cannot be written, a binary that is not there), in one line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// How often the process was started again after it ended by itself.
    pub restarts: u32,
}

impl Report {
    /// What an agent says before it has been told anything.
    #[must_use]
    pub fn new(
        instance: impl Into<String>,
        address: impl Into<String>,
        agent_version: impl Into<String>,
    ) -> Self {
        Self {
            instance: instance.into(),
            address: address.into(),
            agent_version: agent_version.into(),
            epoch: 0,
            applied: None,
            service: Service::Inactive,
            ready: false,
            ending: false,
            waiting: None,
            check: None,
            holds_data: false,
            drain: None,
            quiet: None,
            forgotten: BTreeSet::new(),
            last_exit: None,
            last_error: None,
            restarts: 0,
        }
    }
}

/// What a process was started with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// The revision of its config.
    pub revision: Revision,
    /// Its roles.
    pub roles: RoleSet,
}

/// The state of a unit's service, with Pebble's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Service {
    /// Not started since the agent is there, or not told to.
    Inactive,
    /// The process was started less than the okay delay ago and is not ready yet.
    Starting,
    /// The process has been alive for longer than the okay delay, or is ready.
    Running,
    /// The process was told to end.
    Stopping,
    /// The process ended by itself; the agent waits before it starts it again.
    Backoff,
    /// The process was told to end and has.
    Stopped,
}

/// What a workload says that is alive and not ready.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    /// What it answers when asked whether it is ready, or why there is no answer, in one line.
    pub answer: String,
    /// The last lines that the process wrote, oldest first, at most 20.
    pub lines: Vec<String>,
}

/// The result of an offline check of a config with the workload's own binary, or of a start with it where nothing ran before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// The revision that was checked.
    pub revision: Revision,
    /// Absent: accepted. Else the binary's own message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rejected: Option<String>,
}

/// What came of the tries of a unit to leave with all that it holds in the object store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drain {
    /// How often it has tried.
    pub tries: u32,
    /// What is not in the object store after the last try, in one line.
    pub why: String,
}

impl Drain {
    /// How long the process that tries again is let alone before it is asked to leave again: Tempo puts uploads off by up to 10 s, and
    /// forgets those that it has put off when it is asked to end.
    pub const AGAIN_AFTER: Duration = Duration::from_secs(15);
}

/// Evidence that a process takes nothing new and that all it took is in the object store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Quiet {
    /// Which process: no other one of that unit is ever named so. The evidence is void for any other.
    pub process: String,
    /// Whether it uploaded anything, so that others are yet to find it there. Else it never held any data.
    pub uploaded: bool,
}

/// How a process ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Exit {
    /// `exit code 1`, `signal 9 (SIGKILL)`, or why it could not be started.
    pub cause: String,
    /// The last lines that the process wrote, oldest first, at most 20.
    pub lines: Vec<String>,
    /// The wait before the next start, in milliseconds; 0 where none is planned.
    pub retry_in_ms: u64,
}
