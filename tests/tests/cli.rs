//! The built `muster`: what it prints where, and its exit codes. Needs no running model.

#![allow(clippy::unwrap_used, reason = "a test may fail by a panic")]

use std::ffi::{OsStr, OsString};
use std::io::{Write, pipe};
use std::os::unix::ffi::OsStringExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use muster_testkit::{binaries, directory};
use serde_json::Value;

const GOOD: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/examples/mimir-monolithic.yaml");

/// Runs `muster` without a terminal, with models below `home`.
fn muster_at(home: &Path, arguments: &[impl AsRef<OsStr>]) -> Output {
    command(home).args(arguments).output().unwrap()
}

fn muster(arguments: &[impl AsRef<OsStr>]) -> Output {
    muster_at(directory::temporary().path(), arguments)
}

fn command(home: &Path) -> Command {
    let mut command = Command::new(binaries::path("muster"));
    command
        .env_remove("MUSTER_MODEL")
        .env_remove("CLICOLOR_FORCE")
        // No cluster either.
        .env_remove("KUBECONFIG")
        .env_remove("KUBERNETES_SERVICE_HOST")
        .env("HOME", home)
        .env("XDG_STATE_HOME", home)
        .stdin(Stdio::null());
    command
}

fn out(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap()
}

fn err(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).unwrap()
}

/// Exit code 2, nothing on standard output, an `ERROR` line that is short and cannot steer a terminal.
fn assert_refused(output: &Output, expected: &str) {
    let said = err(output);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(output.stdout.is_empty());
    assert!(said.contains("ERROR ") && said.contains(expected), "{expected:?} is not in {said}");
    assert!(said.len() < 20_000 && !said.chars().any(|c| c.is_control() && c != '\n'), "{said:?}");
}

#[test]
fn explanations_go_to_standard_output() {
    for (topic, expected) in [
        (&["explain", "mimir"][..], "store-gateway"),
        (&["explain", "loki"], "backend"),
        (&["explain", "tempo"], "metrics-generator"),
        (&["explain", "statuses"], "MissingRequiredRoles"),
        (&["explain", "options", "mimir-coordinator-k8s"], "retention-period"),
        (&["explain"], "s3-integrator"),
        (&["--version"], env!("CARGO_PKG_VERSION")),
        (&["help", "deploy"], "--config"),
        (&["man"], ".TH muster"),
        (&["man", "wait-for"], "timeout"),
        (&["completion", "bash"], "remove-application"),
        (&["completion", "zsh"], "remove-application"),
        (&["completion", "fish"], "remove-application"),
    ] {
        let output = muster(topic);
        assert_eq!(output.status.code(), Some(0), "{topic:?}: {}", err(&output));
        assert!(output.stderr.is_empty());
        assert!(out(&output).contains(expected), "{topic:?}: {}", out(&output));
        assert!(!out(&output).contains('\u{1b}'), "colours without a terminal: {topic:?}");
    }
}

#[test]
fn wrong_usage_is_refused_with_exit_code_2() {
    let long = "a".repeat(100_000);
    for (arguments, expected) in [
        (&["deplyo"][..], "deploy"),
        (&[], "no verb"),
        (&["scale", "mimir"], "UNITS"),
        (&["scale", &long, "1"], "not usable"),
        (&["scale", "\u{1b}[2J\u{7}", "1"], "not usable"),
        (&["status", "-m", "A B"], "not usable"),
        (&["status", "-m", &long], "not usable"),
        (&["explain", "options", "no-such-charm"], "s3-integrator"),
        (&["explain", "mimir", "9.9"], "2.17"),
        (&["man", "no-such-verb"], "wait-for"),
        (&["check", "/nonexistent"], "/nonexistent"),
        (&["up", "--nginx", "/nonexistent"], "/nonexistent"),
    ] {
        assert_refused(&muster(arguments), expected);
    }
    let bytes = |bytes: &[u8]| OsString::from_vec(bytes.to_vec());
    assert_refused(&muster(&[bytes(b"scale"), bytes(b"\xff\xfe"), bytes(b"1")]), "UTF-8");
    assert_refused(&muster(&[bytes(b"status"), bytes(b"-m"), bytes(b"\xff")]), "UTF-8");
}

#[test]
fn without_a_running_model_verbs_say_how_to_start_one() {
    let home = directory::temporary();
    for arguments in [
        &["status"][..],
        &["status", "-m", "other"],
        &["status", "-m", "./nowhere"],
        &["deploy", "mimir-worker-k8s"],
        &["config", "mimir"],
        &["integrate", "a", "b"],
        &["remove-relation", "a", "b"],
        &["remove-application", "mimir"],
        &["scale", "mimir", "2"],
        &["wait-for", "mimir"],
        &["debug-log"],
        &["export"],
        &["explain", "application", "mimir"],
    ] {
        assert_refused(&muster_at(home.path(), arguments), "muster up");
    }
    assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 0, "asking made something");
}

#[test]
fn good_documents_pass_the_check() {
    let output = muster(&["check", GOOD]);
    assert_eq!(output.status.code(), Some(0), "{}{}", out(&output), err(&output));
    let json = muster(&["check", GOOD, "-o", "json"]);
    assert!(serde_json::from_slice::<Value>(&json.stdout).unwrap().is_array());
}

#[test]
fn mistakes_in_documents_are_found() {
    let home = directory::temporary();
    let path = home.path().join("model.yaml");
    let good = std::fs::read_to_string(GOOD).unwrap();
    let worker = "\n---\n{apiVersion: muster.dev/v1alpha1, kind: Worker, metadata: {name: lost}, spec: {roles: {colour: true}}}\n";
    std::fs::write(&path, good.clone() + worker).unwrap();
    let output = muster(&[OsStr::new("check"), path.as_os_str(), OsStr::new("-o"), OsStr::new("json")]);
    assert_eq!(output.status.code(), Some(1));
    let findings: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    let lost = findings.iter().find(|f| f["subject"]["application"] == "lost").unwrap();
    assert_eq!((&lost["status"], &lost["reason"]), (&"blocked".into(), &"CoordinatorMissing".into()));
    let table = muster(&[OsStr::new("check"), path.as_os_str()]);
    assert!(out(&table).contains("muster integrate") && !out(&table).contains('\u{1b}'), "{}", out(&table));
    let painted = muster(&[OsStr::new("--color=always"), OsStr::new("check"), path.as_os_str()]);
    assert!(out(&painted).contains("\u{1b}[31mblocked"), "{}", out(&painted));

    for (content, expected) in [
        (&b"\xff\xfe"[..], "not UTF-8"),
        (b"kind: Worker\nkind: Worker\n", "duplicate"),
        (b"kind: Pod\n", "Pod"),
        (b"[", "ERROR"),
        (&vec![b'a'; 10 << 20], "more than"),
    ] {
        std::fs::write(&path, content).unwrap();
        let output = muster(&[OsStr::new("check"), path.as_os_str()]);
        assert_eq!(output.status.code(), Some(1), "{expected}: {}", err(&output));
        assert!(output.stdout.is_empty() && err(&output).contains(expected), "{expected}: {}", err(&output));
    }
}

#[test]
fn documents_can_come_from_standard_input() {
    let home = directory::temporary();
    let mut child = command(home.path())
        .args(["check", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(&std::fs::read(GOOD).unwrap()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    let home = directory::temporary();
    for arguments in
        [&["completion", "bash"][..], &["explain", "statuses"], &["--help"], &["generate-docs"], &["man"]]
    {
        let (reader, writer) = pipe().unwrap();
        drop(reader);
        let output =
            command(home.path()).args(arguments).stdout(writer).stderr(Stdio::piped()).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", err(&output));
        assert!(output.stderr.is_empty(), "{arguments:?}: {}", err(&output));
    }
}

#[test]
fn closed_streams_and_missing_directories_end_nothing_badly() {
    let mut command = Command::new(binaries::path("muster"));
    let output = command.env_clear().args(["explain", "mimir"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    let mut command = Command::new(binaries::path("muster"));
    assert_refused(&command.env_clear().arg("status").output().unwrap(), "HOME");
}
