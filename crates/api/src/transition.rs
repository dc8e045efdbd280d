//! How far a deployment is on its way from what ran to what is asked for.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A transition: units are made, changed or taken away because something else is asked for than what ran.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TransitionStatus {
    /// The present phase in one line: `transition 2/3: draining mimir-worker/1`.
    pub message: String,
    /// Which of the phases is the present one, from 1 on.
    pub phase: u32,
    /// The phases that this transition has, in their order.
    pub phases: Vec<TransitionPhase>,
    /// What the present phase waits for before its next unit goes on, and why. Empty where nothing keeps it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waits_for: Vec<String>,
    /// What became of what was begun before the spec was edited half-way.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub edited: Vec<String>,
}

/// One phase of a transition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TransitionPhase {
    /// What its units do.
    pub work: TransitionWork,
    /// Its units, those that follow each other as a span: `mimir-worker/0…/2`. Cut where there are many spans.
    pub units: String,
    /// How many units it has.
    pub total: u32,
    /// How many of them have done it.
    pub done: u32,
}

/// What the units of a phase do. The order is the order of the phases.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum TransitionWork {
    /// They are made or started, and become ready.
    #[default]
    MakeReady,
    /// They restart with more roles than they had, and give up none that holds data.
    TakeRoles,
    /// They put what they hold into the object store and leave their rings.
    Drain,
    /// They restart with another config, other resources or fewer roles.
    Restart,
    /// They stop, and are removed if they are not asked for any more.
    Remove,
}

impl TransitionWork {
    /// What is done, as it is said before the units' names.
    #[must_use]
    pub fn verb(self) -> &'static str {
        match self {
            Self::MakeReady => "starting",
            Self::TakeRoles => "giving more roles to",
            Self::Drain => "draining",
            Self::Restart => "restarting",
            Self::Remove => "stopping",
        }
    }
}
