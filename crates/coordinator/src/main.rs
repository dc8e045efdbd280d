//! `coordinator`: so far the agent around nginx, one per load balancer unit. See `muster-agent`.

mod args;

use clap::Parser;
use muster_agent::workload::Proxy;

use crate::args::{Arguments, Command};

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    muster_telemetry::init(arguments.log_format);
    let Command::Proxy { unit, binary } = arguments.command;
    muster_agent::run(unit.into(), Proxy::new(binary))?;
    Ok(())
}
