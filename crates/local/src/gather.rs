//! From the model's state and what its units say to what the planner observes.

use std::collections::BTreeMap;

use muster_api::Document;
use muster_model::{AppName, ObjectStorage, Revision, TlsMaterial, UnitName};
use muster_planner::{
    Claim, ObjectStore, Observed, ObservedUnit, ObservedWorker, Probe, RemoteWriteTarget, Seeds, Temporary,
    Tls, contested,
};
use muster_relation::Report;
use muster_s3::store_revision;

use crate::state::{State, document_name};

/// What is known of the units right now.
#[derive(Debug, Default)]
pub(crate) struct Live {
    /// The last report of each unit.
    pub reports: BTreeMap<UnitName, Report>,
    /// Whether each unit's agent is connected. A unit that is not named is not.
    pub connected: BTreeMap<UnitName, bool>,
    /// Why the agents that could not be started could not be.
    pub failures: BTreeMap<UnitName, String>,
    /// The last probe of each S3 application, with the revision of the data that was probed.
    pub probes: BTreeMap<AppName, (Revision, Probe)>,
}

/// What the planner is to observe of each coordinator, in order of their creation.
#[must_use]
pub(crate) fn gather(state: &State, live: &Live) -> Vec<Observed> {
    let stores: BTreeMap<AppName, Result<ObjectStorage, String>> =
        state.s3_applications().map(|(name, values)| (name, parse_store(values))).collect();
    let named =
        |coordinator: &muster_api::Coordinator| coordinator.spec.s3.as_ref().map(|s3| s3.secret.clone());
    let coordinators: Vec<_> = state.coordinators().collect();
    let claims = coordinators.iter().filter_map(|(name, coordinator, _)| {
        let store = {
            let secret = named(coordinator)?;
            let (_, store) = stores.iter().find(|(name, _)| name.as_str() == secret)?;
            store.as_ref().ok()?
        };
        Some(Claim { coordinator: name.clone(), storage: store, carry: state.carry.get(name) })
    });
    let taken = contested(claims);
    coordinators
        .iter()
        .map(|(name, coordinator, removing)| {
            let object_store = match named(coordinator) {
                None => ObjectStore::NotRelated,
                Some(secret) => object_store(secret, &stores, taken.get(name), live),
            };
            Observed {
                cluster_id: format!("{}-{name}", state.id),
                spec: coordinator.spec.clone(),
                removing: *removing,
                balancers: units(state, live, name),
                workers: workers(state, live, name),
                object_store,
                tls: tls(state, coordinator),
                remote_write: remote_write(state, coordinator),
                gateway: gateway(state, name),
                temporary_name_taken: name_taken(state, name),
                seeds: Seeds::Units,
                obstacles: Vec::new(),
                carry: state.carry.get(name).cloned().unwrap_or_default(),
                name: name.clone(),
            }
        })
        .collect()
}

/// The S3 data of an application, or what is wrong with it.
pub(crate) fn parse_store(
    values: Result<BTreeMap<String, muster_model::Secret>, String>,
) -> Result<ObjectStorage, String> {
    ObjectStorage::from_secret(&values?).map_err(|e| e.to_string())
}

fn object_store(
    secret: String,
    stores: &BTreeMap<AppName, Result<ObjectStorage, String>>,
    taken_by: Option<&AppName>,
    live: &Live,
) -> ObjectStore {
    let app = stores.iter().find(|(name, _)| name.as_str() == secret);
    let Some((app, parsed)) = app else { return ObjectStore::SecretMissing(secret) };
    match (parsed, taken_by) {
        (Err(problem), _) => ObjectStore::Invalid { secret, problem: problem.clone() },
        (Ok(storage), Some(by)) => ObjectStore::Taken { bucket: storage.bucket.clone(), by: by.to_string() },
        (Ok(storage), None) => {
            let probe = live.probes.get(app).filter(|(revision, _)| *revision == store_revision(storage));
            ObjectStore::Related {
                storage: Box::new(storage.clone()),
                probe: probe.map_or(Probe::Pending, |(_, probe)| probe.clone()),
            }
        }
    }
}

fn tls(state: &State, coordinator: &muster_api::Coordinator) -> Tls {
    let Some(reference) = &coordinator.spec.tls else { return Tls::Off };
    let name = &reference.secret;
    let Some(values) = state.secret(name, "kubernetes.io/tls") else {
        return Tls::Invalid(format!(
            "Secret {name:?} of type kubernetes.io/tls does not exist; apply one, or remove spec.tls"
        ));
    };
    match values.and_then(|values| TlsMaterial::from_secret(&values).map_err(|e| e.to_string())) {
        Ok(material) => Tls::On(material),
        Err(problem) => Tls::Invalid(format!("Secret {name:?}: {problem}")),
    }
}

/// Where a coordinator's load balancer is reached: at its first unit's address, which stays.
fn gateway(state: &State, coordinator: &AppName) -> Option<String> {
    state.units_of(coordinator).next().map(|(_, unit)| unit.address.to_string())
}

/// The coordinators that metrics are to be written to.
fn remote_write(state: &State, coordinator: &muster_api::Coordinator) -> BTreeMap<String, RemoteWriteTarget> {
    let target = |name: &String| {
        let found = state.coordinators().find(|(other, ..)| other.as_str() == name);
        let target = found.map_or(RemoteWriteTarget::Missing, |(app, found, _)| {
            RemoteWriteTarget::of(name, &found.spec, gateway(state, &app).as_deref(), &tls(state, found))
        });
        (name.clone(), target)
    };
    coordinator.spec.remote_write.iter().map(target).collect()
}

fn units(state: &State, live: &Live, app: &AppName) -> BTreeMap<u32, ObservedUnit> {
    state
        .units_of(app)
        .map(|(name, record)| {
            // A report of an earlier unit of the same name says nothing about this one.
            let report = live.reports.get(name).filter(|r| r.instance == record.instance).cloned();
            let unit = ObservedUnit {
                address: Some(record.address.to_string()),
                assigned: record.assigned.clone(),
                report,
                connected: live.connected.get(name).copied().unwrap_or(false),
                agent_problem: live.failures.get(name).cloned(),
                instance: Some(record.instance.clone()),
                consent: record.consent.clone(),
                ..ObservedUnit::default()
            };
            (name.number(), unit)
        })
        .collect()
}

/// Whether an application other than a coordinator's own workers has the name of its temporary worker.
fn name_taken(state: &State, coordinator: &AppName) -> bool {
    let Some(name) = Temporary::name_for(coordinator) else { return false };
    state.documents.iter().any(|stored| match &stored.document {
        Document::Worker(worker) => {
            let related = worker.spec.coordinator.as_deref() == Some(coordinator.as_str());
            document_name(&stored.document) == name.as_str() && (!related || stored.removing)
        }
        other => document_name(other) == name.as_str(),
    })
}

/// The workers whose units carry this coordinator's assignments, or that wait for their first one from it.
fn workers(state: &State, live: &Live, coordinator: &AppName) -> BTreeMap<AppName, ObservedWorker> {
    state
        .workers()
        .filter_map(|(name, worker, removing)| {
            let related = worker.spec.coordinator.as_deref() == Some(coordinator.as_str());
            let observed = |removing| ObservedWorker {
                spec: worker.spec.clone(),
                removing,
                units: units(state, live, &name),
                unreadable: false,
                temporary: Temporary::is(worker, coordinator),
            };
            match state.attached.get(&name) {
                Some(attached) if attached == coordinator => Some(observed(removing || !related)),
                None if related && !removing => Some(observed(false)),
                _ => None,
            }
            .map(|worker| (name.clone(), worker))
        })
        .collect()
}
