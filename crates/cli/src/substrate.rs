//! What verbs need of whatever carries a model. Verbs are written once against [`Substrate`].

use std::collections::BTreeMap;
use std::time::Duration;

use muster_api::{Document, Kind, ModelStatus};
use muster_model::{AppName, UnitName};
use muster_planner::Preview;
use serde_json::Value;

use crate::failure::Failure;

/// Whether documents may replace others of their name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Write {
    /// Refuse where one of that name is there.
    Create,
    /// Replace what is there.
    Replace,
}

/// An edit that is looked at and not made.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Proposal {
    /// The model stays as it is.
    Nothing,
    /// Each document in the place of the one of its name.
    Edit(Vec<Document>),
    /// The same, and then an application goes.
    Remove(Vec<Document>, Kind, AppName),
    /// The documents of a file. Each also as it is written: what it leaves out is no wish for the default.
    File(Vec<(Document, Value)>),
}

/// How much is worked out of an edit that is not made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Depth {
    /// What would be published.
    Documents,
    /// The steps that it takes too.
    Steps,
}

/// The last lines of one unit, oldest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UnitLog {
    /// The unit's name.
    pub(crate) unit: String,
    /// Its lines, or why there are none.
    pub(crate) lines: Result<Vec<String>, String>,
}

/// A model, wherever it runs.
pub(crate) trait Substrate {
    /// All documents.
    async fn documents(&mut self) -> Result<Vec<Document>, Failure>;
    /// Writes all documents or, when one is refused, none. Answers whether anything changed.
    async fn apply(&mut self, documents: Vec<Document>, write: Write) -> Result<bool, Failure>;
    /// Takes one document away. Answers whether it was there.
    async fn delete(&mut self, kind: Kind, name: &AppName) -> Result<bool, Failure>;
    /// What an edit would change, by coordinator; of `only` that one, where it is given. Writes nothing.
    async fn preview(
        &mut self,
        proposal: Proposal,
        depth: Depth,
        only: Option<&AppName>,
    ) -> Result<BTreeMap<AppName, Preview>, Failure>;
    /// What is true of every application.
    async fn status(&mut self) -> Result<ModelStatus, Failure>;
    /// The last `lines` lines of every unit.
    async fn logs(&mut self, lines: usize) -> Result<Vec<UnitLog>, Failure>;
    /// Writes down that a person gives up what is at risk with a unit: `lost`, in the words of its status. Whoever carries the model acts
    /// on it if nothing else is at risk by then.
    async fn abandon_data(&mut self, unit: &UnitName, lost: &str) -> Result<(), Failure>;
    /// How long to wait between two looks at the status.
    fn pace(&self) -> Duration {
        Duration::from_millis(200)
    }
    /// What of the model the last reading left out, and why: what may not be read, or cannot be. One line each.
    fn left_out(&self) -> &[String] {
        &[]
    }
    /// Whether others keep Secrets of their own where the model is: certificates that no coordinator names are theirs.
    fn is_shared(&self) -> bool {
        false
    }
}
