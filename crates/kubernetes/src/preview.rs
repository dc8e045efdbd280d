//! What an edit would change in what units share, for somebody who is not the operator: from one reading of a namespace, with the
//! operator's own way from objects to what the planner observes. Writes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::api::{Api, DynamicObject, ListParams};
use kube::core::ApiResource;
use kube::runtime::watcher::Event;
use kube::{Client, Resource};
use muster_api::{Coordinator, S3_SECRET_TYPE, Unit, Worker};
use muster_manifests::names::{MANAGED_BY_LABEL, MANAGER, balancer_secret, cluster_secret};
use muster_model::AppName;
use muster_planner::{Observed, Preview, Rendition};
use serde_json::{Map, Value};

use crate::cache::{Cache, Watched};
use crate::caches::{Caches, Guarded};
use crate::gather::{Remembered, gather, read_cluster};
use crate::key::Key;
use crate::packed::Packed;
use crate::secrets::Named;

/// Where `kubectl apply` keeps what it was given last.
const LAST_APPLIED_ANNOTATION: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// What of an object people write.
const WRITTEN: [&str; 4] = ["spec", "type", "data", "stringData"];
/// When an object was removed, in a preview: any time does.
const REMOVED_AT: &str = "1970-01-01T00:00:00Z";
const FORBIDDEN: u16 = 403;

/// An edit that is not made. Each document with its kind and name.
#[derive(Debug, Clone, PartialEq)]
pub enum Proposal {
    /// Documents that replace those of their name.
    Replace(Vec<Value>),
    /// Documents as `kubectl apply` takes them: what they do not say, and did not say last time, stays.
    Apply(Vec<Value>),
    /// Documents that replace those of their name; then the object of this kind and name goes.
    Remove(Vec<Value>, (String, String)),
}

/// Why an edit cannot be looked at.
#[derive(Debug, thiserror::Error)]
pub enum PreviewError {
    /// The API server did not answer with what was asked for.
    #[error(transparent)]
    Request(#[from] kube::Error),
    /// The edit would be refused.
    #[error("{0}")]
    Refused(String),
}

/// Compares a namespace as it is with what it would be, by coordinator. Of `only` that one, where it is given; then Secrets of others
/// need not be readable. With the `steps` that it takes, where they are asked for. The gossip label of a coordinator that is not there yet lacks the uid that it will get.
pub async fn preview(
    client: &Client,
    namespace: &str,
    proposal: &Proposal,
    steps: bool,
    only: Option<&AppName>,
) -> Result<BTreeMap<AppName, Preview>, PreviewError> {
    let reader = Reader { client, namespace };
    let mut before = Objects::default();
    for object in reader.list::<Coordinator>().await? {
        before.insert("Coordinator", object);
    }
    for object in reader.list::<Worker>().await? {
        before.insert("Worker", object);
    }
    let units = reader.owned::<Guarded<Packed<Unit>>>().await?;
    let pods = reader.owned::<Pod>().await?;
    let stateful_sets = reader.owned::<Packed<StatefulSet>>().await?;

    // A Secret that is edited is known before what it becomes.
    let edited_secrets: BTreeSet<String> =
        proposal.documents().iter().filter(|d| kind(d) == "Secret").map(name).collect();
    let without_secrets = before.with(proposal, namespace)?;
    let mut wanted = before.secrets(only);
    wanted.extend(without_secrets.secrets(only));
    wanted.extend(edited_secrets.into_iter().map(|secret| (secret, true)));
    for (secret, needed) in wanted {
        match reader.secret(&secret).await {
            Ok(Some(object)) => before.insert("Secret", object),
            Ok(None) => {}
            // Whether another coordinator has the bucket is the operator's to find out as well.
            Err(kube::Error::Api(status)) if status.code == FORBIDDEN && !needed => {}
            Err(error) => return Err(error.into()),
        }
    }
    let after = before.with(proposal, namespace)?;
    let owned = Owned { units, pods, stateful_sets };
    let (caches, edited) = (before.caches(namespace, &owned)?, after.caches(namespace, &owned)?);
    let mut previews = BTreeMap::new();
    for name in after.of("Coordinator").filter_map(|(name, _)| AppName::new(name).ok()) {
        if only.is_some_and(|only| *only != name) {
            continue;
        }
        let key = Key::new(namespace, name.as_str());
        let Some(now) = observed(&key, &name, &after, &edited)? else { continue };
        let then = observed(&key, &name, &before, &caches)?;
        let secret = caches.secrets.get(&key.sibling(balancer_secret(&name)));
        let published = secret.and_then(|secret| read_cluster(&secret));
        let balancer = published
            .and_then(|cluster| cluster.documents.into_iter().next())
            .map(|(revision, text)| Rendition { revision, text });
        let preview = muster_planner::preview(then.as_ref(), &now, balancer);
        let preview =
            if steps { preview.with_forecast(then.as_ref(), &now, proposal.edits()) } else { preview };
        previews.insert(name, preview);
    }
    Ok(previews)
}

impl Proposal {
    fn documents(&self) -> &[Value] {
        match self {
            Self::Replace(documents) | Self::Apply(documents) | Self::Remove(documents, _) => documents,
        }
    }

    /// Whether anything is asked for.
    fn edits(&self) -> bool {
        matches!(self, Self::Remove(..)) || !self.documents().is_empty()
    }
}

/// What the operator would observe of a coordinator, if there is one of that name.
fn observed(
    key: &Key,
    name: &AppName,
    objects: &Objects,
    caches: &Caches,
) -> Result<Option<Observed>, PreviewError> {
    let Some(object) = objects.get("Coordinator", &key.name) else { return Ok(None) };
    let coordinator: Coordinator = serde_json::from_value(object.clone()).map_err(|error| {
        PreviewError::Refused(format!(
            "coordinator {name} cannot be read ({error}); correct it: kubectl edit coordinator {name}"
        ))
    })?;
    let named = |secret: &str| objects.typed::<Secret>("Secret", secret);
    let named = Named {
        s3: match &coordinator.spec.s3 {
            Some(s3) => named(&s3.secret)?.filter(|secret| secret.type_.as_deref() != Some(S3_SECRET_TYPE)),
            None => None,
        },
        tls: match &coordinator.spec.tls {
            Some(tls) => named(&tls.secret)?.map(Arc::new),
            None => None,
        },
        remote_write_tls: objects.remote_write_certificates(&coordinator)?,
    };
    let remembered = Remembered { carry: None, obstacles: Vec::new(), awaited: &BTreeSet::new() };
    Ok(Some(gather(key, name, &coordinator, caches, &BTreeMap::new(), &named, remembered).observed))
}

/// What the operator made.
struct Owned {
    units: Vec<Guarded<Packed<Unit>>>,
    pods: Vec<Pod>,
    stateful_sets: Vec<Packed<StatefulSet>>,
}

/// What people write: coordinators, workers and Secrets as the API server has them, by kind and name.
#[derive(Debug, Clone, Default)]
struct Objects(BTreeMap<(String, String), Value>);

fn kind(object: &Value) -> &str {
    object["kind"].as_str().unwrap_or_default()
}

fn name(object: &Value) -> String {
    object["metadata"]["name"].as_str().unwrap_or_default().to_owned()
}

/// The Secret with a coordinator's certificate.
fn certificate_of(coordinator: &Value) -> Option<String> {
    coordinator["spec"]["tls"]["secret"].as_str().map(str::to_owned)
}

impl Objects {
    fn insert(&mut self, kind: &str, object: Value) {
        self.0.insert((kind.to_owned(), name(&object)), object);
    }

    fn get(&self, kind: &str, name: &str) -> Option<&Value> {
        self.0.get(&(kind.to_owned(), name.to_owned()))
    }

    fn typed<T: serde::de::DeserializeOwned>(
        &self,
        kind: &str,
        name: &str,
    ) -> Result<Option<T>, PreviewError> {
        let read = self.get(kind, name).map(|object| serde_json::from_value(object.clone())).transpose();
        read.map_err(|error| PreviewError::Refused(format!("{kind} {name} cannot be read: {error}")))
    }

    /// The objects of a kind by name.
    fn of(&self, kind: &str) -> impl Iterator<Item = (&String, &Value)> {
        self.0.iter().filter(move |((of, _), _)| of == kind).map(|((_, name), object)| (name, object))
    }

    /// The Secrets that coordinators name and that hold what they published, and whether the answer depends on them.
    fn secrets(&self, only: Option<&AppName>) -> BTreeMap<String, bool> {
        let mut secrets = BTreeMap::new();
        let is_asked = |name: &str| only.is_none_or(|only| only.as_str() == name);
        let asked = self.of("Coordinator").filter(|(name, _)| is_asked(name));
        let written =
            asked.flat_map(|(_, asked)| asked["spec"]["remoteWrite"].as_array().into_iter().flatten());
        for other in written.filter_map(|name| self.get("Coordinator", name.as_str()?)) {
            secrets.extend(certificate_of(other).map(|secret| (secret, true)));
        }
        for (name, coordinator) in self.of("Coordinator") {
            let needed = is_asked(name);
            if let Some(secret) = coordinator["spec"]["s3"]["secret"].as_str() {
                *secrets.entry(secret.to_owned()).or_insert(false) |= needed;
            }
            let (Ok(name), true) = (AppName::new(name), needed) else { continue };
            let own = [cluster_secret(&name), balancer_secret(&name)];
            secrets.extend(certificate_of(coordinator).into_iter().chain(own).map(|secret| (secret, true)));
        }
        secrets
    }

    /// The certificates of the coordinators that one writes metrics to, by their names.
    fn remote_write_certificates(
        &self,
        coordinator: &Coordinator,
    ) -> Result<BTreeMap<String, Arc<Secret>>, PreviewError> {
        let mut certificates = BTreeMap::new();
        for name in &coordinator.spec.remote_write {
            if let Some(secret) = self.get("Coordinator", name).and_then(certificate_of)
                && let Some(secret) = self.typed("Secret", &secret)?
            {
                certificates.insert(name.clone(), Arc::new(secret));
            }
        }
        Ok(certificates)
    }

    /// The objects after an edit.
    fn with(&self, proposal: &Proposal, namespace: &str) -> Result<Self, PreviewError> {
        let mut edited = self.clone();
        for document in proposal.documents() {
            let (kind, name) = (kind(document), name(document));
            if let Some(other) =
                document["metadata"]["namespace"].as_str().filter(|other| *other != namespace)
            {
                return Err(PreviewError::Refused(format!(
                    "{kind} {name} is for namespace {other}, and this is about {namespace}; choose that one: --namespace {other}"
                )));
            }
            let now = self.get(kind, &name);
            let mut next = match (now, proposal) {
                (None, _) => document.clone(),
                (Some(now), Proposal::Replace(_) | Proposal::Remove(..)) => replaced(now, document),
                (Some(now), Proposal::Apply(_)) => merged(Some(&last_applied(now)), document, Some(now)),
            };
            if let Some(now) =
                now.filter(|now| kind == "Coordinator" && now["spec"]["product"] != next["spec"]["product"])
            {
                return Err(PreviewError::Refused(format!(
                    "{name}: spec.product is {} and cannot change; deploy another coordinator",
                    now["spec"]["product"]
                )));
            }
            next["metadata"]["namespace"] = namespace.into();
            edited.insert(kind, next);
        }
        if let Proposal::Remove(_, removed) = proposal {
            let (kind, _) = removed;
            if kind == "Secret" {
                edited.0.remove(removed);
            } else if let Some(object) = edited.0.get_mut(removed) {
                // It stays until its units have stopped.
                object["metadata"]["deletionTimestamp"] = REMOVED_AT.into();
            }
        }
        Ok(edited)
    }

    /// The operator's caches, had it seen these.
    fn caches(&self, namespace: &str, owned: &Owned) -> Result<Caches, PreviewError> {
        let (coordinators, mut writer) = kube::runtime::reflector::store();
        let (worker_store, _) = kube::runtime::reflector::store();
        let caches = Caches::new(coordinators, worker_store);
        for (name, _) in self.of("Coordinator") {
            if let Some(object) = self.typed::<Guarded<Coordinator>>("Coordinator", name)? {
                writer.apply_watcher_event(&Event::Apply(object));
            }
        }
        for (name, _) in self.of("Worker") {
            note(&caches.workers, self.typed::<Guarded<Worker>>("Worker", name)?);
        }
        for (name, _) in self.of("Secret") {
            let Some(mut secret) = self.typed::<Secret>("Secret", name)? else { continue };
            secret.metadata.namespace = Some(namespace.to_owned());
            if secret.type_.as_deref() == Some(S3_SECRET_TYPE) {
                note(&caches.s3_secrets, Some(secret));
            } else {
                note(&caches.secrets, Some(secret));
            }
        }
        note(&caches.units, owned.units.iter().cloned());
        note(&caches.pods, owned.pods.iter().cloned());
        note(&caches.stateful_sets, owned.stateful_sets.iter().cloned());
        Ok(caches)
    }
}

fn note<K: Watched>(cache: &Cache<K>, objects: impl IntoIterator<Item = K>) {
    for object in objects {
        cache.note(Event::Apply(object));
    }
}

/// An object with what people write of it taken from a document.
fn replaced(now: &Value, document: &Value) -> Value {
    let mut next = now.clone();
    for field in WRITTEN {
        next[field] = document[field].clone();
    }
    next
}

/// What `kubectl apply` was given last, if it was ever used on the object.
fn last_applied(object: &Value) -> Value {
    let text = object["metadata"]["annotations"][LAST_APPLIED_ANNOTATION].as_str();
    text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
}

/// What `kubectl apply` makes of an object: what the document says, without what it said last time and does not say any more, and with
/// what others wrote beside it. Lists are taken whole.
fn merged(last: Option<&Value>, document: &Value, now: Option<&Value>) -> Value {
    let Value::Object(asked) = document else { return document.clone() };
    let mut next = now.and_then(Value::as_object).cloned().unwrap_or_default();
    let none = Map::new();
    let last = last.and_then(Value::as_object).unwrap_or(&none);
    next.retain(|field, _| asked.contains_key(field) || !last.contains_key(field));
    for (field, value) in asked {
        let value = merged(last.get(field), value, next.get(field));
        next.insert(field.clone(), value);
    }
    Value::Object(next)
}

/// Reads a namespace.
struct Reader<'a> {
    client: &'a Client,
    namespace: &'a str,
}

impl Reader<'_> {
    /// All objects of a kind, whatever they hold.
    async fn list<K: Resource<DynamicType = ()>>(&self) -> kube::Result<Vec<Value>> {
        let resource = ApiResource::erase::<K>(&());
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), self.namespace, &resource);
        let listed = api.list(&ListParams::default()).await?;
        listed
            .items
            .into_iter()
            .map(|object| serde_json::to_value(object).map_err(kube::Error::SerdeError))
            .collect()
    }

    /// What the operator made of a kind.
    async fn owned<K: Watched>(&self) -> kube::Result<Vec<K>> {
        let api: Api<K> = Api::namespaced(self.client.clone(), self.namespace);
        let ours = ListParams::default().labels(&format!("{MANAGED_BY_LABEL}={MANAGER}"));
        Ok(api.list(&ours).await?.items)
    }

    async fn secret(&self, name: &str) -> kube::Result<Option<Value>> {
        let api: Api<Secret> = Api::namespaced(self.client.clone(), self.namespace);
        let read = api.get_opt(name).await?;
        read.map(|secret| serde_json::to_value(secret).map_err(kube::Error::SerdeError)).transpose()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn applied(last: &Value, now: Value) -> Value {
        let mut now = now;
        now["metadata"]["annotations"][LAST_APPLIED_ANNOTATION] = last.to_string().into();
        now
    }

    #[test]
    fn a_file_takes_away_only_what_it_gave() {
        let last = json!({"spec": {"product": "mimir", "config": {"retention-period": "30d"}}});
        let now = json!({"metadata": {"name": "mimir"}, "spec": {
            "product": "mimir", "units": 3, "config": {"retention-period": "30d", "ingestion-rate": 5}}});
        let file = json!({"spec": {"product": "mimir", "config": {"replication-factor": 1}}});
        let next = merged(Some(&last_applied(&applied(&last, now.clone()))), &file, Some(&now));
        let spec =
            json!({"product": "mimir", "units": 3, "config": {"ingestion-rate": 5, "replication-factor": 1}});
        assert_eq!(next["spec"], spec, "scaled and configured by others");
        assert_eq!(next["metadata"], now["metadata"]);
        let never = merged(Some(&last_applied(&now)), &file, Some(&now));
        assert_eq!(
            never["spec"]["config"].as_object().unwrap().len(),
            3,
            "nothing is known to be the file's"
        );
    }

    fn objects() -> Objects {
        let mut objects = Objects::default();
        objects.insert(
            "Coordinator",
            json!({"metadata": {"name": "a", "namespace": "n", "uid": "1"},
            "spec": {"product": "mimir", "s3": {"secret": "s3"}, "tls": {"secret": "cert"}}}),
        );
        objects.insert(
            "Coordinator",
            json!({"metadata": {"name": "b", "namespace": "n"},
            "spec": {"product": "loki", "s3": {"secret": "other"}}}),
        );
        objects
    }

    #[test]
    fn an_edit_is_refused_as_the_api_server_would() {
        let document = |product: &str, namespace: &str| json!({"kind": "Coordinator", "metadata": {"name": "a", "namespace": namespace}, "spec": {"product": product}});
        let of = |product: &str, namespace: &str| {
            let proposal = Proposal::Apply(vec![document(product, namespace)]);
            objects().with(&proposal, "n").map_err(|error| error.to_string())
        };
        let same = of("mimir", "n").unwrap();
        assert_eq!(
            same.get("Coordinator", "a").unwrap()["spec"],
            objects().get("Coordinator", "a").unwrap()["spec"]
        );
        assert!(of("tempo", "n").unwrap_err().contains("deploy another coordinator"));
        assert!(of("mimir", "m").unwrap_err().contains("--namespace m"));
        let whole = objects().with(&Proposal::Replace(vec![document("mimir", "n")]), "n").unwrap();
        assert_eq!(whole.get("Coordinator", "a").unwrap()["spec"], json!({"product": "mimir"}));
    }

    #[test]
    fn what_is_removed_is_on_its_way_out() {
        let removed = |kind: &str, name: &str| {
            let proposal = Proposal::Remove(Vec::new(), (kind.to_owned(), name.to_owned()));
            assert!(proposal.edits());
            objects().with(&proposal, "n").unwrap()
        };
        let coordinator = removed("Coordinator", "a");
        let object: Coordinator = coordinator.typed("Coordinator", "a").unwrap().unwrap();
        assert!(object.metadata.deletion_timestamp.is_some());
        assert!(coordinator.get("Coordinator", "b").unwrap()["metadata"]["deletionTimestamp"].is_null());
        assert!(removed("Secret", "s3").get("Secret", "s3").is_none());
        assert!(!Proposal::Replace(Vec::new()).edits());
    }

    #[test]
    fn of_others_nothing_but_their_object_store_is_asked() {
        let only = AppName::new("a").unwrap();
        let expected =
            [("a-balancer", true), ("a-cluster", true), ("cert", true), ("other", false), ("s3", true)];
        assert_eq!(objects().secrets(Some(&only)), expected.map(|(k, v)| (k.to_owned(), v)).into());
        assert!(objects().secrets(None).values().all(|needed| *needed));
    }
}
