//! What the workloads' own binaries say of the configs that documents make: the part of `muster check` that runs programs.
//!
//! The configs are filled and checked as agents do it, but for the S3 credentials: no check looks at them, so samples stand in their
//! place and the real ones are written nowhere.

use std::collections::BTreeMap;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use muster_agent::machine::Outcome;
use muster_agent::workload::{Product, Proxy, Workload};
use muster_agent::{Settings, check_config};
use muster_local::workload_binary;
use muster_model::{AppName, Finding, Reason, WorkloadStatus};
use muster_planner::{Observed, Specimen, Specimens, specimens};
use muster_relation::ClusterData;

use crate::failure::Failure;
use crate::up::Signals;

/// The programs that check configs.
pub(crate) struct Checkers {
    /// Where the products' binaries are looked for, before `PATH`.
    pub(crate) search: Vec<PathBuf>,
    /// nginx, where there is one.
    pub(crate) nginx: Option<PathBuf>,
}

/// What binaries said.
#[derive(Debug, Default)]
pub(crate) struct Said {
    /// What they refuse.
    pub(crate) findings: Vec<Finding>,
    /// What was checked by whom and what was not, one line each.
    pub(crate) lines: Vec<String>,
    /// The checks that could not be carried out, and why.
    pub(crate) failed: Vec<String>,
}

/// One document, who checks it, and the units that it would be for.
struct Question<'a> {
    coordinator: &'a AppName,
    /// The document in a word.
    document: &'static str,
    /// The program's name.
    program: &'static str,
    workload: &'a dyn Workload,
    cluster: &'a ClusterData,
    units: &'a [Specimen],
}

impl Checkers {
    /// Has the config and the load balancer's document of a coordinator checked, one run of a program after the other.
    pub(crate) async fn ask(&self, observed: &Observed, said: &mut Said) -> Result<(), Failure> {
        // A finding says that this build does not know the product.
        let Some(Specimens { workers, balancer }) = specimens(observed) else { return Ok(()) };
        let name = &observed.name;
        match workers {
            Some((cluster, units)) => self.ask_product(name, &cluster, &units, said).await?,
            None => said.lines.push(format!(
                "config of {name} not checked by {}: it cannot be made until what was found is fixed",
                observed.spec.product
            )),
        }
        match balancer {
            Some((cluster, unit)) => self.ask_nginx(name, &cluster, unit, said).await,
            // A finding says what is wrong with its certificate.
            None => Ok(()),
        }
    }

    async fn ask_product(
        &self,
        coordinator: &AppName,
        cluster: &ClusterData,
        units: &[Specimen],
        said: &mut Said,
    ) -> Result<(), Failure> {
        let program = cluster.product.as_str();
        let Some(binary) = workload_binary(&self.search, cluster.product) else {
            let hint = if self.search.is_empty() { "; give --bin DIR" } else { " and in no --bin DIR" };
            said.lines
                .push(format!("config of {coordinator} not checked by {program}: not found in PATH{hint}"));
            return Ok(());
        };
        let workload = &Product { binary };
        Question { coordinator, document: "config", program, workload, cluster, units }.ask(said).await
    }

    async fn ask_nginx(
        &self,
        coordinator: &AppName,
        cluster: &ClusterData,
        unit: Specimen,
        said: &mut Said,
    ) -> Result<(), Failure> {
        let (document, program) = ("load balancer", "nginx");
        let Some(nginx) = self.nginx.clone() else {
            said.lines.push(format!(
                "{document} of {coordinator} not checked by {program}: not found in PATH; give --nginx PATH"
            ));
            return Ok(());
        };
        let (workload, units) = (&Proxy::new(nginx), &[unit]);
        Question { coordinator, document, program, workload, cluster, units }.ask(said).await
    }
}

impl Question<'_> {
    async fn ask(&self, said: &mut Said) -> Result<(), Failure> {
        let Self { coordinator, document, program, .. } = self;
        let mut refused: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let mut failed = false;
        for unit in self.units {
            match self.check(unit).await? {
                Outcome::Accepted => {}
                Outcome::Rejected(message) => {
                    refused.entry(message).or_default().push(unit.assignment.roles.to_string());
                }
                Outcome::Failed(problem) => {
                    failed = true;
                    said.failed.push(format!(
                        "{document} of {coordinator} could not be checked by {program}: {problem}"
                    ));
                }
            }
        }
        if refused.is_empty() && !failed {
            said.lines.push(format!("{document} of {coordinator} accepted by {program}"));
        }
        for (message, roles) in refused {
            let whose = if roles.len() == self.units.len() {
                String::new()
            } else {
                format!(" with roles {}", roles.join(" and "))
            };
            said.findings.push(Finding::application(
                coordinator,
                WorkloadStatus::Blocked,
                Reason::ConfigRejected,
                format!("{document} rejected by {program}{whose}: {message}"),
            ));
        }
        Ok(())
    }

    /// Checks the document of one unit in a directory of its own, which is gone afterwards.
    async fn check(&self, unit: &Specimen) -> Result<Outcome, Failure> {
        let directory = tempfile::Builder::new()
            .prefix("muster-check-")
            .permissions(Permissions::from_mode(0o700))
            .tempdir()
            .map_err(|e| Failure::new(format!("failed to make a temporary directory: {e}; set TMPDIR")))?;
        let settings =
            Settings::new(unit.unit.clone(), "check".to_owned(), unit.address.into(), directory.path());
        let mut signals = Signals::new()?;
        tokio::select! {
            outcome = check_config(self.workload, &settings, &unit.assignment, self.cluster) => {
                outcome.map_err(|e| Failure::new(format!("failed to listen for signals: {e}")))
            }
            () = signals.next() => Err(Failure::new("interrupted")),
        }
    }
}
