//! One HTTP request over a connection of its own.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::http::request::Builder;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_util::task::AbortOnDropHandle;

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
    let request = Request::builder().method(method).uri(path);
    send(address, request, Bytes::new(), timeout).await
}

/// The same where nothing but success is an answer: its body, or why there is none in one line.
pub(crate) async fn call(
    address: SocketAddr,
    method: &str,
    path: &str,
    timeout: Duration,
) -> Result<Bytes, String> {
    answer(request(address, method, path, timeout).await)
}

/// GETs a page as JSON.
pub(crate) async fn json(address: SocketAddr, path: &str, timeout: Duration) -> Result<Bytes, String> {
    let request = Request::builder().uri(path).header("accept", "application/json");
    answer(send(address, request, Bytes::new(), timeout).await)
}

/// POSTs a form. A page that is shown again afterwards by way of a redirect counts as success.
pub(crate) async fn submit(
    address: SocketAddr,
    path: &str,
    form: String,
    timeout: Duration,
) -> Result<(), String> {
    let request = Request::post(path).header("content-type", "application/x-www-form-urlencoded");
    match send(address, request, form.into(), timeout).await {
        Ok((status, _)) if status.is_redirection() => Ok(()),
        result => answer(result).map(drop),
    }
}

fn answer(result: Result<(StatusCode, Bytes), HttpError>) -> Result<Bytes, String> {
    match result {
        Ok((status, body)) if status.is_success() => Ok(body),
        Ok((status, _)) => Err(status.to_string()),
        Err(error) => Err(error.to_string()),
    }
}

async fn send(
    address: SocketAddr,
    request: Builder,
    body: Bytes,
    timeout: Duration,
) -> Result<(StatusCode, Bytes), HttpError> {
    tokio::time::timeout(timeout, exchange(address, request, body))
        .await
        .map_err(|_| HttpError::Timeout(timeout))?
}

async fn exchange(
    address: SocketAddr,
    request: Builder,
    body: Bytes,
) -> Result<(StatusCode, Bytes), HttpError> {
    let stream = TcpStream::connect(address).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    // Ends with the request, also when that is given up.
    let _connection = AbortOnDropHandle::new(tokio::spawn(connection));
    let request =
        request.header("host", address.to_string()).header("connection", "close").body(Full::new(body))?;
    let response = sender.send_request(request).await?;
    let status = response.status();
    let body = Limited::new(response.into_body(), MAX_BODY).collect().await.map_err(HttpError::Body)?;
    Ok((status, body.to_bytes()))
}
