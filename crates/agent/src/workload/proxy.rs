//! nginx as the load balancer.

use std::path::{Path, PathBuf};
use std::time::Duration;

use muster_model::RoleSet;
use muster_nginx::{Connections, READY_PATH, STATUS_PORT, UnitValues, files, routes_nowhere, unit_document};
use muster_relation::{Assignment, ClusterData};

use super::{File, Launch, LaunchError, Link, Probe, Workload, document, last_line, text};
use crate::Settings;
use crate::machine::{Manners, StopSignal};

/// nginx. Its document is one of the shared data's documents.
#[derive(Debug, Clone)]
pub struct Proxy {
    binary: PathBuf,
    root: bool,
}

impl Proxy {
    /// The nginx at `binary`, which will run as whoever runs this.
    #[must_use]
    pub fn new(binary: PathBuf) -> Self {
        Self { binary, root: nix::unistd::geteuid().is_root() }
    }
}

/// How long requests at hand may take before a stop is a kill.
const KILL_DELAY: Duration = Duration::from_secs(30);

impl Workload for Proxy {
    fn manners(&self, assignment: &Assignment, cluster: &ClusterData) -> Manners {
        Manners {
            kill_delay: KILL_DELAY,
            stop_signal: StopSignal::Quit,
            leaves: false,
            quiesces: false,
            takes_nothing: false,
            shows_ring: false,
            data_roles: RoleSet::new(),
            checked: true,
            // One that sends nobody anywhere is replaced: that is done sooner, and nobody waits for an answer.
            reloads: document(assignment, cluster).is_ok_and(|document| !routes_nowhere(document)),
        }
    }

    fn launch(
        &self,
        settings: &Settings,
        assignment: &Assignment,
        cluster: &ClusterData,
        directory: &Path,
    ) -> Result<Launch, LaunchError> {
        let values = UnitValues { address: &settings.address.to_string(), revision: &assignment.revision };
        let config = unit_document(document(assignment, cluster)?, &values)?;
        let file = |name: &str, content: &str| File { name: name.to_owned(), content: content.to_owned() };
        let mut files = vec![file(files::CONFIG, &config)];
        if let Some(tls) = &cluster.tls {
            files.push(file(files::CERTIFICATE, &tls.certificate));
            files.push(file(files::KEY, tls.key.expose()));
        }
        let prefix = text(directory)?;
        Ok(Launch {
            program: self.binary.clone(),
            arguments: muster_nginx::arguments(prefix, self.root),
            check_arguments: Some(muster_nginx::check_arguments(prefix, self.root, files::CONFIG)),
            directories: files::DIRECTORIES.iter().map(PathBuf::from).collect(),
            files,
            links: vec![Link {
                name: files::connections(&assignment.revision),
                target: Connections::Keep.target(),
            }],
            probe: Probe::Http { port: STATUS_PORT, path: READY_PATH.to_owned() },
            quiesce: None,
            ring: None,
            leave_calls: Vec::new(),
        })
    }

    fn check_message(&self, _: &ClusterData, stderr: &str) -> String {
        // nginx ends with "configuration file … test failed"; the reason stands before it.
        let reason = stderr.lines().find(|line| line.contains("[emerg]"));
        last_line(reason.unwrap_or(stderr))
    }
}
