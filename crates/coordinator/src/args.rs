//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use muster_agent::UnitArguments;
use muster_telemetry::Format;

/// The operator, and the agent of one unit of a coordinator application.
#[derive(Debug, Parser)]
#[command(name = "coordinator", version)]
pub(crate) struct Arguments {
    /// How the program's own log is written to standard error: text or json.
    #[arg(long, env = "MUSTER_LOG_FORMAT", default_value_t, global = true)]
    pub(crate) log_format: Format,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Carry all coordinators and workers of a Kubernetes cluster, or of one namespace.
    Operate(Operate),
    /// Supervise nginx as the load balancer.
    Proxy {
        #[command(flatten)]
        unit: UnitArguments,
        /// The nginx binary.
        #[arg(long, env = "MUSTER_BINARY", default_value = "/usr/sbin/nginx")]
        binary: PathBuf,
    },
    /// Copy this program to a path, whole or not at all.
    Install {
        /// Where to.
        path: PathBuf,
    },
}

/// What an operator is started with.
#[derive(Debug, Args)]
pub(crate) struct Operate {
    /// Look at this namespace only [default: at all].
    #[arg(long, env = "MUSTER_WATCH_NAMESPACE")]
    pub(crate) namespace: Option<String>,
    /// The namespace of the Lease that the acting operator holds.
    #[arg(long, env = "POD_NAMESPACE", default_value = "muster-system")]
    pub(crate) lease_namespace: String,
    /// A name that no other operator process has.
    #[arg(long, env = "POD_NAME")]
    pub(crate) identity: String,
    /// Muster's own image, which pods take their agent from.
    #[arg(long, env = "MUSTER_IMAGE")]
    pub(crate) image: String,
    /// Where /live, /ready and /metrics are served.
    #[arg(long, default_value = "0.0.0.0:3080")]
    pub(crate) admin_address: SocketAddr,
}
