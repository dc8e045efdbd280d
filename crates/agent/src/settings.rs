//! What an agent is started with.

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use muster_model::UnitName;

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
