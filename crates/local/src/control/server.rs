//! Answers the control socket.

use std::io;
use std::path::Path;

use muster_agent::channel::socket;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::control::{MAX_LINE, Request, Response};
use crate::directory::CONTROL_SOCKET;

/// A question and where its answer goes.
pub(crate) struct Question {
    pub(crate) request: Request,
    pub(crate) answer: oneshot::Sender<Response>,
}

/// The listening side of the control socket. Ends when dropped.
pub(crate) struct Server(JoinHandle<()>);

impl Drop for Server {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Server {
    /// Listens in the model directory and passes every question on.
    pub(crate) fn start(root: &Path, questions: mpsc::Sender<Question>) -> io::Result<Self> {
        let listener = socket::listen(root, CONTROL_SOCKET)?;
        Ok(Self(tokio::spawn(async move {
            loop {
                match listener.accept().await {
                    Ok((stream, _)) => {
                        let questions = questions.clone();
                        tokio::spawn(async move {
                            if let Err(error) = converse(stream, questions).await {
                                tracing::debug!(%error, "a control connection ended early");
                            }
                        });
                    }
                    Err(error) => {
                        // Out of file descriptors, most likely: others may be closed soon.
                        tracing::warn!(%error, "failed to accept a control connection");
                        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                    }
                }
            }
        })))
    }
}

async fn converse(stream: UnixStream, questions: mpsc::Sender<Question>) -> io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut read = BufReader::new(read);
    loop {
        let mut line = Vec::new();
        let length = (&mut read).take(MAX_LINE as u64 + 1).read_until(b'\n', &mut line).await?;
        if length == 0 {
            return Ok(());
        }
        let response = if length > MAX_LINE {
            Response::Refused { message: format!("the request is longer than {MAX_LINE} bytes") }
        } else {
            match serde_json::from_slice(&line) {
                Ok(request) => {
                    let (answer, response) = oneshot::channel();
                    if questions.send(Question { request, answer }).await.is_err() {
                        return Ok(());
                    }
                    let Ok(response) = response.await else { return Ok(()) };
                    response
                }
                Err(error) => {
                    Response::Refused { message: format!("the request cannot be understood: {error}") }
                }
            }
        };
        let mut text = serde_json::to_vec(&response).map_err(io::Error::other)?;
        text.push(b'\n');
        write.write_all(&text).await?;
        if length > MAX_LINE {
            return Ok(());
        }
    }
}
