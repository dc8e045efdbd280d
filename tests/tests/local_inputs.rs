//! Bad input for a model on this machine: each is refused or told about, with its place, and takes nothing down.

use std::fs;

use anyhow::{Context as _, ensure};
use muster_testkit::model::is_active;
use muster_tests::traffic::Traffic;
use muster_tests::{ACTIVE, SAID, condition, documents, model, monolithic, nothing_left, refused, says};
use serde_json::Value;

/// Files that are no model: refused before anything is made.
#[tokio::test]
async fn bad_files_are_refused_with_their_place() -> anyhow::Result<()> {
    let good = documents::monolithic()?;
    let edit = |from: &str, to: &str| {
        assert!(good.contains(from), "the example has no {from:?}");
        good.replace(from, to).into_bytes()
    };
    let long = format!("{good}\n# {}\n", "x".repeat(10 << 20));
    let cases: Vec<(&str, Vec<u8>, &[&str])> = vec![
        (
            "unknown field",
            edit("  coordinator: mimir", "  coordinator: mimir\n  colour: red"),
            &["document 2 (Worker mimir-worker)", "unknown field `colour`"],
        ),
        (
            "duplicate key",
            edit("  coordinator: mimir", "  coordinator: mimir\n  coordinator: other"),
            &["duplicate"],
        ),
        ("10 MB", long.into_bytes(), &["bytes"]),
        ("not UTF-8", [good.as_bytes(), b"# \xff\xfe\n"].concat(), &["model.yaml", "utf-8"]),
        (
            "ill-typed",
            edit("  coordinator: mimir", "  coordinator: mimir\n  units: many"),
            &["Worker mimir-worker", "spec.units"],
        ),
        ("bad name", edit("name: mimir-worker", "name: Mimir_Worker"), &["Mimir_Worker", "is not usable"]),
        (
            "unknown kind",
            edit("kind: Worker", "kind: Pod"),
            &["document 2 (Pod mimir-worker)", "Coordinator, Worker or Secret"],
        ),
        (
            "reserved name",
            edit("name: mimir-worker", "name: object-store"),
            &["belongs to the embedded S3 server"],
        ),
        ("no YAML", b"{".to_vec(), &["model.yaml"]),
    ];
    for (what, text, words) in cases {
        let model = model()?;
        let file = model.directory().with_file_name("model.yaml");
        fs::write(&file, text)?;
        let file = file.to_string_lossy().into_owned();
        let said = refused(&model, &["up", &file]).await.context(what)?;
        says(&said, words).context(what)?;
        ensure!(said.len() < 2000, "{what}: {} bytes of message", said.len());
        ensure!(!model.directory().join("model.json").exists(), "{what}: a model was made");
    }
    let model = model()?;
    says(&refused(&model, &["up"]).await?, &["does not exist yet; give a file: muster up FILE"])?;
    says(&refused(&model, &["up", "/nonexistent.yaml"]).await?, &["/nonexistent.yaml", "No such file"])?;
    Ok(())
}

/// Verbs with bad arguments change nothing.
#[tokio::test]
async fn bad_verbs_are_refused_and_change_nothing() -> anyhow::Result<()> {
    let mut model = monolithic().await?;
    let state = model.directory().join("model.json");
    let before = (fs::read(&state)?, model.workloads());
    let cases: &[(&[&str], &[&str])] = &[
        (&["deploy", "mimir-worker-k8s", "Bad_Name"], &["Bad_Name"]),
        (&["deploy", "mimir-worker-k8s", "w", "--config", "role-nonsense=true"], &["role-nonsense"]),
        (&["deploy", "no-such-charm"], &["no-such-charm"]),
        (&["deploy", "mimir-worker-k8s", "mimir-worker"], &["mimir-worker is in the model already"]),
        (&["deploy", "mimir-coordinator-k8s", "mimir-worker"], &["mimir-worker is in the model already"]),
        (&["config", "mimir-worker", "role-read=perhaps"], &["role-read"]),
        (&["config", "mimir-worker", "role-nonsense=true"], &["role-nonsense"]),
        (&["config", "mimir", "ingestion-rate=many"], &["ingestion-rate"]),
        (&["config", "mimir", "retention-period=soon"], &["retention-period"]),
        (&["config", "mimir", "no-such-option=1"], &["no-such-option"]),
        (&["config", "nobody", "role-read=true"], &["nobody"]),
        (&["scale", "nobody", "2"], &["nobody"]),
        (&["scale", "mimir-worker", "-1"], &["-1"]),
        (&["scale", "mimir-worker", "1000000"], &["1000000"]),
        (&["scale", "s3", "2"], &["s3"]),
        (&["integrate", "mimir", "nobody"], &["nobody"]),
        (&["integrate", "mimir", "mimir"], &["mimir"]),
        (&["integrate", "mimir-worker", "s3"], &["mimir-worker"]),
        (&["remove-application", "--yes", "nobody"], &["nobody"]),
        (&["remove-relation", "mimir", "nobody"], &["nobody"]),
    ];
    for (arguments, words) in cases {
        says(&refused(&model, arguments).await?, words)?;
    }
    ensure!(is_active(&model.status().await?));
    ensure!(model.workloads() == before.1, "a refused verb touched what runs");
    ensure!(fs::read(&state)? == before.0, "a refused verb changed the model");
    model.stop().await?;
    nothing_left(&model)
}

/// What can only be told in a status is told at the application that it is about, and the others serve.
#[tokio::test]
async fn mistakes_are_told_where_they_are_and_the_rest_serves() -> anyhow::Result<()> {
    let nonsense = documents::worker("nonsense", "mimir", 1, &["cook"]);
    let roleless = documents::worker("roleless", "mimir", 1, &[]);
    let empty = documents::worker("empty", "mimir", 0, &["read"]);
    let lost = documents::worker("lost", "nobody", 1, &["all"]);
    let second = documents::coordinator("second", "  s3: {secret: s3}")
        + &documents::worker("second-worker", "second", 1, &["all"]);
    let mut model = model()?;
    model.up(Some(&(documents::monolithic()? + &nonsense + &roleless + &empty + &lost + &second)))?;
    model.wait_status("mimir-worker", "active", "", ACTIVE).await?;
    model.muster(&["deploy", "mimir-worker-k8s", "lonely"]).await?;
    for (app, message) in [
        ("nonsense", "mimir 2.17 has no role cook; its roles are "),
        ("roleless", "no role assigned; switch one on: muster config roleless role-all=true"),
        ("empty", "no unit; add one: muster scale empty 1"),
        (
            "lost",
            "coordinator \"nobody\" does not exist; deploy it, or relate another: muster integrate COORDINATOR lost",
        ),
        ("lonely", "no coordinator; relate one: muster integrate COORDINATOR lonely"),
        ("second", "already belongs to coordinator mimir; give second a bucket or path of its own"),
    ] {
        model.wait_status(app, "blocked", message, SAID).await?;
    }
    model.wait_status("second-worker", "waiting", "not started: waits for second", SAID).await?;
    model.wait_status("mimir", "active", "", SAID).await?;
    let mimirs: Vec<_> = model.workloads().into_iter().filter(|(_, program, _)| program == "mimir").collect();
    ensure!(mimirs.len() == 1 && mimirs[0].0 == "mimir-worker-0", "{mimirs:?}");

    let traffic = Traffic::start(&model, "mistakes").await?;
    for verb in [
        &["config", "roleless", "role-read=true"][..],
        &["scale", "empty", "1"],
        &["integrate", "mimir", "lonely"],
        &["remove-application", "--yes", "nonsense"],
        &["remove-application", "--yes", "lost"],
        &["remove-application", "--yes", "second-worker"],
        &["remove-application", "--yes", "second"],
    ] {
        model.muster(verb).await?;
    }
    model.wait_active(ACTIVE).await?;
    let mimirs = || {
        let all = model.workloads().into_iter();
        all.filter(|(_, program, _)| program == "mimir").collect::<Vec<_>>()
    };
    let before = mimirs();
    ensure!(before.len() == 4, "{before:?}");
    traffic.finish().await?;

    // Without a load balancer the workers go on.
    model.muster(&["scale", "mimir", "0"]).await?;
    model
        .wait_status("mimir", "blocked", "no load balancer unit; add one: muster scale mimir 1", SAID)
        .await?;
    model.wait("the end of nginx", SAID, |_| model.processes_of("nginx", "mimir/0").is_empty()).await?;
    model.muster(&["scale", "mimir", "1"]).await?;
    model.wait_active(ACTIVE).await?;
    ensure!(mimirs() == before, "workers were touched: {before:?}, now {:?}", mimirs());
    model.stop().await?;
    nothing_left(&model)
}

/// A config that Mimir itself refuses is told in its words and reaches no process.
#[tokio::test]
async fn a_config_that_mimir_refuses_restarts_nothing() -> anyhow::Result<()> {
    let example = documents::monolithic()?;
    let with =
        |overrides: &str| example.replacen("  s3:\n", &format!("  overrides: {overrides}\n  s3:\n"), 1);
    let mut model = monolithic().await?;
    let before = model.workloads();
    let accepted = |status: &Value| condition(status, "mimir", "ConfigAccepted");
    ensure!(accepted(&model.status().await?)["status"] == "True");

    // The workloads go on while `muster up` is away, so what follows shows that they are not restarted either.
    model.kill_up().await?;
    model.up(Some(&with("{limits: {no_such_key: 1}}")))?;
    let status = model.wait_status("mimir", "blocked", "config rejected by mimir-worker/0", SAID).await?;
    let condition = accepted(&status);
    ensure!(condition["status"] == "False" && condition["reason"] == "ConfigRejected", "{condition}");
    says(condition["message"].as_str().unwrap_or_default(), &["no_such_key"])?;
    let message = &status["applications"]["mimir-worker"]["message"];
    says(message.as_str().unwrap_or_default(), &["config rejected", "no_such_key"])?;
    let traffic = Traffic::start(&model, "refused").await?;
    ensure!(
        model.workloads() == before,
        "a refused config restarted something: {before:?}, now {:?}",
        model.workloads()
    );

    // A path that Muster decides on is refused by name, before any binary sees it.
    model.kill_up().await?;
    model.up(Some(&with("{memberlist: {cluster_label: mine}}")))?;
    model.wait_status("mimir", "blocked", "memberlist", SAID).await?;
    ensure!(
        model.workloads() == before,
        "a refused override restarted something: {before:?}, now {:?}",
        model.workloads()
    );
    traffic.flows().await?;

    model.kill_up().await?;
    model.up(Some(&with("{limits: {max_label_names_per_series: 40}}")))?;
    let status = model
        .wait("the corrected config", ACTIVE, |status| {
            let revision = &status["applications"]["mimir"]["revision"];
            is_active(status)
                && status["applications"]["mimir-worker"]["units"]["mimir-worker/0"]["revision"] == *revision
        })
        .await?;
    ensure!(accepted(&status)["status"] == "True");
    let mimir = |workloads: Vec<(String, String, nix::unistd::Pid)>| {
        workloads.into_iter().find(|(_, p, _)| p == "mimir")
    };
    ensure!(mimir(model.workloads()) != mimir(before), "the corrected config did not reach Mimir");
    traffic.finish().await?;
    model.stop().await?;
    nothing_left(&model)
}
