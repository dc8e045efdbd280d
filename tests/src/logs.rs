//! A client of Loki that knows what it wrote.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, ensure};
use hyper::Method;
use hyper::header::{CONTENT_TYPE, HeaderName};
use muster_testkit::http::{Client, Response, encode};
use muster_testkit::remote_write::Sender;
use muster_testkit::wait_until;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::SAID;

const DEADLINE: Duration = Duration::from_secs(10);
/// The most lines that Loki gives at once.
const MOST_LINES: usize = 5000;

/// Writes and reads the lines of one run.
pub struct Logs {
    gateway: String,
    run: String,
    tenant: Option<String>,
    written: BTreeSet<String>,
}

const TENANT: HeaderName = HeaderName::from_static("x-scope-orgid");

/// Nanoseconds since 1970.
#[must_use]
pub fn now() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos()
}

impl Logs {
    /// A client of the load balancer at `gateway`.
    #[must_use]
    pub fn new(gateway: &str, run: &str) -> Self {
        Self { gateway: gateway.to_owned(), run: run.to_owned(), tenant: None, written: BTreeSet::new() }
    }

    /// The same on behalf of a tenant.
    #[must_use]
    pub fn of_tenant(self, tenant: &str) -> Self {
        Self { tenant: Some(tenant.to_owned()), ..self }
    }

    /// One request of any kind.
    ///
    /// # Errors
    /// No answer.
    pub async fn ask(
        &self,
        method: Method,
        path: &str,
        kind: &str,
        body: String,
    ) -> anyhow::Result<Response> {
        let mut client = Client::new(&self.gateway)?;
        let tenant = self.tenant.as_deref().map(|tenant| (TENANT, tenant));
        let headers: Vec<_> = [(CONTENT_TYPE, kind)].into_iter().chain(tenant).collect();
        client.send(method, path, &headers, body, DEADLINE).await
    }

    async fn post(&self, path: &str, body: &Value) -> anyhow::Result<()> {
        let answer = self.ask(Method::POST, path, "application/json", body.to_string()).await?;
        ensure!(answer.status.is_success(), "{path}: {} {}", answer.status, answer.excerpt());
        Ok(())
    }

    /// Pushes `count` lines and gives them back. They are acknowledged when this returns.
    ///
    /// # Errors
    /// They are refused.
    pub async fn push(&mut self, count: usize) -> anyhow::Result<Vec<String>> {
        let lines: Vec<_> =
            (0..count).map(|n| format!("line {} of {}", self.written.len() + n, self.run)).collect();
        self.push_lines(&lines).await?;
        self.written.extend(lines.iter().cloned());
        Ok(lines)
    }

    async fn push_lines(&self, lines: &[String]) -> anyhow::Result<()> {
        let now = now();
        let values: Vec<_> =
            lines.iter().enumerate().map(|(n, line)| json!([(now + n as u128).to_string(), line])).collect();
        let body = json!({ "streams": [{ "stream": { "run": self.run }, "values": values }] });
        self.post("/loki/api/v1/push", &body).await
    }

    /// The numbers of all lines of the run that can be read.
    ///
    /// # Errors
    /// The query fails, or a line is strange.
    pub async fn numbers(&self) -> anyhow::Result<BTreeSet<u64>> {
        let lines = self.lines(&format!("{{run=\"{}\"}}", self.run)).await?;
        let number = |line: &String| {
            let number = line.split(' ').nth(1).and_then(|word| word.parse().ok());
            number.with_context(|| format!("{line:?} has no number"))
        };
        lines.iter().map(number).collect()
    }

    /// Follows the run's lines over a WebSocket. Pushes lines until one comes by: Loki sends none that came in while it set the
    /// tail up.
    ///
    /// # Errors
    /// Loki refuses, or sends nothing.
    pub async fn follow(&mut self) -> anyhow::Result<TcpStream> {
        let mut stream = tail(&self.gateway, &format!("{{run=\"{}\"}}", self.run)).await?;
        wait_until("a line that is followed", SAID, async || {
            self.push(1).await.ok()?;
            sees(&mut stream, "line ", Duration::from_secs(1)).await.ok()
        })
        .await?;
        Ok(stream)
    }

    /// Pushes one line by OTLP, as a service of the run's name.
    ///
    /// # Errors
    /// It is refused.
    pub async fn push_otlp(&self, line: &str) -> anyhow::Result<()> {
        let service = json!([{ "key": "service.name", "value": { "stringValue": self.run } }]);
        let record = json!({ "timeUnixNano": now().to_string(), "body": { "stringValue": line } });
        let body = json!({ "resourceLogs": [{
            "resource": { "attributes": service }, "scopeLogs": [{ "logRecords": [record] }],
        }] });
        self.post("/otlp/v1/logs", &body).await
    }

    /// The lines that a LogQL selector finds.
    ///
    /// # Errors
    /// The query fails.
    pub async fn lines(&self, selector: &str) -> anyhow::Result<BTreeSet<String>> {
        let query = encode(selector);
        let mut start = now().saturating_sub(Duration::from_secs(3600).as_nanos());
        let mut lines = BTreeSet::new();
        loop {
            let path = format!(
                "/loki/api/v1/query_range?limit={MOST_LINES}&direction=forward&start={start}&query={query}"
            );
            let answer = self.ask(Method::GET, &path, "", String::new()).await?;
            ensure!(answer.status.is_success(), "{} {}", answer.status, answer.excerpt());
            let found: Value = serde_json::from_slice(&answer.body)?;
            let streams = found["data"]["result"].as_array().context("no result")?;
            let values = streams.iter().flat_map(|stream| stream["values"].as_array().into_iter().flatten());
            let page: Vec<(u128, &str)> =
                values.filter_map(|v| Some((v[0].as_str()?.parse().ok()?, v[1].as_str()?))).collect();
            lines.extend(page.iter().map(|(_, line)| (*line).to_owned()));
            match page.iter().map(|(time, _)| *time).max() {
                Some(last) if page.len() >= MOST_LINES => start = last + 1,
                _ => return Ok(lines),
            }
        }
    }

    /// Whether exactly the acknowledged lines can be read.
    ///
    /// # Errors
    /// The query fails, or a line is missing or strange.
    pub async fn all_readable(&self) -> anyhow::Result<()> {
        let found = self.lines(&format!("{{run=\"{}\"}}", self.run)).await?;
        let missing = self.written.difference(&found).count();
        ensure!(
            found == self.written,
            "{missing} of {} lines are missing, {} found",
            self.written.len(),
            found.len()
        );
        Ok(())
    }
}

impl Sender for Logs {
    async fn send(&mut self, number: u64) -> anyhow::Result<()> {
        self.push_lines(&[format!("line {number} of {}", self.run)]).await
    }
}

/// Opens a WebSocket that follows a selector.
async fn tail(gateway: &str, selector: &str) -> anyhow::Result<TcpStream> {
    let host = gateway.trim_start_matches("http://");
    let query = encode(selector);
    let mut stream = TcpStream::connect(host).await?;
    let request = format!(
        "GET /loki/api/v1/tail?query={query} HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    sees(&mut stream, "101 Switching Protocols", SAID).await?;
    Ok(stream)
}

/// Reads until a text comes by.
///
/// # Errors
/// The connection ends, or the text does not come in time.
pub async fn sees(stream: &mut TcpStream, text: &str, within: Duration) -> anyhow::Result<()> {
    let mut seen = Vec::new();
    let read = async {
        while !String::from_utf8_lossy(&seen).contains(text) {
            ensure!(
                stream.read_buf(&mut seen).await? > 0,
                "closed after {:?}",
                String::from_utf8_lossy(&seen)
            );
        }
        Ok(())
    };
    tokio::time::timeout(within, read).await.with_context(|| format!("no {text:?} in time"))?
}
