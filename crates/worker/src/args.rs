//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand};
use muster_agent::UnitArguments;
use muster_agent::workload::Readiness;
use muster_telemetry::Format;

/// Runs one unit of a worker application.
#[derive(Debug, Parser)]
#[command(name = "worker", version)]
pub(crate) struct Arguments {
    /// How the agent's own log is written to standard error: text or json.
    #[arg(long, env = "MUSTER_LOG_FORMAT", default_value_t, global = true)]
    pub(crate) log_format: Format,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Supervise Tempo, Mimir or Loki, as the coordinator says.
    Run {
        #[command(flatten)]
        unit: UnitArguments,
        /// The product's binary.
        #[arg(long, env = "MUSTER_BINARY")]
        binary: PathBuf,
    },
    /// Supervise a fixed command: the coordinator says only whether it runs.
    #[command(name = "run-command")]
    Fixed {
        #[command(flatten)]
        unit: UnitArguments,
        /// The port on which it is ready once it accepts connections. Without a port it is ready once it runs.
        #[arg(long)]
        port: Option<u16>,
        /// The path on that port which answers with success once it is ready.
        #[arg(long, requires = "port")]
        ready_path: Option<String>,
        /// How long it may take to end after SIGTERM, in seconds.
        #[arg(long, default_value_t = 10)]
        kill_delay: u64,
        /// The program and its arguments.
        #[arg(last = true, required = true)]
        argv: Vec<String>,
    },
    /// Copy this program to a path, whole or not at all.
    Install {
        /// Where to.
        path: PathBuf,
    },
}

/// How to see that a fixed command is ready.
pub(crate) fn readiness(port: Option<u16>, path: Option<String>) -> Readiness {
    match (port, path) {
        (Some(port), Some(path)) => Readiness::Http(port, path),
        (Some(port), None) => Readiness::Connect(port),
        (None, _) => Readiness::Alive,
    }
}

/// The command that a fixed argument list stands for. The parser saw to it that there is a program.
pub(crate) fn command(
    argv: Vec<String>,
    readiness: Readiness,
    kill_delay: u64,
) -> muster_agent::workload::Command {
    let mut argv = argv.into_iter();
    muster_agent::workload::Command {
        program: argv.next().unwrap_or_default().into(),
        arguments: argv.collect(),
        readiness,
        kill_delay: Duration::from_secs(kill_delay),
    }
}
