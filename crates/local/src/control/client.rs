//! Asks a running `muster up`.

use std::io;
use std::path::{Path, PathBuf};

use muster_agent::channel::socket;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

use crate::control::{MAX_LINE, Request, Response};
use crate::directory::CONTROL_SOCKET;

/// Why a question got no answer.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// Nobody listens.
    #[error("no muster up runs for the model in {}; start it with: muster up", .0.display())]
    NotUp(PathBuf),
    /// The connection broke.
    #[error("the connection to muster up broke")]
    Broken(#[source] io::Error),
    /// The answer cannot be understood.
    #[error("the answer of muster up cannot be understood; are both of the same version?")]
    Answer(#[source] serde_json::Error),
}

/// A connection to the control socket of a model.
#[derive(Debug)]
pub struct Client {
    stream: BufReader<UnixStream>,
}

impl Client {
    /// Connects to the `muster up` that holds the model directory.
    pub async fn connect(model: &Path) -> Result<Self, ControlError> {
        match socket::connect(model, CONTROL_SOCKET).await {
            Ok(stream) => Ok(Self { stream: BufReader::new(stream) }),
            Err(_) => Err(ControlError::NotUp(model.to_owned())),
        }
    }

    /// Asks one question and waits for its answer.
    pub async fn ask(&mut self, request: &Request) -> Result<Response, ControlError> {
        let mut text = serde_json::to_vec(request).map_err(ControlError::Answer)?;
        text.push(b'\n');
        self.stream.get_mut().write_all(&text).await.map_err(ControlError::Broken)?;
        let mut line = Vec::new();
        let mut limited = (&mut self.stream).take(16 * MAX_LINE as u64);
        let length = limited.read_until(b'\n', &mut line).await.map_err(ControlError::Broken)?;
        if length == 0 {
            return Err(ControlError::Broken(io::ErrorKind::UnexpectedEof.into()));
        }
        serde_json::from_slice(&line).map_err(ControlError::Answer)
    }
}
