//! `worker`: the agent of one unit of a worker application. See `muster-agent`.

mod args;

use clap::Parser;
use muster_agent::workload::Product;

use crate::args::{Arguments, Command};

/// Reads the command line and does what it says, until it is told to end.
///
/// # Errors
/// What kept it from its work.
pub fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    muster_telemetry::init(arguments.log_format);
    match arguments.command {
        Command::Run { unit, binary } => muster_agent::run(unit.into(), Product { binary })?,
        Command::Fixed { unit, port, ready_path, kill_delay, argv } => {
            let command = args::command(argv, args::readiness(port, ready_path), kill_delay);
            muster_agent::run(unit.into(), command)?;
        }
        Command::Install { path } => muster_agent::install(&path)?,
    }
    Ok(())
}
