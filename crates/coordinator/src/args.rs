//! The command line.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Parser, Subcommand};
use muster_model::UnitName;
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
        /// The unit, for example mimir/0.
        #[arg(long, env = "MUSTER_UNIT")]
        unit: UnitName,
        /// Tells this unit from an earlier one of the same name.
        #[arg(long, env = "MUSTER_INSTANCE")]
        instance: String,
        /// The IP address to listen on.
        #[arg(long, env = "MUSTER_ADDRESS")]
        address: IpAddr,
        /// The agent's directory.
        #[arg(long, env = "MUSTER_DIRECTORY")]
        directory: PathBuf,
        /// nginx' prefix with its keys, best backed by memory [default: DIRECTORY/run].
        #[arg(long, env = "MUSTER_RUN")]
        run: Option<PathBuf>,
        /// Where nginx' output goes, at most 20 MiB in all [default: standard output].
        #[arg(long, env = "MUSTER_LOG")]
        log: Option<PathBuf>,
        /// The nginx binary.
        #[arg(long, env = "MUSTER_BINARY", default_value = "/usr/sbin/nginx")]
        binary: PathBuf,
    },
}
