//! Everything that the operator watches: its own kinds, what it owns (by label), and the Secrets that coordinators name.
//!
//! A change of any object wakes the coordinators and workers that it concerns. Waking takes no request.

use std::fmt::Debug;
use std::sync::Arc;

use futures::StreamExt;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{Pod, Secret, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::core::DeserializeGuard;
use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::utils::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, Resource, ResourceExt as _};
use muster_api::{Coordinator, S3_SECRET_TYPE, Unit, Worker};
use muster_manifests::names::{APPLICATION_LABEL, COORDINATOR_LABEL, MANAGED_BY_LABEL, MANAGER};
use serde::de::DeserializeOwned;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::backoff::watch_backoff;
use crate::cache::Cache;
use crate::key::Key;
use crate::metrics::Metrics;

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
    pub(crate) units: Cache<Guarded<Unit>>,
    pub(crate) pods: Cache<Pod>,
    pub(crate) stateful_sets: Cache<StatefulSet>,
    pub(crate) services: Cache<Service>,
    pub(crate) service_accounts: Cache<ServiceAccount>,
    pub(crate) roles: Cache<Role>,
    pub(crate) role_bindings: Cache<RoleBinding>,
    pub(crate) secrets: Cache<Secret>,
    pub(crate) budgets: Cache<PodDisruptionBudget>,
    pub(crate) network_policies: Cache<NetworkPolicy>,
    /// Secrets of type `muster.dev/s3`, which users write.
    pub(crate) s3_secrets: Cache<Secret>,
    /// Secrets of type `kubernetes.io/tls`, which users write.
    pub(crate) tls_secrets: Cache<Secret>,
}

/// The coordinator that an object of ours belongs to by its label.
fn labelled(object: &impl Resource) -> Vec<Key> {
    let key = Key::of(object);
    let label = object.meta().labels.as_ref().and_then(|labels| labels.get(COORDINATOR_LABEL));
    label.map(|coordinator| key.sibling(coordinator)).into_iter().collect()
}

/// The coordinator that a worker names.
fn related(worker: &Guarded<Worker>) -> Vec<Key> {
    let spec = worker.0.as_ref().ok().map(|worker| &worker.spec);
    let coordinator = spec.and_then(|spec| spec.coordinator.as_ref());
    coordinator.map(|name| Key::of(worker).sibling(name)).into_iter().collect()
}

fn nobody<K>(_: &K) -> Vec<Key> {
    Vec::new()
}

/// Starts all watches in `tasks`; answers once everything that exists is known.
pub(crate) async fn start(
    client: &Client,
    scope: &Scope,
    wake: &Wake,
    metrics: &Arc<Metrics>,
    tasks: &mut JoinSet<()>,
) -> Arc<Caches> {
    let (coordinators, coordinator_writer) = kube::runtime::reflector::store();
    let (worker_store, worker_writer) = kube::runtime::reflector::store();
    let caches = Arc::new(Caches {
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
    });
    let mut watches = Watches { client, scope, wake, metrics, caches: &caches, tasks, known: Vec::new() };
    watches.coordinators(coordinator_writer);
    watches.workers(worker_writer);
    watches.owned(&caches.units, |_| {});
    watches.owned(&caches.pods, prune_pod);
    watches.owned(&caches.stateful_sets, |_| {});
    watches.owned(&caches.services, |_| {});
    watches.owned(&caches.service_accounts, |_| {});
    watches.owned(&caches.roles, |_| {});
    watches.owned(&caches.role_bindings, |_| {});
    watches.owned(&caches.secrets, |_| {});
    watches.owned(&caches.budgets, |_| {});
    watches.owned(&caches.network_policies, |_| {});
    watches.named(&caches.s3_secrets, S3_SECRET_TYPE);
    watches.named(&caches.tls_secrets, TLS_SECRET_TYPE);
    for mut known in watches.known {
        // An error means that the watch has ended, which only the end of all work brings about.
        let _ = known.wait_for(|known| *known).await;
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
    /// One for each watch: whether its first list is complete.
    known: Vec<watch::Receiver<bool>>,
}

type Note<K> = Box<dyn FnMut(Event<K>) + Send>;

impl Watches<'_> {
    fn coordinators(&mut self, mut writer: Writer<Guarded<Coordinator>>) {
        let (wake, caches) = (self.wake.clone(), Arc::clone(self.caches));
        let mut listed: Vec<Key> = Vec::new();
        self.watch(
            watcher::Config::default(),
            Box::new(move |event| {
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
                    // Its workers learn that it came or went; others that want its bucket may have it now.
                    for worker in caches.workers.of(&key) {
                        wake.worker(&Key::of(worker.as_ref()));
                    }
                    if matches!(event, Event::Delete(_)) {
                        wake_all(&caches, &wake);
                    }
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
                for worker in caches.workers.note(event) {
                    let key = Key::of(worker.as_ref());
                    wake.worker(&key);
                    let attached = caches.stateful_sets.get(&key).map(|set| labelled(set.as_ref()));
                    for coordinator in related(&worker).iter().chain(attached.iter().flatten()) {
                        wake.coordinator(coordinator);
                    }
                }
            }),
        );
    }

    /// Watches what carries our label.
    fn owned<K>(&mut self, cache: &Cache<K>, prune: fn(&mut K))
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + Clone
            + Debug
            + DeserializeOwned
            + Send
            + Sync
            + 'static,
    {
        let (wake, caches, cache) = (self.wake.clone(), Arc::clone(self.caches), cache.clone());
        self.watch(
            watcher::Config::default().labels(&format!("{MANAGED_BY_LABEL}={MANAGER}")),
            Box::new(move |mut event: Event<K>| {
                if let Event::Apply(object) | Event::InitApply(object) = &mut event {
                    prune(object);
                }
                for object in cache.note(event) {
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

    /// Watches Secrets of a type. Users write them; coordinators name them.
    fn named(&mut self, cache: &Cache<Secret>, kind: &str) {
        let (wake, caches, cache) = (self.wake.clone(), Arc::clone(self.caches), cache.clone());
        self.watch(
            watcher::Config::default().fields(&format!("type={kind}")),
            Box::new(move |event| {
                for secret in cache.note(event) {
                    let secret = Key::of(secret.as_ref());
                    for coordinator in caches.coordinators.state() {
                        let key = Key::of(coordinator.as_ref());
                        let Ok(Coordinator { spec, .. }) = &coordinator.0 else { continue };
                        let s3 = spec.s3.as_ref().map(|s3| s3.secret.as_str());
                        let tls = spec.tls.as_ref().map(|tls| tls.secret.as_str());
                        let names = [s3, tls].contains(&Some(secret.name.as_str()));
                        if key.namespace == secret.namespace && names {
                            wake.coordinator(&key);
                        }
                    }
                }
            }),
        );
    }

    fn watch<K>(&mut self, config: watcher::Config, mut note: Note<K>)
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + Clone
            + Debug
            + DeserializeOwned
            + Send
            + 'static,
    {
        let (known, receiver) = watch::channel(false);
        self.known.push(receiver);
        let api: Api<K> = self.scope.api(self.client);
        let metrics = Arc::clone(self.metrics);
        self.tasks.spawn(async move {
            let mut events = Box::pin(watcher(api, config).backoff(watch_backoff()));
            let mut warned = false;
            while let Some(event) = events.next().await {
                match event {
                    Ok(mut event) => {
                        warned = false;
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
                        // Said once for a series of failures: while the API server is away every watch fails again and again.
                        if !std::mem::replace(&mut warned, true) {
                            tracing::warn!(kind = %K::kind(&()), %error, "watch interrupted; it is tried again");
                        }
                    }
                }
            }
        });
    }
}

fn wake_all(caches: &Caches, wake: &Wake) {
    for coordinator in caches.coordinators.state() {
        wake.coordinator(&Key::of(coordinator.as_ref()));
    }
}

/// Keeps of a pod what is asked of it: who it is, where it is, and whether it runs.
fn prune_pod(pod: &mut Pod) {
    pod.spec = None;
    if let Some(status) = &mut pod.status {
        for container in
            status.container_statuses.iter_mut().chain(&mut status.init_container_statuses).flatten()
        {
            container.resources = None;
            container.volume_mounts = None;
            container.allocated_resources = None;
        }
    }
    pod.metadata.annotations = None;
}
