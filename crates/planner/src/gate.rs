//! Whether services may run at all.

use muster_api::OnIncoherent;
use muster_model::{Coverage, Finding, Reason, RoleSet, RoleTable, WorkloadStatus};

use crate::observed::{ObjectStore, Observed, ObservedWorker, Probe, Tls};

/// What the gate says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gate {
    /// Services run.
    Open,
    /// Nothing is started and nothing is stopped.
    Hold,
    /// Every service is stopped.
    Stop,
}

/// Decides on the object store and the certificate.
pub(crate) fn prerequisites(observed: &Observed, findings: &mut Vec<Finding>) -> Gate {
    let name = &observed.name;
    let before = findings.len();
    let mut say = |status, reason, message: String| {
        findings.push(Finding::application(name, status, reason, message));
    };
    use WorkloadStatus::{Blocked, Waiting};
    match &observed.object_store {
        ObjectStore::NotRelated => say(
            Blocked,
            Reason::ObjectStoreMissing,
            format!("no S3 relation; relate one: muster integrate {name} S3-APPLICATION"),
        ),
        ObjectStore::SecretMissing(secret) => say(
            Blocked,
            Reason::ObjectStoreMissing,
            format!(
                "S3 application {secret:?} does not exist; deploy it: muster deploy s3-integrator {secret} --config endpoint=…"
            ),
        ),
        ObjectStore::Invalid { secret, problem } => say(
            Blocked,
            Reason::ObjectStoreInvalid,
            format!("S3 application {secret:?}: {problem}; fix it: muster config {secret} KEY=VALUE"),
        ),
        ObjectStore::Taken { bucket, by } => say(
            Blocked,
            Reason::BucketTaken,
            format!(
                "bucket {bucket:?} already belongs to coordinator {by}; give {name} a bucket or path of its own"
            ),
        ),
        ObjectStore::Related { probe: Probe::Pending, .. } => {
            say(
                Waiting,
                Reason::ObjectStoreUnknown,
                "waiting for the first probe of the object store".to_owned(),
            );
        }
        ObjectStore::Related { probe: Probe::Failed { reason, message, .. }, .. } => {
            say(Blocked, *reason, message.clone());
        }
        ObjectStore::Related { probe: Probe::Ready { .. }, .. } => {}
    }
    if let Tls::Invalid(problem) = &observed.tls {
        say(Blocked, Reason::TlsInvalid, problem.clone());
    }
    if findings.len() == before { Gate::Open } else { Gate::Hold }
}

/// Whether what units hold is given up: a coordinator that goes and has no object store any more is given none again.
pub(crate) fn gives_up(observed: &Observed) -> bool {
    let has_none = matches!(
        &observed.object_store,
        ObjectStore::NotRelated | ObjectStore::SecretMissing(_) | ObjectStore::Invalid { .. }
    );
    observed.removing && has_none
}

/// Whether units that are to go for good can upload what they hold.
pub(crate) fn can_flush(observed: &Observed) -> bool {
    match &observed.object_store {
        // They keep what they were last given, which may well work; but nothing says so, and waiting costs little, unless the
        // coordinator goes too: nobody gives it an object store again.
        ObjectStore::NotRelated | ObjectStore::SecretMissing(_) | ObjectStore::Invalid { .. } => {
            gives_up(observed)
        }
        // Nobody was given what is another's: they run with what the coordinator named before.
        ObjectStore::Taken { .. } => true,
        ObjectStore::Related { probe, .. } => matches!(probe, Probe::Ready { .. }),
    }
}

/// Decides on coverage.
pub(crate) fn coverage(
    observed: &Observed,
    table: &RoleTable,
    coverage: &Coverage,
    findings: &mut Vec<Finding>,
) -> Gate {
    let name = &observed.name;
    if !observed.workers.values().any(ObservedWorker::is_asked_for) {
        findings.push(Finding::application(
            name,
            WorkloadStatus::Blocked,
            Reason::MissingRequiredRoles,
            format!("no worker is related; deploy one and relate it: muster integrate {name} WORKER"),
        ));
    } else if !coverage.is_coherent() {
        findings.push(Finding::application(
            name,
            WorkloadStatus::Blocked,
            Reason::MissingRequiredRoles,
            format!(
                "missing required roles: {}; switch them on: {}",
                coverage.missing_required.to_string().replace(',', ", "),
                command(observed, table, &coverage.missing_required)
            ),
        ));
    } else {
        if !coverage.missing_optional.is_empty() {
            findings.push(Finding::application(
                name,
                WorkloadStatus::Active,
                Reason::MissingOptionalRoles,
                format!(
                    "degraded: missing optional roles: {}",
                    coverage.missing_optional.to_string().replace(',', ", ")
                ),
            ));
        }
        return Gate::Open;
    }
    match observed.spec.on_incoherent {
        OnIncoherent::Stop => Gate::Stop,
        OnIncoherent::Hold => Gate::Hold,
    }
}

/// A command that covers what is missing: the smallest meta role that does, else the missing roles one by one.
fn command(observed: &Observed, table: &RoleTable, missing: &RoleSet) -> String {
    let worker = observed
        .workers
        .iter()
        .find(|(_, worker)| worker.is_asked_for())
        .map_or("WORKER", |(name, _)| name.as_str());
    let covering = table.meta.iter().filter(|(_, parts)| parts.is_superset(missing));
    let roles = match covering.min_by_key(|(_, parts)| parts.len()) {
        Some((meta, _)) if missing.len() > 1 => RoleSet::from([*meta]),
        _ => missing.clone(),
    };
    roles
        .iter()
        .fold(format!("muster config {worker}"), |command, role| format!("{command} role-{role}=true"))
}
