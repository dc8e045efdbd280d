//! Configs that the real binaries accept and cannot run with: the one unit that tried them goes back by itself.

#![allow(clippy::print_stdout, reason = "what a user reads belongs into the output of a test run")]

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use muster_testkit::model::{Model, is_active};
use muster_tests::traffic::Traffic;
use muster_tests::{ACTIVE, SAID, condition, documents, model, nothing_left, says};
use nix::unistd::Pid;
use serde_json::Value;

/// How long a unit may take to become ready in these tests, in seconds.
const DEADLINE: u64 = 15;
/// How long it may take until a unit that failed is back: the deadline, the end of one process, the start of another.
const BACK: Duration = Duration::from_secs(DEADLINE + 60);

/// An example with these overrides and a short deadline.
fn with(example: &str, overrides: &str) -> String {
    let lines = format!("  progressDeadlineSeconds: {DEADLINE}\n  overrides: {overrides}\n  s3:\n");
    example.replacen("  s3:\n", &lines, 1)
}

/// Starts the model again with other documents, while everything in it goes on.
async fn apply(model: &mut Model, documents: &str) -> anyhow::Result<()> {
    model.kill_up().await?;
    model.up(Some(documents))
}

/// The message of a rollout that halted and left every unit active.
async fn halted(model: &Model, coordinator: &str) -> anyhow::Result<String> {
    let whole = |status: &Value| {
        let rolled_out = condition(status, coordinator, "RolledOut");
        let units = status["applications"].as_object().into_iter().flatten();
        rolled_out["reason"] == "RolloutHalted"
            && status["applications"][coordinator]["status"] == "blocked"
            && units
                .flat_map(|(_, application)| application["units"].as_object().into_iter().flatten())
                .all(|(_, unit)| unit["status"] == "active")
    };
    let status = model.wait("the way back", BACK, whole).await?;
    println!("{}", model.muster(&["status"]).await?);
    let message = status["applications"][coordinator]["message"].as_str();
    Ok(message.context("no message")?.to_owned())
}

/// The processes of the units that write, by unit.
fn writers(model: &Model) -> BTreeSet<(String, String, Pid)> {
    model.workloads().into_iter().filter(|(unit, _, _)| unit.starts_with("mimir-write")).collect()
}

/// Mimir, with samples written throughout: first a config with which no ingester becomes ready, then one with which processes end.
#[tokio::test]
async fn a_mimir_that_cannot_run_with_its_config_goes_back() -> anyhow::Result<()> {
    let example = documents::example("mimir-scalable")?;
    let mut model = model()?;
    model.up(Some(&example))?;
    model.wait_active(ACTIVE).await?;
    let traffic = Traffic::start(&model, "back").await?;
    let before = writers(&model);

    let unready = with(&example, "{ingester: {ring: {min_ready_duration: 1h}}}");
    apply(&mut model, &unready).await?;
    let said = halted(&model, "mimir").await?;
    says(&said, &["halted", "is back at", "not ready after 15s", "last log lines"])?;
    ensure!(said.contains("mimir-write/"), "{said}");
    let now = writers(&model);
    ensure!(before.len() == 3 && before.intersection(&now).count() == 2, "{before:?}, now {now:?}");
    traffic.flows().await?;

    let ends = with(&example, "{runtime_config: {file: /nowhere/limits.yaml}}");
    apply(&mut model, &ends).await?;
    let said = halted(&model, "mimir").await?;
    says(&said, &["is back at", "it ended 3 times: exit code 1", "/nowhere/limits.yaml"])?;
    traffic.flows().await?;

    // The way out is any config that works.
    apply(&mut model, &with(&example, "{limits: {max_label_names_per_series: 40}}")).await?;
    model.wait("the mended config", ACTIVE, is_active).await?;
    let journal = traffic.finish().await?;
    println!("longest write gap {:?}", journal.longest_gap());
    model.stop().await?;
    nothing_left(&model)
}

/// The same of Loki and Tempo, each with one unit for everything.
#[tokio::test]
async fn a_loki_and_a_tempo_that_cannot_run_with_their_configs_go_back() -> anyhow::Result<()> {
    for (product, example) in [("loki", "loki-monolithic"), ("tempo", "tempo-monolithic")] {
        let example = documents::example(example)?;
        let mut model = model()?;
        model.up(Some(&example))?;
        model.wait_active(ACTIVE).await?;
        apply(&mut model, &with(&example, "{ingester: {lifecycler: {min_ready_duration: 1h}}}")).await?;
        model.wait_status(product, "maintenance", "rolling out", SAID).await?;
        let said = halted(&model, product).await?;
        says(&said, &["is back at", "not ready after 15s"])?;
        apply(&mut model, &example).await?;
        model.wait_active(ACTIVE).await?;
        model.stop().await?;
        nothing_left(&model)?;
    }
    Ok(())
}
