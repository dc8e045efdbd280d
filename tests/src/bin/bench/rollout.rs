//! A config that is rolled out over seven units while a client writes and another one reads through the load balancer, neither ever
//! sending anything twice.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::ensure;
use muster_testkit::http::Client;
use muster_testkit::model::is_active;
use muster_testkit::remote_write::{Settings, Writer};
use muster_tests::{ACTIVE, documents, model};

use crate::{Figure, milliseconds};

/// How long one push or query may take.
const ANSWER: Duration = Duration::from_secs(10);
/// How often the config changes.
const CHANGES: u32 = 3;

pub(crate) async fn figures() -> anyhow::Result<Vec<Figure>> {
    let mut model = model()?;
    model.up(Some(&documents::example("mimir-scalable")?))?;
    model.wait_active(ACTIVE).await?;
    let gateway = model.gateway("mimir").await?;
    let settings = Settings {
        interval: Duration::from_millis(20),
        timeout: ANSWER,
        retries: 0,
        ..Settings::new(&gateway, "rollout")
    };
    let writer = Writer::start(settings)?;
    let (stop, asked, failed) =
        (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let reader =
        tokio::spawn(read(gateway.clone(), Arc::clone(&stop), Arc::clone(&asked), Arc::clone(&failed)));
    writer.progress(50, ACTIVE).await?;

    let mut slowest = Duration::ZERO;
    for change in 1..=CHANGES {
        let days = format!("retention-period={}d", 30 + change);
        let before = model.status().await?["applications"]["mimir"]["revision"].clone();
        let started = Instant::now();
        model.muster(&["config", "mimir", &days]).await?;
        let moved = |status: &serde_json::Value| {
            let coordinator = &status["applications"]["mimir"];
            is_active(status)
                && coordinator["revision"] != before
                && coordinator["rollout"]["updated"] == coordinator["rollout"]["total"]
        };
        model.wait("the new config everywhere", ACTIVE, moved).await?;
        slowest = slowest.max(started.elapsed());
    }
    stop.store(true, Ordering::Relaxed);
    reader.await??;
    let journal = writer.stop().await?;
    let queries = asked.load(Ordering::Relaxed);
    ensure!(journal.attempted > 500 && queries > 500, "{} pushes, {queries} queries", journal.attempted);
    for failure in journal.failures.iter().take(5) {
        anstream::println!("  push {}: {}", failure.number, failure.reason);
    }
    model.stop().await?;
    let none = |what: String, failures: u64| Figure {
        what,
        measured: failures.to_string(),
        bar: "0".to_owned(),
        holds: failures == 0,
    };
    Ok(vec![
        none(
            format!(
                "failed pushes of {} while a config goes over 7 units {CHANGES} times",
                journal.attempted
            ),
            journal.failures.len() as u64,
        ),
        none(format!("failed queries of {queries} meanwhile"), failed.load(Ordering::Relaxed)),
        Figure {
            what: "longest of these rollouts".to_owned(),
            measured: milliseconds(slowest),
            bar: "none".to_owned(),
            holds: true,
        },
    ])
}

/// Asks for the last sample, one query after the other.
async fn read(
    gateway: String,
    stop: Arc<AtomicBool>,
    asked: Arc<AtomicU64>,
    failed: Arc<AtomicU64>,
) -> anyhow::Result<()> {
    let mut client = Client::new(&gateway)?;
    while !stop.load(Ordering::Relaxed) {
        let answer = client.get("/prometheus/api/v1/query?query=count(probe)", ANSWER).await;
        asked.fetch_add(1, Ordering::Relaxed);
        if let Err(error) = answer {
            anstream::println!("  query: {error:#}");
            failed.fetch_add(1, Ordering::Relaxed);
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}
