//! What is killed in the middle of a transition.

use std::collections::BTreeSet;
use std::fmt;

use anyhow::Context as _;
use muster_api::ModelStatus;
use muster_testkit::model::Model;
use nix::sys::signal::{Signal, kill};

use super::look::unit;

/// Who is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Actor {
    /// The coordinator, `muster up`. It is started again at once.
    Up,
    /// The agent of the unit that the phase is about.
    Agent,
}

/// A phase of a transition, as one sees it from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// A new unit is there and not ready.
    Gaining,
    /// A unit that is to go was ready and is no longer: its process was told to end.
    Leaving,
    /// The first unit that was to go is gone.
    Left,
}

impl Phase {
    /// In their order.
    pub const ALL: [Self; 3] = [Self::Gaining, Self::Leaving, Self::Left];
}

/// One kill.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kill {
    /// Who.
    pub actor: Actor,
    /// When.
    pub phase: Phase,
}

impl fmt::Display for Kill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let actor = match self.actor {
            Actor::Up => "up",
            Actor::Agent => "agent",
        };
        let phase = match self.phase {
            Phase::Gaining => "gaining",
            Phase::Leaving => "leaving",
            Phase::Left => "left",
        };
        write!(f, "kill-{actor}-{phase}")
    }
}

impl Kill {
    /// The unit that the phase is about, once the transition is there. `gaining` and `leaving` are the names of units.
    pub(crate) fn due(
        self,
        status: &ModelStatus,
        gaining: &BTreeSet<String>,
        leaving: &BTreeSet<String>,
    ) -> Option<String> {
        let is_ready = |name: &&String| unit(status, name).is_some_and(|unit| unit.ready);
        let is_there = |name: &&String| unit(status, name).is_some();
        match self.phase {
            Phase::Gaining => gaining.iter().find(|name| is_there(name) && !is_ready(name)).cloned(),
            Phase::Leaving => leaving.iter().find(|name| is_there(name) && !is_ready(name)).cloned(),
            Phase::Left if leaving.iter().all(|name| is_there(&name)) => None,
            // Of those that now hold what is fresh, if there are such.
            Phase::Left => {
                let holds = |name: &&String| name.starts_with("write") || name.starts_with("ingester");
                gaining.iter().find(holds).or_else(|| gaining.first()).cloned()
            }
        }
    }

    /// Kills. Says whether it did: an agent may not be there yet.
    ///
    /// # Errors
    /// `muster up` was not there, or does not come again.
    pub(super) async fn carry_out(self, model: &mut Model, unit: &str) -> anyhow::Result<bool> {
        match self.actor {
            Actor::Up => {
                model.kill_up().await?;
                model.up(None)?;
                Ok(true)
            }
            Actor::Agent => {
                let Ok(agent) = model.process("worker", unit) else { return Ok(false) };
                kill(agent.pid, Signal::SIGKILL).with_context(|| format!("killing the agent of {unit}"))?;
                Ok(true)
            }
        }
    }
}
