//! The way between a unit's agent and its coordinator.
//!
//! A channel takes two queues and needs nothing else of the agent: it puts what the coordinator sends into
//! [`Ends::updates`], and sends on what [`Ends::reports`] holds, at once and then at every change. On one machine this is
//! [`socket`]; on Kubernetes it is [`kubernetes`].

pub mod kubernetes;
pub mod socket;

use muster_relation::{Report, ToAgent};
use tokio::sync::{mpsc, watch};

/// The agent's side of a channel.
#[derive(Debug, Clone)]
pub struct Ends {
    /// What the coordinator sends.
    pub updates: mpsc::Sender<ToAgent>,
    /// What is true of the unit.
    pub reports: watch::Receiver<Report>,
}
