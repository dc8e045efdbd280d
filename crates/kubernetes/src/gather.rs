//! From what is cached to what the planner observes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod, Secret};
use kube::ResourceExt as _;
use kube::runtime::reflector::ObjectRef;
use muster_api::{Coordinator, Unit, Worker, secret_values};
use muster_manifests::names::{
    APPLICATION_LABEL, COORDINATOR_LABEL, WORKLOAD_CONTAINER, cluster_secret, gossip_address, pod_name,
    unit_number,
};
use muster_model::{AppName, Finding, ObjectStorage, Revision, TlsMaterial};
use muster_planner::{
    CarryOver, Claim, ObjectStore, Observed, ObservedUnit, ObservedWorker, Probe, Seeds, Tls, contested,
};
use muster_relation::{Assignment, ClusterData, Report};
use muster_s3::store_revision;

use crate::caches::{Caches, Guarded};
use crate::key::Key;

/// The label with the revision of the template that a pod was made from. Set by the StatefulSet controller.
const TEMPLATE_LABEL: &str = "controller-revision-hash";
/// Reasons for which a container waits that only a person can do something about.
const STUCK: &[&str] = &[
    "ImagePullBackOff",
    "ErrImagePull",
    "InvalidImageName",
    "CreateContainerConfigError",
    "CreateContainerError",
    "RunContainerError",
    "CrashLoopBackOff",
];

/// What is known of an object store besides its Secret.
pub(crate) type Probed = BTreeMap<Key, (Revision, Probe)>;

/// A coordinator with everything that belongs to it.
pub(crate) struct Gathered {
    pub(crate) observed: Observed,
    /// The workers whose units carry this coordinator's assignments.
    pub(crate) workers: BTreeMap<AppName, Arc<Worker>>,
    /// The object store to probe, if there is one.
    pub(crate) store: Option<(Key, ObjectStorage)>,
}

/// What the operator remembers besides what the API server keeps.
pub(crate) struct Remembered<'a> {
    /// The last plan's carry-over, for what it spares the next one.
    pub(crate) carry: Option<&'a CarryOver>,
    /// What the operator itself could not do.
    pub(crate) obstacles: Vec<Finding>,
}

/// Gathers what the planner observes of a coordinator.
pub(crate) fn gather(
    key: &Key,
    name: &AppName,
    coordinator: &Coordinator,
    caches: &Caches,
    probed: &Probed,
    remembered: Remembered<'_>,
) -> Gathered {
    let workers = attached_workers(key, caches);
    let secret = coordinator.spec.s3.as_ref().map(|s3| key.sibling(&s3.secret));
    let parsed =
        secret.as_ref().and_then(|secret| Some((secret, parse_store(&*caches.s3_secrets.get(secret)?))));
    let store = match &parsed {
        Some((secret, Ok(storage))) => Some(((*secret).clone(), storage.clone())),
        _ => None,
    };
    let object_store = match (&secret, parsed) {
        (None, _) => ObjectStore::NotRelated,
        (Some(secret), None) => ObjectStore::SecretMissing(secret.name.clone()),
        (Some(secret), Some((_, Err(problem)))) => {
            ObjectStore::Invalid { secret: secret.name.clone(), problem }
        }
        (Some(secret), Some((_, Ok(storage)))) => match owner(key, caches) {
            Some(by) => ObjectStore::Taken { bucket: storage.bucket, by },
            None => {
                let probe = probed.get(secret).filter(|(revision, _)| *revision == store_revision(&storage));
                ObjectStore::Related {
                    probe: probe.map_or(Probe::Pending, |(_, probe)| probe.clone()),
                    storage: Box::new(storage),
                }
            }
        },
    };
    let observed = Observed {
        cluster_id: cluster_id(key, coordinator),
        spec: coordinator.spec.clone(),
        removing: coordinator.metadata.deletion_timestamp.is_some(),
        balancers: units(key, name, caches),
        workers: workers
            .iter()
            .map(|(worker, object)| {
                let related = object.spec.coordinator.as_deref() == Some(name.as_str());
                let removing = object.metadata.deletion_timestamp.is_some() || !related;
                let observed =
                    ObservedWorker { spec: object.spec.clone(), removing, units: units(key, worker, caches) };
                (worker.clone(), observed)
            })
            .collect(),
        object_store,
        tls: tls(key, coordinator, caches),
        seeds: Seeds::Name(gossip_address(name, &key.namespace)),
        obstacles: remembered.obstacles,
        carry: carry(key, name, coordinator, caches, remembered.carry),
        name: name.clone(),
    };
    Gathered { observed, workers, store }
}

/// The gossip label: no other coordinator ever has it, also not one of the same name.
fn cluster_id(key: &Key, coordinator: &Coordinator) -> String {
    let uid = coordinator.metadata.uid.as_deref().unwrap_or_default();
    format!("{}-{}-{}", key.namespace, key.name, uid.get(..8).unwrap_or(uid))
}

/// The coordinator of that name.
pub(crate) fn coordinator_named(key: &Key, caches: &Caches) -> Option<Arc<Guarded<Coordinator>>> {
    caches.coordinators.get(&ObjectRef::new(&key.name).within(&key.namespace))
}

/// The coordinator that decides about a worker: the one whose assignments its units carry, as long as it exists, else the one it
/// names. Nobody decides about a worker that names none that exists, or whose name a coordinator has.
pub(crate) fn decides(worker: &Worker, caches: &Caches) -> Option<Key> {
    let key = Key::of(worker);
    if coordinator_named(&key, caches).is_some() {
        return None;
    }
    let exists = |coordinator: &Key| coordinator_named(coordinator, caches).is_some();
    let attached = caches.stateful_sets.get(&key).filter(|set| carries_units(&key, set, caches));
    let attached = attached.and_then(|set| set.labels().get(COORDINATOR_LABEL).map(|c| key.sibling(c)));
    let related = worker.spec.coordinator.as_ref().map(|name| key.sibling(name));
    attached.filter(exists).or_else(|| related.filter(exists))
}

/// Whether a StatefulSet has pods, or is about to.
fn carries_units(key: &Key, set: &StatefulSet, caches: &Caches) -> bool {
    let wanted = set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    let there = set.status.as_ref().map_or(0, |status| status.replicas);
    let pods = || {
        set.labels().get(COORDINATOR_LABEL).is_some_and(|coordinator| {
            let pods = caches.pods.of(&key.sibling(coordinator));
            pods.iter().any(|pod| pod.labels().get(APPLICATION_LABEL).is_some_and(|app| *app == key.name))
        })
    };
    wanted > 0 || there > 0 || pods()
}

/// The workers that a coordinator decides about.
pub(crate) fn attached_workers(coordinator: &Key, caches: &Caches) -> BTreeMap<AppName, Arc<Worker>> {
    let related = caches.workers.of(coordinator);
    let sets = caches.stateful_sets.of(coordinator);
    let attached = sets.iter().filter_map(|set| caches.workers.get(&Key::of(set.as_ref())));
    let mut workers = BTreeMap::new();
    for worker in related.into_iter().chain(attached) {
        let Ok(worker) = &worker.0 else { continue };
        let name = AppName::new(worker.name_any());
        if let (Ok(name), true) = (name, decides(worker, caches).as_ref() == Some(coordinator)) {
            workers.entry(name).or_insert_with(|| Arc::new(worker.clone()));
        }
    }
    workers
}

/// What the last plan decided, from where it is kept: the status, and the texts of its revisions in the cluster Secret.
fn carry(
    key: &Key,
    name: &AppName,
    coordinator: &Coordinator,
    caches: &Caches,
    remembered: Option<&CarryOver>,
) -> CarryOver {
    let kept = coordinator.status.as_ref().and_then(|status| status.carry_over.clone());
    let mut carry: CarryOver = match kept.map(|kept| serde_json::from_value(serde_json::Value::Object(kept)))
    {
        Some(Ok(carry)) => carry,
        Some(Err(error)) => {
            tracing::warn!(coordinator = %key, %error, "status.carryOver cannot be read and is made anew");
            CarryOver::default()
        }
        None => CarryOver::default(),
    };
    let secret = caches.secrets.get(&key.sibling(cluster_secret(name)));
    if let Some(cluster) = secret.and_then(|secret| read_cluster(&secret)) {
        carry.documents = cluster.documents;
    }
    if let Some(remembered) = remembered {
        carry.remember(remembered);
    }
    carry
}

fn read_cluster(secret: &Secret) -> Option<ClusterData> {
    let read = secret_values(secret)
        .and_then(|entries| ClusterData::from_entries(&entries).map_err(|e| e.to_string()));
    read.map_err(|error| {
        tracing::warn!(secret = secret.name_any(), error, "Secret cannot be read and is made anew")
    })
    .ok()
}

/// The object store that a Secret describes, or what is wrong with it.
fn parse_store(secret: &Secret) -> Result<ObjectStorage, String> {
    ObjectStorage::from_secret(&secret_values(secret)?).map_err(|error| error.to_string())
}

/// The other coordinator that the bucket and path of this one belong to.
fn owner(key: &Key, caches: &Caches) -> Option<String> {
    let mut coordinators: Vec<_> = caches
        .coordinators
        .state()
        .into_iter()
        .filter_map(|coordinator| {
            let Ok(coordinator) = &coordinator.0 else { return None };
            let key = Key::of(coordinator);
            let secret = key.sibling(&coordinator.spec.s3.as_ref()?.secret);
            let storage = parse_store(&*caches.s3_secrets.get(&secret)?).ok()?;
            let kept = coordinator.status.as_ref().and_then(|status| status.carry_over.clone());
            let carry = kept.and_then(|kept| serde_json::from_value(serde_json::Value::Object(kept)).ok());
            let created = coordinator.metadata.creation_timestamp.as_ref().map(|time| time.0);
            Some((created, key, storage, carry))
        })
        .collect();
    if coordinators.len() < 2 {
        return None;
    }
    coordinators.sort_by(|one, other| (one.0, &one.1).cmp(&(other.0, &other.1)));
    let claims = coordinators.iter().map(|(_, key, storage, carry)| Claim {
        coordinator: key.clone(),
        storage,
        carry: carry.as_ref(),
    });
    let by = contested(claims).remove(key)?;
    Some(if by.namespace == key.namespace { by.name } else { by.to_string() })
}

fn tls(key: &Key, coordinator: &Coordinator, caches: &Caches) -> Tls {
    let Some(reference) = &coordinator.spec.tls else { return Tls::Off };
    let name = &reference.secret;
    let Some(secret) = caches.tls_secrets.get(&key.sibling(name)) else {
        return Tls::Invalid(format!(
            "Secret {name:?} of type kubernetes.io/tls does not exist; apply one, or remove spec.tls"
        ));
    };
    let read = secret_values(&secret).and_then(|v| TlsMaterial::from_secret(&v).map_err(|e| e.to_string()));
    read.map_or_else(|problem| Tls::Invalid(format!("Secret {name:?}: {problem}")), Tls::On)
}

/// The units of an application that exist: those with a pod, and those with a Unit.
fn units(coordinator: &Key, application: &AppName, caches: &Caches) -> BTreeMap<u32, ObservedUnit> {
    let key = coordinator.sibling(application.as_str());
    let set = caches.stateful_sets.get(&key);
    let template = set.as_deref().and_then(current_template);
    let belongs = |labels: &BTreeMap<String, String>| {
        labels.get(APPLICATION_LABEL).is_some_and(|app| app == application.as_str())
    };
    let pods = caches.pods.of(coordinator);
    let units = caches.units.of(coordinator);
    let named = pods.iter().filter(|pod| belongs(pod.labels())).map(|pod| pod.name_any());
    let named = named.chain(units.iter().filter(|unit| belongs(unit.labels())).map(|unit| unit.name_any()));
    let numbers: BTreeSet<u32> = named.filter_map(|name| unit_number(application, &name)).collect();
    numbers
        .into_iter()
        .map(|number| {
            let key = coordinator.sibling(pod_name(&application.unit(number)));
            let pod = caches.pods.get(&key);
            let unit = caches.units.get(&key);
            (
                number,
                observed_unit(
                    pod.as_deref(),
                    unit.as_ref().and_then(|u| u.0.as_ref().ok()),
                    template.as_deref(),
                ),
            )
        })
        .collect()
}

/// The revision of the template that new pods get, once the StatefulSet controller has looked at the newest.
fn current_template(set: &StatefulSet) -> Option<String> {
    let status = set.status.as_ref()?;
    (status.observed_generation == set.metadata.generation).then(|| status.update_revision.clone()).flatten()
}

fn observed_unit(pod: Option<&Pod>, unit: Option<&Unit>, template: Option<&str>) -> ObservedUnit {
    let name = || unit.map(kube::ResourceExt::name_any).unwrap_or_default();
    let read = |what: &str, error: serde_json::Error| {
        tracing::warn!(unit = name(), %error, "{what} cannot be read");
    };
    let assigned = unit.and_then(|unit| unit.spec.assignment.clone());
    let assigned: Option<Assignment> =
        assigned.and_then(|value| serde_json::from_value(value).map_err(|e| read("assignment", e)).ok());
    let report = unit.and_then(|unit| unit.status.as_ref()?.report.clone());
    let report: Option<Report> =
        report.and_then(|value| serde_json::from_value(value).map_err(|e| read("report", e)).ok());
    let uid = pod.and_then(|pod| pod.metadata.uid.as_deref());
    ObservedUnit {
        address: pod.and_then(|pod| pod.status.as_ref()?.pod_ip.clone()),
        assigned,
        // A report of an earlier pod of the same name says nothing about this one.
        report: report.filter(|report| Some(report.instance.as_str()) == uid),
        connected: pod.is_some_and(is_reachable),
        absent: pod.is_none_or(never_ran_or_ended),
        outdated: pod.is_some_and(|pod| {
            let made_from = pod.labels().get(TEMPLATE_LABEL);
            pod.metadata.deletion_timestamp.is_none()
                && template.zip(made_from).is_some_and(|(now, then)| now != then)
        }),
        agent_problem: pod.and_then(problem),
    }
}

fn workload(pod: &Pod) -> Option<&ContainerStatus> {
    let statuses = pod.status.as_ref()?.container_statuses.as_ref()?;
    statuses.iter().find(|status| status.name == WORKLOAD_CONTAINER)
}

fn condition(pod: &Pod, kind: &str) -> Option<bool> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    conditions.iter().find(|condition| condition.type_ == kind).map(|condition| condition.status == "True")
}

/// Whether the agent runs on a node that answers. When a node is lost, its pods' `Ready` is set to false by the node controller
/// while `ContainersReady`, which the kubelet writes, stays as it was.
fn is_reachable(pod: &Pod) -> bool {
    let runs = workload(pod).and_then(|w| w.state.as_ref()).is_some_and(|state| state.running.is_some());
    let lost = condition(pod, "Ready") == Some(false) && condition(pod, "ContainersReady") == Some(true);
    runs && !lost && pod.metadata.deletion_timestamp.is_none()
}

/// Whether it is certain that nothing runs in the pod.
fn never_ran_or_ended(pod: &Pod) -> bool {
    let Some(status) = &pod.status else { return true };
    match status.phase.as_deref() {
        Some("Failed" | "Succeeded") => true,
        Some("Pending") | None => {
            workload(pod).and_then(|w| w.state.as_ref()).is_none_or(|state| state.running.is_none())
        }
        _ => false,
    }
}

/// Why the pod does not come up, in one line, if it is something that does not pass by itself.
fn problem(pod: &Pod) -> Option<String> {
    let status = pod.status.as_ref()?;
    let containers = status.init_container_statuses.iter().chain(&status.container_statuses).flatten();
    let stuck = containers.filter_map(|container| {
        let waiting = container.state.as_ref()?.waiting.as_ref()?;
        let reason = waiting.reason.as_deref().filter(|reason| STUCK.contains(reason))?;
        let message = waiting.message.as_deref().unwrap_or("the node gives no details");
        Some(format!("container {}: {reason}: {message}", container.name))
    });
    let unschedulable = || {
        let conditions = status.conditions.as_ref()?;
        let scheduled = conditions.iter().find(|c| c.type_ == "PodScheduled" && c.status == "False")?;
        let why = scheduled.message.as_deref().or(scheduled.reason.as_deref())?;
        Some(format!("no node takes the pod: {why}"))
    };
    stuck.into_iter().next().or_else(unschedulable)
}
