//! A client of Tempo that knows what it wrote.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::header::{CONTENT_TYPE, HeaderName, TE};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use muster_testkit::http::{Client, Response, encode};
use muster_testkit::remote_write::Sender;
use serde_json::{Value, json};

const DEADLINE: Duration = Duration::from_secs(10);
/// How long what is unavailable is sent again, and how soon.
const PATIENCE: Duration = Duration::from_secs(20);
const AGAIN: Duration = Duration::from_millis(200);
/// The status of gRPC for what may be sent again.
const UNAVAILABLE: &str = "14";
const TENANT: HeaderName = HeaderName::from_static("x-scope-orgid");

/// One span that makes a trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// The trace's id.
    pub trace: u128,
    id: u64,
    start: u64,
}

impl Span {
    /// A span with random ids that begins now.
    #[must_use]
    pub fn random() -> Self {
        Self::of(fastrand::u128(1..))
    }

    /// A span of this trace that begins now.
    fn of(trace: u128) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { trace, id: fastrand::u64(1..), start: u64::try_from(now.as_nanos()).unwrap_or_default() }
    }

    /// As OTLP's `ExportTraceServiceRequest`, of a service `service`, in JSON.
    #[must_use]
    pub fn otlp_json(&self, service: &str) -> Value {
        json!({ "resourceSpans": [{
            "resource": { "attributes": [{ "key": "service.name", "value": { "stringValue": service } }] },
            "scopeSpans": [{ "spans": [{
                "traceId": format!("{:032x}", self.trace), "spanId": format!("{:016x}", self.id), "name": "op", "kind": 1,
                "startTimeUnixNano": self.start.to_string(), "endTimeUnixNano": (self.start + 1_000_000).to_string(),
            }] }],
        }] })
    }

    /// The same in OTLP's protobuf.
    fn otlp_protobuf(&self, service: &str) -> Vec<u8> {
        let value = field(1, service.as_bytes());
        let attribute = [field(1, b"service.name"), field(2, &value)].concat();
        let span = [
            field(1, &self.trace.to_be_bytes()),
            field(2, &self.id.to_be_bytes()),
            field(5, b"op"),
            // Two fixed 64-bit fields: start and end.
            [vec![7 << 3 | 1], self.start.to_le_bytes().to_vec()].concat(),
            [vec![8 << 3 | 1], (self.start + 1_000_000).to_le_bytes().to_vec()].concat(),
        ]
        .concat();
        let resource = field(1, &attribute);
        field(1, &[field(1, &resource), field(2, &field(2, &span))].concat())
    }

    /// As a batch of Jaeger's in Thrift's binary protocol.
    fn jaeger_thrift(&self, service: &str) -> Vec<u8> {
        let text = |id, text: &str| {
            let length = u32::try_from(text.len()).unwrap_or_default().to_be_bytes();
            [thrift(11, id, &length), text.as_bytes().to_vec()].concat()
        };
        let number = |id, number: u64| thrift(10, id, &number.to_be_bytes());
        let [low, high] = [self.trace, self.trace >> 64].map(|half| half as u64);
        let span = [
            number(1, low),
            number(2, high),
            number(3, self.id),
            number(4, 0),
            text(5, "op"),
            // Flags: sampled.
            thrift(8, 7, &1u32.to_be_bytes()),
            number(8, self.start / 1000),
            number(9, 1000),
            vec![0],
        ]
        .concat();
        let process = [text(1, service), vec![0]].concat();
        // A list of one struct.
        let spans = [&[12, 0, 0, 0, 1], span.as_slice()].concat();
        [thrift(12, 1, &process), thrift(15, 2, &spans), vec![0]].concat()
    }

    /// As Jaeger's `PostSpansRequest` in protobuf.
    fn jaeger_protobuf(&self, service: &str) -> Vec<u8> {
        let start = [number(1, self.start / 1_000_000_000), number(2, self.start % 1_000_000_000)].concat();
        let span = [
            field(1, &self.trace.to_be_bytes()),
            field(2, &self.id.to_be_bytes()),
            field(3, b"op"),
            field(6, &start),
            field(7, &number(2, 1_000_000)),
        ]
        .concat();
        let process = field(1, service.as_bytes());
        field(1, &[field(1, &span), field(2, &process)].concat())
    }

    /// As Zipkin's JSON.
    fn zipkin(&self, service: &str) -> Value {
        json!([{
            "traceId": format!("{:032x}", self.trace), "id": format!("{:016x}", self.id), "name": "op",
            "timestamp": self.start / 1000, "duration": 1000, "localEndpoint": { "serviceName": service },
        }])
    }
}

/// A protobuf field with a length: number below 16.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    [&[number << 3 | 2], varint(content.len() as u64).as_slice(), content].concat()
}

/// A protobuf field with a number.
fn number(field: u8, value: u64) -> Vec<u8> {
    [vec![field << 3], varint(value)].concat()
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

/// A field of a Thrift struct in the binary protocol: the code of its type, its number, its content.
fn thrift(kind: u8, id: u16, content: &[u8]) -> Vec<u8> {
    [&[kind], id.to_be_bytes().as_slice(), content].concat()
}

/// On whose behalf something is sent: the tenant, if one is named.
#[derive(Debug, Clone, Copy, Default)]
pub struct On<'a>(pub Option<&'a str>);

impl On<'_> {
    async fn get(self, base: &str, path: &str) -> anyhow::Result<Response> {
        let headers: Vec<_> = self.0.map(|tenant| (TENANT, tenant)).into_iter().collect();
        Client::new(base)?.send(Method::GET, path, &headers, String::new(), DEADLINE).await
    }

    async fn post(self, base: &str, path: &str, body: &Value) -> anyhow::Result<Response> {
        let tenant = self.0.map(|tenant| (TENANT, tenant));
        let headers: Vec<_> = [(CONTENT_TYPE, "application/json")].into_iter().chain(tenant).collect();
        Client::new(base)?.send(Method::POST, path, &headers, body.to_string(), DEADLINE).await
    }

    /// The answer to a span by OTLP over HTTP.
    ///
    /// # Errors
    /// No answer.
    pub async fn otlp_http(self, base: &str, span: &Span, service: &str) -> anyhow::Result<Response> {
        self.post(base, "/v1/traces", &span.otlp_json(service)).await
    }

    /// The answer to a span by OTLP over gRPC.
    ///
    /// # Errors
    /// No answer.
    pub async fn otlp_grpc(self, address: &str, span: &Span, service: &str) -> anyhow::Result<GrpcAnswer> {
        let path = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
        self.grpc(address, path, &span.otlp_protobuf(service)).await
    }

    /// The status of the answer to a query for a trace by its id.
    ///
    /// # Errors
    /// No answer.
    pub async fn trace(self, query: &str, trace: u128) -> anyhow::Result<StatusCode> {
        Ok(self.get(query, &format!("/api/traces/{trace:032x}")).await?.status)
    }

    async fn grpc(self, address: &str, path: &str, message: &[u8]) -> anyhow::Result<GrpcAnswer> {
        let call = async {
            let stream = tokio::net::TcpStream::connect(address).await?;
            let (mut sender, connection) =
                hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
            let driver = tokio::spawn(connection);
            // Not compressed, then the length.
            let mut body = vec![0];
            body.extend(u32::try_from(message.len())?.to_be_bytes());
            body.extend(message);
            let mut request = Request::builder()
                .method(Method::POST)
                .uri(format!("http://{address}{path}"))
                .header(CONTENT_TYPE, "application/grpc")
                .header(TE, "trailers");
            if let Some(tenant) = self.0 {
                request = request.header(TENANT, tenant);
            }
            let request = request.body(Full::new(Bytes::from(body)))?;
            let answer = sender.send_request(request).await?;
            let (head, body) = answer.into_parts();
            let body = body.collect().await?;
            let of = |headers: &hyper::HeaderMap| Some(headers.get("grpc-status")?.to_str().ok()?.to_owned());
            let grpc_status = body.trailers().and_then(of).or_else(|| of(&head.headers));
            driver.abort();
            anyhow::Ok(GrpcAnswer { status: head.status, grpc_status })
        };
        tokio::time::timeout(DEADLINE, call).await.context("no answer in time")?
    }
}

/// Numbered spans of one run, each a trace of its own.
#[derive(Debug, Clone)]
pub struct Spans {
    base: String,
    run: String,
}

impl Spans {
    /// Spans that go by OTLP over HTTP to `base`.
    #[must_use]
    pub fn new(base: &str, run: &str) -> Self {
        Self { base: base.to_owned(), run: run.to_owned() }
    }

    /// The trace of the span with that number.
    #[must_use]
    pub fn trace(&self, number: u64) -> u128 {
        let mut hash = DefaultHasher::new();
        self.run.hash(&mut hash);
        u128::from(hash.finish()) << 64 | u128::from(number + 1)
    }
}

impl Sender for Spans {
    async fn send(&mut self, number: u64) -> anyhow::Result<()> {
        let answer = On(None).otlp_http(&self.base, &Span::of(self.trace(number)), &self.run).await?;
        ensure!(answer.status.is_success(), "{} {}", answer.status, answer.excerpt());
        Ok(())
    }
}

/// Sends a span by OTLP over HTTP to `base`.
///
/// # Errors
/// It is refused.
pub async fn push_otlp_http(base: &str, span: &Span, service: &str) -> anyhow::Result<()> {
    accepted(async || On(None).otlp_http(base, span, service).await).await
}

/// Sends a span to Zipkin's URL.
///
/// # Errors
/// It is refused.
pub async fn push_zipkin(url: &str, span: &Span, service: &str) -> anyhow::Result<()> {
    let base = url.strip_suffix("/api/v2/spans").context("no URL of Zipkin")?;
    accepted(async || On(None).post(base, "/api/v2/spans", &span.zipkin(service)).await).await
}

/// Sends a span to Jaeger's URL, in Thrift.
///
/// # Errors
/// It is refused.
pub async fn push_jaeger_http(url: &str, span: &Span, service: &str) -> anyhow::Result<()> {
    const PATH: &str = "/api/traces";
    let base = url.strip_suffix(PATH).context("no URL of Jaeger")?;
    let headers = [(CONTENT_TYPE, "application/vnd.apache.thrift.binary")];
    let batch = span.jaeger_thrift(service);
    accepted(async || Client::new(base)?.send(Method::POST, PATH, &headers, batch.clone(), DEADLINE).await)
        .await
}

/// Sends for as long as the answer is that nobody can take it yet, as exporters do: a distributor that has not heard of an ingester
/// says that it is unavailable.
async fn answer_of<A>(
    send: impl AsyncFn() -> anyhow::Result<A>,
    is_unavailable: impl Fn(&A) -> bool,
) -> anyhow::Result<A> {
    let until = Instant::now() + PATIENCE;
    loop {
        let answer = send().await?;
        if !is_unavailable(&answer) || Instant::now() >= until {
            return Ok(answer);
        }
        tokio::time::sleep(AGAIN).await;
    }
}

async fn accepted(send: impl AsyncFn() -> anyhow::Result<Response>) -> anyhow::Result<()> {
    let answer = answer_of(send, |answer| answer.status == StatusCode::SERVICE_UNAVAILABLE).await?;
    ensure!(answer.status.is_success(), "{} {}", answer.status, answer.excerpt());
    Ok(())
}

async fn accepted_grpc(send: impl AsyncFn() -> anyhow::Result<GrpcAnswer>) -> anyhow::Result<()> {
    let answer = answer_of(send, |answer| answer.grpc_status.as_deref() == Some(UNAVAILABLE)).await?;
    ensure!(answer.status == StatusCode::OK && answer.grpc_status.as_deref() == Some("0"), "{answer:?}");
    Ok(())
}

/// The answer of a gRPC call: the HTTP status, and gRPC's own where it has one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrpcAnswer {
    /// HTTP's status.
    pub status: StatusCode,
    /// `grpc-status`: 0 is success.
    pub grpc_status: Option<String>,
}

/// Calls a gRPC method with one message at `address`, `HOST:PORT`.
///
/// # Errors
/// No answer.
pub async fn grpc(address: &str, path: &str, message: &[u8]) -> anyhow::Result<GrpcAnswer> {
    On(None).grpc(address, path, message).await
}

/// Sends a span by OTLP over gRPC.
///
/// # Errors
/// It is refused.
pub async fn push_otlp_grpc(address: &str, span: &Span, service: &str) -> anyhow::Result<()> {
    accepted_grpc(async || On(None).otlp_grpc(address, span, service).await).await
}

/// Sends a span to Jaeger's collector over gRPC.
///
/// # Errors
/// It is refused.
pub async fn push_jaeger_grpc(address: &str, span: &Span, service: &str) -> anyhow::Result<()> {
    const PATH: &str = "/jaeger.api_v2.CollectorService/PostSpans";
    let message = span.jaeger_protobuf(service);
    accepted_grpc(async || grpc(address, PATH, &message).await).await
}

/// Whether a trace is found by its id.
///
/// # Errors
/// No answer, or another than "found" and "not found".
pub async fn is_found(query: &str, trace: u128) -> anyhow::Result<bool> {
    let status = On(None).trace(query, trace).await?;
    ensure!([StatusCode::OK, StatusCode::NOT_FOUND].contains(&status), "{status}");
    Ok(status == StatusCode::OK)
}

/// How many traces a TraceQL query finds.
///
/// # Errors
/// The query fails.
pub async fn search(query: &str, traceql: &str) -> anyhow::Result<usize> {
    let q = encode(traceql);
    let answer = On(None).get(query, &format!("/api/search?limit=1000&q={q}")).await?;
    ensure!(answer.status.is_success(), "{} {}", answer.status, answer.excerpt());
    let found: Value = serde_json::from_slice(&answer.body)?;
    Ok(found["traces"].as_array().map_or(0, Vec::len))
}
