//! A model on this machine, reached through its control socket.

use std::collections::BTreeMap;
use std::path::Path;

use muster_api::{Document, Kind, ModelStatus};
use muster_local::control::{Client, Request, Response};
use muster_model::{AppName, UnitName};
use muster_planner::Preview;

use crate::failure::Failure;
use crate::substrate::{Depth, Proposal, Substrate, UnitLog, Write};

/// A connection to a running `muster up`.
pub(crate) struct Local {
    client: Client,
    /// What was read last, so that nothing that another verb wrote since is overwritten.
    edits: Option<u64>,
}

impl Local {
    /// Connects to the `muster up` that holds the model in `directory`.
    pub(crate) async fn connect(directory: &Path) -> Result<Self, Failure> {
        let client = Client::connect(directory).await.map_err(|error| Failure::of(&error))?;
        Ok(Self { client, edits: None })
    }

    async fn ask(&mut self, request: Request) -> Result<Response, Failure> {
        match self.client.ask(&request).await.map_err(|error| Failure::of(&error))? {
            Response::Refused { message } => Err(Failure::new(message)),
            Response::Stale => Err(Failure::Stale),
            response => Ok(response),
        }
    }

    async fn ask_done(&mut self, request: Request) -> Result<bool, Failure> {
        match self.ask(request).await? {
            Response::Done { changed } => Ok(changed),
            _ => Err(unexpected()),
        }
    }
}

/// An answer to another question than was asked: the two sides are of different builds.
fn unexpected() -> Failure {
    Failure::new("`muster up` gave an answer that this muster does not understand")
        .hint("use the same version of muster for both")
}

impl Substrate for Local {
    async fn documents(&mut self) -> Result<Vec<Document>, Failure> {
        match self.ask(Request::Documents).await? {
            Response::Documents { documents, edits } => {
                self.edits = Some(edits);
                Ok(documents)
            }
            _ => Err(unexpected()),
        }
    }

    async fn apply(&mut self, documents: Vec<Document>, write: Write) -> Result<bool, Failure> {
        let edits = self.edits;
        let changed =
            self.ask_done(Request::Apply { documents, create_only: write == Write::Create, edits }).await?;
        // The verb's own edit is no reason to refuse its next one.
        self.edits = edits.map(|edits| edits + u64::from(changed));
        Ok(changed)
    }

    async fn delete(&mut self, kind: Kind, name: &AppName) -> Result<bool, Failure> {
        self.ask_done(Request::Delete { kind, name: name.clone() }).await
    }

    async fn preview(
        &mut self,
        proposal: Proposal,
        depth: Depth,
        only: Option<&AppName>,
    ) -> Result<BTreeMap<AppName, Preview>, Failure> {
        let (documents, from_file, delete) = match proposal {
            Proposal::Nothing => (Vec::new(), false, None),
            Proposal::Edit(documents) => (documents, false, None),
            Proposal::Remove(documents, kind, name) => (documents, false, Some((kind, name))),
            Proposal::File(documents) => {
                (documents.into_iter().map(|(document, _)| document).collect(), true, None)
            }
        };
        let steps = depth == Depth::Steps;
        match self.ask(Request::Preview { documents, from_file, delete, steps }).await? {
            Response::Preview { mut coordinators } => {
                coordinators.retain(|name, _| only.is_none_or(|only| only == name));
                Ok(coordinators)
            }
            _ => Err(unexpected()),
        }
    }

    async fn status(&mut self) -> Result<ModelStatus, Failure> {
        match self.ask(Request::Status).await? {
            Response::Status { status } => Ok(*status),
            _ => Err(unexpected()),
        }
    }

    async fn logs(&mut self, lines: usize) -> Result<Vec<UnitLog>, Failure> {
        match self.ask(Request::Logs { lines }).await? {
            Response::Logs { units } => {
                Ok(units.into_iter().map(|(unit, lines)| UnitLog { unit, lines: Ok(lines) }).collect())
            }
            _ => Err(unexpected()),
        }
    }

    async fn abandon_data(&mut self, unit: &UnitName, lost: &str) -> Result<(), Failure> {
        let request = Request::AbandonData { unit: unit.clone(), lost: lost.to_owned() };
        self.ask_done(request).await.map(drop)
    }
}
