//! What an agent is started with.

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use muster_model::UnitName;

use crate::channel::kubernetes::Place;

/// [`Settings`] as a command line or the environment gives them, the same for every agent.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The unit, for example mimir-read/0.
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
    /// The workload's data [default: DIRECTORY/data].
    #[arg(long, env = "MUSTER_DATA")]
    data: Option<PathBuf>,
    /// Configs with secrets, best backed by memory [default: DIRECTORY/run].
    #[arg(long, env = "MUSTER_RUN")]
    run: Option<PathBuf>,
    /// The Secret of the cluster relation: the coordinator is reached through the Kubernetes API [default: through a socket in
    /// DIRECTORY].
    #[arg(long, env = "MUSTER_RELATION_SECRET", requires = "namespace")]
    relation_secret: Option<String>,
    /// The namespace of that Secret and of the unit.
    #[arg(long, env = "MUSTER_NAMESPACE")]
    namespace: Option<String>,
    /// Where the workload's output goes, some 20 MiB in all [default: standard output].
    #[arg(long, env = "MUSTER_LOG")]
    log: Option<PathBuf>,
}

impl From<Arguments> for Settings {
    fn from(arguments: Arguments) -> Self {
        let Arguments { unit, instance, address, directory, data, run, relation_secret, namespace, log } =
            arguments;
        let settings = Self::new(unit, instance, address, &directory);
        Self {
            data_directory: data.unwrap_or(settings.data_directory),
            run_directory: run.unwrap_or(settings.run_directory),
            place: relation_secret.zip(namespace).map(|(secret, namespace)| Place { namespace, secret }),
            log,
            ..settings
        }
    }
}

/// What one agent must know before any coordinator talks to it.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The unit.
    pub unit: UnitName,
    /// Tells this unit from an earlier one of the same name: the pod's uid, or an id made when the unit was.
    pub instance: String,
    /// The address that the workload and the agent's health pages listen on.
    pub address: IpAddr,
    /// The agent's own directory: socket, lock, and what it remembers. Made with mode 0700.
    pub directory: PathBuf,
    /// Where configs with secrets go; best backed by memory. Made with mode 0700.
    pub run_directory: PathBuf,
    /// The workload's data. Made with mode 0700.
    pub data_directory: PathBuf,
    /// Where the coordinator is on Kubernetes. Absent on one machine.
    pub place: Option<Place>,
    /// Where the workload's output goes; standard output if absent.
    pub log: Option<PathBuf>,
}

impl Settings {
    /// Settings with everything below one directory.
    #[must_use]
    pub fn new(unit: UnitName, instance: String, address: IpAddr, directory: &Path) -> Self {
        Self {
            unit,
            instance,
            address,
            directory: directory.to_owned(),
            run_directory: directory.join("run"),
            data_directory: directory.join("data"),
            place: None,
            log: None,
        }
    }

    /// The same with absolute paths: the workload has a working directory of its own.
    pub(crate) fn absolute(mut self) -> io::Result<Self> {
        self.directory = std::path::absolute(&self.directory)?;
        self.run_directory = std::path::absolute(&self.run_directory)?;
        self.data_directory = std::path::absolute(&self.data_directory)?;
        self.log = self.log.map(std::path::absolute).transpose()?;
        Ok(self)
    }
}
