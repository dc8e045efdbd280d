//! Loki and Tempo on this machine behind a load balancer that speaks TLS alone.

use anyhow::{Context as _, ensure};
use muster_testkit::http::Client;
use muster_testkit::model::Model;
use muster_testkit::{TlsTunnel, wait_until};
use muster_tests::logs::{Logs, sees};
use muster_tests::traces::{Span, grpc, is_found, push_otlp_grpc, push_otlp_http};
use muster_tests::{ACTIVE, SAID, documents, model, nothing_left};

/// The name in the certificate: the load balancer's address is not known before it is up.
const NAME: &str = "gateway.example.com";

/// A model of a monolithic example with a certificate, which signs itself and is given as PEM.
async fn up(product: &str) -> anyhow::Result<(Model, String)> {
    let made = rcgen::generate_simple_self_signed([NAME.to_owned()])?;
    let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    let secret = serde_json::json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "certificate" }, "type": "kubernetes.io/tls",
        "stringData": { "tls.crt": certificate, "tls.key": key },
    });
    let example = documents::example(&format!("{product}-monolithic"))?;
    let with_tls = example.replacen("  s3:\n", "  tls:\n    secret: certificate\n  s3:\n", 1);
    ensure!(with_tls != example, "the example has no S3 relation");
    let mut model = model()?;
    model.up(Some(&format!("{with_tls}---\n{secret}\n")))?;
    model.wait_active(ACTIVE).await?;
    Ok((model, certificate))
}

/// Opens a tunnel to an endpoint, and checks that the server proves who it is and speaks nothing but TLS.
async fn tunnel(endpoint: &str, authority: &str, protocol: Option<&str>) -> anyhow::Result<TlsTunnel> {
    let server = endpoint.trim_start_matches("https://").split('/').next().context("a host")?;
    let tunnel = TlsTunnel::open(server, NAME, authority, protocol).await?;
    let stranger = rcgen::generate_simple_self_signed([NAME.to_owned()])?.cert.pem();
    ensure!(
        TlsTunnel::open(server, NAME, &stranger, protocol).await.is_err(),
        "anybody's certificate is taken"
    );
    let plain = Client::new(&format!("http://{server}"))?.get("/ready", SAID).await;
    ensure!(plain.is_err(), "{server} answers without TLS");
    Ok(tunnel)
}

#[tokio::test]
async fn logs_over_tls() -> anyhow::Result<()> {
    let (mut model, certificate) = up("loki").await?;
    let query = model.endpoint("loki", "query").await?;
    ensure!(query.starts_with("https://"), "{query}");
    let tunnel = tunnel(&query, &certificate, None).await?;
    let gateway = format!("http://{}", tunnel.address());
    let mut logs = Logs::new(&gateway, "secret");
    let mut followed = logs.follow().await?;
    let lines = logs.push(50).await?;
    sees(&mut followed, &lines[49], SAID).await?;
    wait_until("every line", SAID, async || logs.all_readable().await.ok()).await?;
    logs.push_otlp("by otlp").await?;
    wait_until("the line by OTLP", SAID, async || {
        logs.lines("{service_name=\"secret\"}").await.ok().filter(|lines| lines.contains("by otlp"))
    })
    .await?;
    drop(followed);
    model.stop().await?;
    nothing_left(&model)
}

#[tokio::test]
async fn spans_over_tls() -> anyhow::Result<()> {
    let (mut model, certificate) = up("tempo").await?;
    let endpoint = async |purpose: &str| model.endpoint("tempo", purpose).await;
    let (query, http, rpc) =
        (endpoint("query").await?, endpoint("otlp-http").await?, endpoint("otlp-grpc").await?);
    ensure!(query.starts_with("https://") && http.starts_with("https://"), "{query} {http}");
    let rpc = tunnel(&rpc, &certificate, Some("h2")).await?;
    let http = tunnel(&http, &certificate, None).await?;
    let queries = tunnel(&query, &certificate, None).await?;
    let reads = format!("http://{}", queries.address());
    let spans = [Span::random(), Span::random()];
    push_otlp_grpc(&rpc.address().to_string(), &spans[0], "secret").await?;
    push_otlp_http(&format!("http://{}", http.address()), &spans[1], "secret").await?;
    for span in &spans {
        wait_until("the trace", SAID, async || {
            is_found(&reads, span.trace).await.ok().filter(|found| *found)
        })
        .await?;
    }
    // Answers of searches as a stream.
    let host = query.trim_start_matches("https://").rsplit_once(':').context("a port")?.0.to_owned();
    let streaming = tunnel(&format!("{host}:9096"), &certificate, Some("h2")).await?;
    let answer =
        grpc(&streaming.address().to_string(), "/tempopb.StreamingQuerier/SearchTagsV2", &[]).await?;
    ensure!(answer.grpc_status.as_deref() == Some("0"), "{answer:?}");
    model.stop().await?;
    nothing_left(&model)
}
