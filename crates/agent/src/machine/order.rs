//! What a machine is told to run.

use std::time::Duration;

use muster_model::RoleSet;
use muster_relation::{Assignment, ClusterData};

/// One assignment with all that is needed to act on it, also without a coordinator.
#[derive(Debug, Clone, PartialEq)]
pub struct Order {
    /// What the unit is to run.
    pub assignment: Assignment,
    /// What the cluster shared when the assignment came.
    pub cluster: ClusterData,
    /// How a process for this assignment is to be treated.
    pub manners: Manners,
}

impl Order {
    /// Whether a process for `self` takes over all data that one for `other` holds.
    #[must_use]
    pub fn keeps(&self, other: &Self) -> bool {
        self.manners.data_roles.is_superset(&other.manners.data_roles)
    }

    /// Whether a process started for `self` is the one that `other` asks for. Epoch, seeds and drains do not matter.
    #[must_use]
    pub fn same_process(&self, other: &Self) -> bool {
        self.same_but_for_peers(other) && self.assignment.peers == other.assignment.peers
    }

    /// Whether a report of a process that was started for `self` would do for one that `other` asks for: it does not name the peers.
    pub(crate) fn same_but_for_peers(&self, other: &Self) -> bool {
        self.assignment.revision == other.assignment.revision
            && self.assignment.roles == other.assignment.roles
    }
}

/// How a process is to be treated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manners {
    /// How long the process may take to end after it was asked to, before it is killed.
    pub kill_delay: Duration,
    /// The signal that asks it to end. It is sent once: a second SIGTERM kills Mimir at once.
    pub stop_signal: StopSignal,
    /// Whether there are calls to make before a process that leaves for good is asked to end.
    pub leaves: bool,
    /// Whether it can be made to upload what it holds and answer queries all the same.
    pub quiesces: bool,
    /// Whether it takes nothing new then.
    pub takes_nothing: bool,
    /// Whether it shows the ring that it sees, and can be made to forget who is gone.
    pub shows_ring: bool,
    /// Its roles that hold acknowledged data which is not yet in the object store.
    pub data_roles: RoleSet,
    /// Whether its config can be checked before it is used.
    pub checked: bool,
    /// Whether a running process can take over a new config.
    pub reloads: bool,
}

/// The signal that asks a process to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopSignal {
    /// SIGTERM.
    Terminate,
    /// SIGQUIT: nginx finishes the requests at hand.
    Quit,
}
