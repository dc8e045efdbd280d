//! Writes: server-side apply of what differs from what is there, and of nothing else.
//!
//! What an object is to be is compared with what the cache holds: the same fields with the same values need no request. A write
//! that changed nothing, because the server knows a value by another spelling, is remembered and not tried again.
//!
//! An object of our name that is not ours is never touched.

use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::core::{DeserializeGuard, ObjectMeta};
use kube::runtime::reflector::ObjectRef;
use kube::{Client, Resource, ResourceExt as _};
use muster_api::Unit;
use muster_manifests::names::{FINALIZER, MANAGED_BY_LABEL, MANAGER};
use muster_model::{Revision, Status};
use serde::Serialize;
use serde_json::{Map, Value, json};
use tokio::time::{Instant, timeout};

use crate::cache::{Cache, Watched};
use crate::caches::Caches;
use crate::key::Key;
use crate::metrics::Metrics;

/// The annotation with a hash of all that an object was asked to be, but for the number of its replicas.
const WANTED_ANNOTATION: &str = "muster.dev/wanted";
/// A version that no object has: the server makes an object that is applied with it, and refuses where there is one already.
const NO_VERSION: &str = "1";
/// After which a write that no watch brought is taken for undone.
const LONGEST_LAG: Duration = Duration::from_secs(10);
/// How long one request may take.
pub(crate) const DEADLINE: Duration = Duration::from_secs(10);
/// Maps that the server adds nothing to: a key more than was asked for is somebody's edit.
const WHOLE: [&str; 4] = ["data", "matchLabels", "nodeSelector", "selector"];

/// What the kinds that are written have in common.
pub(crate) trait Kind: Watched + Serialize {}

impl<K: Watched + Serialize> Kind for K {}

/// Why a write was not made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WriteError {
    /// The object belongs to somebody else.
    #[error(
        "{kind} {key} is there already and does not belong to this deployment; delete or rename it, or rename the application"
    )]
    Foreign { kind: String, key: Key },
    /// The API server understood and refused.
    #[error("the API server refuses {kind} {key}: {message}")]
    Refused { kind: String, key: Key, message: String },
    /// The object changed in between. The next look at it brings it up to date.
    #[error("{kind} {key} changed meanwhile")]
    Conflict { kind: String, key: Key },
    /// The request failed.
    #[error("failed to write {kind} {key}")]
    Request { kind: String, key: Key, source: Box<kube::Error> },
    /// No answer in time.
    #[error("the API server did not answer in time about {kind} {key}")]
    Timeout { kind: String, key: Key },
}

impl WriteError {
    /// Names the object.
    pub(crate) fn object(&self) -> String {
        match self {
            Self::Foreign { kind, key }
            | Self::Refused { kind, key, .. }
            | Self::Conflict { kind, key }
            | Self::Request { kind, key, .. }
            | Self::Timeout { kind, key } => format!("{kind} {key}"),
        }
    }
}

/// Whether the caches have taken in a write. Until then they show what was before it.
pub(crate) type Pending = Box<dyn Fn(&Caches) -> bool + Send + Sync>;

/// Writes objects for one term of leadership.
pub(crate) struct Writer {
    client: Client,
    metrics: Arc<Metrics>,
    settled: Mutex<HashMap<(String, Key), Settled>>,
}

/// An object that was found, or made, as it is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Settled {
    wanted: String,
    version: Option<String>,
}

/// How an object is to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Made where it is missing, changed where it differs.
    Put,
    /// Changed where it differs, never made: what it belongs to is on its way out.
    UpdateOnly,
    /// As [`Mode::Put`], and refused if anybody changed it since it was cached.
    Guarded,
}

impl Writer {
    pub(crate) fn new(client: Client, metrics: Arc<Metrics>) -> Self {
        Self { client, metrics, settled: Mutex::default() }
    }

    fn api<K: Kind>(&self, key: &Key) -> Api<K> {
        Api::namespaced(self.client.clone(), &key.namespace)
    }

    /// Brings an object to what it is to be. Answers what to wait for if something was written.
    pub(crate) async fn put<K: Kind, C: Resource + Serialize + 'static>(
        &self,
        caches: &Caches,
        cache: fn(&Caches) -> &Cache<C>,
        wanted: K,
        mode: Mode,
    ) -> Result<Option<Pending>, WriteError> {
        let there = cache(caches).get(&Key::of(&wanted));
        let was_there = there.is_some();
        let written = self.apply(there.as_deref(), wanted, mode).await?;
        Ok(written.map(|written: K| {
            seen(&written, was_there, move |caches, key| cache(caches).get(key).map(|o| version(o.as_ref())))
        }))
    }

    /// The same for a Unit.
    pub(crate) async fn put_unit(
        &self,
        caches: &Caches,
        wanted: Unit,
        mode: Mode,
    ) -> Result<Option<Pending>, WriteError> {
        let there = caches.units.get(&Key::of(&wanted));
        let there = there.as_ref().and_then(|there| there.0.as_ref().ok());
        let written = self.apply(there, wanted, mode).await?;
        Ok(written.map(|written| {
            seen(&written, there.is_some(), |caches, key| caches.units.get(key).map(|o| version(o.as_ref())))
        }))
    }

    async fn apply<K: Kind, C: Resource + Serialize>(
        &self,
        there: Option<&C>,
        mut wanted: K,
        mode: Mode,
    ) -> Result<Option<K>, WriteError> {
        let key = Key::of(&wanted);
        let kind = K::kind(&()).into_owned();
        // What is no longer wanted is seen by this, also by an operator that never knew of it.
        let hash = hash_of(&wanted);
        let memo = (kind.clone(), key.clone());
        let settled = there
            .map(|there| Settled { wanted: hash.clone(), version: there.meta().resource_version.clone() });
        if settled.is_some() && self.memos().get(&memo) == settled.as_ref() {
            return Ok(None);
        }
        let value = to_value(&wanted);
        let note = replicas_apart(&value).map_or_else(|| hash.clone(), |rest| hash_of(&rest));
        wanted.annotations_mut().insert(WANTED_ANNOTATION.to_owned(), note.clone());
        let mut scale = None;
        match there {
            Some(there) if !is_ours(there, &wanted) => return Err(WriteError::Foreign { kind, key }),
            Some(there) => {
                let noted = there.meta().annotations.as_ref().and_then(|noted| noted.get(WANTED_ANNOTATION));
                if noted == Some(&note) {
                    let there = to_value(there);
                    if includes(&there, &value) {
                        self.memos().extend(settled.map(|settled| (memo, settled)));
                        return Ok(None);
                    }
                    scale = scaled(&there, &value);
                }
                if mode == Mode::Guarded {
                    wanted.meta_mut().resource_version = there.meta().resource_version.clone();
                }
            }
            None if mode == Mode::UpdateOnly => return Ok(None),
            None => wanted.meta_mut().resource_version = Some(NO_VERSION.to_owned()),
        }
        if let Some(scale) = scale {
            let (params, patch) = (PatchParams::default(), Patch::Merge(&scale));
            let api = self.api::<K>(&key);
            let scaled =
                self.ask::<K, _>(&key, "patch-scale", api.patch_scale(&key.name, &params, &patch)).await?;
            wanted.meta_mut().resource_version = scaled.metadata.resource_version;
            self.memos().insert(memo, Settled { wanted: hash, version: wanted.resource_version() });
            return Ok(Some(wanted));
        }
        let mut written = match self.apply_whole(&key, &wanted).await {
            // What is not in the cache is there all the same: without our label, or since a moment ago.
            Err(WriteError::Conflict { .. }) if there.is_none() => {
                match self.read::<K>(&key).await? {
                    Some(there) if !is_ours(&there, &wanted) => {
                        return Err(WriteError::Foreign { kind, key });
                    }
                    Some(_) => wanted.meta_mut().resource_version = None,
                    None => return Err(WriteError::Conflict { kind, key }),
                }
                self.apply_whole(&key, &wanted).await?
            }
            answer => answer?,
        };
        if let Some(surplus) = surplus(&to_value(&written), &value) {
            written = self.merge(&key, &surplus).await?;
        }
        self.memos().insert(memo, Settled { wanted: hash, version: written.resource_version() });
        Ok(Some(written))
    }

    async fn apply_whole<K: Kind>(&self, key: &Key, wanted: &K) -> Result<K, WriteError> {
        let (params, patch) = (PatchParams::apply(MANAGER).force(), Patch::Apply(wanted));
        self.ask::<K, _>(key, "apply", self.api::<K>(key).patch(&key.name, &params, &patch)).await
    }

    async fn merge<K: Kind>(&self, key: &Key, patch: &Value) -> Result<K, WriteError> {
        let (params, patch) = (PatchParams::default(), Patch::Merge(patch));
        self.ask::<K, _>(key, "patch", self.api::<K>(key).patch(&key.name, &params, &patch)).await
    }

    /// Reads an object that no cache has.
    pub(crate) async fn read<K: Kind>(&self, key: &Key) -> Result<Option<K>, WriteError> {
        self.ask::<K, _>(key, "get", self.api::<K>(key).get_opt(&key.name)).await
    }

    /// Writes the status of an object of ours, if it is another than `now`. It must not have changed since it was cached.
    pub(crate) async fn put_status<K: Kind>(
        &self,
        key: &Key,
        version: Option<String>,
        status: &impl Serialize,
    ) -> Result<K, WriteError> {
        let mut patch = json!({
            "apiVersion": K::api_version(&()),
            "kind": K::kind(&()),
            "metadata": { "name": key.name },
            "status": status,
        });
        // A version that is null is refused.
        if let Some(version) = version {
            patch["metadata"]["resourceVersion"] = version.into();
        }
        let params = PatchParams::apply(MANAGER).force();
        let api = self.api::<K>(key);
        self.ask::<K, _>(key, "apply-status", api.patch_status(&key.name, &params, &Patch::Apply(&patch)))
            .await
    }

    /// Writes status and message of an object that nothing is planned for, if they are not what was last written. All else that its
    /// status says stays: what an earlier plan remembers, and what autoscalers read. Answers whether they were written.
    pub(crate) async fn say<K: Kind>(
        &self,
        key: &Key,
        meta: &ObjectMeta,
        said: &Status,
    ) -> Result<bool, WriteError> {
        let status = json!({ "status": { "status": said.status.to_string(), "message": said.message } });
        let memo = (format!("status of {}", K::kind(&())), key.clone());
        let settled = |version: Option<String>| Settled { wanted: status.to_string(), version };
        if self.memos().get(&memo) == Some(&settled(meta.resource_version.clone())) {
            return Ok(false);
        }
        let api = self.guarded::<K>(key);
        let (params, patch) = (PatchParams::default(), Patch::Merge(&status));
        let request = api.patch_status(&key.name, &params, &patch);
        let written = self.ask::<K, _>(key, "patch-status", request).await?;
        self.memos().insert(memo, settled(written.resource_version()));
        Ok(true)
    }

    /// Forgets what was found as it is to be: the next look at each object finds it again.
    pub(crate) fn forget(&self) {
        self.memos().clear();
    }

    /// Requests whose answer may be an object that cannot be read.
    fn guarded<K: Kind>(&self, key: &Key) -> Api<DeserializeGuard<K>> {
        Api::namespaced(self.client.clone(), &key.namespace)
    }

    /// Keeps an object that has not changed since it was cached from vanishing.
    pub(crate) async fn add_finalizer<K: Kind>(
        &self,
        key: &Key,
        meta: &ObjectMeta,
    ) -> Result<DeserializeGuard<K>, WriteError> {
        let mut finalizers = meta.finalizers.clone().unwrap_or_default();
        finalizers.push(FINALIZER.to_owned());
        self.put_finalizers(key, meta, &finalizers).await
    }

    /// Lets an object go that is to go.
    pub(crate) async fn remove_finalizer<K: Kind>(
        &self,
        key: &Key,
        meta: &ObjectMeta,
    ) -> Result<(), WriteError> {
        let mut finalizers = meta.finalizers.clone().unwrap_or_default();
        let before = finalizers.len();
        finalizers.retain(|finalizer| finalizer != FINALIZER);
        if finalizers.len() == before {
            return Ok(());
        }
        match self.put_finalizers::<K>(key, meta, &finalizers).await {
            Err(WriteError::Request { source, .. }) if is_not_found(&source) => Ok(()),
            result => result.map(drop),
        }
    }

    async fn put_finalizers<K: Kind>(
        &self,
        key: &Key,
        meta: &ObjectMeta,
        finalizers: &[String],
    ) -> Result<DeserializeGuard<K>, WriteError> {
        let patch =
            json!({ "metadata": { "finalizers": finalizers, "resourceVersion": meta.resource_version } });
        let api = self.guarded::<K>(key);
        self.ask::<K, _>(key, "patch", api.patch(&key.name, &PatchParams::default(), &Patch::Merge(&patch)))
            .await
    }

    /// Makes an object that is the coordinator's own and people's to change afterwards. One that is there is a conflict.
    pub(crate) async fn make<K: Kind>(&self, object: &K) -> Result<K, WriteError> {
        let key = Key::of(object);
        let params = PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
        self.ask::<K, _>(&key, "create", self.api::<K>(&key).create(&params, object)).await
    }

    /// Deletes this very object. One that is gone already is no error.
    pub(crate) async fn delete<K: Kind>(&self, key: &Key, uid: Option<String>) -> Result<(), WriteError> {
        let preconditions = Preconditions { uid, resource_version: None };
        let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::background() };
        let api = self.api::<K>(key);
        match self.ask::<K, _>(key, "delete", api.delete(&key.name, &params)).await {
            Ok(_) => Ok(()),
            Err(WriteError::Request { source, .. }) if is_not_found(&source) => Ok(()),
            // Another object of the same name.
            Err(WriteError::Conflict { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn ask<K: Kind, T>(
        &self,
        key: &Key,
        verb: &'static str,
        request: impl Future<Output = kube::Result<T>>,
    ) -> Result<T, WriteError> {
        let (kind, key) = (K::kind(&()).into_owned(), key.clone());
        self.metrics.request(verb, &kind);
        match timeout(DEADLINE, request).await {
            Err(_) => Err(WriteError::Timeout { kind, key }),
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(kube::Error::Api(status))) if status.code == 409 => {
                Err(WriteError::Conflict { kind, key })
            }
            Ok(Err(kube::Error::Api(status))) if is_refusal(&status) => {
                Err(WriteError::Refused { kind, key, message: status.message.clone() })
            }
            Ok(Err(source)) => Err(WriteError::Request { kind, key, source: Box::new(source) }),
        }
    }

    fn memos(&self) -> std::sync::MutexGuard<'_, HashMap<(String, Key), Settled>> {
        self.settled.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether the API server has understood what it was asked for, or never will.
fn is_refusal(status: &kube::core::Status) -> bool {
    // What server-side apply cannot convert, such as a quantity that is none, is said to be its own failure.
    let unconvertible = status.code == 500 && status.message.contains("failed to convert new object");
    [400, 403, 413, 422].contains(&status.code) || unconvertible
}

fn is_not_found(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 404)
}

fn has_label(object: &impl Resource) -> bool {
    let labels = object.meta().labels.as_ref();
    labels.and_then(|labels| labels.get(MANAGED_BY_LABEL)).is_some_and(|manager| manager == MANAGER)
}

/// Whether an object that is there is the one that `wanted` means: it has the same owner, or none and our label. One that lost the
/// label stays ours by its owner.
fn is_ours(there: &impl Resource, wanted: &impl Resource) -> bool {
    match controller(there.meta()) {
        Some(owner) => Some(owner) == controller(wanted.meta()),
        None => has_label(there),
    }
}

/// The uid of the object that controls this one.
pub(crate) fn controller(meta: &ObjectMeta) -> Option<&str> {
    let owners = meta.owner_references.as_deref().unwrap_or_default();
    owners.iter().find(|owner| owner.controller == Some(true)).map(|owner| owner.uid.as_str())
}

/// What to wait for after a write of a coordinator.
pub(crate) fn seen_coordinator(written: &impl Resource) -> Pending {
    seen(written, true, |caches, key| {
        let reference = ObjectRef::new(&key.name).within(&key.namespace);
        caches.coordinators.get(&reference).map(|object| version(object.as_ref()))
    })
}

/// What to wait for after a write of a worker.
pub(crate) fn seen_worker(written: &impl Resource) -> Pending {
    seen(written, true, worker_version)
}

/// What to wait for after a worker was made.
pub(crate) fn seen_new_worker(written: &impl Resource) -> Pending {
    seen(written, false, worker_version)
}

fn worker_version(caches: &Caches, key: &Key) -> Option<u64> {
    caches.workers.get(key).map(|object| version(object.as_ref()))
}

/// `was_there`: whether the object was there before the write. Such a one that is gone from the cache was deleted since.
fn seen(
    written: &impl Resource,
    was_there: bool,
    cached: impl Fn(&Caches, &Key) -> Option<u64> + Send + Sync + 'static,
) -> Pending {
    let (key, written, at) = (Key::of(written), version(written), Instant::now());
    Box::new(move |caches| {
        let is_seen = cached(caches, &key).map_or(was_there, |version| version >= written);
        // One that was made and deleted between two events never shows.
        is_seen || at.elapsed() > LONGEST_LAG
    })
}

/// The version as a number that grows with every write of the object.
pub(crate) fn version(object: &impl Resource) -> u64 {
    object.meta().resource_version.as_deref().and_then(|version| version.parse().ok()).unwrap_or(0)
}

fn to_value(object: &impl Serialize) -> Value {
    // Kinds of Kubernetes have text keys and finite numbers only, which JSON can always write.
    serde_json::to_value(object).unwrap_or_default()
}

/// A hash of all that an object is asked to be.
fn hash_of(object: &impl Serialize) -> String {
    Revision::of([serde_json::to_string(object).unwrap_or_default().as_bytes()]).to_string()
}

/// Whether `there` says everything that `wanted` says. The server adds fields of its own, but not to [`WHOLE`] maps; lists are
/// compared place by place.
fn includes(there: &Value, wanted: &Value) -> bool {
    match (there, wanted) {
        (_, Value::Null) => true,
        (Value::Object(there), Value::Object(wanted)) => {
            wanted.iter().all(|(key, wanted)| match there.get(key) {
                Some(there) => {
                    includes(there, wanted) && !(WHOLE.contains(&key.as_str()) && has_more(there, wanted))
                }
                None => is_nothing(wanted),
            })
        }
        (Value::Array(there), Value::Array(wanted)) => {
            there.len() == wanted.len()
                && there.iter().zip(wanted).all(|(there, wanted)| includes(there, wanted))
        }
        (there, wanted) => there == wanted,
    }
}

/// An object without the number of its replicas, if it has one.
fn replicas_apart(object: &Value) -> Option<Value> {
    object.pointer("/spec/replicas")?;
    let mut rest = object.clone();
    rest["spec"].as_object_mut()?.remove("replicas");
    Some(rest)
}

/// The scale that makes an object what is wanted, if nothing else of it has to be changed. To patch the object itself takes the server
/// nearly twice as long, and to apply the whole of a StatefulSet more than that.
fn scaled(there: &Value, wanted: &Value) -> Option<Value> {
    let rest = replicas_apart(wanted)?;
    let only_replicas = includes(there, &rest) && surplus(there, &rest).is_none();
    only_replicas.then(|| {
        json!({ "metadata": { "uid": there["metadata"]["uid"] }, "spec": { "replicas": wanted["spec"]["replicas"] } })
    })
}

/// Whether a map has keys that `wanted` has not.
fn has_more(there: &Value, wanted: &Value) -> bool {
    let (Some(there), Some(wanted)) = (there.as_object(), wanted.as_object()) else { return false };
    there.keys().any(|key| !wanted.contains_key(key))
}

/// A patch that takes away what somebody added and server-side apply leaves alone: keys of an object's data, and entries of lists.
/// All other [`WHOLE`] maps are atomic: to apply one replaces it.
fn surplus(there: &Value, wanted: &Value) -> Option<Value> {
    let mut patch = match surplus_entries(there, wanted) {
        Some(Value::Object(patch)) => patch,
        _ => Map::new(),
    };
    if let (Some(Value::Object(there)), Some(Value::Object(wanted))) = (there.get("data"), wanted.get("data"))
    {
        let surplus = there.keys().filter(|key| !wanted.contains_key(*key));
        let surplus: Map<_, _> = surplus.map(|key| (key.clone(), Value::Null)).collect();
        if !surplus.is_empty() {
            patch.insert("data".to_owned(), surplus.into());
        }
    }
    (!patch.is_empty()).then(|| patch.into())
}

/// A merge patch that makes every list have the entries that are wanted, where one has others. Such a patch replaces lists whole.
fn surplus_entries(there: &Value, wanted: &Value) -> Option<Value> {
    match (there, wanted) {
        (Value::Object(there), Value::Object(wanted)) => {
            let parts = wanted
                .iter()
                .filter_map(|(key, wanted)| Some((key.clone(), surplus_entries(there.get(key)?, wanted)?)));
            let parts: Map<_, _> = parts.collect();
            (!parts.is_empty()).then(|| parts.into())
        }
        (Value::Array(there), Value::Array(list)) => {
            let differs = there.len() != list.len()
                || there.iter().zip(list).any(|(there, wanted)| surplus_entries(there, wanted).is_some());
            differs.then(|| wanted.clone())
        }
        _ => None,
    }
}

/// What the server leaves out.
fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(map) => map.is_empty(),
        Value::Array(list) => list.is_empty(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_asked_for_is_compared() {
        let there =
            json!({"spec": {"replicas": 2, "template": {"a": [{"name": "x", "added": 1}]}}, "status": {}});
        for same in [
            json!({"spec": {"replicas": 2}}),
            json!({"spec": {"template": {"a": [{"name": "x"}]}}}),
            json!({"spec": {"empty": {}, "nothing": null}}),
        ] {
            assert!(includes(&there, &same), "{same}");
        }
        for other in [
            json!({"spec": {"replicas": 3}}),
            json!({"spec": {"template": {"a": []}}}),
            json!({"spec": {"template": {"a": [{"name": "x"}, {"name": "y"}]}}}),
            json!({"spec": {"more": 1}}),
        ] {
            assert!(!includes(&there, &other), "{other}");
        }
    }

    /// An object as it comes back from an API server, with what that adds (`pkg/apis/*/v1/defaults.go` of Kubernetes).
    fn stored<K: Kind>(object: &Value) -> Value {
        let mut object = object.clone();
        let put = |value: &mut Value, fields: Value| {
            for (key, field) in fields.as_object().unwrap() {
                value.as_object_mut().unwrap().entry(key.clone()).or_insert(field.clone());
            }
        };
        put(
            &mut object["metadata"],
            json!({"uid": "u", "resourceVersion": "7", "generation": 2,
                   "creationTimestamp": "2026-01-01T00:00:00Z"}),
        );
        match &*K::kind(&()) {
            "Service" => put(
                &mut object["spec"],
                json!({"clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1"], "internalTrafficPolicy": "Cluster",
                       "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack", "sessionAffinity": "None",
                       "type": "ClusterIP"}),
            ),
            "RoleBinding" if object["subjects"] == json!([]) => {
                object.as_object_mut().unwrap().remove("subjects");
            }
            "StatefulSet" => {
                object["status"] = json!({"replicas": 1});
                let spec = &mut object["spec"];
                for claim in spec["volumeClaimTemplates"].as_array_mut().into_iter().flatten() {
                    put(
                        claim,
                        json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim",
                                      "status": {"phase": "Pending"}}),
                    );
                    put(&mut claim["spec"], json!({"volumeMode": "Filesystem"}));
                }
                let pod = &mut spec["template"]["spec"];
                let account = pod["serviceAccountName"].clone();
                put(
                    pod,
                    json!({"restartPolicy": "Always", "dnsPolicy": "ClusterFirst", "serviceAccount": account,
                           "schedulerName": "default-scheduler"}),
                );
                for kind in ["initContainers", "containers"] {
                    for container in pod[kind].as_array_mut().unwrap() {
                        put(
                            container,
                            json!({"imagePullPolicy": "IfNotPresent", "resources": {},
                                   "terminationMessagePath": "/dev/termination-log",
                                   "terminationMessagePolicy": "File"}),
                        );
                        for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
                            if container[probe].is_object() {
                                put(&mut container[probe], json!({"successThreshold": 1}));
                            }
                        }
                    }
                }
            }
            _ => {}
        }
        to_value(&serde_json::from_value::<K>(object).unwrap())
    }

    #[test]
    fn what_the_server_adds_is_no_reason_to_write_again() {
        use k8s_openapi::api::apps::v1::StatefulSet;
        use k8s_openapi::api::core::v1::{Service, ServiceAccount};
        use k8s_openapi::api::networking::v1::NetworkPolicy;
        use k8s_openapi::api::policy::v1::PodDisruptionBudget;
        use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
        fn check<K: Kind>(object: &Value) {
            let wanted = to_value(&serde_json::from_value::<K>(object.clone()).unwrap());
            let there = stored::<K>(object);
            assert!(includes(&there, &wanted), "{there:#}\ndoes not include\n{wanted:#}");
        }
        let golden = include_str!("../../manifests/tests/golden/distributed.yaml");
        let mut objects: Vec<Value> = muster_model::yaml::documents(golden).unwrap();
        let nobody = objects.iter().find(|object| object["kind"] == "RoleBinding").cloned();
        objects.extend(nobody.map(|mut binding| {
            binding["subjects"] = json!([]);
            binding
        }));
        for object in &objects {
            match object["kind"].as_str().unwrap() {
                "StatefulSet" => check::<StatefulSet>(object),
                "Service" => check::<Service>(object),
                "ServiceAccount" => check::<ServiceAccount>(object),
                "NetworkPolicy" => check::<NetworkPolicy>(object),
                "PodDisruptionBudget" => check::<PodDisruptionBudget>(object),
                "Role" => check::<Role>(object),
                "RoleBinding" => check::<RoleBinding>(object),
                // The golden does not show the values of Secrets.
                "Secret" => {}
                other => panic!("{other}"),
            }
        }
    }

    #[test]
    fn keys_that_somebody_added_are_seen_where_the_server_adds_none() {
        let wanted = json!({"spec": {"selector": {"matchLabels": {"a": "1"}}}, "data": {"x": "1"}});
        let mut there = wanted.clone();
        there["spec"]["selector"]["matchExpressions"] = json!([]);
        assert!(!includes(&there, &wanted));
        for (place, key) in [("/spec/selector", "b"), ("/spec/selector/matchLabels", "b"), ("/data", "y")] {
            let mut there = wanted.clone();
            there.pointer_mut(place).unwrap()[key] = json!("2");
            assert!(!includes(&there, &wanted), "{place}");
        }
        let mut there = wanted.clone();
        there["spec"]["added"] = json!(1);
        assert!(includes(&there, &wanted));
        there["data"]["y"] = json!("2");
        assert_eq!(surplus(&there, &wanted), Some(json!({"data": {"y": null}})));
        assert_eq!(surplus(&wanted, &wanted), None);
    }

    #[test]
    fn a_write_is_awaited_until_the_object_shows_it_or_is_gone() {
        use k8s_openapi::api::core::v1::Service;
        use kube::runtime::watcher::Event;
        let (coordinators, _) = kube::runtime::reflector::store();
        let (workers, _) = kube::runtime::reflector::store();
        let caches = Caches::new(coordinators, workers);
        let service = |version: &str| -> Service {
            let metadata = json!({"namespace": "n", "name": "s", "resourceVersion": version});
            serde_json::from_value(json!({ "metadata": metadata })).unwrap()
        };
        let of = |caches: &Caches, key: &Key| caches.services.get(key).map(|o| version(o.as_ref()));
        let made = seen(&service("7"), false, of);
        assert!(!made(&caches), "it is yet to come");
        caches.services.note(Event::Apply(service("7")));
        assert!(made(&caches));
        let changed = seen(&service("9"), true, of);
        assert!(!changed(&caches), "an older version is there");
        caches.services.note(Event::Delete(service("10")));
        assert!(changed(&caches), "somebody deleted it");
    }

    #[test]
    fn only_another_number_of_replicas_is_patched_alone() {
        use k8s_openapi::api::apps::v1::StatefulSet;
        let set = |replicas: i32, service: &str| {
            let spec = json!({"replicas": replicas, "selector": {}, "serviceName": service, "template": {}});
            serde_json::from_value::<StatefulSet>(json!({"metadata": {"name": "w"}, "spec": spec})).unwrap()
        };
        let mut there = to_value(&set(1, "w"));
        there["metadata"]["uid"] = json!("u");
        let scaled = |there: &Value, wanted: &StatefulSet| scaled(there, &to_value(wanted));
        let scale = json!({"metadata": {"uid": "u"}, "spec": {"replicas": 3}});
        assert_eq!(scaled(&there, &set(3, "w")), Some(scale));
        assert_eq!(scaled(&there, &set(3, "other")), None, "something else is wanted too");
        there["spec"]["serviceName"] = json!("edited");
        assert_eq!(scaled(&there, &set(3, "w")), None, "somebody edited it");
    }

    #[test]
    fn entries_that_somebody_added_to_lists_are_taken_away() {
        let wanted = json!({"spec": {"ports": [{"port": 1}], "template": {"containers": [{"name": "x", "env": [1]}]}}});
        let added = json!({"clusterIP": "10.96.0.1", "ports": [{"port": 1, "protocol": "TCP"}, {"port": 2}],
                           "template": {"containers": [{"name": "x", "env": [1, 2], "image": "i"}]}});
        let patch = surplus(&json!({ "spec": added }), &wanted);
        assert_eq!(patch, Some(wanted.clone()));
        let defaulted = json!({"spec": {"ports": [{"port": 1, "protocol": "TCP"}], "template": {"containers": [
            {"name": "x", "env": [1], "image": "i"}]}}});
        assert_eq!(surplus(&defaulted, &wanted), None);
    }

    #[test]
    fn what_our_owner_controls_is_ours_with_or_without_the_label() {
        use k8s_openapi::api::core::v1::ConfigMap;
        let object = |owner: Option<&str>, labelled: bool| {
            let owner = owner.map(|uid| {
                json!([{"apiVersion": "v1", "kind": "K", "name": "o", "uid": uid,
                                                "controller": true}])
            });
            let label = if labelled { json!({ MANAGED_BY_LABEL: MANAGER }) } else { json!({}) };
            let metadata =
                json!({"name": "x", "labels": label, "ownerReferences": owner.unwrap_or(json!([]))});
            serde_json::from_value::<ConfigMap>(json!({ "metadata": metadata })).unwrap()
        };
        let wanted = object(Some("us"), true);
        for (owner, labelled, ours) in [
            (Some("us"), true, true),
            (Some("us"), false, true),
            (Some("them"), true, false),
            (None, true, true),
            (None, false, false),
        ] {
            assert_eq!(is_ours(&object(owner, labelled), &wanted), ours, "{owner:?} {labelled}");
        }
    }
}
