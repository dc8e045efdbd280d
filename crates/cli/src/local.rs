//! A model on this machine, reached through its control socket.

use std::path::Path;

use muster_api::{Document, Kind, ModelStatus};
use muster_local::control::{Client, Request, Response};
use muster_model::AppName;

use crate::failure::Failure;
use crate::substrate::{Substrate, UnitLog, Write};

/// A connection to a running `muster up`.
pub(crate) struct Local {
    client: Client,
}

impl Local {
    /// Connects to the `muster up` that holds the model in `directory`.
    pub(crate) async fn connect(directory: &Path) -> Result<Self, Failure> {
        let client = Client::connect(directory).await.map_err(|error| Failure::of(&error))?;
        Ok(Self { client })
    }

    async fn ask(&mut self, request: Request) -> Result<Response, Failure> {
        match self.client.ask(&request).await.map_err(|error| Failure::of(&error))? {
            Response::Refused { message } => Err(Failure::new(message)),
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
            Response::Documents { documents } => Ok(documents),
            _ => Err(unexpected()),
        }
    }

    async fn apply(&mut self, documents: Vec<Document>, write: Write) -> Result<bool, Failure> {
        self.ask_done(Request::Apply { documents, create_only: write == Write::Create }).await
    }

    async fn delete(&mut self, kind: Kind, name: &AppName) -> Result<bool, Failure> {
        self.ask_done(Request::Delete { kind, name: name.clone() }).await
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
                Ok(units.into_iter().map(|(unit, lines)| UnitLog { unit, lines }).collect())
            }
            _ => Err(unexpected()),
        }
    }
}
