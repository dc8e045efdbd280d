//! Shared by the test binaries of this package.

use std::fmt::Debug;
use std::process::Output;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use muster_testkit::model::{Model, Running};
use muster_testkit::{binaries, wait_until};
use serde_json::Value;

pub mod agent;
pub mod documents;
pub mod kubernetes;
pub mod load;
pub mod logs;
pub mod traces;
pub mod traffic;
pub mod transition;

/// How long a step of a model may take until everything is active: on a machine with two cores that builds and tests at the
/// same time.
pub const ACTIVE: Duration = Duration::from_secs(120);
/// How long a status may take to say what has happened.
pub const SAID: Duration = Duration::from_secs(60);

/// A model that is not up yet, with the binaries that were built along with the test.
///
/// # Errors
/// Never, as long as binaries lie in directories.
pub fn model() -> anyhow::Result<Model> {
    let [muster, ..] = ["muster", "worker", "coordinator"].map(binaries::path);
    Ok(Model::new(muster.parent().context("a binary is in a directory")?))
}

/// A model of the monolithic example that is active.
///
/// # Errors
/// It does not become active.
pub async fn monolithic() -> anyhow::Result<Model> {
    let mut model = model()?;
    model.up(Some(&documents::monolithic()?))?;
    model.wait_active(ACTIVE).await?;
    Ok(model)
}

/// Looks again and again for `window` and fails when the answer is no longer the first one.
///
/// # Errors
/// The answer changed, or could not be had.
pub async fn unchanged<T: PartialEq + Debug>(
    what: &str,
    window: Duration,
    mut look: impl FnMut() -> anyhow::Result<T>,
) -> anyhow::Result<()> {
    let first = look()?;
    let started = Instant::now();
    while started.elapsed() < window {
        let now = look()?;
        ensure!(now == first, "{what} changed from {first:?} to {now:?} after {:?}", started.elapsed());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

/// Waits until `program` of `unit` is another process than `former`, and returns it.
///
/// # Errors
/// It is not, in time.
pub async fn replaced(model: &Model, program: &str, unit: &str, former: &Running) -> anyhow::Result<Running> {
    wait_until(&format!("another {program} of {unit}"), SAID, async || {
        model.process(program, unit).ok().filter(|now| (now.pid, now.started) != (former.pid, former.started))
    })
    .await
}

/// A condition of a coordinator in the status that users' programs read; null where it has none of that kind.
#[must_use]
pub fn condition(status: &Value, coordinator: &str, kind: &str) -> Value {
    let conditions = status["applications"][coordinator]["conditions"].as_array();
    let found = conditions.into_iter().flatten().find(|condition| condition["type"] == kind);
    found.cloned().unwrap_or_default()
}

/// Fails unless nothing of the model runs or listens any more. To be asked after `muster up` has ended.
///
/// # Errors
/// Something does.
pub fn nothing_left(model: &Model) -> anyhow::Result<()> {
    let (processes, listeners) = (model.processes(), model.listeners()?);
    ensure!(processes.is_empty(), "left running: {processes:?}");
    ensure!(listeners.is_empty(), "something still listens on {listeners:?}");
    Ok(())
}

/// Runs a verb that must fail with exit code 2 and returns what it said.
///
/// # Errors
/// It succeeds, or fails in another way.
pub async fn refused(model: &Model, arguments: &[&str]) -> anyhow::Result<String> {
    let output = model.run(arguments).await?;
    refusal(&format!("muster {}", arguments.join(" ")), &output)
}

/// What a command said that must have failed with exit code 2.
///
/// # Errors
/// It succeeded, or failed in another way.
pub fn refusal(command: &str, output: &Output) -> anyhow::Result<String> {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.code() == Some(2), "{command} ended with {}: {said}", output.status);
    ensure!(!said.contains("panicked"), "{command} panicked: {said}");
    Ok(said)
}

/// Fails unless `text` has every one of `words` in it.
///
/// # Errors
/// One is missing.
pub fn says(text: &str, words: &[&str]) -> anyhow::Result<()> {
    for word in words {
        ensure!(text.contains(word), "{word:?} is missing in {text:?}");
    }
    Ok(())
}
