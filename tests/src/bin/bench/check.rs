//! `muster check` against the run of the product's binary that it contains.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use muster_testkit::servers::{GO_SERVERS, GoServer, workspace};
use muster_testkit::{binaries, directory};

use crate::{Figure, least_and_median, milliseconds};

const PAIRS: usize = 7;
/// How many times as long `muster check` may take.
const BAR: f64 = 2.0;

pub(crate) fn figures() -> anyhow::Result<Vec<Figure>> {
    GO_SERVERS.iter().map(figure).collect()
}

/// The monolithic example, whose config is checked once, as there is one set of roles.
fn figure(server: &GoServer) -> anyhow::Result<Figure> {
    let name = server.name;
    let binary = server.built();
    let search = binary.parent().context("the binary is in no directory")?;
    let example = workspace().join(format!("deploy/examples/{name}-monolithic.yaml"));
    let kept = directory::temporary();
    let mut alone = learn(kept.path(), name, &binary, &example)?;
    // What the first run reads from the disk is at hand for all others.
    timed(&mut alone)?;
    timed(&mut check(search, &example))?;
    let (mut with, mut without, mut factors) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..PAIRS {
        let (one, other) = (timed(&mut check(search, &example))?, timed(&mut alone)?);
        with.push(one);
        without.push(other);
        factors.push(one.as_secs_f64() / other.as_secs_f64());
    }
    factors.sort_unstable_by(f64::total_cmp);
    let median = factors[PAIRS / 2];
    let (with, without) = (least_and_median(with).1, least_and_median(without).1);
    Ok(Figure {
        what: format!(
            "muster check, {name}: {} against {} of the binary alone",
            milliseconds(with),
            milliseconds(without)
        ),
        measured: format!("{median:.2}"),
        bar: format!("{BAR:.1}, median of {PAIRS}"),
        holds: median <= BAR,
    })
}

fn check(search: &Path, example: &Path) -> Command {
    let mut command = Command::new(binaries::path("muster"));
    command.arg("check").arg("--bin").arg(search).arg(example);
    command
}

/// The run of the binary that `muster check` contains, from a stand-in that keeps the files and arguments that it is given.
fn learn(kept: &Path, name: &str, binary: &Path, example: &Path) -> anyhow::Result<Command> {
    let (bin, files, arguments) = (kept.join("bin"), kept.join("files"), kept.join("arguments"));
    fs::create_dir(&bin)?;
    let stand_in = bin.join(name);
    let quoted = |path: &PathBuf| format!("'{}'", path.display());
    let script =
        format!("#!/bin/sh\ncp -a . {} && printf '%s\\n' \"$@\" > {}\n", quoted(&files), quoted(&arguments));
    fs::write(&stand_in, script)?;
    fs::set_permissions(&stand_in, Permissions::from_mode(0o755))?;
    timed(&mut check(&bin, example))?;
    let arguments = fs::read_to_string(&arguments).context("muster check did not run the binary")?;
    let mut command = Command::new(binary);
    command.args(arguments.lines()).current_dir(files);
    Ok(command)
}

/// How long a command takes that must succeed.
fn timed(command: &mut Command) -> anyhow::Result<Duration> {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let started = Instant::now();
    let status = command.status().with_context(|| format!("{command:?} could not be started"))?;
    let took = started.elapsed();
    ensure!(status.success(), "{command:?} failed: {status}");
    Ok(took)
}
