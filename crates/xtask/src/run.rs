//! Running other programs.

use std::io::ErrorKind;
use std::process::Command;

use anyhow::{Context as _, bail};

/// Runs `command` with our own output and waits until it ends.
///
/// # Errors
/// The program is missing, cannot be started, or fails. `hint` says how to get it.
pub(crate) fn succeed(command: &mut Command, hint: &str) -> anyhow::Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let status = match command.status() {
        Err(error) if error.kind() == ErrorKind::NotFound => bail!("{program} is missing: {hint}"),
        other => other.with_context(|| format!("failed to start {program}"))?,
    };
    if !status.success() {
        bail!("{program} failed: {status}");
    }
    Ok(())
}
