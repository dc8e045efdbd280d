//! Loki on this machine with the real Loki, nginx and embedded S3.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use hyper::{Method, StatusCode};
use muster_testkit::model::Model;
use muster_testkit::wait_until;
use muster_tests::logs::{Logs, now, sees};
use muster_tests::{ACTIVE, SAID, documents, model, nothing_left, refused};

/// How long an index may take to be seen in the object store: a minute that Loki does not let anybody change, and the 10 s of the
/// shared config.
const SETTLED: Duration = Duration::from_secs(120);

async fn up(example: &str) -> anyhow::Result<(Model, String)> {
    let mut model = model()?;
    model.up(Some(&documents::example(example)?))?;
    model.wait_active(ACTIVE).await?;
    let gateway = model.endpoint("loki", "query").await?;
    Ok((model, gateway))
}

async fn readable(logs: &Logs, within: Duration) -> anyhow::Result<()> {
    let mut last = None;
    let read = wait_until("every acknowledged line", within, async || {
        last = logs.all_readable().await.err();
        last.is_none().then_some(())
    });
    read.await.with_context(|| format!("{last:?}"))
}

/// Everything that a client does, on one process; then that process is replaced by another, and nothing is lost.
#[tokio::test]
async fn one_process_takes_logs_and_another_one_finds_them() -> anyhow::Result<()> {
    let (mut model, gateway) = up("loki-monolithic").await?;
    let mut logs = Logs::new(&gateway, "one");
    let mut tail = logs.follow().await?;
    let lines = logs.push(100).await?;
    sees(&mut tail, &lines[99], SAID).await?;
    readable(&logs, SAID).await?;
    logs.push_otlp("by otlp").await?;
    wait_until("the line by OTLP", SAID, async || {
        logs.lines("{service_name=\"one\"}").await.ok().filter(|lines| lines.contains("by otlp"))
    })
    .await?;
    rules_are_kept(&logs).await?;
    deletes_are_kept(&logs).await?;

    let refusal = refused(&model, &["config", "loki", "retention-period=banana"]).await?;
    ensure!(refusal.contains("must be a whole number"), "{refusal}");

    // The second one takes over before the first one leaves, with its disk.
    model.muster(&["deploy", "loki-worker-k8s", "next"]).await?;
    model.muster(&["integrate", "loki", "next"]).await?;
    model.wait_active(ACTIVE).await?;
    model.muster(&["remove-application", "--yes", "loki-worker"]).await?;
    let gone = |status: &serde_json::Value| status["applications"]["loki-worker"].is_null();
    model.wait("the first worker to be gone", ACTIVE, gone).await?;
    model.wait_active(ACTIVE).await?;
    logs.push(10).await?;
    readable(&logs, SETTLED).await?;
    model.stop().await?;
    nothing_left(&model)
}

/// Reads, writes and the rest apart, three copies of what is fresh.
#[tokio::test]
async fn reads_writes_and_the_rest_apart() -> anyhow::Result<()> {
    let (mut model, gateway) = up("loki-scalable").await?;
    let mut logs = Logs::new(&gateway, "apart");
    logs.push(100).await?;
    deletes_are_heeded(&gateway).await?;
    readable(&logs, SAID).await?;
    rules_are_kept(&logs).await?;
    deletes_are_kept(&logs).await?;
    // One of the compactors leads, and all others are told which; who only asks it goes through the load balancer.
    let modes = ["loki-backend/0", "loki-backend/1", "loki-read/0"]
        .map(|unit| setting(&model, unit, "horizontal_scaling_mode"));
    ensure!(modes == ["disabled", "worker", "disabled"], "{modes:?}");
    let told = ["loki-backend/0", "loki-backend/1", "loki-read/0", "loki-read/1"]
        .map(|unit| setting(&model, unit, "compactor_grpc_address"));
    ensure!(!told[0].is_empty() && told == [&*told[0], &*told[0], "", ""], "{told:?}");
    let asked = ["loki-read/0", "loki-read/1"].map(|unit| setting(&model, unit, "compactor_address"));
    ensure!(asked.iter().all(|address| *address == gateway), "{asked:?}");

    // A unit that is killed is not missed.
    let write = model.process("loki", "loki-write/1")?;
    nix::sys::signal::kill(write.pid, nix::sys::signal::Signal::SIGKILL)?;
    logs.push(10).await?;
    readable(&logs, SAID).await?;
    model.wait_active(ACTIVE).await?;

    model.muster(&["config", "loki", "retention-period=30"]).await?;
    let rolled = |status: &serde_json::Value| {
        let rollout = &status["applications"]["loki"]["rollout"];
        rollout["total"] == 7 && rollout["updated"] == 7 && muster_testkit::model::is_active(status)
    };
    wait_until("the new retention on every unit", ACTIVE, async || {
        let units = [
            "loki-backend/0",
            "loki-backend/1",
            "loki-read/0",
            "loki-read/1",
            "loki-write/0",
            "loki-write/1",
            "loki-write/2",
        ];
        let (logs, all) =
            (&mut logs, units.iter().all(|unit| setting(&model, unit, "retention_period") == "720h"));
        // Whatever is away, writes go on.
        logs.push(1).await.ok()?;
        all.then_some(())
    })
    .await?;
    model.wait("rolled out", ACTIVE, rolled).await?;
    readable(&logs, SAID).await?;
    model.stop().await?;
    nothing_left(&model)
}

/// A setting's value in the file that a unit's process runs with.
fn setting(model: &Model, unit: &str, key: &str) -> String {
    let file = model.unit_directory(unit).join("run/live/config.yaml");
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let found = text.lines().find_map(|line| line.trim().strip_prefix(key)?.strip_prefix(": "));
    found.unwrap_or_default().trim_matches('"').to_owned()
}

async fn rules_are_kept(logs: &Logs) -> anyhow::Result<()> {
    let group = "name: g\nrules:\n- record: x\n  expr: sum(rate({run=\"one\"}[1m]))\n".to_owned();
    let made = logs.ask(Method::POST, "/loki/api/v1/rules/ns", "application/yaml", group).await?;
    ensure!(made.status == StatusCode::ACCEPTED, "{} {}", made.status, made.excerpt());
    let listed = logs.ask(Method::GET, "/loki/api/v1/rules", "", String::new()).await?;
    ensure!(listed.excerpt().contains("record: x"), "{} {}", listed.status, listed.excerpt());
    Ok(())
}

/// Readers leave out what is to be deleted. They ask for that once in five minutes, the first time at the first query.
async fn deletes_are_heeded(gateway: &str) -> anyhow::Result<()> {
    let [mut deleted, mut kept] = ["deleted", "kept"].map(|run| Logs::new(gateway, run));
    deleted.push(10).await?;
    kept.push(10).await?;
    // In whole seconds, and not before they are over.
    let seconds = || now() / 1_000_000_000;
    let end = seconds() + 1;
    wait_until("the next second", SAID, async || (seconds() >= end).then_some(())).await?;
    let path = format!("/loki/api/v1/delete?query=%7Brun%3D%22deleted%22%7D&start={}&end={end}", end - 60);
    let asked = deleted.ask(Method::POST, &path, "", String::new()).await?;
    ensure!(asked.status == StatusCode::NO_CONTENT, "{} {}", asked.status, asked.excerpt());
    readable(&kept, SAID).await?;
    let found = deleted.numbers().await?;
    ensure!(found.is_empty(), "lines that are to be deleted are found: {found:?}");
    Ok(())
}

async fn deletes_are_kept(logs: &Logs) -> anyhow::Result<()> {
    let path = "/loki/api/v1/delete?query=%7Brun%3D%22nobody%22%7D&start=1700000000&end=1700003600";
    let asked = logs.ask(Method::POST, path, "", String::new()).await?;
    ensure!(asked.status == StatusCode::NO_CONTENT, "{} {}", asked.status, asked.excerpt());
    for _ in 0..4 {
        let listed = logs.ask(Method::GET, "/loki/api/v1/delete", "", String::new()).await?;
        ensure!(listed.excerpt().contains("nobody"), "{} {}", listed.status, listed.excerpt());
    }
    Ok(())
}
