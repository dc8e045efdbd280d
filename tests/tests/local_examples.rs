//! The examples that no other test runs, as users run them.

use anyhow::ensure;
use muster_testkit::wait_until;
use muster_tests::logs::Logs;
use muster_tests::traces::{Span, is_found, push_otlp_http};
use muster_tests::traffic::Traffic;
use muster_tests::{ACTIVE, SAID, documents, model, nothing_left};

/// Three products in one model, each with its bucket: none disturbs the others, also when one of them goes.
#[tokio::test]
async fn three_products_side_by_side() -> anyhow::Result<()> {
    let mut model = model()?;
    model.up(Some(&documents::example("lgtm")?))?;
    model.wait_active(ACTIVE).await?;
    let traffic = Traffic::start(&model, "side-by-side").await?;
    let mut logs = Logs::new(&model.endpoint("loki", "query").await?, "side-by-side");
    logs.push(50).await?;
    let span = Span::random();
    push_otlp_http(&model.endpoint("tempo", "otlp-http").await?, &span, "side-by-side").await?;
    let traces = model.endpoint("tempo", "query").await?;
    wait_until("the trace", SAID, async || is_found(&traces, span.trace).await.ok().filter(|found| *found))
        .await?;
    wait_until("every line", SAID, async || logs.all_readable().await.ok()).await?;

    // Two coordinators never share a bucket.
    model.muster(&["deploy", "loki-coordinator-k8s", "second"]).await?;
    model.muster(&["integrate", "second", "loki-s3"]).await?;
    model.wait_status("second", "blocked", "already belongs to coordinator loki", SAID).await?;
    model.muster(&["remove-application", "--yes", "second"]).await?;

    model.muster(&["remove-application", "--yes", "tempo-worker"]).await?;
    model.wait_status("tempo", "blocked", "no worker is related", ACTIVE).await?;
    traffic.flows().await?;
    logs.push(10).await?;
    wait_until("every line", SAID, async || logs.all_readable().await.ok()).await?;
    traffic.finish().await?;
    model.stop().await?;
    nothing_left(&model)
}

/// A worker for each of Mimir's roles.
#[tokio::test]
async fn mimir_with_a_worker_for_each_role() -> anyhow::Result<()> {
    let mut model = model()?;
    model.up(Some(&documents::example("mimir-distributed")?))?;
    let status = model.wait_active(ACTIVE).await?;
    let workers = status["applications"].as_object().into_iter().flatten();
    ensure!(workers.filter(|(name, _)| name.starts_with("mimir-")).count() == 9);
    let traffic = Traffic::start(&model, "distributed").await?;
    traffic.flows().await?;
    traffic.finish().await?;
    model.stop().await?;
    nothing_left(&model)
}

/// Mimir with reads, writes and the rest apart.
#[tokio::test]
async fn mimir_with_reads_writes_and_the_rest_apart() -> anyhow::Result<()> {
    let mut model = model()?;
    model.up(Some(&documents::example("mimir-scalable")?))?;
    model.wait_active(ACTIVE).await?;
    let traffic = Traffic::start(&model, "scalable").await?;
    traffic.flows().await?;
    traffic.finish().await?;
    model.stop().await?;
    nothing_left(&model)
}
