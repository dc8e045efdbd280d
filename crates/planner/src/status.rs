//! The words: what each unit's, each worker's and the coordinator's status says.

use muster_api::{Condition, ConditionStatus, ConditionType, TransitionStatus};
use muster_model::{AppName, Coverage, Finding, Reason, RoleSet, Status, Subject, UnitName, WorkloadStatus};
use muster_relation::{Assignment, Drain, Exit, Report, Run, Service};

use crate::abandon::{self, Abandonments};
use crate::complaint;
use crate::gate::Gate;
use crate::observed::{ObjectStore, Observed, ObservedUnit, Probe};
use crate::plan::PlannedApplication;
use crate::rollout::{Halt, Rollout, Trouble, Want};

/// What is said about the object store.
const STORE_REASONS: [Reason; 7] = [
    Reason::ObjectStoreMissing,
    Reason::ObjectStoreInvalid,
    Reason::ObjectStoreDenied,
    Reason::ObjectStoreUnreachable,
    Reason::BucketMissing,
    Reason::BucketTaken,
    Reason::ObjectStoreUnknown,
];

/// The status of a worker that is related to no coordinator that exists.
#[must_use]
pub fn unrelated_worker(name: &AppName, coordinator: Option<&str>) -> Status {
    let message = match coordinator {
        Some(missing) => format!(
            "coordinator {missing:?} does not exist; deploy it, or relate another: muster integrate COORDINATOR {name}"
        ),
        None => format!("no coordinator; relate one: muster integrate COORDINATOR {name}"),
    };
    Status::new(WorkloadStatus::Blocked, message)
}

/// The status of an application on its way out. Units that are `held` keep their data until there is an object store to flush it to.
pub(crate) fn removing(observed: &Observed, units: usize, held: bool, findings: &[Finding]) -> Status {
    let plural = if units == 1 { "" } else { "s" };
    let left = format!("removing: {units} unit{plural} left");
    if !held || units == 0 {
        return Status::new(WorkloadStatus::Maintenance, left);
    }
    let why = findings.iter().find(|f| STORE_REASONS.contains(&f.reason)).map(|f| f.message.as_str());
    let mut message = format!(
        "{left}, waiting to flush what they hold: {}",
        why.unwrap_or("no object store is known to answer")
    );
    if let (true, Some(store)) = (observed.removing, &observed.spec.s3) {
        // Without an object store nothing waits for one.
        message.push_str(&format!(
            "; to give up what they hold: muster remove-relation {} {}",
            observed.name, store.secret
        ));
    }
    Status::new(WorkloadStatus::Waiting, message)
}

/// The worst finding about `app`, as its status.
pub(crate) fn of_findings(app: &AppName, findings: &[Finding]) -> Status {
    findings.iter().filter(|f| matches!(&f.subject, Subject::Application(name) if name == app)).fold(
        Status::default(),
        |worst, finding| {
            // A finding that is only worth saying yields to nothing but a worse one.
            if worst.message.is_empty() && finding.status == worst.status {
                finding.as_status()
            } else {
                worst.worse(finding.as_status())
            }
        },
    )
}

/// The status of one worker unit whose assignment is `next`, if it has one.
pub(crate) fn of_worker_unit(
    unit: &ObservedUnit,
    next: Option<&Assignment>,
    want: &Want,
    gate: Gate,
    coordinator: &AppName,
) -> Status {
    let report = match seen(unit) {
        Ok(report) => report,
        Err(status) => return status,
    };
    if let Some(drain) = &report.drain {
        return Status::new(WorkloadStatus::Waiting, undrained(drain));
    }
    if next.or(unit.assigned.as_ref()).is_some_and(|told| told.quiesces) {
        return Status::new(WorkloadStatus::Maintenance, quiesces(report));
    }
    match want {
        Want::Stop | Want::StopAtOnce if !unit.has_stopped() => {
            return Status::new(WorkloadStatus::Maintenance, "stopping: flushing to the object store");
        }
        Want::Stop => return Status::new(WorkloadStatus::Waiting, "stopped: it has no role"),
        Want::StopAtOnce => {
            return Status::new(
                WorkloadStatus::Waiting,
                format!("stopped until {coordinator} is coherent again"),
            );
        }
        Want::Run(_) | Want::Hold => {}
    }
    if gate == Gate::Hold && !unit.is_told_to_run() {
        return Status::new(WorkloadStatus::Waiting, format!("not started: waits for {coordinator}"));
    }
    if unit.assigned.is_none() {
        return Status::new(
            WorkloadStatus::Waiting,
            format!("waiting for {coordinator} to publish a config"),
        );
    }
    if let Some(message) = unit.refused() {
        return Status::new(WorkloadStatus::Blocked, format!("config rejected: {message}"));
    }
    of_service(report, next.or(unit.assigned.as_ref()))
}

/// The status of a unit that has stopped and is about to be taken away.
pub(crate) fn parting(witness: &UnitName) -> Status {
    Status::new(
        WorkloadStatus::Maintenance,
        format!("stopped: goes once {witness} sees that it has left the ring"),
    )
}

/// What a unit does that is about to give up data.
fn quiesces(report: &Report) -> &'static str {
    if report.quiet.is_some() {
        "about to leave: answers queries until others find what it uploaded"
    } else {
        "about to leave: uploads what it holds"
    }
}

/// What keeps a unit that has tried to leave.
pub(crate) fn undrained(drain: &Drain) -> String {
    let times = if drain.tries == 1 { "once".to_owned() } else { format!("{} times", drain.tries) };
    format!("keeps what is not in the object store yet ({}): tried {times}, and {}", drain.why, tries_again())
}

/// When a unit that could not leave tries once more.
pub(crate) fn tries_again() -> String {
    let again = Drain::AGAIN_AFTER.as_secs();
    format!("tries again once its process is ready and has been up for {again} s")
}

/// The status of a unit, with what ends its stay if something keeps it from leaving, or what it is let go without.
pub(crate) fn kept_from_leaving(said: Status, unit: &UnitName, abandonments: &Abandonments) -> Status {
    if let Some(lost) = abandonments.given_up(unit) {
        return Status::new(WorkloadStatus::Maintenance, format!("let go without {lost}"));
    }
    match abandonments.at_risk.get(unit) {
        Some(_) if said.status == WorkloadStatus::Active => Status::new(
            WorkloadStatus::Waiting,
            format!("stays until it can upload what it holds; to give that up: {}", abandon::command(unit)),
        ),
        Some(_) => {
            Status::new(said.status, format!("{}; to give that up: {}", said.message, abandon::command(unit)))
        }
        None => said,
    }
}

/// The status of one load balancer unit.
pub(crate) fn of_balancer_unit(unit: &ObservedUnit, wanted: bool, gate: Gate) -> Status {
    let report = match seen(unit) {
        Ok(report) => report,
        Err(status) => return status,
    };
    if !wanted {
        return Status::new(WorkloadStatus::Maintenance, "stopping");
    }
    let told = unit.assigned.as_ref().map(|a| a.run);
    match (gate, told) {
        (_, Some(Run::Stop)) if !unit.has_stopped() => Status::new(WorkloadStatus::Maintenance, "stopping"),
        (Gate::Stop, _) => {
            Status::new(WorkloadStatus::Waiting, "stopped until the deployment is coherent again")
        }
        (_, Some(Run::Start)) => match unit.refused() {
            Some(message) => {
                Status::new(WorkloadStatus::Blocked, format!("nginx refuses its config: {message}"))
            }
            None if unit.answers() && !unit.is_ready() && !report.ending => {
                Status::new(WorkloadStatus::Maintenance, "reloading: it serves meanwhile")
            }
            None => of_service(report, unit.assigned.as_ref()),
        },
        _ => Status::new(WorkloadStatus::Waiting, "not started yet"),
    }
}

/// What the unit says of itself, or what there is to say where nobody hears it.
fn seen(unit: &ObservedUnit) -> Result<&Report, Status> {
    match (&unit.report, &unit.agent_problem) {
        (Some(report), _) if unit.connected => Ok(report),
        (_, Some(problem)) => {
            Err(Status::new(WorkloadStatus::Error, format!("agent cannot be started: {problem}")))
        }
        (Some(_), None) => {
            Err(Status::new(WorkloadStatus::Error, "agent cannot be reached; waiting until it is back"))
        }
        (None, None) => Err(Status::new(WorkloadStatus::Waiting, "waiting for the agent")),
    }
}

fn of_service(report: &Report, assigned: Option<&Assignment>) -> Status {
    if let Some(error) = &report.last_error {
        return Status::new(WorkloadStatus::Error, error.clone());
    }
    let changing = match (assigned, &report.applied) {
        (Some(assigned), Some(applied)) => {
            applied.revision != assigned.revision || applied.roles != assigned.roles
        }
        _ => false,
    };
    match report.service {
        Service::Backoff => {
            Status::new(WorkloadStatus::Error, crash_loop(report.last_exit.as_ref(), report.restarts))
        }
        Service::Stopping => {
            Status::new(WorkloadStatus::Maintenance, "restarting: the old process is ending")
        }
        _ if changing => {
            Status::new(WorkloadStatus::Maintenance, "restarting with another config or other roles")
        }
        Service::Running if report.ending => {
            Status::new(WorkloadStatus::Maintenance, "ending: it serves until nobody is sent to it")
        }
        Service::Running if report.ready => Status::new(WorkloadStatus::Active, "ready"),
        Service::Starting | Service::Running => {
            let answer = report.waiting.as_ref().map(|waiting| format!(": {}", waiting.answer));
            Status::new(
                WorkloadStatus::Waiting,
                format!("starting: not ready yet{}", answer.unwrap_or_default()),
            )
        }
        Service::Inactive | Service::Stopped => Status::new(WorkloadStatus::Waiting, "starting"),
    }
}

fn crash_loop(exit: Option<&Exit>, restarts: u32) -> String {
    let Some(exit) = exit else { return "the workload ends again and again".to_owned() };
    let mut text = format!("crash loop: {}", exit.cause);
    if restarts > 0 {
        text.push_str(&format!(", {restarts} restarts"));
    }
    if exit.retry_in_ms > 0 {
        // Tenths of a second say enough.
        text.push_str(&format!(
            ", next start within {}.{} s",
            exit.retry_in_ms / 1000,
            exit.retry_in_ms % 1000 / 100
        ));
    }
    if let Some(complaint) = complaint::of(&exit.lines) {
        text.push_str(&format!("; last log lines: {complaint}"));
    }
    text
}

/// The status of a worker application, from its findings and its units' statuses.
pub(crate) fn of_worker(findings: Status, units: &[Status], wanted: u32) -> Status {
    let ready = units.iter().filter(|s| s.status == WorkloadStatus::Active).count();
    let worst = units.iter().cloned().fold(Status::default(), Status::worse);
    let units_say = match worst.status {
        WorkloadStatus::Active => Status::default(),
        WorkloadStatus::Waiting => {
            Status::new(worst.status, format!("{ready} of {wanted} units ready: {}", worst.message))
        }
        _ => worst,
    };
    findings.worse(units_say)
}

/// The status of the temporary worker, which says what it is for.
pub(crate) fn of_temporary(said: Status) -> Status {
    let what = "temporary: stands in while other units trade roles";
    let message = if said.message.is_empty() { what.to_owned() } else { format!("{what}; {}", said.message) };
    Status::new(said.status, message)
}

/// What load balancer units say that keeps them from their work.
pub(crate) fn of_balancers(name: &AppName, balancers: &PlannedApplication) -> Status {
    let failed = balancers.unit_statuses.iter().filter(|(_, said)| said.status >= WorkloadStatus::Blocked);
    failed.fold(Status::default(), |worst, (number, said)| {
        worst.worse(Status::new(said.status, format!("{}: {}", name.unit(*number), said.message)))
    })
}

/// What the coordinator's status depends on, besides its findings.
pub(crate) struct Progress<'a> {
    pub(crate) rollout: &'a Rollout,
    pub(crate) revision: Option<&'a str>,
    pub(crate) updated: u32,
    pub(crate) total: u32,
    /// Required roles without a ready unit.
    pub(crate) unready_roles: RoleSet,
    /// Whether every load balancer unit that is asked for answers.
    pub(crate) balancers_ready: bool,
    /// Whether every load balancer unit has taken up its latest document: until then it may know of no ready unit.
    pub(crate) balancers_current: bool,
    pub(crate) gate: Gate,
    /// What is under way, unless it is no more than that a config is rolled out.
    pub(crate) transition: Option<&'a TransitionStatus>,
}

/// The coordinator's status.
pub(crate) fn of_coordinator(findings: Status, progress: &Progress<'_>) -> Status {
    let revision = progress.revision.unwrap_or("config");
    let Progress { updated, total, .. } = progress;
    let own = if progress.gate == Gate::Stop {
        Status::default()
    } else if let Some(halt) = &progress.rollout.halt {
        let Halt { unit, what, why } = halt;
        match what {
            Trouble::Rejected => {
                Status::new(WorkloadStatus::Blocked, format!("config rejected by {unit}: {why}"))
            }
            Trouble::WentBack(good) => Status::new(
                WorkloadStatus::Blocked,
                format!("rollout of {revision} halted, {unit} is back at {}: {why}", good.short()),
            ),
            Trouble::Ends if progress.rollout.pending => {
                Status::new(WorkloadStatus::Error, format!("rollout halted: {unit} did not come back: {why}"))
            }
            Trouble::Ends => Status::new(WorkloadStatus::Error, format!("{unit} does not come back: {why}")),
        }
    } else if let Some(transition) = progress.transition {
        let message = &transition.message;
        if progress.unready_roles.is_empty() {
            Status::new(WorkloadStatus::Maintenance, message.clone())
        } else {
            let roles = progress.unready_roles.to_string().replace(',', ", ");
            Status::new(WorkloadStatus::Waiting, format!("{message}; no ready unit yet for {roles}"))
        }
    } else if progress.rollout.under_way {
        Status::new(WorkloadStatus::Maintenance, format!("rolling out {revision}: {updated}/{total} units"))
    } else if !progress.unready_roles.is_empty() {
        let roles = progress.unready_roles.to_string().replace(',', ", ");
        Status::new(
            WorkloadStatus::Waiting,
            format!("{updated} of {total} units ready; no ready unit yet for {roles}"),
        )
    } else if updated < total {
        Status::new(WorkloadStatus::Waiting, format!("{updated} of {total} units ready"))
    } else if !(progress.balancers_ready && progress.balancers_current) {
        Status::new(WorkloadStatus::Waiting, "waiting for the load balancer")
    } else {
        Status::default()
    };
    findings.worse(own)
}

/// The coordinator's conditions, always all of them and in the same order.
pub(crate) fn conditions(
    observed: &Observed,
    findings: &[Finding],
    coverage: &Coverage,
    config_valid: bool,
    progress: &Progress<'_>,
) -> Vec<Condition> {
    use ConditionStatus::{False, True, Unknown};
    let condition = |kind, status, reason: Reason, message: String| Condition {
        kind,
        status,
        reason: reason.as_str().to_owned(),
        message,
    };
    let first = |reasons: &[Reason]| findings.iter().find(|f| reasons.contains(&f.reason));
    let answer = |kind, yes: bool, no: Option<&Finding>, fallback: Reason| match no {
        _ if yes => condition(kind, True, Reason::AsExpected, String::new()),
        Some(finding) => condition(kind, False, finding.reason, finding.message.clone()),
        None => condition(kind, False, fallback, String::new()),
    };
    let missing = first(&[Reason::MissingRequiredRoles]);
    let coherent = answer(
        ConditionType::Coherent,
        coverage.is_coherent() && missing.is_none(),
        missing,
        Reason::MissingRequiredRoles,
    );
    let store = match &observed.object_store {
        ObjectStore::Related { probe: Probe::Pending, .. } => {
            condition(ConditionType::ObjectStoreReady, Unknown, Reason::ObjectStoreUnknown, String::new())
        }
        ObjectStore::Related { probe: Probe::Ready { .. }, .. } => {
            condition(ConditionType::ObjectStoreReady, True, Reason::AsExpected, String::new())
        }
        _ => {
            answer(ConditionType::ObjectStoreReady, false, first(&STORE_REASONS), Reason::ObjectStoreMissing)
        }
    };
    let rollout = progress.rollout;
    let config = match &rollout.halt {
        Some(halt) if halt.what == Trouble::Rejected => condition(
            ConditionType::ConfigAccepted,
            False,
            Reason::ConfigRejected,
            format!("{}: {}", halt.unit, halt.why),
        ),
        _ if !config_valid => {
            let reasons = [
                Reason::InvalidOption,
                Reason::UnknownOption,
                Reason::OwnedOverride,
                Reason::UnsupportedProduct,
            ];
            answer(ConditionType::ConfigAccepted, false, first(&reasons), Reason::InvalidOption)
        }
        _ if rollout.accepted => {
            condition(ConditionType::ConfigAccepted, True, Reason::AsExpected, String::new())
        }
        _ => condition(
            ConditionType::ConfigAccepted,
            Unknown,
            Reason::Starting,
            "no unit has checked it yet".to_owned(),
        ),
    };
    let moved = format!("{}/{} units", progress.updated, progress.total);
    let rolled_out = match &rollout.halt {
        Some(halt) => condition(
            ConditionType::RolledOut,
            False,
            Reason::RolloutHalted,
            format!("{}: {}", halt.unit, halt.why),
        ),
        None if rollout.under_way => condition(ConditionType::RolledOut, False, Reason::RollingOut, moved),
        None if progress.updated < progress.total => {
            condition(ConditionType::RolledOut, False, Reason::Starting, moved)
        }
        None => condition(ConditionType::RolledOut, True, Reason::AsExpected, moved),
    };
    let available = progress.unready_roles.is_empty() && progress.balancers_ready && coverage.is_coherent();
    let reason = if progress.gate == Gate::Stop { Reason::Stopped } else { Reason::Starting };
    let available = if available {
        condition(ConditionType::Available, True, Reason::AsExpected, String::new())
    } else {
        condition(
            ConditionType::Available,
            False,
            reason,
            if progress.unready_roles.is_empty() {
                "no ready load balancer".to_owned()
            } else {
                format!("no ready unit for: {}", progress.unready_roles)
            },
        )
    };
    let degraded = match first(&[Reason::MissingOptionalRoles]) {
        Some(finding) => condition(ConditionType::Degraded, True, finding.reason, finding.message.clone()),
        None if progress.updated < progress.total => condition(
            ConditionType::Degraded,
            True,
            Reason::Starting,
            format!("{}/{} units ready", progress.updated, progress.total),
        ),
        None => condition(ConditionType::Degraded, False, Reason::AsExpected, String::new()),
    };
    vec![coherent, store, config, rolled_out, available, degraded]
}
