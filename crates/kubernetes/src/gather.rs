//! From what is cached to what the planner observes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ContainerStateWaiting, ContainerStatus, Pod, PodCondition, Secret};
use kube::ResourceExt as _;
use kube::core::ObjectMeta;
use muster_api::{Coordinator, S3_SECRET_TYPE, Unit, Worker, WorkerSpec, secret_values};
use muster_manifests::names::{
    APPLICATION_LABEL, CONSENT_ANNOTATIONS, WORKLOAD_CONTAINER, cluster_secret, gateway_address,
    gossip_address, pod_name, unit_number,
};
use muster_model::{
    AppName, Finding, ObjectStorage, Reason, Revision, TlsMaterial, UnitName, WorkloadStatus,
};
use muster_planner::{
    CarryOver, Claim, ObjectStore, Observed, ObservedUnit, ObservedWorker, Probe, RemoteWriteTarget, Seeds,
    Temporary, Tls, contested,
};
use muster_relation::{Assignment, ClusterData, Report};
use muster_s3::store_revision;

use crate::belonging::{attached_workers, coordinator_named};
use crate::caches::{Caches, TLS_SECRET_TYPE};
use crate::key::Key;
use crate::packed::{ASSIGNMENT, Packed, REPORT};
use crate::secrets::Named;

/// The label with the revision of the template that a pod was made from. Set by the StatefulSet controller.
const TEMPLATE_LABEL: &str = "controller-revision-hash";
/// The reason that the kubelet gives for a pod that only its readiness gates keep from being ready.
const GATES_NOT_READY: &str = "ReadinessGatesNotReady";
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
    /// The workers whose units carry this coordinator's assignments. One that cannot be read is stood in for.
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
    /// Units that had neither a pod nor a Unit at the last look. Nobody can have told their pods anything.
    pub(crate) awaited: &'a BTreeSet<UnitName>,
}

/// Gathers what the planner observes of a coordinator.
pub(crate) fn gather(
    key: &Key,
    name: &AppName,
    coordinator: &Coordinator,
    caches: &Caches,
    probed: &Probed,
    named: &Named,
    remembered: Remembered<'_>,
) -> Gathered {
    let mut obstacles = remembered.obstacles;
    let mut workers = BTreeMap::new();
    let mut unreadable = BTreeSet::new();
    for (worker, object) in attached_workers(key, caches) {
        let object = match &object.0 {
            Ok(object) => object.clone(),
            Err(invalid) => {
                let message = format!(
                    "worker {worker} cannot be read ({invalid}); its units stay as they are: correct it, or delete it"
                );
                let reason = Reason::WorkerUnreadable;
                obstacles.push(Finding::application(name, WorkloadStatus::Blocked, reason, message));
                unreadable.insert(worker.clone());
                stand_in(key, &worker, &invalid.metadata, caches)
            }
        };
        workers.insert(worker, Arc::new(object));
    }
    let secret = coordinator.spec.s3.as_ref().map(|s3| key.sibling(&s3.secret));
    let parsed =
        secret.as_ref().and_then(|secret| Some((secret, parse_store(&*caches.s3_secrets.get(secret)?))));
    let store = match &parsed {
        Some((secret, Ok(storage))) => Some(((*secret).clone(), storage.clone())),
        _ => None,
    };
    let object_store = match (&secret, parsed) {
        (None, _) => ObjectStore::NotRelated,
        (Some(secret), None) => match named.s3.as_ref().and_then(|secret| other_type(secret, S3_SECRET_TYPE))
        {
            Some(problem) => ObjectStore::Invalid { secret: secret.name.clone(), problem },
            None => ObjectStore::SecretMissing(secret.name.clone()),
        },
        (Some(secret), Some((_, Err(problem)))) => {
            ObjectStore::Invalid { secret: secret.name.clone(), problem }
        }
        (Some(secret), Some((_, Ok(storage)))) => match owner(key, &storage, caches) {
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
    let mut observed = Observed {
        cluster_id: cluster_id(key, coordinator),
        spec: coordinator.spec.clone(),
        removing: coordinator.metadata.deletion_timestamp.is_some(),
        balancers: units(key, name, caches),
        workers: workers
            .iter()
            .map(|(worker, object)| {
                let related = object.spec.coordinator.as_deref() == Some(name.as_str());
                let removing = object.metadata.deletion_timestamp.is_some() || !related;
                let observed = ObservedWorker {
                    spec: object.spec.clone(),
                    removing,
                    units: units(key, worker, caches),
                    unreadable: unreadable.contains(worker),
                    temporary: Temporary::is(object, name),
                };
                (worker.clone(), observed)
            })
            .collect(),
        object_store,
        tls: tls(coordinator, named.tls.as_deref()),
        remote_write: remote_write(key, coordinator, caches, named),
        gateway: Some(gateway_address(&key.name, &key.namespace)),
        temporary_name_taken: Temporary::name_for(name).is_some_and(|temporary| {
            !workers.contains_key(&temporary) && exists(&key.sibling(temporary.as_str()), caches)
        }),
        seeds: Seeds::Name(gossip_address(name, &key.namespace)),
        obstacles,
        carry: carry(key, name, coordinator, caches, remembered.carry),
        name: name.clone(),
    };
    consent(&mut observed.balancers, &coordinator.metadata);
    for (worker, object) in &workers {
        if let Some(observed) = observed.workers.get_mut(worker) {
            consent(&mut observed.units, &object.metadata);
        }
    }
    for awaited in remembered.awaited {
        let units = if awaited.application() == name {
            Some(&mut observed.balancers)
        } else {
            observed.workers.get_mut(awaited.application()).map(|worker| &mut worker.units)
        };
        if let Some(unit) = units.and_then(|units| units.get_mut(&awaited.number())) {
            unit.unknown = false;
        }
    }
    Gathered { observed, workers, store }
}

/// Whether an application has a name.
fn exists(key: &Key, caches: &Caches) -> bool {
    caches.workers.get(key).is_some() || coordinator_named(key, caches).is_some()
}

/// Takes in what people consented to lose with units of an application.
fn consent(units: &mut BTreeMap<u32, ObservedUnit>, metadata: &ObjectMeta) {
    for (key, text) in metadata.annotations.iter().flatten() {
        let number = key.strip_prefix(CONSENT_ANNOTATIONS).and_then(|number| number.parse().ok());
        let Some(unit) = number.and_then(|number: u32| units.get_mut(&number)) else { continue };
        match serde_json::from_str(text) {
            Ok(consent) => unit.consent = Some(consent),
            Err(error) => tracing::warn!(annotation = key, %error, "annotation cannot be read"),
        }
    }
}

/// The gossip label: no other coordinator ever has it, also not one of the same name.
fn cluster_id(key: &Key, coordinator: &Coordinator) -> String {
    let uid = coordinator.metadata.uid.as_deref().unwrap_or_default();
    format!("{}-{}-{}", key.namespace, key.name, uid.get(..8).unwrap_or(uid))
}

/// Stands for a worker that cannot be read: as many units as its StatefulSet has, with the roles that they run.
fn stand_in(coordinator: &Key, worker: &AppName, metadata: &ObjectMeta, caches: &Caches) -> Worker {
    let set = caches.stateful_sets.get(&coordinator.sibling(worker.as_str()));
    let replicas = set.and_then(|set| set.spec.as_ref()?.replicas);
    let mut roles = BTreeMap::new();
    for unit in units(coordinator, worker, caches).values() {
        roles.extend(unit.current_roles().iter().map(|role| (role.to_string(), true)));
    }
    let spec = WorkerSpec {
        coordinator: Some(coordinator.name.clone()),
        units: replicas.and_then(|replicas| u32::try_from(replicas).ok()).unwrap_or(0),
        roles,
        ..WorkerSpec::default()
    };
    Worker { metadata: metadata.clone(), spec, status: None }
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
    let cluster = secret.and_then(|secret| read_cluster(&secret));
    if let Some(remembered) = remembered {
        carry.remember(remembered);
    }
    carry.documents = match (cluster, remembered) {
        (Some(cluster), _) => cluster.documents,
        // A Secret that somebody deleted is made again with what it held.
        (None, Some(remembered)) => remembered.documents.clone(),
        (None, None) => BTreeMap::new(),
    };
    carry
}

/// What units share, from the Secret that they read it from.
pub(crate) fn read_cluster(secret: &Secret) -> Option<ClusterData> {
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

/// The bucket that a Secret names, unread.
fn bucket(secret: &Secret) -> Option<&[u8]> {
    Some(&secret.data.as_ref()?.get("bucket")?.0)
}

/// What is wrong with a Secret that is of another type than it should be.
fn other_type(secret: &Secret, wanted: &str) -> Option<String> {
    let now = secret.type_.as_deref().unwrap_or("Opaque");
    (now != wanted).then(|| {
        format!("it is of type {now}, which cannot change; delete the Secret and make one of type {wanted}")
    })
}

/// The other coordinator that the bucket and path of this one belong to.
fn owner(key: &Key, storage: &ObjectStorage, caches: &Caches) -> Option<String> {
    let mut coordinators: Vec<_> = caches
        .coordinators
        .state()
        .into_iter()
        .filter_map(|coordinator| {
            let Ok(coordinator) = &coordinator.0 else { return None };
            let key = Key::of(coordinator);
            let secret = key.sibling(&coordinator.spec.s3.as_ref()?.secret);
            let secret = caches.s3_secrets.get(&secret)?;
            // Most have nothing to do with this one, and are not worth to be read.
            if bucket(&secret)? != storage.bucket.as_bytes() {
                return None;
            }
            let storage = parse_store(&secret).ok()?;
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

/// The coordinators that metrics are to be written to. A load balancer is reached at its Service's name, whether or not it has units.
fn remote_write(
    key: &Key,
    coordinator: &Coordinator,
    caches: &Caches,
    named: &Named,
) -> BTreeMap<String, RemoteWriteTarget> {
    let target = |name: &String| {
        let found = coordinator_named(&key.sibling(name), caches);
        let target = match found.as_ref().map(|found| &found.0) {
            Some(Ok(found)) => {
                let host = gateway_address(name, &key.namespace);
                let tls = tls(found, named.remote_write_tls.get(name).map(AsRef::as_ref));
                RemoteWriteTarget::of(name, &found.spec, Some(&host), &tls)
            }
            Some(Err(_)) | None => RemoteWriteTarget::Missing,
        };
        (name.clone(), target)
    };
    coordinator.spec.remote_write.iter().map(target).collect()
}

fn tls(coordinator: &Coordinator, secret: Option<&Secret>) -> Tls {
    let Some(reference) = &coordinator.spec.tls else { return Tls::Off };
    let name = &reference.secret;
    let Some(secret) = secret else {
        return Tls::Invalid(format!(
            "Secret {name:?} of type {TLS_SECRET_TYPE} does not exist; apply one, or remove spec.tls"
        ));
    };
    if let Some(problem) = other_type(secret, TLS_SECRET_TYPE) {
        return Tls::Invalid(format!("Secret {name:?}: {problem}"));
    }
    let read = secret_values(secret).and_then(|v| TlsMaterial::from_secret(&v).map_err(|e| e.to_string()));
    read.map_or_else(|problem| Tls::Invalid(format!("Secret {name:?}: {problem}")), Tls::On)
}

/// The units of an application that exist: those with a pod, and those with a Unit.
pub(crate) fn units(
    coordinator: &Key,
    application: &AppName,
    caches: &Caches,
) -> BTreeMap<u32, ObservedUnit> {
    let key = coordinator.sibling(application.as_str());
    let set = caches.stateful_sets.get(&key);
    let template = set.as_deref().and_then(|set| current_template(set));
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

fn observed_unit(pod: Option<&Pod>, unit: Option<&Packed<Unit>>, template: Option<&str>) -> ObservedUnit {
    let name = || unit.map(|unit| unit.name_any()).unwrap_or_default();
    let read = |what: &str, error: serde_json::Error| {
        tracing::warn!(unit = name(), %error, "{what} cannot be read");
    };
    let assigned: Option<Assignment> =
        unit.and_then(|unit| unit.part(ASSIGNMENT).map_err(|e| read("assignment", e)).ok()?);
    let report: Option<Report> =
        unit.and_then(|unit| unit.part(REPORT).map_err(|e| read("report", e)).ok()?);
    let uid = pod.and_then(|pod| pod.metadata.uid.as_deref());
    let held_data = report.as_ref().is_some_and(|report| report.holds_data);
    // A report of an earlier pod of the same name says nothing about this one, but for what it left on the disk.
    let report = report.filter(|report| Some(report.instance.as_str()) == uid);
    let ends = pod.is_some_and(|pod| pod.metadata.deletion_timestamp.is_some());
    let absent = pod.is_none_or(|pod| never_ran_or_ended(pod, report.is_some()));
    let mut observed = ObservedUnit {
        address: pod.and_then(|pod| pod.status.as_ref()?.pod_ip.clone()),
        connected: pod.is_some_and(is_reachable),
        absent,
        // Whoever deletes a Unit deletes what its pod was told. A pod that is about to end will not say what that was.
        unknown: !absent && !ends && assigned.is_none() && report.is_none(),
        left_data: held_data && report.is_none(),
        answers_probe: pod.is_some_and(|pod| is_true(pod, "Ready")),
        assigned,
        report,
        outdated: pod.is_some_and(|pod| {
            let made_from = pod.labels().get(TEMPLATE_LABEL);
            !ends && template.zip(made_from).is_some_and(|(now, then)| now != then)
        }),
        agent_problem: pod.and_then(problem),
        // Without a pod its Unit goes on to speak of the one that it had.
        instance: uid.or(unit.and_then(|unit| unit.spec.pod_uid.as_deref())).map(str::to_owned),
        consent: None,
    };
    observed.recall();
    observed
}

fn workload(pod: &Pod) -> Option<&ContainerStatus> {
    let statuses = pod.status.as_ref()?.container_statuses.as_ref()?;
    statuses.iter().find(|status| status.name == WORKLOAD_CONTAINER)
}

fn condition<'a>(pod: &'a Pod, kind: &str) -> Option<&'a PodCondition> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    conditions.iter().find(|condition| condition.type_ == kind)
}

fn is_true(pod: &Pod, kind: &str) -> bool {
    condition(pod, kind).is_some_and(|condition| condition.status == "True")
}

/// Whether the agent runs on a node that answers. When a node is lost, its pods' `Ready` is set to false by the node controller
/// while `ContainersReady`, which the kubelet writes, stays as it was. The kubelet itself does so for readiness gates only, and
/// then names them as the reason.
fn is_reachable(pod: &Pod) -> bool {
    let runs = workload(pod).and_then(|w| w.state.as_ref()).is_some_and(|state| state.running.is_some());
    let lost = is_true(pod, "ContainersReady")
        && condition(pod, "Ready")
            .is_some_and(|ready| ready.status == "False" && ready.reason.as_deref() != Some(GATES_NOT_READY));
    runs && !lost && pod.metadata.deletion_timestamp.is_none()
}

/// Whether it is certain that nothing runs in the pod. A container that waits for a person, and of which nobody ever heard, cannot
/// be started.
fn never_ran_or_ended(pod: &Pod, reported: bool) -> bool {
    let Some(status) = &pod.status else { return true };
    let container = workload(pod).and_then(|w| w.state.as_ref());
    match status.phase.as_deref() {
        Some("Failed" | "Succeeded") => true,
        Some("Pending") | None => container.is_none_or(|state| state.running.is_none()),
        _ => !reported && container.and_then(|state| state.waiting.as_ref()).is_some_and(is_stuck),
    }
}

fn is_stuck(waiting: &ContainerStateWaiting) -> bool {
    waiting.reason.as_deref().is_some_and(|reason| STUCK.contains(&reason))
}

/// Why the pod does not come up, in one line, if it is something that does not pass by itself.
fn problem(pod: &Pod) -> Option<String> {
    let status = pod.status.as_ref()?;
    let containers = status.init_container_statuses.iter().chain(&status.container_statuses).flatten();
    let stuck = containers.filter_map(|container| {
        let waiting = container.state.as_ref()?.waiting.as_ref().filter(|waiting| is_stuck(waiting))?;
        let reason = waiting.reason.as_deref().unwrap_or_default();
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

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(status: &Value) -> Pod {
        let labels = json!({ TEMPLATE_LABEL: "one" });
        serde_json::from_value(
            json!({ "metadata": {"name": "w-0", "uid": "uid", "labels": labels}, "status": status }),
        )
        .unwrap()
    }

    /// A pod whose workload's container is in this state.
    fn with_container(phase: &str, state: &Value) -> Pod {
        let containers = [json!({"name": WORKLOAD_CONTAINER, "state": state, "ready": false, "image": "",
                                 "imageID": "", "restartCount": 0})];
        pod(&json!({ "phase": phase, "containerStatuses": containers }))
    }

    fn running() -> Pod {
        with_container("Running", &json!({ "running": {} }))
    }

    fn unit(assignment: &Value, report: &Value) -> Packed<Unit> {
        serde_json::from_value(json!({
            "apiVersion": "muster.dev/v1alpha1", "kind": "Unit", "metadata": {"name": "w-0"},
            "spec": {"application": "w", "coordinator": "mimir", "assignment": assignment},
            "status": {"report": report},
        }))
        .unwrap()
    }

    fn report(instance: &str) -> Value {
        json!({
            "instance": instance, "address": "10.0.0.1", "agentVersion": "1", "epoch": 7, "service": "running",
            "ready": true, "restarts": 0,
            "applied": {"revision": Revision::of([b"a".as_slice()]), "roles": ["all"]},
        })
    }

    #[test]
    fn a_pod_without_a_unit_is_unknown_once_something_may_run_in_it() {
        let of = |pod: Option<&Pod>, unit: Option<&Packed<Unit>>| {
            let unit = observed_unit(pod, unit, None);
            (unit.absent, unit.unknown, unit.has_stopped())
        };
        assert_eq!(of(Some(&running()), None), (false, true, false));
        let empty = unit(&Value::Null, &Value::Null);
        assert_eq!(of(Some(&running()), Some(&empty)), (false, true, false));
        // What an earlier pod said says nothing about this one.
        assert_eq!(of(Some(&running()), Some(&unit(&Value::Null, &report("earlier")))), (false, true, false));
        let pending = with_container("Pending", &json!({"waiting": {"reason": "PodInitializing"}}));
        assert_eq!(of(Some(&pending), None), (true, false, true));
        assert_eq!(of(None, Some(&empty)), (true, false, true));
        let mut ending = running();
        ending.metadata.deletion_timestamp = serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap();
        assert_eq!(of(Some(&ending), None), (false, false, true), "its Unit goes before it does");
    }

    #[test]
    fn what_a_unit_runs_tells_what_it_was_told() {
        let observed = observed_unit(Some(&running()), Some(&unit(&Value::Null, &report("uid"))), None);
        let told = observed.assigned.as_ref().unwrap();
        assert_eq!(told.revision, Revision::of([b"a".as_slice()]));
        assert!(!observed.unknown && observed.is_told_to_run() && !observed.has_stopped());
    }

    #[test]
    fn a_pod_whose_agent_cannot_be_started_is_absent_unless_it_has_reported() {
        for (state, stuck) in [
            (json!({"waiting": {"reason": "CrashLoopBackOff"}}), true),
            (json!({"waiting": {"reason": "ContainerCreating"}}), false),
            (json!({"terminated": {"exitCode": 1}}), false),
            (json!({"running": {}}), false),
        ] {
            let pod = with_container("Running", &state);
            let other = unit(&Value::Null, &report("earlier"));
            assert_eq!(observed_unit(Some(&pod), Some(&other), Some("two")).absent, stuck, "{state}");
            assert!(
                !observed_unit(Some(&pod), Some(&unit(&Value::Null, &report("uid"))), None).absent,
                "{state}"
            );
        }
    }

    #[test]
    fn consents_are_taken_in_for_the_units_that_they_name() {
        let consent_of = |number: u32, text: &str| {
            let mut units = BTreeMap::from([(1, observed_unit(Some(&running()), None, None))]);
            let key = format!("{CONSENT_ANNOTATIONS}{number}");
            let metadata =
                ObjectMeta { annotations: Some([(key, text.to_owned())].into()), ..ObjectMeta::default() };
            consent(&mut units, &metadata);
            assert_eq!(units[&1].instance.as_deref(), Some("uid"));
            units[&1].consent.clone().map(|consent| consent.lost)
        };
        let text = r#"{"instance": "uid", "order": 3, "lost": "2 blocks", "at": "2026-01-01T00:00:00Z"}"#;
        assert_eq!(consent_of(1, text).as_deref(), Some("2 blocks"));
        assert_eq!(consent_of(2, text), None);
        assert_eq!(consent_of(1, "yes"), None);
    }

    #[test]
    fn a_readiness_gate_is_no_lost_node() {
        for (reason, reachable) in [(json!(GATES_NOT_READY), true), (Value::Null, false)] {
            let mut pod = running();
            let conditions = json!([{"type": "ContainersReady", "status": "True"},
                                    {"type": "Ready", "status": "False", "reason": reason}]);
            pod.status.as_mut().unwrap().conditions = serde_json::from_value(conditions).unwrap();
            assert_eq!(is_reachable(&pod), reachable, "{reason}");
        }
    }
}
