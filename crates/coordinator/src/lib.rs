//! `coordinator`: the operator (see `muster-kubernetes`), and the agent around nginx, one per load balancer unit (see
//! `muster-agent`).

mod args;
mod operate;

use clap::Parser;
use muster_agent::workload::Proxy;

use crate::args::{Arguments, Command};

/// Reads the command line and does what it says, until it is told to end.
///
/// # Errors
/// What kept it from its work.
pub fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    muster_telemetry::init(arguments.log_format);
    match arguments.command {
        Command::Operate(operate) => operate::run(operate)?,
        Command::Proxy { unit, binary } => muster_agent::run(unit.into(), Proxy::new(binary))?,
        Command::Install { path } => muster_agent::install(&path)?,
    }
    Ok(())
}
