//! The control socket's messages: one JSON line asks, one JSON line answers.

use std::collections::BTreeMap;

use muster_api::{Document, Kind, ModelStatus};
use muster_model::{AppName, UnitName};
use muster_planner::Preview;
use serde::{Deserialize, Serialize};

/// What a client asks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "kebab-case")]
pub enum Request {
    /// All documents of the model.
    Documents,
    /// Writes documents: all of them or, when one is refused, none.
    Apply {
        /// The documents to write.
        documents: Vec<Document>,
        /// Refuse instead of overwriting where one of that name is there.
        #[serde(default)]
        create_only: bool,
        /// The [`Response::Documents::edits`] that the documents were made from: refused with [`Response::Stale`] where
        /// somebody edited the model since.
        #[serde(default)]
        edits: Option<u64>,
    },
    /// Takes one document away. Its units are stopped first.
    Delete {
        /// Which kind.
        kind: Kind,
        /// Which name.
        name: AppName,
    },
    /// What writing documents would change in what the units share. Writes nothing.
    Preview {
        /// The documents that would be written.
        documents: Vec<Document>,
        /// Whether they would be given to `muster up` as a file, which leaves alone what it has not changed since it was last given.
        #[serde(default)]
        from_file: bool,
        /// What would be taken away after that.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        delete: Option<(Kind, AppName)>,
        /// Whether the steps are wanted too.
        #[serde(default)]
        steps: bool,
    },
    /// Lets a unit go that is kept from leaving, without what it holds.
    AbandonData {
        /// Which unit.
        unit: UnitName,
        /// What is lost with it, in the words of its status' `atRisk`.
        lost: String,
    },
    /// What `muster status` shows.
    Status,
    /// The last lines that a unit's workload or agent wrote.
    Logs {
        /// How many lines per unit, at most.
        lines: usize,
    },
}

/// The answer to a [`Request`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "response", rename_all = "kebab-case")]
pub enum Response {
    /// All documents, Secrets included: the socket belongs to the model's owner alone.
    Documents {
        /// In order of kind and name.
        documents: Vec<Document>,
        /// How often the documents were edited so far.
        edits: u64,
    },
    /// It was done. Whether anything changed by it.
    Done {
        /// False where the model was already so.
        changed: bool,
    },
    /// What would change, by coordinator.
    Preview {
        /// All coordinators that there would be.
        coordinators: BTreeMap<AppName, Preview>,
    },
    /// The model's status.
    Status {
        /// The status.
        status: Box<ModelStatus>,
    },
    /// Log lines by unit, oldest first.
    Logs {
        /// (unit, lines).
        units: Vec<(String, Vec<String>)>,
    },
    /// It was not done: somebody edited the model since its documents were read. Read them again.
    Stale,
    /// It was not done.
    Refused {
        /// Why, and what to do instead.
        message: String,
    },
}
