//! Everything that the operator watches: its own kinds, what it owns (by label), and the Secrets that coordinators name.
//!
//! A change of any object wakes the coordinators and workers that it concerns. Waking takes no request.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::{StatefulSet, StatefulSetStatus};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod, Secret, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::core::{DeserializeGuard, PartialObjectMeta};
use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, Resource, ResourceExt as _};
use muster_api::{Coordinator, S3_SECRET_TYPE, Unit, Worker};
use muster_manifests::names::{APPLICATION_LABEL, COORDINATOR_LABEL, MANAGED_BY_LABEL, MANAGER};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::backoff::WatchFailures;
use crate::cache::{Cache, Watched};
use crate::key::Key;
use crate::metrics::Metrics;
use crate::packed::Packed;

/// How long the first lists may take before it is said that they do.
const PATIENCE: Duration = Duration::from_secs(5);

/// The type of Secrets with server certificates.
pub(crate) const TLS_SECRET_TYPE: &str = "kubernetes.io/tls";

/// An object that may not be readable: one written by another version must not hide all others.
pub(crate) type Guarded<K> = DeserializeGuard<K>;

/// Where the operator looks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// In every namespace.
    Cluster,
    /// In one.
    Namespace(String),
}

impl Scope {
    pub(crate) fn api<K>(&self, client: &Client) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    {
        match self {
            Self::Cluster => Api::all(client.clone()),
            Self::Namespace(namespace) => Api::namespaced(client.clone(), namespace),
        }
    }
}

/// Which coordinators and workers are to be looked at again.
#[derive(Clone)]
pub(crate) struct Wake {
    pub(crate) coordinators: mpsc::UnboundedSender<ObjectRef<Guarded<Coordinator>>>,
    pub(crate) workers: mpsc::UnboundedSender<ObjectRef<Guarded<Worker>>>,
}

impl Wake {
    pub(crate) fn coordinator(&self, key: &Key) {
        // Nobody listens after the work has ended, and then nobody need.
        let _ = self.coordinators.send(ObjectRef::new(&key.name).within(&key.namespace));
    }

    pub(crate) fn worker(&self, key: &Key) {
        let _ = self.workers.send(ObjectRef::new(&key.name).within(&key.namespace));
    }
}

/// All caches.
pub(crate) struct Caches {
    pub(crate) coordinators: Store<Guarded<Coordinator>>,
    pub(crate) worker_store: Store<Guarded<Worker>>,
    pub(crate) workers: Cache<Guarded<Worker>>,
    pub(crate) units: Cache<Guarded<Packed<Unit>>>,
    pub(crate) pods: Cache<Pod>,
    pub(crate) stateful_sets: Cache<Packed<StatefulSet>>,
    pub(crate) services: Cache<Service>,
    pub(crate) service_accounts: Cache<ServiceAccount>,
    pub(crate) roles: Cache<Role>,
    pub(crate) role_bindings: Cache<RoleBinding>,
    pub(crate) secrets: Cache<Secret>,
    pub(crate) budgets: Cache<PodDisruptionBudget>,
    pub(crate) network_policies: Cache<NetworkPolicy>,
    /// Secrets of type `muster.dev/s3`, which users write.
    pub(crate) s3_secrets: Cache<Secret>,
    /// Secrets of type `kubernetes.io/tls`, which users write. A cluster has many that are none of our business: without their data.
    pub(crate) tls_secrets: Cache<PartialObjectMeta<Secret>>,
}

impl Caches {
    pub(crate) fn new(
        coordinators: Store<Guarded<Coordinator>>,
        worker_store: Store<Guarded<Worker>>,
    ) -> Self {
        Self {
            coordinators,
            worker_store,
            workers: Cache::new(related),
            units: Cache::new(labelled),
            pods: Cache::new(labelled),
            stateful_sets: Cache::new(labelled),
            services: Cache::new(labelled),
            service_accounts: Cache::new(labelled),
            roles: Cache::new(labelled),
            role_bindings: Cache::new(labelled),
            secrets: Cache::new(labelled),
            budgets: Cache::new(labelled),
            network_policies: Cache::new(labelled),
            s3_secrets: Cache::new(nobody),
            tls_secrets: Cache::new(nobody),
        }
    }
}

/// The coordinator that an object of ours belongs to by its label.
fn labelled(object: &impl Resource) -> Vec<Key> {
    let key = Key::of(object);
    let label = object.meta().labels.as_ref().and_then(|labels| labels.get(COORDINATOR_LABEL));
    label.map(|coordinator| key.sibling(coordinator)).into_iter().collect()
}

/// The coordinator that a worker names.
pub(crate) fn related(worker: &Guarded<Worker>) -> Vec<Key> {
    let spec = worker.0.as_ref().ok().map(|worker| &worker.spec);
    let coordinator = spec.and_then(|spec| spec.coordinator.as_ref());
    coordinator.map(|name| Key::of(worker).sibling(name)).into_iter().collect()
}

fn nobody<K>(_: &K) -> Vec<Key> {
    Vec::new()
}

/// Starts all watches in `tasks`; answers once everything that exists is known. Where that takes long, `say` is told of what.
pub(crate) async fn start(
    client: &Client,
    scope: &Scope,
    wake: &Wake,
    metrics: &Arc<Metrics>,
    tasks: &mut JoinSet<()>,
    say: impl Fn(String),
) -> Arc<Caches> {
    let (coordinators, coordinator_writer) = kube::runtime::reflector::store();
    let (worker_store, worker_writer) = kube::runtime::reflector::store();
    let caches = Arc::new(Caches::new(coordinators, worker_store));
    let mut watches = Watches { client, scope, wake, metrics, caches: &caches, tasks, known: Vec::new() };
    watches.coordinators(coordinator_writer);
    watches.workers(worker_writer);
    watches.owned(&caches.units);
    watches.owned_part(&caches.pods, prune_pod);
    watches.owned_part(&caches.stateful_sets, prune_stateful_set);
    watches.owned(&caches.services);
    watches.owned(&caches.service_accounts);
    watches.owned(&caches.roles);
    watches.owned(&caches.role_bindings);
    watches.owned(&caches.secrets);
    watches.owned_part(&caches.budgets, |budget| budget.status = None);
    watches.owned(&caches.network_policies);
    watches.stores(&caches.s3_secrets);
    watches.certificates(&caches.tls_secrets);
    for (kind, mut known) in watches.known {
        // An error means that the watch has ended, which only the end of all work brings about.
        while timeout(PATIENCE, known.wait_for(|known| *known)).await.is_err() {
            say(format!("it could not read the {kind} objects of the cluster yet; its log says why"));
        }
    }
    caches
}

/// What concerns more than one object, taken along by every watch.
struct Watches<'a> {
    client: &'a Client,
    scope: &'a Scope,
    wake: &'a Wake,
    metrics: &'a Arc<Metrics>,
    caches: &'a Arc<Caches>,
    tasks: &'a mut JoinSet<()>,
    /// One for each watch: the kind, and whether its first list is complete.
    known: Vec<(String, watch::Receiver<bool>)>,
}

type Note<K> = Box<dyn FnMut(Event<K>) + Send>;

impl Watches<'_> {
    fn coordinators(&mut self, mut writer: Writer<Guarded<Coordinator>>) {
        let (wake, caches) = (self.wake.clone(), Arc::clone(self.caches));
        let mut listed: Vec<Key> = Vec::new();
        let mut claims: HashMap<Key, Claims> = HashMap::new();
        let mut specs: HashMap<Key, Option<i64>> = HashMap::new();
        self.watch(
            watcher::Config::default(),
            Box::new(move |event| {
                let claims_change = match &event {
                    Event::Apply(object) => {
                        let next = Claims::of(object);
                        let before = claims.insert(Key::of(object), next.clone());
                        before.is_some_and(|before| before != next)
                    }
                    Event::Delete(object) => claims.remove(&Key::of(object)).is_some(),
                    // All are woken anyway.
                    Event::InitApply(object) => {
                        claims.insert(Key::of(object), Claims::of(object));
                        false
                    }
                    Event::Init => {
                        claims.clear();
                        false
                    }
                    Event::InitDone => false,
                };
                let spec_changed = match &event {
                    Event::Apply(object) | Event::InitApply(object) => {
                        let now = object.meta().generation;
                        specs.insert(Key::of(object), now) != Some(now)
                    }
                    Event::Delete(object) => specs.remove(&Key::of(object)).is_some(),
                    Event::Init => {
                        specs.clear();
                        false
                    }
                    Event::InitDone => false,
                };
                let touched = match &event {
                    Event::Apply(object) | Event::Delete(object) => vec![Key::of(object)],
                    Event::InitApply(object) => {
                        listed.push(Key::of(object));
                        Vec::new()
                    }
                    Event::Init => Vec::new(),
                    Event::InitDone => std::mem::take(&mut listed),
                };
                writer.apply_watcher_event(&event);
                if matches!(event, Event::InitDone) {
                    // Some may have vanished while nobody watched.
                    caches.workers.all().iter().for_each(|worker| wake.worker(&Key::of(worker.as_ref())));
                }
                for key in touched {
                    wake.coordinator(&key);
                    // Its workers, and one of its name, learn that it came or went.
                    wake.worker(&key);
                    for worker in caches.workers.of(&key) {
                        wake.worker(&Key::of(worker.as_ref()));
                    }
                    if spec_changed {
                        wake_writers(&key, &caches, &wake);
                    }
                }
                // Others that want its bucket may have it now.
                if claims_change {
                    wake_all(&caches, &wake);
                }
            }),
        );
    }

    fn workers(&mut self, mut writer: Writer<Guarded<Worker>>) {
        let (wake, caches) = (self.wake.clone(), Arc::clone(self.caches));
        self.watch(
            watcher::Config::default(),
            Box::new(move |event| {
                writer.apply_watcher_event(&event);
                // What the store holds is shared, and nothing is held twice.
                for worker in caches.workers.note_stored(&event, &caches.worker_store) {
                    let key = Key::of(worker.as_ref());
                    wake.worker(&key);
                    // One of its name may have the name now.
                    wake.coordinator(&key);
                    let attached = caches.stateful_sets.get(&key).map(|set| labelled(set.as_ref()));
                    for coordinator in related(&worker).iter().chain(attached.iter().flatten()) {
                        wake.coordinator(coordinator);
                    }
                }
            }),
        );
    }

    /// Watches what carries our label.
    fn owned<K: Watched>(&mut self, cache: &Cache<K>) {
        let cache = cache.clone();
        self.carrying_label(Box::new(move |event| cache.note(event)));
    }

    /// The same without what `prune` takes away of each object. A change of nothing else wakes nobody.
    fn owned_part<K: Watched + PartialEq>(&mut self, cache: &Cache<K>, prune: fn(&mut K)) {
        let cache = cache.clone();
        self.carrying_label(Box::new(move |mut event| {
            if let Event::Apply(object) | Event::InitApply(object) = &mut event {
                prune(object);
            }
            cache.note_changes(event)
        }));
    }

    /// Takes in what carries our label with `note`, and wakes those whom the objects that it answers concern.
    fn carrying_label<K: Watched>(&mut self, mut note: Box<dyn FnMut(Event<K>) -> Vec<Arc<K>> + Send>) {
        let (wake, caches) = (self.wake.clone(), Arc::clone(self.caches));
        self.watch(
            watcher::Config::default().labels(&format!("{MANAGED_BY_LABEL}={MANAGER}")),
            Box::new(move |event| {
                for object in note(event) {
                    for coordinator in labelled(object.as_ref()) {
                        wake.coordinator(&coordinator);
                    }
                    let application = object.meta().labels.as_ref().and_then(|l| l.get(APPLICATION_LABEL));
                    let Some(application) = application else { continue };
                    let key = Key::of(object.as_ref()).sibling(application);
                    let Some(worker) = caches.workers.get(&key) else { continue };
                    wake.worker(&key);
                    for coordinator in related(&worker) {
                        wake.coordinator(&coordinator);
                    }
                }
            }),
        );
    }

    /// Watches the Secrets of object stores. Users write them; coordinators name them.
    fn stores(&mut self, cache: &Cache<Secret>) {
        let (wake, caches, cache) = (self.wake.clone(), Arc::clone(self.caches), cache.clone());
        self.watch(
            watcher::Config::default().fields(&format!("type={S3_SECRET_TYPE}")),
            Box::new(move |event| {
                // What it says now another coordinator may want, and what it said before another one may have now.
                if !cache.note(event).is_empty() {
                    wake_all(&caches, &wake);
                }
            }),
        );
    }

    /// Watches for changes of certificates. Users write them; coordinators name them.
    fn certificates(&mut self, cache: &Cache<PartialObjectMeta<Secret>>) {
        let (wake, caches, cache) = (self.wake.clone(), Arc::clone(self.caches), cache.clone());
        self.watch(
            watcher::Config::default().fields(&format!("type={TLS_SECRET_TYPE}")),
            Box::new(move |event| {
                let touched = cache.note(event);
                let touched: HashSet<Key> = touched.iter().map(|secret| Key::of(secret.as_ref())).collect();
                if touched.is_empty() {
                    return;
                }
                for coordinator in caches.coordinators.state() {
                    let key = Key::of(coordinator.as_ref());
                    let tls =
                        coordinator.0.as_ref().ok().and_then(|coordinator| coordinator.spec.tls.as_ref());
                    if tls.is_some_and(|tls| touched.contains(&key.sibling(&tls.secret))) {
                        wake.coordinator(&key);
                        wake_writers(&key, &caches, &wake);
                    }
                }
            }),
        );
    }

    fn watch<K: Watched>(&mut self, config: watcher::Config, mut note: Note<K>) {
        let (known, receiver) = watch::channel(false);
        self.known.push((K::kind(&()).into_owned(), receiver));
        let api: Api<K> = self.scope.api(self.client);
        let metrics = Arc::clone(self.metrics);
        self.tasks.spawn(async move {
            let mut events = Box::pin(watcher(api, config));
            let mut failures = WatchFailures::default();
            while let Some(event) = events.next().await {
                match event {
                    Ok(mut event) => {
                        if let Event::Apply(object) | Event::InitApply(object) = &mut event {
                            // Who wrote which field is a large part of an object, and nobody here asks.
                            object.managed_fields_mut().clear();
                        }
                        let done = matches!(event, Event::InitDone);
                        note(event);
                        if done {
                            known.send_replace(true);
                        }
                    }
                    Err(error) => {
                        metrics.watch_failed(&K::kind(&()));
                        let (wait, first) = failures.failed();
                        // Said once for a series of failures: while the API server is away every watch fails again and again.
                        if first {
                            tracing::warn!(kind = %K::kind(&()), %error, "watch interrupted; it is tried again");
                        }
                        sleep(wait).await;
                    }
                }
            }
        });
    }
}

/// What of a coordinator others that want the same bucket depend on.
#[derive(Debug, Clone, PartialEq)]
struct Claims {
    secret: Option<String>,
    /// The place in an object store that its units run with.
    held: Option<serde_json::Value>,
}

impl Claims {
    fn of(coordinator: &Guarded<Coordinator>) -> Self {
        let coordinator = coordinator.0.as_ref().ok();
        let s3 = coordinator.and_then(|coordinator| coordinator.spec.s3.as_ref());
        let carry = coordinator.and_then(|coordinator| coordinator.status.as_ref()?.carry_over.as_ref());
        Self {
            secret: s3.map(|s3| s3.secret.clone()),
            held: carry.and_then(|carry| carry.get("store")).cloned(),
        }
    }
}

/// Wakes those that write metrics to a coordinator, whether or not it is there.
fn wake_writers(to: &Key, caches: &Caches, wake: &Wake) {
    for coordinator in caches.coordinators.state() {
        let key = Key::of(coordinator.as_ref());
        let names = coordinator.0.as_ref().map_or(&[][..], |coordinator| &coordinator.spec.remote_write);
        if names.iter().any(|name| key.sibling(name) == *to) {
            wake.coordinator(&key);
        }
    }
}

fn wake_all(caches: &Caches, wake: &Wake) {
    for coordinator in caches.coordinators.state() {
        wake.coordinator(&Key::of(coordinator.as_ref()));
    }
}

/// Keeps of a StatefulSet's status what is asked of it: how many pods it has, and which template the next one is made from.
fn prune_stateful_set(set: &mut Packed<StatefulSet>) {
    if let Some(status) = &mut set.status {
        *status = StatefulSetStatus {
            observed_generation: status.observed_generation,
            replicas: status.replicas,
            update_revision: status.update_revision.take(),
            ..StatefulSetStatus::default()
        };
    }
}

/// Keeps of a pod what is asked of it: who it is, where it is, and whether it runs.
fn prune_pod(pod: &mut Pod) {
    pod.spec = None;
    if let Some(status) = &mut pod.status {
        let containers = status.container_statuses.iter_mut().chain(&mut status.init_container_statuses);
        for container in containers.flatten() {
            *container = ContainerStatus {
                name: std::mem::take(&mut container.name),
                state: container.state.take(),
                ..ContainerStatus::default()
            };
        }
    }
    pod.metadata.annotations = None;
    pod.metadata.owner_references = None;
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn others_are_concerned_by_which_bucket_a_coordinator_wants_and_has() {
        let of = |s3: Value, status: Value| {
            let object = json!({"metadata": {"name": "a"}, "spec": {"product": "mimir", "s3": s3},
                                "status": status});
            Claims::of(&serde_json::from_value(object).unwrap())
        };
        let now = of(json!({"secret": "x"}), json!({"carryOver": {"store": "s3/x/", "documents": {}}}));
        assert_eq!(now, of(json!({"secret": "x"}), json!({"carryOver": {"store": "s3/x/"}, "units": 3})));
        for (s3, store) in
            [(json!({"secret": "y"}), json!("s3/x/")), (json!({"secret": "x"}), json!("s3/y/"))]
        {
            assert_ne!(now, of(s3, json!({"carryOver": {"store": store}})));
        }
        assert_ne!(now, of(Value::Null, Value::Null));
    }
}
