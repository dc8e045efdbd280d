//! What the documents say, checked: the product, the options, and each worker's roles. Collects every finding.

use std::collections::BTreeMap;

use muster_api::OptionValue;
use muster_model::{AppName, Finding, Product, Reason, Role, RoleSet, RoleTable, Version, WorkloadStatus};
use muster_products::Workload;
use muster_products::charm::{self, Options};

use crate::observed::{ObjectStore, Observed, ObservedWorker};

/// The product as this build knows it.
pub(crate) struct Line {
    pub(crate) product: Product,
    pub(crate) version: Version,
    pub(crate) table: &'static RoleTable,
    pub(crate) workload: &'static dyn Workload,
}

impl Line {
    /// Of these roles, with all their parts, those that hold data which is not yet in the object store.
    pub(crate) fn data_roles(&self, roles: &RoleSet) -> RoleSet {
        self.table.expand(roles).iter().filter(|role| self.workload.holds_data(*role)).collect()
    }
}

/// A worker's declaration.
pub(crate) enum Declared {
    /// These roles, in the form that units are assigned them.
    Roles {
        /// As declared, meta roles included.
        declared: RoleSet,
        /// As assigned.
        assigned: RoleSet,
    },
    /// No role is switched on.
    Nothing,
    /// The declaration cannot be followed; what runs stays as it is.
    Rejected,
}

/// Checks product and version.
pub(crate) fn line(observed: &Observed, findings: &mut Vec<Finding>) -> Option<Line> {
    let mut refuse = |message: String| {
        findings.push(Finding::application(
            &observed.name,
            WorkloadStatus::Blocked,
            Reason::UnsupportedProduct,
            message,
        ));
    };
    let product: Product = observed.spec.product.parse().map_err(|e| refuse(format!("{e}"))).ok()?;
    let version = match &observed.spec.version {
        Some(text) => text.parse().map_err(|e| refuse(format!("{e}"))).ok()?,
        None => *muster_products::supported_versions(product).first()?,
    };
    let table = muster_products::role_table(product, version).map_err(|e| refuse(format!("{e}"))).ok()?;
    muster_products::check_version(product, version).map_err(|e| refuse(format!("{e}"))).ok()?;
    Some(Line { product, version, table, workload: muster_products::workload(product) })
}

/// The newest line of the product, whatever version is asked for. Enough to stop units with.
pub(crate) fn newest_line(observed: &Observed) -> Option<Line> {
    let product: Product = observed.spec.product.parse().ok()?;
    let version = *muster_products::supported_versions(product).first()?;
    let table = muster_products::role_table(product, version).ok()?;
    Some(Line { product, version, table, workload: muster_products::workload(product) })
}

/// What the coordinator's options come to.
pub(crate) struct Checked {
    /// The ones given where all is good, else the last good ones: what runs keeps them.
    pub(crate) options: Options,
    /// Whether nothing is wrong with them, the overrides and the object store's path.
    pub(crate) good: bool,
}

/// Checks the coordinator's options and overrides.
pub(crate) fn options(observed: &Observed, line: &Line, findings: &mut Vec<Finding>) -> Checked {
    let before = findings.len();
    let validate = |config: &BTreeMap<String, OptionValue>| {
        let values = config
            .iter()
            .map(|(key, value)| (key.clone(), serde_json::to_value(value).unwrap_or_default()))
            .collect();
        charm::coordinator(line.product).validate(&values)
    };
    let (options, problems) = validate(&observed.spec.config);
    for problem in problems {
        let reason = if problem.unknown { Reason::UnknownOption } else { Reason::InvalidOption };
        findings.push(Finding::application(
            &observed.name,
            WorkloadStatus::Blocked,
            reason,
            format!("{}; fix it: muster config {} {}=…", problem.message, observed.name, problem.option),
        ));
    }
    if let ObjectStore::Related { storage, .. } = &observed.object_store
        && let Some(problem) = line.workload.check_storage(storage)
    {
        findings.push(Finding::application(
            &observed.name,
            WorkloadStatus::Blocked,
            Reason::ObjectStoreInvalid,
            problem,
        ));
    }
    for owned in observed.spec.overrides.iter().flat_map(|o| line.workload.owned_overrides(o)) {
        findings.push(Finding::application(
            &observed.name,
            WorkloadStatus::Blocked,
            Reason::OwnedOverride,
            owned.said_of(observed.name.as_str()),
        ));
    }
    let good = findings.len() == before;
    if let Some(advice) = line.workload.advice(&options) {
        let message = advice.replace("COORDINATOR", observed.name.as_str());
        findings.push(Finding::application(
            &observed.name,
            WorkloadStatus::Active,
            Reason::NoReceiver,
            message,
        ));
    }
    Checked { options: if good { options } else { validate(&observed.carry.config).0 }, good }
}

/// Checks every worker's roles.
pub(crate) fn workers(
    observed: &Observed,
    line: &Line,
    findings: &mut Vec<Finding>,
) -> BTreeMap<AppName, Declared> {
    let schedulers: Vec<&AppName> = observed
        .workers
        .iter()
        .filter(|(_, worker)| worker.spec.units > 0 && !worker.removing && runs_scheduler(line, worker))
        .map(|(name, _)| name)
        .collect();
    let declared: BTreeMap<AppName, Declared> = observed
        .workers
        .iter()
        .map(|(name, worker)| {
            let elsewhere = schedulers.iter().any(|other| *other != name);
            (name.clone(), declared(name, worker, line, elsewhere, findings))
        })
        .collect();
    unanswered(observed, line, &declared, findings);
    declared
}

/// Says of which workers the units will answer nothing, because nobody runs a role that they rely on.
fn unanswered(
    observed: &Observed,
    line: &Line,
    declared: &BTreeMap<AppName, Declared>,
    findings: &mut Vec<Finding>,
) {
    let serving = observed.workers.iter().filter(|(_, worker)| worker.spec.units > 0 && !worker.removing);
    let assigned: Vec<(&AppName, RoleSet)> = serving
        .filter_map(|(name, _)| match declared.get(name) {
            Some(Declared::Roles { assigned, .. }) if !assigned.contains(Role::All) => {
                Some((name, line.table.expand(assigned)))
            }
            _ => None,
        })
        .collect();
    for (name, roles) in &assigned {
        let needed: RoleSet = roles.iter().filter_map(|role| line.workload.relies_on(role)).collect();
        let missing = needed.iter().find(|needed| !assigned.iter().any(|(_, roles)| roles.contains(*needed)));
        if let Some(missing) = missing {
            findings.push(Finding::application(
                name,
                WorkloadStatus::Active,
                Reason::ReliesOnMissingRole,
                format!(
                    "idle: no queries reach it until some worker without role-all runs {missing}; \
                     add one: muster config WORKER role-{missing}=true"
                ),
            ));
        }
    }
}

/// Whether the worker's units run a query-scheduler that other units can use.
fn runs_scheduler(line: &Line, worker: &ObservedWorker) -> bool {
    let roles = switched_on(worker).filter_map(|name| name.parse().ok()).collect::<RoleSet>();
    let atomic = line.table.expand(&roles);
    let alone = !(roles.contains(Role::All) || atomic.contains(Role::Querier));
    alone && atomic.contains(Role::QueryScheduler)
}

fn switched_on(worker: &ObservedWorker) -> impl Iterator<Item = &str> {
    worker.spec.roles.iter().filter(|(_, on)| **on).map(|(name, _)| name.as_str())
}

fn declared(
    name: &AppName,
    worker: &ObservedWorker,
    line: &Line,
    scheduler_elsewhere: bool,
    findings: &mut Vec<Finding>,
) -> Declared {
    // The substrate has said why.
    if worker.unreadable {
        return Declared::Rejected;
    }
    let mut block = |reason, message: String| {
        findings.push(Finding::application(name, WorkloadStatus::Blocked, reason, message));
    };
    if let Some(product) = worker.spec.product.as_deref().filter(|p| *p != line.product.as_str()) {
        block(
            Reason::ProductMismatch,
            format!(
                "this worker's charm is for {product:?} but its coordinator runs {}; \
                 relate it to a coordinator of its own product: muster integrate {name} COORDINATOR",
                line.product
            ),
        );
        return Declared::Rejected;
    }
    let unknown: Vec<&str> = worker
        .spec
        .roles
        .keys()
        .map(String::as_str)
        .filter(|role| !role.parse().is_ok_and(|role| line.table.knows(role)))
        .collect();
    if !unknown.is_empty() {
        block(
            Reason::UnknownRole,
            format!(
                "{} {} has no role {}; its roles are {}",
                line.product,
                line.version,
                unknown.join(", "),
                line.table.roles()
            ),
        );
        return Declared::Rejected;
    }
    let declared: RoleSet = switched_on(worker).filter_map(|role| role.parse().ok()).collect();
    if declared.is_empty() {
        block(Reason::NoRole, format!("no role assigned; switch one on: muster config {name} role-all=true"));
        return Declared::Nothing;
    }
    if line.table.exclusive && declared.len() > 1 {
        block(
            Reason::RoleConflict,
            format!(
                "a {} worker takes exactly one role, not {declared}; switch the others off",
                line.product
            ),
        );
        return Declared::Rejected;
    }
    match line.workload.assign_roles(&declared, scheduler_elsewhere) {
        Ok(assigned) => Declared::Roles { declared, assigned },
        Err(conflict) => {
            block(Reason::RoleConflict, conflict.to_string());
            Declared::Rejected
        }
    }
}
