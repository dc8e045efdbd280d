//! Tempo on this machine with the real Tempo, nginx and embedded S3.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use hyper::StatusCode;
use muster_model::HTTP_PORT;
use muster_testkit::model::Model;
use muster_testkit::{http, wait_until};
use muster_tests::traces::{
    self, Span, grpc, is_found, push_jaeger_grpc, push_jaeger_http, push_otlp_grpc, push_otlp_http,
    push_zipkin,
};
use muster_tests::{ACTIVE, SAID, documents, model, nothing_left};
use nix::sys::signal::{Signal, kill};

async fn up(example: &str) -> anyhow::Result<Model> {
    let mut model = model()?;
    model.up(Some(&documents::example(example)?))?;
    model.wait_active(ACTIVE).await?;
    Ok(model)
}

/// Waits until every one of these traces is found by its id.
async fn found(query: &str, spans: &[Span], within: Duration) -> anyhow::Result<()> {
    let mut answers = BTreeMap::new();
    let what = format!("{} traces", spans.len());
    let waited = wait_until(&what, within, async || {
        for span in spans {
            let answer = is_found(query, span.trace).await;
            if matches!(answer, Ok(true)) {
                answers.remove(&span.trace);
            } else {
                answers.insert(
                    span.trace,
                    answer.map_or_else(|error| format!("{error:#}"), |_| "not found".to_owned()),
                );
            }
        }
        answers.is_empty().then_some(())
    });
    waited.await.with_context(|| format!("{answers:x?}"))
}

/// What is in the model's bucket, for who looks for something in vain.
fn bucket(model: &Model) -> String {
    let mut left = vec![model.directory().join("object-store")];
    let mut files = Vec::new();
    while let Some(directory) = left.pop() {
        for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
            if entry.path().is_dir() {
                left.push(entry.path());
            } else {
                let length = entry.metadata().map(|metadata| metadata.len()).unwrap_or_default();
                files.push(format!("{} ({length} bytes)", entry.path().display()));
            }
        }
    }
    files.sort();
    files.join("\n")
}

async fn searched(query: &str, service: &str, traces: usize) -> anyhow::Result<()> {
    wait_until(&format!("{traces} traces of {service}"), SAID, async || {
        let found =
            traces::search(query, &format!("{{ resource.service.name = \"{service}\" }}")).await.ok()?;
        (found == traces).then_some(())
    })
    .await
}

/// Spans by OTLP in, traces by id and by TraceQL out; then another process takes over, and nothing is lost.
#[tokio::test]
async fn one_process_takes_traces_and_another_one_finds_them() -> anyhow::Result<()> {
    let mut model = up("tempo-monolithic").await?;
    let endpoint = async |purpose: &str| model.endpoint("tempo", purpose).await;
    let (query, http, rpc) =
        (endpoint("query").await?, endpoint("otlp-http").await?, endpoint("otlp-grpc").await?);
    let spans: Vec<Span> = (0..20).map(|_| Span::random()).collect();
    for (n, span) in spans.iter().enumerate() {
        if n % 2 == 0 {
            push_otlp_http(&http, span, "one").await?;
        } else {
            push_otlp_grpc(&rpc, span, "one").await?;
        }
    }
    found(&query, &spans, SAID).await?;
    searched(&query, "one", spans.len()).await?;
    // What nobody asked for is not open.
    ensure!(model.endpoint("tempo", "zipkin").await.is_err());
    let host = rpc.rsplit_once(':').map(|(host, _)| host.to_owned()).unwrap_or_default();
    ensure!(tokio::net::TcpStream::connect(format!("{host}:9411")).await.is_err());
    let unknown = grpc(&rpc, "/tempopb.Pusher/PushBytesV2", &[]).await?;
    ensure!(unknown.status == StatusCode::NOT_FOUND, "{unknown:?}");

    // A receiver is opened while all goes on.
    model.muster(&["config", "tempo", "always-enable-zipkin=true"]).await?;
    model.wait_active(ACTIVE).await?;
    let zipkin = model.endpoint("tempo", "zipkin").await?;
    let late = Span::random();
    wait_until("the Zipkin receiver", ACTIVE, async || push_zipkin(&zipkin, &late, "late").await.ok())
        .await?;
    found(&query, std::slice::from_ref(&late), SAID).await?;

    model.muster(&["deploy", "tempo-worker-k8s", "next"]).await?;
    model.muster(&["integrate", "tempo", "next"]).await?;
    model.wait_active(ACTIVE).await?;
    model.muster(&["remove-application", "--yes", "tempo-worker"]).await?;
    let gone = |status: &serde_json::Value| status["applications"]["tempo-worker"].is_null();
    model.wait("the first worker to be gone", ACTIVE, gone).await?;
    model.wait_active(ACTIVE).await?;
    found(&query, &spans, ACTIVE).await.with_context(|| bucket(&model))?;
    found(&query, &[late], SAID).await.with_context(|| bucket(&model))?;
    model.stop().await?;
    nothing_left(&model)
}

/// With one copy each span is in one process. It goes on without its agent; and killed while it leaves, with all uploaded, it is started again
/// to leave its ring, where it would be unhealthy for ever.
#[tokio::test]
async fn kills_lose_no_span_and_leave_no_entry_in_the_ring() -> anyhow::Result<()> {
    const WORKER: &str = "tempo-worker/0";
    let mut model = up("tempo-monolithic").await?;
    let (query, rpc) = (model.endpoint("tempo", "query").await?, model.endpoint("tempo", "otlp-grpc").await?);
    let mut spans = vec![Span::random()];
    push_otlp_grpc(&rpc, &spans[0], "killed").await?;

    model.kill_up().await?;
    let tempo = model.process("tempo", WORKER)?;
    kill(model.process("worker", WORKER)?.pid, Signal::SIGKILL)?;
    let log = model.unit_directory(WORKER).join("workload.log");
    let before = std::fs::metadata(&log)?.len();
    // A query is a line in the log.
    wait_until("lines in its log", SAID, async || {
        let _ = is_found(&query, spans[0].trace).await;
        (std::fs::metadata(&log).ok()?.len() > before).then_some(())
    })
    .await?;
    for _ in 0..10 {
        let span = Span::random();
        push_otlp_grpc(&rpc, &span, "killed").await?;
        spans.push(span);
    }
    found(&query, &spans, SAID).await?;
    ensure!(model.process("tempo", WORKER)?.pid == tempo.pid, "it ended");
    // It runs what is wanted, so the next agent takes it over as it is.
    model.up(None)?;
    model.wait_active(ACTIVE).await?;
    ensure!(model.process("tempo", WORKER)?.pid == tempo.pid, "it was started anew");
    found(&query, &spans, SAID).await?;

    model.muster(&["deploy", "tempo-worker-k8s", "next"]).await?;
    model.muster(&["integrate", "tempo", "next"]).await?;
    let status = model.wait_active(ACTIVE).await?;
    let address = status["applications"]["next"]["units"]["next/0"]["address"].as_str();
    let mut next = http::Client::new(&format!("http://{}:{HTTP_PORT}", address.context("no address")?))?;
    let leaving = model.process("tempo", WORKER)?;
    let length = std::fs::metadata(&log)?.len();
    model.muster(&["remove-application", "--yes", "tempo-worker"]).await?;
    wait_until("the signal to end", ACTIVE, async || {
        let text = std::fs::read(&log).ok()?;
        let new = text.get(usize::try_from(length).ok()?..)?;
        String::from_utf8_lossy(new).contains("received SIGINT/SIGTERM").then_some(())
    })
    .await?;
    kill(leaving.pid, Signal::SIGKILL)?;
    let gone = |status: &serde_json::Value| status["applications"]["tempo-worker"].is_null();
    model.wait("the first worker to be gone", ACTIVE, gone).await?;
    wait_until("a ring without it", SAID, async || {
        let page = next.get("/ingester/ring", Duration::from_secs(5)).await.ok()?;
        let page = String::from_utf8_lossy(&page);
        (page.contains("next-0") && !page.contains("tempo-worker-0")).then_some(())
    })
    .await?;
    model.wait_active(ACTIVE).await?;
    found(&query, &spans, ACTIVE).await.with_context(|| bucket(&model))?;
    model.stop().await?;
    nothing_left(&model)
}

/// A worker for each role, every receiver open, two query-frontends that both have queriers.
#[tokio::test]
async fn a_worker_for_each_role() -> anyhow::Result<()> {
    let mut model = up("tempo-distributed").await?;
    let endpoint = async |purpose: &str| model.endpoint("tempo", purpose).await;
    let (query, http, rpc) =
        (endpoint("query").await?, endpoint("otlp-http").await?, endpoint("otlp-grpc").await?);
    let zipkin = endpoint("zipkin").await?;
    let (jaeger_http, jaeger_grpc) = (endpoint("jaeger-http").await?, endpoint("jaeger-grpc").await?);
    let spans: Vec<Span> = (0..30).map(|_| Span::random()).collect();
    for (n, span) in spans.iter().enumerate() {
        match n % 5 {
            0 => push_otlp_http(&http, span, "apart").await?,
            1 => push_otlp_grpc(&rpc, span, "apart").await?,
            2 => push_jaeger_http(&jaeger_http, span, "apart").await?,
            3 => push_jaeger_grpc(&jaeger_grpc, span, "apart").await?,
            _ => push_zipkin(&zipkin, span, "apart").await?,
        }
    }
    found(&query, &spans, SAID).await?;
    searched(&query, "apart", spans.len()).await?;
    // One of the two frontends goes; the load balancer and the queriers know.
    model.muster(&["scale", "tempo-query-frontend", "1"]).await?;
    model.wait_active(ACTIVE).await?;
    for _ in 0..4 {
        found(&query, &spans[..3], SAID).await?;
    }
    // An ingester that is killed is not missed: three keep each trace.
    let ingester = model.process("tempo", "tempo-ingester/2")?;
    nix::sys::signal::kill(ingester.pid, nix::sys::signal::Signal::SIGKILL)?;
    found(&query, &spans, SAID).await?;
    model.wait_active(ACTIVE).await?;
    model.stop().await?;
    nothing_left(&model)
}
