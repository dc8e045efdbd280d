//! `cargo xtask demo`: the main job on real servers, with every figure measured.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use muster_testkit::model::Model;
use muster_testkit::prometheus::Client;
use muster_testkit::remote_write::{Journal, Settings, Writer};
use muster_testkit::{servers, wait_until};
use nix::sys::signal::{Signal, kill};

use crate::run::succeed;

/// The model that the demo starts with, as a user would.
const EXAMPLE: &str = "deploy/examples/mimir-monolithic.yaml";
/// Names this run's samples.
const RUN: &str = "demo";
/// How long one step may take.
const STEP_DEADLINE: Duration = Duration::from_secs(300);
/// How long samples may take to be readable from the object store: Mimir's own caches bound it (about 80 s).
const READ_DEADLINE: Duration = Duration::from_secs(180);

/// Plays the main job.
///
/// # Errors
/// Something is missing, a step does not come to its end, or a verb fails.
pub(crate) fn run() -> anyhow::Result<()> {
    crate::servers::provide(&[])?;
    say("building the workspace in release mode");
    let mut build = Command::new("cargo");
    build.current_dir(servers::workspace()).args(["build", "--release", "--locked", "--bins"]);
    build.args(["-p", "muster-cli", "-p", "muster-worker", "-p", "muster-coordinator"]);
    succeed(&mut build, "install Rust (https://rustup.rs)")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(play())
}

struct Demo {
    model: Model,
    steps: Vec<(&'static str, Duration)>,
}

impl Demo {
    /// Runs the verbs of a step and waits until everything is active again.
    async fn step(&mut self, name: &'static str, verbs: &[&[&str]]) -> anyhow::Result<()> {
        say(name);
        let started = Instant::now();
        for verb in verbs {
            anstream::println!("    $ muster {}", verb.join(" "));
            self.model.muster(verb).await?;
        }
        self.settle(name, started).await
    }

    async fn settle(&mut self, name: &'static str, started: Instant) -> anyhow::Result<()> {
        self.model.wait_active(STEP_DEADLINE).await?;
        let took = started.elapsed();
        anstream::println!("    active after {:.1} s", took.as_secs_f64());
        self.steps.push((name, took));
        Ok(())
    }
}

async fn play() -> anyhow::Result<()> {
    let workspace = servers::workspace();
    let example = std::fs::read_to_string(workspace.join(EXAMPLE)).context("failed to read the example")?;
    let mut demo = Demo { model: Model::new(&workspace.join("target/release")), steps: Vec::new() };

    say("muster up");
    anstream::println!("    $ muster up {EXAMPLE}");
    let started = Instant::now();
    demo.model.up(Some(&example))?;
    demo.settle("up: monolithic, 1 unit", started).await?;
    let gateway = demo.model.gateway("mimir").await?;
    anstream::println!("    writing a numbered sample every 20 ms to {gateway}/api/v1/push from here on");
    let writer = Writer::start(Settings {
        interval: Duration::from_millis(20),
        timeout: Duration::from_secs(10),
        retries: 1,
        ..Settings::new(gateway.clone(), RUN)
    })?;
    writer.progress(50, STEP_DEADLINE).await?;

    demo.step("scale the worker to 3", &[&["scale", "mimir-worker", "3"]]).await?;
    demo.step(
        "add read, write and backend workers",
        &[
            &[
                "deploy",
                "mimir-worker-k8s",
                "mimir-read",
                "-n",
                "2",
                "--config",
                "role-read=true",
                "--config",
                "role-all=false",
            ],
            &[
                "deploy",
                "mimir-worker-k8s",
                "mimir-write",
                "-n",
                "3",
                "--config",
                "role-write=true",
                "--config",
                "role-all=false",
            ],
            &[
                "deploy",
                "mimir-worker-k8s",
                "mimir-backend",
                "--config",
                "role-backend=true",
                "--config",
                "role-all=false",
            ],
            &["integrate", "mimir", "mimir-read"],
            &["integrate", "mimir", "mimir-write"],
            &["integrate", "mimir", "mimir-backend"],
        ],
    )
    .await?;
    anstream::println!("\n{}", demo.model.muster(&["status"]).await?);
    demo.step("take `all` away", &[&["remove-application", "mimir-worker"]]).await?;

    say("kill one worker process (SIGKILL)");
    let victim =
        demo.model.processes_of("mimir", "mimir-write/0").pop().context("mimir-write/0 has no process")?;
    let started = Instant::now();
    kill(victim.pid, Signal::SIGKILL)?;
    demo.model
        .wait("the process to be started again", STEP_DEADLINE, |model| {
            model["applications"]["mimir-write"]["units"]["mimir-write/0"]["restarts"]
                .as_u64()
                .is_some_and(|n| n > 0)
        })
        .await?;
    demo.settle("kill one worker process", started).await?;

    demo.step("scale mimir-write down to 2", &[&["scale", "mimir-write", "2"]]).await?;
    writer.progress(50, STEP_DEADLINE).await?;
    let journal = writer.stop().await?;
    anstream::println!("\n{}", demo.model.muster(&["status"]).await?);

    say("read every acknowledged sample back");
    let reader = Client::new(gateway);
    let started = Instant::now();
    let read = read_back(&reader, &journal).await;
    let reading = started.elapsed();
    say("stop everything in order (Ctrl-C)");
    let started = Instant::now();
    demo.model.stop().await?;
    demo.steps.push(("stop", started.elapsed()));
    summary(&demo, &journal, read, reading);
    Ok(())
}

/// Reads until nothing is missing, or for as long as samples may take to appear. Returns how many were found.
async fn read_back(reader: &Client, journal: &Journal) -> usize {
    let mut lost = journal.acknowledged.len();
    // What is still missing at the deadline is reported as lost.
    let _ = wait_until("every acknowledged sample", READ_DEADLINE, async || {
        let read = reader.read_back(RUN).await.ok()?;
        lost = lost.min(journal.lost(&read).len());
        (lost == 0).then_some(())
    })
    .await;
    journal.acknowledged.len() - lost
}

fn summary(demo: &Demo, journal: &Journal, read: usize, reading: Duration) {
    let acknowledged = journal.acknowledged.len();
    let failed: std::collections::BTreeSet<u64> =
        journal.failures.iter().map(|f| f.number).filter(|n| !journal.acknowledged.contains_key(n)).collect();
    anstream::println!("\n== summary ==");
    for (step, took) in &demo.steps {
        anstream::println!("{step:<40} {:>7.1} s", took.as_secs_f64());
    }
    anstream::println!("{:<40} {:>7.1} s", "until all was readable", reading.as_secs_f64());
    for (what, count) in [
        ("samples sent", journal.attempted as usize),
        ("acknowledged", acknowledged),
        ("not acknowledged (after one retry)", failed.len()),
        ("read back", read),
        ("lost", acknowledged - read),
    ] {
        anstream::println!("{what:<40} {count:>9}");
    }
    anstream::println!("{:<40} {:>7.2} s", "longest write gap", journal.longest_gap().as_secs_f64());
    if acknowledged > read {
        anstream::println!(
            "\nAcknowledged samples were lost. Guarded draining is not done yet; see CHANGELOG.md."
        );
    }
}

fn say(text: &str) {
    anstream::println!("\n== {text}");
}
