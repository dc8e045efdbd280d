//! The cluster of the tests leaves nothing behind, also when whoever started it is killed.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use muster_testkit::kubernetes::binaries;
use muster_testkit::{directory, wait_until};

const SOON: Duration = Duration::from_secs(20);

#[tokio::test]
async fn a_cluster_ends_with_whoever_started_it() {
    let place = directory::temporary();
    let script = |arguments: &[&str]| {
        let mut command = Command::new(binaries::kit().join("cluster"));
        command
            .env("MUSTER_KUBE_NAME", format!("muster-kit-{}", std::process::id()))
            .env("MUSTER_KUBE_DIR", place.path())
            .env("MUSTER_KUBE_BIN", binaries::directory().unwrap())
            .args(arguments);
        command
    };
    let started = Instant::now();
    let mut run = script(&["run", "--api-only", "cat"]);
    let mut run = run.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut input = run.stdin.take().unwrap();
    input.write_all(b"is up\n").unwrap();
    let mut lines = BufReader::new(run.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap_or_default().ends_with("is up")), "the cluster does not come up");
    println!("up in {:.1} s", started.elapsed().as_secs_f64());
    let ours = [format!("muster-kit-{}", std::process::id()), place.path().display().to_string()];
    let leaks = || -> Vec<String> {
        let all = String::from_utf8(script(&["leaks"]).output().unwrap().stdout).unwrap();
        // Another cluster may be up.
        all.lines().filter(|line| ours.iter().any(|our| line.contains(our))).map(str::to_owned).collect()
    };
    assert!(
        leaks().iter().any(|line| line.contains("kube-apiserver")),
        "what looks for leaks does not see what runs"
    );

    // Not even its command ends it: that goes on reading as long as this process holds its input.
    run.kill().unwrap();
    run.wait().unwrap();
    drop(input);
    let clean = async || (!leaks().iter().any(|line| line.contains("kube-apiserver"))).then_some(());
    wait_until("an end of all processes", SOON, clean).await.unwrap();
    assert!(script(&["down"]).status().unwrap().success());
    assert!(leaks().is_empty(), "left behind: {:?}", leaks());
}
