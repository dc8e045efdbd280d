//! A small HTTP/1.1 client that keeps its connection.

use std::time::Duration;

use anyhow::{Context as _, anyhow, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{HOST, HeaderName};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

/// A client of one plain-text HTTP server. One request at a time.
#[derive(Debug)]
pub struct Client {
    authority: String,
    connection: Option<Connection>,
}

#[derive(Debug)]
struct Connection {
    sender: SendRequest<Full<Bytes>>,
    driver: JoinHandle<()>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// An answer, read to its end.
#[derive(Debug, Clone)]
pub struct Response {
    /// The status.
    pub status: StatusCode,
    /// The body.
    pub body: Bytes,
}

impl Response {
    /// The body as text, for messages: at most its first 500 characters.
    #[must_use]
    pub fn excerpt(&self) -> String {
        String::from_utf8_lossy(&self.body).chars().take(500).collect()
    }
}

impl Client {
    /// A client of `base`: `http://HOST:PORT`, with or without a slash at its end.
    ///
    /// # Errors
    /// `base` is something else.
    pub fn new(base: &str) -> anyhow::Result<Self> {
        let authority = base.strip_prefix("http://").map(|rest| rest.trim_end_matches('/'));
        let authority = authority.filter(|a| a.contains(':') && !a.contains('/'));
        let authority = authority.with_context(|| format!("{base:?} is not http://HOST:PORT"))?;
        Ok(Self { authority: authority.to_owned(), connection: None })
    }

    /// Sends a request and reads the answer, within `timeout`. After an error the next request has a new connection.
    ///
    /// # Errors
    /// No connection, no answer, or none in time. Any status is an answer.
    pub async fn send(
        &mut self,
        method: Method,
        path: &str,
        headers: &[(HeaderName, &str)],
        body: impl Into<Bytes>,
        timeout: Duration,
    ) -> anyhow::Result<Response> {
        let mut request = Request::builder().method(method).uri(path).header(HOST, &self.authority);
        for (name, value) in headers {
            request = request.header(name, *value);
        }
        let request = request.body(Full::new(body.into())).context("the request is not valid")?;
        // Taken out, so that a request that is dropped half way takes its connection along.
        let kept = self.connection.take().filter(|c| !c.sender.is_closed());
        let exchange = async {
            let mut connection = match kept {
                Some(connection) => connection,
                None => connect(&self.authority).await?,
            };
            let response = connection.sender.send_request(request).await.context("no answer")?;
            let status = response.status();
            let body = response.into_body().collect().await.context("the answer broke off")?.to_bytes();
            anyhow::Ok((connection, Response { status, body }))
        };
        let exchange = tokio::time::timeout(timeout, exchange).await;
        let (mut connection, response) = exchange.map_err(|_| anyhow!("no answer within {timeout:?}"))??;
        // Not ready again means that the server closes the connection.
        if connection.sender.ready().await.is_ok() {
            self.connection = Some(connection);
        }
        Ok(response)
    }

    /// `GET`, and an error unless the answer is 200.
    ///
    /// # Errors
    /// As [`Client::send`], and any other status.
    pub async fn get(&mut self, path: &str, timeout: Duration) -> anyhow::Result<Bytes> {
        let response = self.send(Method::GET, path, &[], Bytes::new(), timeout).await?;
        ensure!(response.status == StatusCode::OK, "{}: {}", response.status, response.excerpt());
        Ok(response.body)
    }
}

async fn connect(authority: &str) -> anyhow::Result<Connection> {
    let stream =
        TcpStream::connect(authority).await.with_context(|| format!("no connection to {authority}"))?;
    stream.set_nodelay(true)?;
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // Its error reaches the request that waits for the answer.
    let driver = tokio::spawn(async move { drop(connection.await) });
    Ok(Connection { sender, driver })
}

/// Encodes a text so that it can stand in a query string.
#[must_use]
pub fn encode(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                char::from(byte).to_string()
            }
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bases_are_checked_and_queries_encoded() {
        assert_eq!(Client::new("http://127.0.0.1:80/").unwrap().authority, "127.0.0.1:80");
        for bad in ["127.0.0.1:80", "https://a:1", "http://a", "http://a:1/b"] {
            assert!(Client::new(bad).is_err(), "{bad}");
        }
        assert_eq!(encode("probe{run=\"r\"}[2h]"), "probe%7Brun%3D%22r%22%7D%5B2h%5D");
    }
}
