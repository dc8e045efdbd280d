//! The offline check of a config with the workload's own binary.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;

use super::children::{self, Ending};
use super::{DRAIN_OUTPUT, files, output, start_error};
use crate::machine::Outcome;
use crate::workload::Launch;

/// How long a check may take. Mimir's takes 0.05 s on a machine at rest.
const TIMEOUT: Duration = Duration::from_secs(30);
/// How much of the complaint is read, in bytes. An unknown flag gives 26 kB of usage.
const MAX_STDERR: usize = 64 << 10;

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
    let stderr = started.child.stderr.take().map(OwnedFd::from);
    let reader = stderr.map(|pipe| tokio::spawn(output::collect(pipe, MAX_STDERR)));
    let ending = tokio::time::timeout(TIMEOUT, &mut started.ended).await;
    if ending.is_err() {
        children::signal_group(started.pid, Signal::SIGKILL);
        return Outcome::Failed(format!("the config check did not end within {} s", TIMEOUT.as_secs()));
    }
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
