//! The offline check of a config with the workload's own binary.

use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::pin::pin;
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::unistd::Pid;

use muster_relation::{Assignment, ClusterData};
use tokio::signal::unix::{SignalKind, signal};

use super::children::{self, Ending};
use super::{DRAIN_OUTPUT, files, launch, output, start_error};
use crate::Settings;
use crate::machine::Outcome;
use crate::workload::{Launch, Workload};

/// How long a check may take. Mimir's takes 0.05 s on a machine at rest.
const TIMEOUT: Duration = Duration::from_secs(30);
/// How much of the complaint is read, in bytes. An unknown flag gives 26 kB of usage.
const MAX_STDERR: usize = 64 << 10;

/// Checks what a unit would be told to run as the unit's agent does, without an agent: its files are written to the run directory of
/// `settings`. For a program that has no other children, because all that end are reaped here.
///
/// # Errors
/// Nobody would notice the end of the check, because the operating system refuses to tell of it.
pub async fn check_config(
    workload: &dyn Workload,
    settings: &Settings,
    assignment: &Assignment,
    cluster: &ClusterData,
) -> io::Result<Outcome> {
    let mut child_ended = signal(SignalKind::child())?;
    let directory = &settings.run_directory;
    let launch = match launch(workload, settings, assignment, cluster, directory) {
        Ok(launch) => launch,
        Err(problem) => return Ok(Outcome::Failed(problem)),
    };
    let message = |stderr: &str| workload.check_message(cluster, stderr);
    let mut checked = pin!(check(&launch, directory, message));
    loop {
        tokio::select! {
            outcome = &mut checked => return Ok(outcome),
            _ = child_ended.recv() => children::reap(),
        }
    }
}

/// Kills a check that nobody waits for any more.
struct Waited {
    pid: Pid,
    /// Its number may be another process's by now.
    ended: bool,
}

impl Drop for Waited {
    fn drop(&mut self) {
        if !self.ended {
            children::signal_group(self.pid, Signal::SIGKILL);
        }
    }
}

/// Writes the files of `launch` to `directory` and runs its check there. `message` finds the complaint in what the binary wrote.
pub(crate) async fn check(
    launch: &Launch,
    directory: &Path,
    message: impl FnOnce(&str) -> String,
) -> Outcome {
    let Some(arguments) = &launch.check_arguments else { return Outcome::Accepted };
    if let Err(error) = files::write(launch, directory) {
        return Outcome::Failed(error.to_string());
    }
    let mut command = Command::new(&launch.program);
    command.args(arguments.iter().map(OsStr::new)).current_dir(directory);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut started = match children::start(&mut command) {
        Ok(started) => started,
        Err(error) => return Outcome::Failed(start_error(&launch.program, &error)),
    };
    let mut waited = Waited { pid: started.pid, ended: false };
    let stderr = started.child.stderr.take().map(OwnedFd::from);
    let reader = stderr.map(|pipe| tokio::spawn(output::collect(pipe, MAX_STDERR)));
    let ending = tokio::time::timeout(TIMEOUT, &mut started.ended).await;
    if ending.is_err() {
        return Outcome::Failed(format!("the config check did not end within {} s", TIMEOUT.as_secs()));
    }
    waited.ended = true;
    if let Ok(Ok(Ending::Code(0))) = ending {
        return Outcome::Accepted;
    }
    let mut stderr = Vec::new();
    if let Some(reader) = reader
        && let Ok(Ok(Ok(bytes))) = tokio::time::timeout(DRAIN_OUTPUT, reader).await
    {
        stderr = bytes;
    }
    match ending {
        Ok(Ok(Ending::Code(_))) => Outcome::Rejected(message(&String::from_utf8_lossy(&stderr))),
        // A signal says nothing about the config: short of memory, for example.
        Ok(Ok(ending)) => Outcome::Failed(format!("the config check ended by {ending}")),
        _ => Outcome::Failed("the config check was lost".to_owned()),
    }
}
