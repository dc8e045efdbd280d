//! The command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use muster_agent::UnitArguments;
use muster_telemetry::Format;

/// Runs one unit of a coordinator application.
#[derive(Debug, Parser)]
#[command(name = "coordinator", version)]
pub(crate) struct Arguments {
    /// How the agent's own log is written to standard error: text or json.
    #[arg(long, env = "MUSTER_LOG_FORMAT", default_value_t, global = true)]
    pub(crate) log_format: Format,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Supervise nginx as the load balancer.
    Proxy {
        #[command(flatten)]
        unit: UnitArguments,
        /// The nginx binary.
        #[arg(long, env = "MUSTER_BINARY", default_value = "/usr/sbin/nginx")]
        binary: PathBuf,
    },
}
