//! A model on this machine with the real Mimir, nginx and embedded S3: what a user does from `muster up` to Ctrl-C.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use muster_testkit::model::{Model, is_active};
use muster_testkit::wait_until;
use muster_tests::traffic::Traffic;
use muster_tests::{
    ACTIVE, SAID, documents, model, monolithic, nothing_left, refused, replaced, says, unchanged,
};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

/// A worker's status.
fn unit<'a>(model: &'a Value, unit: &str) -> &'a Value {
    let app = unit.split('/').next().unwrap_or_default();
    &model["applications"][app]["units"][unit]
}

/// The workloads of an application's units.
fn workloads_of(model: &Model, app: &str) -> Vec<(String, String, Pid)> {
    let prefix = format!("{app}-");
    model.workloads().into_iter().filter(|(unit, ..)| unit.starts_with(&prefix)).collect()
}

/// Deploys a worker with one role and relates it.
async fn add_worker(model: &Model, name: &str, role: &str, units: &str) -> anyhow::Result<()> {
    let role = format!("role-{role}=true");
    let deploy = [
        "deploy",
        "mimir-worker-k8s",
        name,
        "-n",
        units,
        "--config",
        role.as_str(),
        "--config",
        "role-all=false",
    ];
    model.muster(&deploy).await?;
    model.wait_status(name, "blocked", &format!("muster integrate COORDINATOR {name}"), SAID).await?;
    model.muster(&["integrate", "mimir", name]).await?;
    Ok(())
}

/// The main job: from one process to read, write and backend, while samples are written throughout.
#[tokio::test]
async fn from_one_process_to_read_write_and_backend_without_a_lost_sample() -> anyhow::Result<()> {
    let mut model = monolithic().await?;
    let traffic = Traffic::start(&model, "main-job").await?;

    model.muster(&["scale", "mimir-worker", "3"]).await?;
    let status = model.wait_active(ACTIVE).await?;
    ensure!(
        status["applications"]["mimir-worker"]["units"].as_object().is_some_and(|units| units.len() == 3)
    );
    traffic.flows().await?;

    add_worker(&model, "mimir-read", "read", "2").await?;
    add_worker(&model, "mimir-write", "write", "3").await?;
    add_worker(&model, "mimir-backend", "backend", "1").await?;
    let status = model.wait_active(ACTIVE).await?;
    ensure!(unit(&status, "mimir-read/1")["roles"] == serde_json::json!(["querier", "query-frontend"]));
    ensure!(status["applications"]["mimir-write"]["relations"]["cluster"] == "mimir");
    traffic.flows().await?;

    model.muster(&["remove-application", "--yes", "mimir-worker"]).await?;
    let status = model
        .wait("the first worker to be gone", ACTIVE, |status| {
            status["applications"]["mimir-worker"].is_null() && is_active(status)
        })
        .await?;
    ensure!(
        status["applications"]["mimir"]["coverage"]["missingRequired"].as_array().is_none_or(Vec::is_empty)
    );
    ensure!(workloads_of(&model, "mimir-worker").is_empty());
    traffic.flows().await?;

    let journal = traffic.finish().await?;
    ensure!(
        journal.longest_gap() < Duration::from_secs(5),
        "no write went through for {:?}",
        journal.longest_gap()
    );
    model.stop().await?;
    nothing_left(&model)
}

/// A verb reaches the units that it is about, and no other.
#[tokio::test]
async fn a_change_touches_only_its_units() -> anyhow::Result<()> {
    let text = documents::coordinator("mimir", "  s3: {secret: s3}")
        + &documents::worker("mimir-read", "mimir", 2, &["read"])
        + &documents::worker("mimir-write", "mimir", 1, &["write"])
        + &documents::worker("mimir-backend", "mimir", 1, &["backend"]);
    let mut model = model()?;
    model.up(Some(&text))?;
    let first = model.wait_active(ACTIVE).await?;
    let revision = first["applications"]["mimir"]["revision"].clone();
    ensure!(revision.is_string());
    let traffic = Traffic::start(&model, "touched").await?;

    // Nothing happens, so nothing is done.
    let state = model.directory().join("model.json");
    let saved = || Ok((fs::metadata(&state)?.modified()?, fs::read(&state)?, model.workloads()));
    unchanged("a model at rest", Duration::from_secs(12), saved).await?;
    traffic.flows().await?;

    let pids = |app: &str| workloads_of(&model, app);
    let (read, write, backend) = (pids("mimir-read"), pids("mimir-write"), pids("mimir-backend"));
    model.muster(&["config", "mimir-read", "role-write=true"]).await?;
    let wanted = serde_json::json!(["distributor", "ingester", "querier", "query-frontend"]);
    model
        .wait("new roles", ACTIVE, |status| {
            is_active(status)
                && ["mimir-read/0", "mimir-read/1"].iter().all(|name| unit(status, name)["roles"] == wanted)
        })
        .await?;
    ensure!(pids("mimir-read").iter().all(|process| !read.contains(process)), "the old processes still run");
    ensure!(
        (pids("mimir-write"), pids("mimir-backend")) == (write.clone(), backend.clone()),
        "others were touched"
    );
    says(&model.muster(&["config", "mimir-read"]).await?, &["role-write", "role-overrides-exporter"])?;

    let read = pids("mimir-read");
    model.muster(&["scale", "mimir-read", "4"]).await?;
    model.wait_active(ACTIVE).await?;
    ensure!(pids("mimir-read").len() == 4 && read.iter().all(|process| pids("mimir-read").contains(process)));
    model.muster(&["scale", "mimir-read", "2"]).await?;
    model.wait_active(ACTIVE).await?;
    ensure!(pids("mimir-read") == read, "the units that stay were touched");
    traffic.flows().await?;

    // An option reaches every worker unit, and setting it back brings the same revision.
    model.muster(&["config", "mimir", "retention-period=30d"]).await?;
    let rolled = |status: &Value, wanted: &dyn Fn(&Value) -> bool| {
        is_active(status)
            && wanted(&status["applications"]["mimir"]["revision"])
            && ["mimir-read/0", "mimir-read/1", "mimir-write/0", "mimir-backend/0"]
                .iter()
                .all(|name| wanted(&unit(status, name)["revision"]))
    };
    model
        .wait_status("mimir", "maintenance", "rolling out", SAID)
        .await
        .context("the status does not tell of the rollout")?;
    model
        .wait("the option everywhere", ACTIVE, |status| rolled(status, &|r| r.is_string() && *r != revision))
        .await?;
    says(&model.muster(&["config", "mimir", "retention-period"]).await?, &["30d"])?;
    ensure!(pids("mimir-write").iter().all(|process| !write.contains(process)));
    model.muster(&["config", "mimir", "--reset", "retention-period"]).await?;
    model.wait("the former revision", ACTIVE, |status| rolled(status, &|r| *r == revision)).await?;
    traffic.flows().await?;

    // What is removed ends, and its disk stays.
    let data = model.unit_directory("mimir-read/1").join("data");
    model.muster(&["config", "mimir-write", "role-read=true"]).await?;
    model.wait_active(ACTIVE).await?;
    model.muster(&["remove-application", "--yes", "mimir-read"]).await?;
    model
        .wait("the removal", ACTIVE, |status| {
            status["applications"]["mimir-read"].is_null() && is_active(status)
        })
        .await?;
    let left = || {
        model
            .processes()
            .into_iter()
            .filter(|p| p.unit.as_deref().is_some_and(|u| u.starts_with("mimir-read")))
    };
    wait_until("the end of its agents", SAID, async || (left().count() == 0).then_some(())).await?;
    ensure!(data.is_dir(), "{} is gone", data.display());

    traffic.finish().await?;
    model.stop().await?;
    nothing_left(&model)
}

/// What an edit would change is shown before it is made, and nothing comes of the showing.
#[tokio::test]
async fn what_an_edit_would_change_is_shown_first() -> anyhow::Result<()> {
    let mut model = monolithic().await?;
    let state = model.directory().join("model.json");
    let at_rest = || anyhow::Ok((fs::read(&state)?, model.workloads()));
    let before = at_rest()?;
    let diff = async |arguments: &[&str], code: i32| {
        let output = model.run(&[&["diff"], arguments].concat()).await?;
        let [out, said] =
            [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
        ensure!(
            output.status.code() == Some(code),
            "diff {arguments:?} ended with {}: {out}{said}",
            output.status
        );
        anyhow::Ok((out, said))
    };
    let (out, said) = diff(&["mimir"], 0).await?;
    ensure!(out.is_empty() && said == "config and nginx.conf would stay as they are\n", "{out}{said}");
    diff(&["mimir", "retention-period=0"], 0).await?;
    let (out, _) = diff(&["mimir", "retention-period=30d"], 1).await?;
    says(&out, &["--- mimir: config ", "\n+  compactor_blocks_retention_period: 30d\n"])?;
    ensure!(!out.contains("nginx.conf") && !out.contains('\u{1b}'), "{out}");
    let (out, _) = diff(&["mimir", "retention-period=30d", "-o", "json"], 1).await?;
    let foretold: Value = serde_json::from_str(&out)?;

    let (_, said) = diff(&["mimir", "retention-period=banana"], 2).await?;
    ensure!(said == refused(&model, &["config", "mimir", "retention-period=banana"]).await?, "{said}");
    let (_, said) = diff(&["mimir", "replication-factor=3"], 2).await?;
    says(&said, &["replication-factor stays 1 until there are 3 units with role ingester"])?;
    let directory = muster_testkit::directory::temporary();
    let file = directory.path().join("model.yaml");
    let path = file.to_str().context("a path of text")?;
    let text = documents::monolithic()?;
    fs::write(&file, &text)?;
    diff(&["-f", path], 0).await?;
    let with =
        |spec: &str| text.replace("  version: \"2.17\"\n", &format!("  version: \"2.17\"\n  {spec}\n"));
    fs::write(&file, with("overrides: {limits: {ingestion_rate: 123456}}"))?;
    says(&diff(&["-f", path], 1).await?.0, &["\n+  ingestion_rate: 123456\n"])?;
    fs::write(&file, with("overrides: {server: {http_listen_port: 1}}"))?;
    says(&diff(&["-f", path], 2).await?.1, &["mimir: ", "http_listen_port"])?;
    unchanged("a model that was only looked at", Duration::from_secs(3), || Ok(at_rest()? == before)).await?;
    ensure!(at_rest()? == before, "looking changed the model");

    // What was foretold comes true.
    model.muster(&["config", "mimir", "retention-period=30d"]).await?;
    let wanted = foretold["changes"][0]["after"].as_str().context("a revision")?.to_owned();
    model
        .wait("the revision that was foretold", ACTIVE, |status| {
            let revision = &status["applications"]["mimir"]["revision"];
            is_active(status) && revision.as_str().is_some_and(|revision| wanted.starts_with(revision))
        })
        .await?;
    diff(&["mimir"], 0).await?;
    model.stop().await?;
    nothing_left(&model)
}

/// Ctrl-C ends everything in order; `muster up` goes on where it was.
#[tokio::test]
async fn a_stopped_model_resumes_with_its_data() -> anyhow::Result<()> {
    // Also in the middle of a start.
    let mut model = model()?;
    model.up(Some(&documents::monolithic()?))?;
    wait_until("a model that is up", SAID, async || model.status().await.ok()).await?;
    model.stop().await?;
    nothing_left(&model)?;

    model.up(None)?;
    model.wait_active(ACTIVE).await?;
    let written = Traffic::start(&model, "resumed").await?.stop().await?;
    model.muster(&["scale", "mimir-worker", "2"]).await?;
    let before = model.wait_active(ACTIVE).await?;
    let addresses = |status: &Value| {
        let units = ["mimir/0", "mimir-worker/0", "mimir-worker/1"];
        units.map(|name| unit(status, name)["address"].as_str().map(str::to_owned))
    };
    ensure!(addresses(&before).iter().all(Option::is_some));

    model.stop().await?;
    nothing_left(&model)?;
    says(&refused(&model, &["status"]).await?, &["no muster up runs for the model", "muster up"])?;

    model.up(None)?;
    let after = model.wait_active(ACTIVE).await?;
    ensure!(addresses(&after) == addresses(&before), "addresses changed");
    written.all_readable().await?;
    model.stop().await?;
    nothing_left(&model)?;

    // The file as it was: what the verbs did stays.
    model.up(Some(&documents::monolithic()?))?;
    let again = model.wait_active(ACTIVE).await?;
    ensure!(again["applications"]["mimir-worker"]["scale"] == 2, "the file undid what the verbs did");
    ensure!(addresses(&again) == addresses(&before));
    Traffic::start(&model, "resumed-twice").await?.finish().await?;
    model.stop().await?;
    nothing_left(&model)
}

/// Without its coordinator a worker stops and says so; a coordinator of the same name and bucket finds all data again.
#[tokio::test]
async fn a_coordinator_can_be_removed_and_deployed_again() -> anyhow::Result<()> {
    let mut model = monolithic().await?;
    let written = Traffic::start(&model, "redeployed").await?.stop().await?;
    model.muster(&["remove-application", "--yes", "mimir"]).await?;
    model.wait_status("mimir-worker", "blocked", "muster integrate COORDINATOR mimir-worker", ACTIVE).await?;
    let status = model.status().await?;
    ensure!(status["applications"]["mimir"].is_null(), "the coordinator is still there");
    wait_until("the end of all but the S3 server", ACTIVE, async || {
        model.workloads().iter().all(|(_, program, _)| program == "muster").then_some(())
    })
    .await?;

    model.muster(&["deploy", "mimir-coordinator-k8s", "mimir"]).await?;
    model.wait_status("mimir", "blocked", "no S3 relation", SAID).await?;
    model.muster(&["integrate", "mimir", "s3"]).await?;
    model.muster(&["integrate", "mimir", "mimir-worker"]).await?;
    model.wait_active(ACTIVE).await?;
    written.all_readable().await?;
    model.stop().await?;
    nothing_left(&model)
}

/// Workloads do not depend on `muster up`; the next one takes them over.
#[tokio::test]
async fn a_killed_up_leaves_everything_serving_and_the_next_takes_over() -> anyhow::Result<()> {
    let mut model = monolithic().await?;
    let holder = model.up_process()?.pid();
    says(
        &refused(&model, &["up"]).await?,
        &["already up", &format!("process {holder}"), "stop that one first"],
    )?;
    let traffic = Traffic::start(&model, "orphaned").await?;
    let before = model.processes();
    ensure!(before.len() >= 7, "three agents, Mimir, nginx with its workers, the S3 server: {before:?}");

    model.kill_up().await?;
    says(&refused(&model, &["scale", "mimir-worker", "2"]).await?, &["no muster up runs for the model"])?;
    traffic.flows().await?;
    ensure!(sorted(&model) == ids(&before), "processes changed with muster up gone");

    model.up(None)?;
    model.wait_active(ACTIVE).await?;
    traffic.flows().await?;
    ensure!(sorted(&model) == ids(&before), "the second muster up did not take over what runs");

    // It is in charge: a change reaches the units that it took over.
    model.muster(&["config", "mimir", "ingestion-rate=200000"]).await?;
    model
        .wait("the rollout", ACTIVE, |status| {
            let wanted = &status["applications"]["mimir"]["revision"];
            is_active(status) && unit(status, "mimir-worker/0")["revision"] == *wanted
        })
        .await?;
    wait_until("another mimir", SAID, async || {
        let now = model.process("mimir", "mimir-worker/0").ok()?;
        (!ids(&before).contains(&now.pid)).then_some(())
    })
    .await?;

    // Gone together with an agent, while a change is under way: each unit has one process again, and the change is kept.
    model.muster(&["scale", "mimir-worker", "2"]).await?;
    let orphan = model.process("mimir", "mimir-worker/0")?;
    let agent = model.process("worker", "mimir-worker/0")?;
    model.kill_up().await?;
    kill(agent.pid, Signal::SIGKILL)?;
    traffic.is_written().await?;
    ensure!(model.process("mimir", "mimir-worker/0")?.pid == orphan.pid, "the workload went with its agent");
    model.up(None)?;
    let status = model.wait_active(ACTIVE).await?;
    ensure!(status["applications"]["mimir-worker"]["scale"] == 2, "an answered change was forgotten");
    for unit in ["mimir-worker/0", "mimir-worker/1"] {
        model.process("worker", unit)?;
        model.process("mimir", unit)?;
    }
    // It runs what is wanted, so it is supervised by the next agent as it is.
    ensure!(model.process("mimir", "mimir-worker/0")?.pid == orphan.pid, "the workload was started anew");
    kill(orphan.pid, Signal::SIGKILL)?;
    replaced(&model, "mimir", "mimir-worker/0", &orphan).await?;
    model.wait_active(ACTIVE).await?;
    traffic.flows().await?;

    // Gone while a unit leaves: the next one sees to its end.
    model.muster(&["scale", "mimir-worker", "1"]).await?;
    model.kill_up().await?;
    model.up(None)?;
    model.wait_active(ACTIVE).await?;
    let left =
        || model.processes().into_iter().filter(|p| p.unit.as_deref() == Some("mimir-worker-1")).count();
    wait_until("the end of the unit that left", SAID, async || (left() == 0).then_some(())).await?;

    traffic.finish().await?;
    model.stop().await?;
    nothing_left(&model)
}

fn ids(processes: &[muster_testkit::model::Running]) -> Vec<Pid> {
    let mut ids: Vec<_> = processes.iter().map(|p| p.pid).collect();
    ids.sort();
    ids
}

fn sorted(model: &Model) -> Vec<Pid> {
    ids(&model.processes())
}
