//! The shared config: what goes into it besides the options, and its revision.

use std::sync::Arc;

use muster_model::{Finding, ObjectStorage, Reason, Revision, Role, Secret, WorkloadStatus};

use muster_products::charm::Options;
use muster_products::{ConfigInputs, RemoteWrite};

use crate::observed::{Observed, ObservedUnit};
use crate::validate::Line;

/// From this many units with fresh data on, data is kept three times when nobody asks for a number.
pub const UNITS_FOR_THREE_COPIES: u32 = 3;

/// A config, its content hash, and what it was made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rendered {
    inputs: Revision,
    pub(crate) revision: Revision,
    pub(crate) text: Arc<str>,
}

/// How many copies of fresh data are kept.
///
/// Chosen at the first rollout, and never lowered: one unit that is away would be one too many from then on. It is raised once as many
/// units as there are to be copies are ready: what is written then has its copies, and what was written before keeps what it had until it
/// is in the object store.
pub(crate) fn replication_factor(
    observed: &Observed,
    line: &Line,
    options: &Options,
    keepers: u32,
    findings: &mut Vec<Finding>,
) -> u8 {
    let role = line.workload.replicated_role();
    let mut say = |status, reason, message: String| {
        findings.push(Finding::application(&observed.name, status, reason, message));
    };
    use WorkloadStatus::{Blocked, Waiting};
    let asked = u8::try_from(options.integer("replication-factor")).unwrap_or(0);
    let chosen = match observed.carry.replication_factor {
        None if asked == 0 && keepers >= UNITS_FOR_THREE_COPIES => 3,
        None => asked.max(1),
        Some(kept) if asked == 0 => kept,
        Some(kept) if asked < kept => {
            say(
                Blocked,
                Reason::InvalidOption,
                format!(
                    "replication-factor stays {kept}, with which data was already written; set it back: muster config {} \
                     replication-factor={kept}; why: muster explain replication-factor",
                    observed.name
                ),
            );
            kept
        }
        Some(kept) if asked > kept && keepers < asked.into() => {
            say(
                Blocked,
                Reason::InvalidOption,
                format!(
                    "replication-factor stays {kept} until there are {asked} units with role {role}, there is {keepers}; \
                     add some: muster scale WORKER {asked}"
                ),
            );
            kept
        }
        Some(kept) if asked > kept => {
            let ready = ready_keepers(observed, line, role);
            if ready < asked.into() {
                say(
                    Waiting,
                    Reason::Starting,
                    format!(
                        "replication-factor stays {kept} until {asked} units with role {role} are ready, {ready} of {keepers} are"
                    ),
                );
                kept
            } else {
                asked
            }
        }
        Some(_) => asked,
    };
    let quorum = u32::from(chosen / 2 + 1);
    if keepers > 0 && keepers < quorum {
        say(
            Blocked,
            Reason::InvalidOption,
            format!(
                "replication-factor {chosen} needs {quorum} units with role {role} to take writes, there is {keepers}; \
                 add some: muster scale WORKER {quorum}"
            ),
        );
    }
    chosen
}

/// How many units are ready with a role and are to go on with it.
fn ready_keepers(observed: &Observed, line: &Line, role: Role) -> u32 {
    let workers = observed.workers.values().filter(|worker| worker.is_asked_for());
    let units = workers.flat_map(|worker| worker.units.range(..worker.spec.units));
    let is_one = |unit: &ObservedUnit| {
        unit.is_ready() && unit.obeys() && line.table.expand(&unit.current_roles()).contains(role)
    };
    u32::try_from(units.filter(|(_, unit)| is_one(unit)).count()).unwrap_or(u32::MAX)
}

/// Renders the shared config, or takes the one that the last plan rendered from the same.
pub(crate) fn render(
    observed: &Observed,
    line: &Line,
    options: &Options,
    storage: &ObjectStorage,
    replication_factor: u8,
    remote_write: &[RemoteWrite],
) -> Rendered {
    let inputs = inputs(observed, line, options, storage, replication_factor, remote_write);
    if let Some(last) = observed.carry.rendered.as_ref().filter(|last| last.inputs == inputs) {
        return last.clone();
    }
    let text = line.workload.shared_config(&ConfigInputs {
        cluster_id: &observed.cluster_id,
        version: line.version,
        storage,
        options,
        replication_factor,
        gateway: observed.usable_gateway(),
        remote_write,
        overrides: observed.spec.overrides.as_ref(),
    });
    // The text is free of secrets, but a unit restarts when they change.
    let revision = Revision::of([
        text.as_bytes(),
        storage.access_key.expose().as_bytes(),
        storage.secret_key.expose().as_bytes(),
        storage.tls_ca_chain.as_deref().unwrap_or_default().as_bytes(),
    ]);
    Rendered { inputs, revision, text: text.into() }
}

/// Names everything that [`render`] depends on.
fn inputs(
    observed: &Observed,
    line: &Line,
    options: &Options,
    storage: &ObjectStorage,
    replication_factor: u8,
    remote_write: &[RemoteWrite],
) -> Revision {
    let mut text = format!("{} {} {} {replication_factor}", line.product, line.version, observed.cluster_id);
    for (option, value) in options.iter() {
        text.push_str(&format!(" {option}={value}"));
    }
    text.push_str(&format!(" {:?}", observed.usable_gateway()));
    for RemoteWrite { name, url, ca, needs_tenant } in remote_write {
        text.push_str(&format!(" {name}={url} {ca:?} {needs_tenant}"));
    }
    let overrides = observed.spec.overrides.as_ref().map(|o| serde_json::to_vec(o).unwrap_or_default());
    let ObjectStorage { endpoint, bucket, access_key, secret_key, region, path, tls_ca_chain, create_bucket } =
        storage;
    Revision::of([
        text.as_bytes(),
        overrides.as_deref().unwrap_or_default(),
        endpoint.to_string().as_bytes(),
        bucket.as_bytes(),
        access_key.expose().as_bytes(),
        secret_key.expose().as_bytes(),
        region.as_bytes(),
        path.as_deref().unwrap_or_default().as_bytes(),
        tls_ca_chain.as_deref().unwrap_or_default().as_bytes(),
        &[u8::from(*create_bucket), u8::from(path.is_some()), u8::from(tls_ca_chain.is_some())],
    ])
}

/// The revision of a load balancer document.
pub(crate) fn balancer_revision(text: &str, tls: Option<(&str, &Secret)>) -> Revision {
    let (certificate, key) = tls.map_or(("", ""), |(certificate, key)| (certificate, key.expose()));
    Revision::of([text.as_bytes(), certificate.as_bytes(), key.as_bytes()])
}
