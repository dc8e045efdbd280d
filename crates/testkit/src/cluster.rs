//! A simulated cluster for the planner: units that take up their assignments one step at a time, when the test lets them.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use muster_api::{CoordinatorSpec, ObjectStorageReference, ReadHold, Transitions, WorkerSpec};
use muster_model::{AppName, ObjectStorage, Reason, Revision, Secret, UnitName};
use muster_planner::{
    CarryOver, ObjectStore, Observed, ObservedUnit, ObservedWorker, Plan, Probe, Seeds, Temporary, Tls, plan,
};
use muster_relation::{Applied, Assignment, Check, Exit, Quiet, Report, Run, Service, Waiting};

/// An application name.
///
/// # Panics
/// It is none.
#[must_use]
pub fn app(name: &str) -> AppName {
    AppName::new(name).expect("the test names what is there")
}

/// An S3 relation to that bucket.
///
/// # Panics
/// The bucket's name is not usable.
#[must_use]
pub fn storage(bucket: &str) -> ObjectStorage {
    let pairs = [
        ("endpoint", "http://127.0.0.1:9000"),
        ("bucket", bucket),
        ("access-key", "AK"),
        ("secret-key", "SK"),
    ];
    ObjectStorage::from_secret(&pairs.map(|(k, v)| (k.to_owned(), Secret::new(v))).into())
        .expect("the test names what is there")
}

/// An object store that answers.
#[must_use]
pub fn ready_store() -> ObjectStore {
    ObjectStore::Related {
        storage: Box::new(storage("mimir")),
        probe: Probe::Ready { at: Timestamp::UNIX_EPOCH },
    }
}

/// An object store whose probe failed.
#[must_use]
pub fn failed_store(reason: Reason) -> ObjectStore {
    let probe = Probe::Failed { at: Timestamp::UNIX_EPOCH, reason, message: "the store says no".to_owned() };
    ObjectStore::Related { storage: Box::new(storage("mimir")), probe }
}

/// A worker of coordinator `mimir` with these roles switched on.
#[must_use]
pub fn worker(units: u32, roles: &[&str]) -> WorkerSpec {
    WorkerSpec {
        coordinator: Some("mimir".to_owned()),
        units,
        roles: roles.iter().map(|role| ((*role).to_owned(), true)).collect(),
        ..WorkerSpec::default()
    }
}

/// A cluster at rest whose worker `w` has so many units that run everything.
#[must_use]
pub fn monolith(units: u32) -> Cluster {
    let mut cluster = Cluster::new(&[("w", worker(units, &["all"]))]);
    cluster.settle();
    cluster
}

/// A cluster at rest with workers `r` (2 units, read), `w` (3, write) and `b` (2, backend).
#[must_use]
pub fn scalable() -> Cluster {
    let mut cluster = Cluster::new(&[
        ("r", worker(2, &["read"])),
        ("w", worker(3, &["write"])),
        ("b", worker(2, &["backend"])),
    ]);
    cluster.settle();
    cluster
}

/// A coordinator `mimir` with its workers, and what their agents do.
#[derive(Clone)]
pub struct Cluster {
    /// What the planner is shown.
    pub observed: Observed,
    /// The last plan.
    pub last: Option<Plan>,
    /// Revisions that every unit's binary refuses.
    pub refused: Vec<Revision>,
    /// Units whose process ends at once.
    pub broken: Vec<UnitName>,
    /// Units and revisions with which their process runs and never becomes ready.
    pub unready: Vec<(UnitName, Revision)>,
    /// Units and revisions with which their process ends, is started again, and ends.
    pub crashing: Vec<(UnitName, Revision)>,
    /// Units that never took any data.
    pub empty: Vec<UnitName>,
    /// The time of the plans.
    pub now: Timestamp,
    /// What agents remember: what they obeyed last, and what they say.
    agents: BTreeMap<UnitName, (Assignment, Report)>,
    next_address: u16,
}

impl Cluster {
    /// A cluster with these workers, nothing of it started.
    #[must_use]
    pub fn new(workers: &[(&str, WorkerSpec)]) -> Self {
        let spec = CoordinatorSpec {
            product: "mimir".to_owned(),
            version: Some("2.17".to_owned()),
            units: 1,
            s3: Some(ObjectStorageReference { secret: "s3".to_owned() }),
            // Time stands still here unless a test says otherwise.
            transitions: Some(Transitions { read_hold: ReadHold::Never, ..Transitions::default() }),
            ..CoordinatorSpec::default()
        };
        let mut cluster = Self {
            observed: Observed {
                name: app("mimir"),
                cluster_id: "id-mimir".to_owned(),
                spec,
                removing: false,
                balancers: BTreeMap::new(),
                workers: BTreeMap::new(),
                object_store: ready_store(),
                tls: Tls::Off,
                remote_write: BTreeMap::new(),
                gateway: None,
                temporary_name_taken: false,
                seeds: Seeds::Units,
                obstacles: Vec::new(),
                carry: CarryOver::default(),
            },
            last: None,
            refused: Vec::new(),
            broken: Vec::new(),
            unready: Vec::new(),
            crashing: Vec::new(),
            empty: Vec::new(),
            now: Timestamp::UNIX_EPOCH,
            agents: BTreeMap::new(),
            next_address: 1,
        };
        for (name, spec) in workers {
            cluster.deploy(name, spec.clone());
        }
        cluster
    }

    /// Adds a worker.
    ///
    /// # Panics
    /// The name is none.
    pub fn deploy(&mut self, name: &str, spec: WorkerSpec) {
        let worker = ObservedWorker { spec, ..ObservedWorker::default() };
        self.observed.workers.insert(app(name), worker);
    }

    /// A worker that is there.
    ///
    /// # Panics
    /// It is not.
    pub fn worker(&mut self, name: &str) -> &mut ObservedWorker {
        self.observed.workers.get_mut(&app(name)).expect("the test names what is there")
    }

    /// A unit that is there.
    ///
    /// # Panics
    /// It is not.
    pub fn unit(&mut self, name: &UnitName) -> &mut ObservedUnit {
        let units = if *name.application() == self.observed.name {
            &mut self.observed.balancers
        } else {
            &mut self
                .observed
                .workers
                .get_mut(name.application())
                .expect("the test names what is there")
                .units
        };
        units.get_mut(&name.number()).expect("the test names what is there")
    }

    /// Loses what a unit was told and what it said, as whoever deletes its Unit does. Its agent goes on.
    pub fn forget(&mut self, name: &UnitName) {
        let unit = self.unit(name);
        unit.answers_probe = unit.answers();
        (unit.assigned, unit.report, unit.unknown) = (None, None, true);
    }

    /// Whether the unit has a process, whatever is known of it.
    #[must_use]
    pub fn runs(&self, name: &UnitName) -> bool {
        self.agents.get(name).is_some_and(|(_, report)| report.applied.is_some())
    }

    /// Every unit that is there.
    #[must_use]
    pub fn units(&self) -> Vec<UnitName> {
        let balancers = self.observed.balancers.keys().map(|n| self.observed.name.unit(*n));
        let workers =
            self.observed.workers.iter().flat_map(|(name, w)| w.units.keys().map(|n| name.unit(*n)));
        balancers.chain(workers).collect()
    }

    /// Plans and carries out what the substrate does at once. Says whether anything was to be done.
    pub fn plan(&mut self) -> bool {
        let plan = plan(&self.observed, self.now);
        let changes = plan.changes(&self.observed);
        if let Some(Temporary { name, spec }) = changes.deploy.clone() {
            let worker = ObservedWorker { spec, temporary: true, ..ObservedWorker::default() };
            self.observed.workers.insert(name, worker);
        }
        if let Some(name) = &changes.withdraw {
            self.worker(name.as_str()).removing = true;
        }
        for unit in &changes.remove {
            self.agents.remove(unit);
            if *unit.application() == self.observed.name {
                self.observed.balancers.remove(&unit.number());
            } else {
                self.worker(unit.application().as_str()).units.remove(&unit.number());
            }
        }
        for unit in &changes.create {
            let [high, low] = self.next_address.to_be_bytes();
            let address = format!("127.20.{high}.{low}");
            self.next_address += 1;
            let made = ObservedUnit { address: Some(address), connected: true, ..ObservedUnit::default() };
            if *unit.application() == self.observed.name {
                self.observed.balancers.insert(unit.number(), made);
            } else {
                self.worker(unit.application().as_str()).units.insert(unit.number(), made);
            }
        }
        for (unit, assignment) in &changes.assign {
            self.unit(unit).assigned = Some(assignment.clone());
        }
        let carried = self.observed.carry != plan.carry;
        self.observed.carry = plan.carry.clone();
        let workers = self.observed.workers.len();
        self.observed
            .workers
            .retain(|_, worker| !(worker.temporary && worker.removing && worker.units.is_empty()));
        self.last = Some(plan);
        !changes.is_empty() || carried || self.observed.workers.len() < workers
    }

    /// One unit's agent does one step. Says whether there was one to do.
    pub fn advance(&mut self, name: &UnitName) -> bool {
        let (refused, broken) = (self.refused.clone(), self.broken.contains(name));
        let empty = self.empty.contains(name);
        let (unready, crashing) = (self.unready.clone(), self.crashing.clone());
        let remembered = self.agents.get(name).cloned();
        let unit = self.unit(name);
        let said = unit.report.clone().or_else(|| remembered.as_ref().map(|(_, report)| report.clone()));
        let address = || unit.address.clone().expect("the test names what is there");
        let mut report = said.unwrap_or_else(|| Report::new(name.to_string(), address(), "0"));
        // The highest epoch counts.
        let obeyed = remembered.map(|(assignment, _)| assignment);
        let obeyed = obeyed.into_iter().chain(unit.assigned.clone()).rev().max_by_key(|a| a.epoch);
        if let Some(assigned) = &obeyed {
            let wanted = Applied { revision: assigned.revision.clone(), roles: assigned.roles.clone() };
            report.epoch = assigned.epoch;
            let serves = report.ready && report.applied.as_ref() == Some(&wanted);
            report.quiet = (assigned.quiesces && serves)
                .then(|| Quiet { process: format!("{name} {}", report.restarts), uploaded: !empty });
            report.forgotten = if serves { assigned.forgets.clone() } else { BTreeSet::new() };
            match assigned.run {
                Run::Stop => {
                    report.service =
                        if report.applied.is_some() { Service::Stopping } else { Service::Stopped };
                    (report.applied, report.ready) = (None, false);
                }
                Run::Start if refused.contains(&assigned.revision) => {
                    report.check = Some(Check {
                        revision: assigned.revision.clone(),
                        rejected: Some("bad key".to_owned()),
                    });
                }
                Run::Start if report.applied.as_ref() != Some(&wanted) => {
                    report.check = Some(Check { revision: assigned.revision.clone(), rejected: None });
                    (report.applied, report.service, report.ready) = (Some(wanted), Service::Starting, false);
                }
                Run::Start if broken => {
                    report.last_exit = Some(Exit {
                        cause: "exit code 1".to_owned(),
                        lines: vec!["port taken".to_owned()],
                        retry_in_ms: 500,
                    });
                    (report.service, report.ready, report.applied) = (Service::Backoff, false, Some(wanted));
                }
                Run::Start if crashing.contains(&(name.clone(), assigned.revision.clone())) => {
                    (report.service, report.restarts) = match report.service {
                        Service::Backoff => (Service::Starting, report.restarts + 1),
                        _ => (Service::Backoff, report.restarts),
                    };
                    report.last_exit = Some(Exit {
                        cause: "exit code 1".to_owned(),
                        lines: vec!["starting".to_owned(), "no such module".to_owned()],
                        retry_in_ms: 500,
                    });
                    report.ready = false;
                }
                Run::Start if unready.contains(&(name.clone(), assigned.revision.clone())) => {
                    report.waiting = Some(Waiting {
                        answer: "not in the ring".to_owned(),
                        lines: vec!["joining".to_owned()],
                    });
                    (report.service, report.ready) = (Service::Running, false);
                }
                Run::Start => {
                    (report.service, report.ready, report.waiting) = (Service::Running, true, None);
                }
            }
        }
        let news = unit.report.as_ref() != Some(&report);
        unit.report = Some(report.clone());
        unit.unknown = false;
        unit.recall();
        if let Some(assigned) = obeyed {
            self.agents.insert(name.clone(), (assigned, report));
        }
        news
    }

    /// Lets everything happen until nothing does.
    ///
    /// # Panics
    /// It never comes to rest.
    pub fn settle(&mut self) {
        for _ in 0..2000 {
            let mut busy = self.plan();
            for unit in self.units() {
                busy |= self.advance(&unit);
            }
            if !busy {
                // Units that are about to go wait until others find what they uploaded.
                let Some(until) = self.last.as_ref().and_then(|plan| plan.held_until) else { return };
                self.now = self.now.max(until);
            }
        }
        panic!("the cluster does not come to rest: {:#?}", self.last.as_ref().map(|p| &p.status));
    }

    /// The coordinator's status in the last plan.
    ///
    /// # Panics
    /// There is none yet.
    #[must_use]
    pub fn status(&self) -> String {
        self.last.as_ref().expect("the test names what is there").status.to_string()
    }
}
