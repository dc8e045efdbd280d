//! `coordinator`: so far the agent around nginx, one per load balancer unit. See `muster-agent`.

mod args;

use clap::Parser;
use muster_agent::Settings;
use muster_agent::workload::Proxy;

use crate::args::{Arguments, Command};

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    muster_telemetry::init(arguments.log_format);
    let Command::Proxy { unit, instance, address, directory, run, log, binary } = arguments.command;
    let mut settings = Settings::new(unit, instance, address, &directory);
    settings.run_directory = run.unwrap_or(settings.run_directory);
    settings.log = log;
    muster_agent::run(settings, Proxy::new(binary))?;
    Ok(())
}
