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

use k8s_openapi::NamespaceResourceScope;
use kube::api::{Api, DeleteParams, Patch, PatchParams, Preconditions};
use kube::core::ObjectMeta;
use kube::runtime::reflector::ObjectRef;
use kube::{Client, Resource, ResourceExt as _};
use muster_api::{Coordinator, Unit, Worker};
use muster_manifests::names::{FINALIZER, MANAGED_BY_LABEL, MANAGER};
use muster_model::Revision;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

use crate::cache::Cache;
use crate::caches::Caches;
use crate::key::Key;
use crate::metrics::Metrics;

/// The annotation with a hash of all that an object was asked to be.
const WANTED_ANNOTATION: &str = "muster.dev/wanted";
/// After which a write that no watch brought is taken for undone.
const LONGEST_LAG: Duration = Duration::from_secs(10);
/// How long one request may take.
const DEADLINE: Duration = Duration::from_secs(10);

/// What the kinds that are written have in common.
pub(crate) trait Kind:
    Resource<Scope = NamespaceResourceScope, DynamicType = ()>
    + Clone
    + Debug
    + DeserializeOwned
    + Serialize
    + Send
    + Sync
    + 'static
{
}

impl<K> Kind for K where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
        + Clone
        + Debug
        + DeserializeOwned
        + Serialize
        + Send
        + Sync
        + 'static
{
}

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
    pub(crate) async fn put<K: Kind>(
        &self,
        caches: &Caches,
        cache: fn(&Caches) -> &Cache<K>,
        wanted: K,
        mode: Mode,
    ) -> Result<Option<Pending>, WriteError> {
        let there = cache(caches).get(&Key::of(&wanted));
        let written = self.apply(there.as_deref(), wanted, mode).await?;
        Ok(written.map(|written| {
            seen(&written, move |caches, key| cache(caches).get(key).map(|o| version(o.as_ref())))
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
        Ok(written
            .map(|written| seen(&written, |caches, key| caches.units.get(key).map(|o| version(o.as_ref())))))
    }

    async fn apply<K: Kind>(
        &self,
        there: Option<&K>,
        mut wanted: K,
        mode: Mode,
    ) -> Result<Option<K>, WriteError> {
        let key = Key::of(&wanted);
        let kind = K::kind(&()).into_owned();
        // What is no longer wanted is seen by this, also by an operator that never knew of it.
        let hash = Revision::of([to_value(&wanted).to_string().as_bytes()]).to_string();
        wanted.annotations_mut().insert(WANTED_ANNOTATION.to_owned(), hash.clone());
        let value = to_value(&wanted);
        let memo = (kind.clone(), key.clone());
        match there {
            Some(there) if !is_ours(there, &wanted) => return Err(WriteError::Foreign { kind, key }),
            Some(there) => {
                let settled = Settled { wanted: hash.clone(), version: there.resource_version() };
                if self.memos().get(&memo) == Some(&settled) {
                    return Ok(None);
                }
                if includes(&to_value(there), &value) {
                    self.memos().insert(memo, settled);
                    return Ok(None);
                }
                if mode == Mode::Guarded {
                    wanted.meta_mut().resource_version = there.resource_version();
                }
            }
            None if mode == Mode::UpdateOnly => return Ok(None),
            None => self.check_absent(&key, &wanted).await?,
        }
        let params = PatchParams::apply(MANAGER).force();
        let patch = Patch::Apply(&wanted);
        let request = self.api::<K>(&key);
        let written = self.ask::<K, _>(&key, "apply", request.patch(&key.name, &params, &patch)).await?;
        self.memos().insert(memo, Settled { wanted: hash, version: written.resource_version() });
        Ok(Some(written))
    }

    /// What is not in the cache may be there all the same, without our label: then it is not ours.
    async fn check_absent<K: Kind>(&self, key: &Key, wanted: &K) -> Result<(), WriteError> {
        let there = self.ask::<K, _>(key, "get", self.api::<K>(key).get_opt(&key.name)).await?;
        match there {
            Some(there) if !is_ours(&there, wanted) || !has_label(&there) => {
                Err(WriteError::Foreign { kind: K::kind(&()).into_owned(), key: key.clone() })
            }
            _ => Ok(()),
        }
    }

    /// Writes the status of an object of ours, if it is another than `now`. It must not have changed since it was cached.
    pub(crate) async fn put_status<K: Kind>(
        &self,
        key: &Key,
        version: Option<String>,
        status: &impl Serialize,
    ) -> Result<K, WriteError> {
        let patch = json!({
            "apiVersion": K::api_version(&()),
            "kind": K::kind(&()),
            "metadata": { "name": key.name, "resourceVersion": version },
            "status": status,
        });
        let params = PatchParams::apply(MANAGER).force();
        let api = self.api::<K>(key);
        self.ask::<K, _>(key, "apply-status", api.patch_status(&key.name, &params, &Patch::Apply(&patch)))
            .await
    }

    /// Keeps an object that has not changed since it was cached from vanishing.
    pub(crate) async fn add_finalizer<K: Kind>(&self, key: &Key, meta: &ObjectMeta) -> Result<K, WriteError> {
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
    ) -> Result<K, WriteError> {
        let patch =
            json!({ "metadata": { "finalizers": finalizers, "resourceVersion": meta.resource_version } });
        let api = self.api::<K>(key);
        self.ask::<K, _>(key, "patch", api.patch(&key.name, &PatchParams::default(), &Patch::Merge(&patch)))
            .await
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
            Ok(Err(kube::Error::Api(status))) if [400, 403, 413, 422].contains(&status.code) => {
                Err(WriteError::Refused { kind, key, message: status.message.clone() })
            }
            Ok(Err(source)) => Err(WriteError::Request { kind, key, source: Box::new(source) }),
        }
    }

    fn memos(&self) -> std::sync::MutexGuard<'_, HashMap<(String, Key), Settled>> {
        self.settled.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_not_found(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 404)
}

fn has_label(object: &impl Resource) -> bool {
    let labels = object.meta().labels.as_ref();
    labels.and_then(|labels| labels.get(MANAGED_BY_LABEL)).is_some_and(|manager| manager == MANAGER)
}

/// Whether an object that is there is the one that `wanted` means: it has the same owner, or none.
fn is_ours(there: &impl Resource, wanted: &impl Resource) -> bool {
    let now = controller(there.meta());
    now.is_none() || now == controller(wanted.meta())
}

/// The uid of the object that controls this one.
fn controller(meta: &ObjectMeta) -> Option<&str> {
    let owners = meta.owner_references.as_deref().unwrap_or_default();
    owners.iter().find(|owner| owner.controller == Some(true)).map(|owner| owner.uid.as_str())
}

/// What to wait for after a write of a coordinator.
pub(crate) fn seen_coordinator(written: &Coordinator) -> Pending {
    seen(written, |caches, key| {
        let reference = ObjectRef::new(&key.name).within(&key.namespace);
        caches.coordinators.get(&reference).map(|object| version(object.as_ref()))
    })
}

/// What to wait for after a write of a worker.
pub(crate) fn seen_worker(written: &Worker) -> Pending {
    seen(written, |caches, key| caches.workers.get(key).map(|object| version(object.as_ref())))
}

fn seen(
    written: &impl Resource,
    cached: impl Fn(&Caches, &Key) -> Option<u64> + Send + Sync + 'static,
) -> Pending {
    let (key, written, at) = (Key::of(written), version(written), Instant::now());
    Box::new(move |caches| {
        // An object that was deleted right after the write never shows it.
        cached(caches, &key).is_some_and(|version| version >= written) || at.elapsed() > LONGEST_LAG
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

/// Whether `there` says everything that `wanted` says. The server adds fields of its own; lists are compared place by place.
fn includes(there: &Value, wanted: &Value) -> bool {
    match (there, wanted) {
        (_, Value::Null) => true,
        (Value::Object(there), Value::Object(wanted)) => {
            wanted.iter().all(|(key, wanted)| match there.get(key) {
                Some(there) => includes(there, wanted),
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
}
