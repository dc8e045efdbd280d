//! Metrics made of spans by the real Tempo and written to the real Mimir, on this machine.

use anyhow::{Context as _, ensure};
use muster_testkit::model::{Model, is_active};
use muster_testkit::prometheus::Client;
use muster_testkit::wait_until;
use muster_tests::traces::{Span, push_otlp_http};
use muster_tests::{ACTIVE, SAID, documents, model, nothing_left, says};
use serde_json::Value;

const DISABLED: &str = "metrics-generator disabled. Add a relation over send-remote-write: muster integrate \
                        tempo:send-remote-write MIMIR";

/// A Mimir and a Tempo, each in one process.
fn documents() -> String {
    let tempo = "---
apiVersion: muster.dev/v1alpha1
kind: Coordinator
metadata:
  name: tempo
spec:
  product: tempo
  s3: {secret: tempo-s3}
  config: {always-enable-otlp-http: true}
  # By default 15 s.
  overrides: {metrics_generator: {registry: {collection_interval: 1s}}}
";
    let mimir = documents::coordinator("mimir", "  s3: {secret: mimir-s3}");
    let workers = [("mimir-worker", "mimir", 1), ("tempo-worker", "tempo", 1)];
    let workers = workers.map(|(name, of, units)| documents::worker(name, of, units, &["all"]));
    format!("{mimir}{tempo}{}{}", workers.concat(), certificate())
}

/// A Secret `cert` with a certificate, its own authority, for the first units of every network that a model can have: which one it
/// gets is only known once it is up.
fn certificate() -> String {
    let names = (16..=254).flat_map(|network| (1..=8).map(move |host| format!("127.{network}.0.{host}")));
    let made = rcgen::generate_simple_self_signed(names.collect::<Vec<_>>()).expect("a certificate");
    let data = serde_json::json!({
        "tls.crt": made.cert.pem(), "tls.key": made.signing_key.serialize_pem(), "ca.crt": made.cert.pem(),
    });
    format!(
        "---\n{{apiVersion: v1, kind: Secret, metadata: {{name: cert}}, type: kubernetes.io/tls, stringData: {data}}}\n"
    )
}

/// Waits until all is active with another config of Tempo than `before`.
async fn rolled_out(model: &Model, before: &Value) -> anyhow::Result<Value> {
    let revision = |status: &Value| status["applications"]["tempo"]["revision"].clone();
    let before = revision(before);
    model.wait("another config of Tempo", ACTIVE, |now| is_active(now) && revision(now) != before).await
}

async fn push(model: &Model, spans: u32, service: &str) -> anyhow::Result<()> {
    let base = model.endpoint("tempo", "otlp-http").await?;
    for _ in 0..spans {
        push_otlp_http(&base, &Span::random(), service).await?;
    }
    Ok(())
}

/// Pushes spans until Mimir has metrics of them. A distributor drops what it has for generators as long as it has heard of none, which
/// nothing tells: units are ready before.
async fn flows(model: &Model, mimir: &Client) -> anyhow::Result<()> {
    wait_until("metrics of spans", SAID, async || {
        push(model, 1, "any").await.ok()?;
        let found = mimir.query("traces_spanmetrics_calls_total{service=\"any\"}").await.ok()?;
        (!found.is_empty()).then_some(())
    })
    .await
}

/// Waits until Mimir counts so many spans of a service. The generators' counters begin with 0, which is the first thing that they
/// write of a series.
async fn counted(mimir: &Client, spans: u32, service: &str) -> anyhow::Result<()> {
    let query = format!("sum(traces_spanmetrics_calls_total{{service={service:?}}})");
    let mut last = String::new();
    let what = format!("{spans} calls of {service}");
    let counted = wait_until(&what, SAID, async || {
        let found = mimir.query(&query).await;
        last = format!("{found:?}");
        let (_, value) = *found.ok()?.first()?.points.first()?;
        (value == f64::from(spans)).then_some(())
    });
    counted.await.context(last)
}

#[tokio::test]
async fn spans_become_metrics_in_the_mimir_that_is_related() -> anyhow::Result<()> {
    let mut model = model()?;
    model.up(Some(&documents()))?;
    let without = model.wait_active(ACTIVE).await?;
    let tempo = |status: &Value| status["applications"]["tempo"].clone();
    ensure!(tempo(&without)["message"] == DISABLED, "{}", tempo(&without));

    let said = model.muster(&["integrate", "tempo:send-remote-write", "mimir"]).await?;
    let with = rolled_out(&model, &without).await?;
    ensure!(tempo(&with)["remoteWrite"] == serde_json::json!(["mimir"]), "{said} {}", tempo(&with));
    ensure!(tempo(&with)["message"] == "", "{}", tempo(&with));
    says(
        &model.muster(&["explain", "application", "tempo"]).await?,
        &["related by send-remote-write", "mimir"],
    )?;
    let mimir = Client::new(model.gateway("mimir").await?);
    flows(&model, &mimir).await?;
    push(&model, 20, "first").await?;
    counted(&mimir, 20, "first").await?;

    // Now Mimir wants to know whose they are, which is the one's to whom all belonged so far as long as Tempo has no tenants. And its load
    // balancer wants TLS: it is asked past it.
    model.muster(&["config", "mimir", "multi-tenancy=true"]).await?;
    model.muster(&["integrate", "mimir", "cert"]).await?;
    let worker = &rolled_out(&model, &with).await?["applications"]["mimir-worker"]["units"]["mimir-worker/0"];
    let nobody = Client::new(format!("http://{}:8080", worker["address"].as_str().context("no address")?));
    // Both units make metrics of the same service, on hosts of one name.
    model.muster(&["scale", "tempo-worker", "2"]).await?;
    let two = |status: &Value| status["applications"]["tempo-worker"]["scale"] == 2 && is_active(status);
    model.wait("two units", ACTIVE, two).await?;
    push(&model, 20, "second").await?;
    let anonymous = Client { tenant: Some("anonymous".to_owned()), ..nobody.clone() };
    counted(&anonymous, 20, "second").await?;
    counted(&anonymous, 20, "first").await?;
    let units = "count by (muster_unit) (traces_spanmetrics_calls_total{service=\"second\"})";
    let units = anonymous.query(units).await?;
    ensure!(units.len() == 2, "{units:?}");
    ensure!(nobody.query("up").await.is_err_and(|error| format!("{error:#}").contains("401")));

    model.muster(&["remove-relation", "mimir:receive-remote-write", "tempo"]).await?;
    let back = |status: &Value| tempo(status)["revision"] == tempo(&without)["revision"];
    let last = model.wait("the config without metrics", ACTIVE, back).await?;
    ensure!(tempo(&last)["remoteWrite"].is_null(), "{}", tempo(&last));
    model.stop().await?;
    nothing_left(&model)
}
