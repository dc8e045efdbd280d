//! One HTTP request over a connection of its own.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::AbortHandle;

/// Bodies are read up to this length, in bytes: metrics of a unit with very many tenants.
const MAX_BODY: usize = 64 << 20;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HttpError {
    #[error("no connection: {0}")]
    Connect(#[from] std::io::Error),
    #[error("no answer: {0}")]
    Exchange(#[from] hyper::Error),
    #[error("not a request: {0}")]
    Request(#[from] hyper::http::Error),
    #[error("the answer cannot be read: {0}")]
    Body(Box<dyn std::error::Error + Send + Sync>),
    #[error("no answer within {0:?}")]
    Timeout(Duration),
}

/// Sends `method path` to `address` and reads the whole answer.
pub(crate) async fn request(
    address: SocketAddr,
    method: &str,
    path: &str,
    timeout: Duration,
) -> Result<(StatusCode, Bytes), HttpError> {
    tokio::time::timeout(timeout, exchange(address, method, path))
        .await
        .map_err(|_| HttpError::Timeout(timeout))?
}

/// The same where nothing but success is an answer: its body, or why there is none in one line.
pub(crate) async fn call(
    address: SocketAddr,
    method: &str,
    path: &str,
    timeout: Duration,
) -> Result<Bytes, String> {
    match request(address, method, path, timeout).await {
        Ok((status, body)) if status.is_success() => Ok(body),
        Ok((status, _)) => Err(status.to_string()),
        Err(error) => Err(error.to_string()),
    }
}

/// Ends the connection's task with the request, also when the request is given up.
struct Connection(AbortHandle);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn exchange(address: SocketAddr, method: &str, path: &str) -> Result<(StatusCode, Bytes), HttpError> {
    let stream = TcpStream::connect(address).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let _connection = Connection(tokio::spawn(connection).abort_handle());
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", address.to_string())
        .header("connection", "close")
        .body(Empty::<Bytes>::new())?;
    let response = sender.send_request(request).await?;
    let status = response.status();
    let body = Limited::new(response.into_body(), MAX_BODY).collect().await.map_err(HttpError::Body)?;
    Ok((status, body.to_bytes()))
}
