//! A fixed command: a server that Muster brings along, or a stand-in for a product in tests and benchmarks.

use std::path::{Path, PathBuf};
use std::time::Duration;

use muster_model::RoleSet;
use muster_relation::{Assignment, ClusterData};

use super::{Launch, LaunchError, Probe, Workload, last_line};
use crate::Settings;
use crate::machine::{Manners, StopSignal};

/// The same command line for every assignment. Assignments only say whether it runs; a new revision restarts it.
#[derive(Debug, Clone)]
pub struct Command {
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// How to see that it is ready.
    pub readiness: Readiness,
    /// How long it may take to end.
    pub kill_delay: Duration,
}

/// How to see that a command is ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Readiness {
    /// It answers a GET of this path on this port.
    Http(u16, String),
    /// It accepts connections on this port.
    Connect(u16),
    /// It is there.
    Alive,
}

impl Workload for Command {
    fn manners(&self, _: &Assignment, _: &ClusterData) -> Manners {
        Manners {
            kill_delay: self.kill_delay,
            stop_signal: StopSignal::Terminate,
            leaves: false,
            quiesces: false,
            takes_nothing: false,
            shows_ring: false,
            data_roles: RoleSet::new(),
            checked: false,
            reloads: false,
        }
    }

    fn launch(
        &self,
        settings: &Settings,
        _: &Assignment,
        _: &ClusterData,
        _: &Path,
    ) -> Result<Launch, LaunchError> {
        Ok(Launch {
            program: self.program.clone(),
            arguments: self.arguments.clone(),
            check_arguments: None,
            directories: vec![settings.data_directory.clone()],
            files: Vec::new(),
            links: Vec::new(),
            probe: match &self.readiness {
                Readiness::Http(port, path) => Probe::Http { port: *port, path: path.clone() },
                Readiness::Connect(port) => Probe::Connect { port: *port },
                Readiness::Alive => Probe::Alive,
            },
            quiesce: None,
            ring: None,
            leave_calls: Vec::new(),
        })
    }

    fn check_message(&self, _: &ClusterData, stderr: &str) -> String {
        last_line(stderr)
    }
}
