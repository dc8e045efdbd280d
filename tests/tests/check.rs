//! `muster check` with the workloads' own binaries. Needs no running model.

#![allow(clippy::unwrap_used, reason = "a test may fail by a panic")]

use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use muster_testkit::process::Process;
use muster_testkit::servers::{LOKI, MIMIR, TEMPO, workspace};
use muster_testkit::{binaries, directory, wait_until};
use nix::sys::signal::Signal;
use serde_json::Value;
use tempfile::TempDir;

/// How long a check may take at a busy time.
const SOON: Duration = Duration::from_secs(30);
/// What a Secret has that must not show.
const SECRET: &str = "hunter2hunter2";

/// `muster check`, with nothing on `PATH` and its temporary files below `home`.
fn check(home: &Path) -> Command {
    let (empty, temporary) = (home.join("empty"), home.join("tmp"));
    fs::create_dir_all(&empty).unwrap();
    fs::create_dir_all(&temporary).unwrap();
    let mut command = Command::new(binaries::path("muster"));
    command.env_clear().env("PATH", empty).env("TMPDIR", temporary).env("HOME", home);
    command.arg("check").stdin(Stdio::null());
    command
}

/// The real binaries as `--bin`.
fn with_servers(command: &mut Command) -> &mut Command {
    for server in [MIMIR, LOKI, TEMPO] {
        command.arg("--bin").arg(server.built().parent().unwrap());
    }
    command
}

fn example(name: &str) -> PathBuf {
    workspace().join("deploy/examples").join(name)
}

/// An example with overrides.
fn edited(home: &Path, name: &str, overrides: &str) -> PathBuf {
    let text = fs::read_to_string(example(name)).unwrap();
    let edited = text.replacen("\n  s3:\n", &format!("\n  overrides: {overrides}\n  s3:\n"), 1);
    assert_ne!(text, edited);
    written(home, &edited)
}

fn written(home: &Path, text: &str) -> PathBuf {
    let path = home.join("model.yaml");
    fs::write(&path, text).unwrap();
    path
}

/// A directory with a program of that name that is a shell script.
fn script(home: &Path, name: &str, lines: &str) -> PathBuf {
    let directory = home.join("bin");
    fs::create_dir_all(&directory).unwrap();
    let file = directory.join(name);
    fs::write(&file, format!("#!/bin/sh\nPATH=/usr/bin:/bin\n{lines}\n")).unwrap();
    fs::set_permissions(&file, Permissions::from_mode(0o755)).unwrap();
    directory
}

fn model(workers: &str) -> String {
    format!(
        "{{apiVersion: muster.dev/v1alpha1, kind: Coordinator, metadata: {{name: mimir}}, spec: {{product: mimir, s3: {{secret: s3}}}}}}
---
{{apiVersion: v1, kind: Secret, metadata: {{name: s3}}, type: muster.dev/s3, stringData: {{endpoint: 'http://127.0.0.1:9000', bucket: mimir, access-key: {SECRET}, secret-key: {SECRET}}}}}
{workers}"
    )
}

fn worker(name: &str, roles: &str) -> String {
    format!(
        "---\n{{apiVersion: muster.dev/v1alpha1, kind: Worker, metadata: {{name: {name}}}, spec: {{product: mimir, coordinator: mimir, units: 3, roles: {{{roles}}}}}}}\n"
    )
}

/// What was printed on both streams, in one line.
fn said(output: &Output) -> String {
    let both = [&output.stdout[..], &output.stderr].concat();
    String::from_utf8(both).unwrap().split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The findings of `-o json` that have a reason.
fn findings(output: &Output, reason: &str) -> Vec<Value> {
    let all: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    all.into_iter().filter(|finding| finding["reason"] == reason).collect()
}

fn assert_nothing_is_left(home: &TempDir) {
    let left: Vec<_> = fs::read_dir(home.path().join("tmp")).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn every_example_is_accepted_by_its_own_binary() {
    let home = directory::temporary();
    let mut accepted = 0;
    for entry in fs::read_dir(workspace().join("deploy/examples")).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        if !text.contains("kind: Coordinator") {
            continue;
        }
        let output = with_servers(&mut check(home.path())).arg(&path).output().unwrap();
        let said = said(&output);
        assert_eq!(output.status.code(), Some(0), "{}: {said}", path.display());
        for product in
            ["mimir", "loki", "tempo"].into_iter().filter(|p| text.contains(&format!("product: {p}")))
        {
            assert!(said.contains(&format!("config of {product} accepted by {product}")), "{said}");
            assert!(said.contains(&format!("load balancer of {product} accepted by nginx")), "{said}");
            accepted += 1;
        }
    }
    assert!(accepted >= 10, "only {accepted} configs were checked");
    assert_nothing_is_left(&home);
}

#[test]
fn what_a_binary_refuses_is_a_finding_in_its_own_words() {
    let home = directory::temporary();
    for (example, overrides, message) in [
        ("mimir-scalable.yaml", "{no_such: {a: 1}}", "field no_such not found in type mimir.Config"),
        (
            "mimir-monolithic.yaml",
            "{limits: {ingestion_rate: fast}}",
            "cannot unmarshal !!str `fast` into float64",
        ),
        (
            "mimir-distributed.yaml",
            "{blocks_storage: {tsdb: {head_compaction_interval: 30m}}}",
            "invalid TSDB compaction interval",
        ),
        (
            "loki-scalable.yaml",
            "{limits_config: {no_such: 1}}",
            "field no_such not found in type validation.plain",
        ),
        (
            "loki-monolithic.yaml",
            "{limits_config: {max_query_series: lots}}",
            "cannot unmarshal !!str `lots` into int",
        ),
        ("loki-monolithic.yaml", "{ingester: {chunk_encoding: zip}}", "invalid encoding: zip"),
        ("tempo-monolithic.yaml", "{no_such: 1}", "field no_such not found in type app.Config"),
        (
            "tempo-distributed.yaml",
            "{ingester: {trace_idle_period: soon}}",
            "cannot unmarshal !!str `soon` into time.Duration",
        ),
        (
            "tempo-monolithic.yaml",
            "{ingester: {max_block_bytes: -1}}",
            "cannot unmarshal !!int `-1` into uint64",
        ),
    ] {
        let path = edited(home.path(), example, overrides);
        let output = with_servers(&mut check(home.path())).arg(&path).args(["-o", "json"]).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{overrides}: {}", said(&output));
        let product = example.split('-').next().unwrap();
        let rejected = findings(&output, "ConfigRejected");
        // One, although several kinds of units say it.
        assert_eq!(rejected.len(), 1, "{overrides}: {rejected:?}");
        assert_eq!(
            (&rejected[0]["subject"]["application"], &rejected[0]["status"]),
            (&product.into(), &"blocked".into())
        );
        let text = rejected[0]["message"].as_str().unwrap();
        assert!(
            text.starts_with(&format!("config rejected by {product}: ")) && text.contains(message),
            "{text}"
        );
        assert!(!said(&output).contains(&format!("config of {product} accepted")));
    }
    assert_nothing_is_left(&home);
}

#[test]
fn what_was_not_checked_is_said_and_is_no_error() {
    let home = directory::temporary();
    let output = check(home.path()).arg(example("lgtm.yaml")).output().unwrap();
    let text = said(&output);
    assert_eq!(output.status.code(), Some(0), "{text}");
    for product in ["mimir", "loki", "tempo"] {
        let line = format!("config of {product} not checked by {product}: not found in PATH; give --bin DIR");
        assert!(text.contains(&line), "{text}");
    }
    let output = check(home.path())
        .arg("--bin")
        .arg(home.path())
        .arg(example("mimir-monolithic.yaml"))
        .output()
        .unwrap();
    assert!(
        said(&output).contains("not checked by mimir: not found in PATH and in no --bin DIR"),
        "{}",
        said(&output)
    );
    // A config that cannot be made is not checked either.
    let path = edited(home.path(), "loki-monolithic.yaml", "{target: all}");
    let output = with_servers(&mut check(home.path())).arg(&path).args(["-o", "json"]).output().unwrap();
    assert_eq!((output.status.code(), findings(&output, "OwnedOverride").len()), (Some(1), 1));
    assert!(
        said(&output).contains("config of loki not checked by loki: it cannot be made"),
        "{}",
        said(&output)
    );

    for (flag, problem) in [("--bin", "no such directory"), ("--nginx", "no such file")] {
        let output =
            check(home.path()).args([flag, "/nonexistent"]).arg(example("lgtm.yaml")).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        assert!(said(&output).contains(problem), "{}", said(&output));
    }
}

#[test]
fn a_binary_sees_what_a_unit_would_give_it_and_no_credentials() {
    let home = directory::temporary();
    let seen = home.path().join("seen");
    fs::create_dir(&seen).unwrap();
    let lines = format!(
        "stat -c %a . config.yaml > '{0}/modes'\ncat config.yaml >> '{0}/configs'\nprintf '%s\\n' \"$@\" >> '{0}/arguments'",
        seen.display()
    );
    let bin = script(home.path(), "mimir", &lines);
    let workers = worker("readers", "read: true")
        + &worker("others", "write: true, backend: true")
        + &worker("more-readers", "read: true");
    let path = written(home.path(), &model(&workers));
    let output = check(home.path()).arg("--bin").arg(&bin).arg(&path).output().unwrap();
    let text = said(&output);
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert_eq!(fs::read_to_string(seen.join("modes")).unwrap(), "700\n600\n");
    let arguments = fs::read_to_string(seen.join("arguments")).unwrap();
    let targets: Vec<_> = arguments.lines().filter(|line| line.starts_with("-target=")).collect();
    assert_eq!(targets.len(), 2, "one check for each set of roles: {targets:?}");
    assert_eq!(arguments.lines().filter(|line| *line == "-modules").count(), 2);
    let configs = fs::read_to_string(seen.join("configs")).unwrap();
    assert!(configs.contains("instance_addr: \"127.0.0.") && !configs.contains("${muster:"), "{configs}");
    for text in [&configs, &text, &arguments] {
        assert!(!text.contains(SECRET), "{text}");
    }
    assert_nothing_is_left(&home);
}

#[test]
fn a_refusal_for_some_roles_names_them() {
    let home = directory::temporary();
    let lines = "case \"$*\" in *-target=*ingester*) echo 'error validating config: no writes today' >&2; exit 1;; esac";
    let bin = script(home.path(), "mimir", lines);
    let workers = worker("readers", "read: true")
        + &worker("writers", "write: true")
        + &worker("back", "backend: true");
    let path = written(home.path(), &model(&workers));
    let output = check(home.path()).arg("--bin").arg(&bin).arg(&path).args(["-o", "json"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    let rejected = findings(&output, "ConfigRejected");
    assert_eq!(rejected.len(), 1, "{rejected:?}");
    let message = rejected[0]["message"].as_str().unwrap();
    assert!(
        message.starts_with("config rejected by mimir with roles ") && message.ends_with(": no writes today"),
        "{message}"
    );
    assert!(message.contains("ingester") && !message.contains("querier"), "{message}");
}

#[test]
fn a_check_that_cannot_be_carried_out_is_a_failure() {
    let home = directory::temporary();
    let bin = script(home.path(), "mimir", "kill -9 $$");
    let path = written(home.path(), &model(&worker("all", "all: true")));
    let run = || check(home.path()).arg("--bin").arg(&bin).arg(&path).output().unwrap();
    let output = run();
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    assert!(
        said(&output)
            .contains("config of mimir could not be checked by mimir: the config check ended by signal 9")
    );
    fs::set_permissions(bin.join("mimir"), Permissions::from_mode(0o644)).unwrap();
    let output = run();
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    assert!(said(&output).contains("make it executable"), "{}", said(&output));
    assert!(!said(&output).contains("nothing is wrong"));
    assert_nothing_is_left(&home);
}

#[test]
fn nginx_refuses_a_certificate_that_is_none() {
    let home = directory::temporary();
    let pem = |kind: &str| format!("\"-----BEGIN {kind}-----\\nAAAA\\n-----END {kind}-----\\n\"");
    let text = model(&worker("all", "all: true"))
        .replace("s3: {secret: s3}", "s3: {secret: s3}, tls: {secret: cert}")
        + &format!(
            "---\n{{apiVersion: v1, kind: Secret, metadata: {{name: cert}}, type: kubernetes.io/tls, stringData: {{tls.crt: {}, tls.key: {}}}}}\n",
            pem("CERTIFICATE"),
            pem("PRIVATE KEY")
        );
    let path = written(home.path(), &text);
    let output = with_servers(&mut check(home.path())).arg(&path).args(["-o", "json"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    let rejected = findings(&output, "ConfigRejected");
    assert_eq!(rejected.len(), 1, "{}", said(&output));
    let message = rejected[0]["message"].as_str().unwrap();
    assert!(
        message.starts_with("load balancer rejected by nginx: ") && message.contains("certificate"),
        "{message}"
    );
    assert!(said(&output).contains("config of mimir accepted by mimir"), "{}", said(&output));
}

#[tokio::test]
async fn an_interrupted_check_leaves_nothing_behind() {
    let home = directory::temporary();
    let pid_file = home.path().join("pid");
    let bin = script(home.path(), "mimir", &format!("echo $$ > '{}'\nexec sleep 600", pid_file.display()));
    let path = written(home.path(), &model(&worker("all", "all: true")));
    let arguments: [&OsStr; 3] = ["--bin".as_ref(), bin.as_os_str(), path.as_os_str()];
    let log = home.path().join("log");
    let mut muster = Process::spawn(check(home.path()).args(arguments), &log).unwrap();
    let pid = wait_until("the check runs", SOON, async || {
        fs::read_to_string(&pid_file).ok()?.trim().parse::<i32>().ok()
    });
    let pid = pid.await.unwrap();
    let status = muster.stop(Signal::SIGINT, SOON).await.unwrap();
    assert_eq!(status.code(), Some(2), "{}", fs::read_to_string(&log).unwrap());
    // Whoever inherits it may be slow to take note of its end.
    wait_until("the binary has ended", SOON, async || {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let state = stat.rsplit(") ").next().unwrap_or_default();
        (stat.is_empty() || state.starts_with('Z')).then_some(())
    })
    .await
    .unwrap();
    assert_nothing_is_left(&home);
}
