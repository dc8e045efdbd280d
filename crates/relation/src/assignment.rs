//! What the coordinator tells one unit.

use std::collections::{BTreeMap, BTreeSet};

use muster_model::{Revision, Role, RoleSet, UnitName};
use serde::{Deserialize, Serialize};

/// What one unit is to run. Agents act only on the highest epoch that they have seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Assignment {
    /// Grows by one with every change of this unit's assignment.
    pub epoch: u64,
    /// The entry of [`ClusterData::documents`](crate::ClusterData::documents) to run.
    pub revision: Revision,
    /// The roles to run: `all` alone, or a list of atomic roles (Mimir); as declared (Loki, Tempo). Empty for a load
    /// balancer unit.
    pub roles: RoleSet,
    /// Whether the service runs.
    pub run: Run,
    /// Whether a unit that stops gives up what it holds, because there is no object store any more that it could go to.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub gives_up: bool,
    /// Whether the process, which stays as it is, takes nothing new, uploads what it holds and goes on to answer queries: the unit is
    /// about to give up what it holds. What it has come to stands in [`Report::quiet`](crate::Report::quiet).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub quiesces: bool,
    /// Where the unit finds the one unit of a role that it is to turn to: a host without a port. Only roles that the unit cannot
    /// find by gossip (Tempo's query-frontend, Loki's compactor). A unit that is told of none turns to itself.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub peers: BTreeMap<Role, String>,
    /// Units that have ended and are about to be taken away: the unit, which is another one of the same ring, sees to it that they no longer
    /// stand there. What it has come to is in [`Report::forgotten`](crate::Report::forgotten).
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub forgets: BTreeSet<UnitName>,
    /// Gossip seeds, `host:port`. A change of the seeds alone restarts nothing: they matter when a process starts.
    #[serde(default)]
    pub seeds: Vec<String>,
}

impl Assignment {
    /// Whether `other` asks for the same process: everything but the epoch, the seeds and what a running process is
    /// made to do is equal.
    #[must_use]
    pub fn same_process(&self, other: &Self) -> bool {
        self.revision == other.revision
            && self.roles == other.roles
            && self.run == other.run
            && self.gives_up == other.gives_up
            && self.peers == other.peers
    }
}

/// Whether a unit's service runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Run {
    /// The service runs.
    Start,
    /// The service is stopped. What it holds goes to the object store first, and it leaves its rings. Until nothing is left on its disk it
    /// does not count as stopped.
    Stop,
}
