//! The operator's life: wait for the lease, work while it is held, let go of it.

use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt as _, stream};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::api::ListParams;
use kube::runtime::Controller;
use kube::runtime::controller::{Action, Config};
use kube::runtime::events::{Event, Recorder, Reporter};
use kube::runtime::reflector::ObjectRef;
use kube::{Api, Client, Resource};
use muster_api::Coordinator;
use muster_s3::Probes;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::backoff::WatchFailures;
use crate::caches::{self, Scope, Wake};
use crate::context::{Context, locked};
use crate::key::Key;
use crate::lease::Election;
use crate::metrics::Metrics;
use crate::write::{DEADLINE, WriteError, Writer};
use crate::{coordinators, workers};

/// The Lease that the acting operator holds.
const LEASE: &str = "muster-operator";
/// How many coordinators are looked at at once. Every look waits for the API server most of its time, with several requests at once
/// (`apply::AT_ONCE`), each of which has a connection of its own: more would cost memory and make nothing faster.
const CONCURRENCY: u16 = 8;
/// How long a look that is under way at the end may take.
const END_DEADLINE: Duration = Duration::from_secs(5);
/// How many events may wait to be recorded.
const EVENTS: usize = 256;
/// How often what is remembered of objects that are gone is forgotten.
const FORGET: Duration = Duration::from_secs(3600);

/// What an operator is started with.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where it looks for coordinators and workers.
    pub scope: Scope,
    /// The namespace of its Lease.
    pub lease_namespace: String,
    /// A name that no other operator process has: the pod's.
    pub identity: String,
    /// Muster's own image, which pods take the agent from.
    pub image: String,
}

/// Why an operator cannot work.
#[derive(Debug, thiserror::Error)]
pub enum OperateError {
    /// The custom resources are not there.
    #[error(
        "the API server does not know muster.dev/v1alpha1; install the custom resources first: kubectl apply -f deploy/install.yaml"
    )]
    NotInstalled,
    /// The API server refuses to be asked.
    #[error("failed to ask the API server for coordinators")]
    Request(#[source] Box<kube::Error>),
    /// Others could not tell this operator from one that died.
    #[error("the operator has no name of its own; give it one: --identity NAME")]
    NoIdentity,
    /// All work has ended, though nobody asked for it.
    #[error("the operator's work ended unexpectedly")]
    Ended,
}

/// What a running operator shows to those who look after it.
#[derive(Clone)]
pub struct Operator {
    metrics: Arc<Metrics>,
    /// What keeps it from its work.
    problem: watch::Sender<Option<String>>,
}

impl Operator {
    /// An operator that has not begun.
    #[must_use]
    pub fn new() -> Self {
        let problem = watch::Sender::new(Some("the API server was not reached yet".to_owned()));
        Self { metrics: Arc::new(Metrics::new()), problem }
    }

    /// What keeps it from its work, or from standing by for the one that does it.
    #[must_use]
    pub fn problem(&self) -> Option<String> {
        self.problem.borrow().clone()
    }

    /// Its metrics in Prometheus' text format.
    #[must_use]
    pub fn metrics(&self) -> String {
        self.metrics.page()
    }

    /// Operates until `shutdown`: stands by until it holds the lease, works as long as it does, and lets go of it at the end.
    ///
    /// # Errors
    /// The custom resources are not installed, or the API server refuses to show them; or the operator has no identity.
    pub async fn run(
        &self,
        client: Client,
        settings: Settings,
        shutdown: CancellationToken,
    ) -> Result<(), OperateError> {
        if settings.identity.is_empty() {
            return Err(OperateError::NoIdentity);
        }
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            installed = check_installed(&client, &settings.scope) => installed?,
        }
        let leases: Api<Lease> = Api::namespaced(client.clone(), &settings.lease_namespace);
        let election = Election::new(leases, LEASE, &settings.identity);
        loop {
            self.problem.send_replace(None);
            let since = tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                since = election.win() => since,
            };
            tracing::info!(identity = settings.identity, "this operator acts now");
            self.metrics.lead(true);
            let lost = tokio::select! {
                () = self.work(&client, &settings, &shutdown) => false,
                // The work ends here and now, wherever it is: somebody else does it already.
                () = election.keep(since) => true,
            };
            self.metrics.lead(false);
            if shutdown.is_cancelled() {
                election.release().await;
                return Ok(());
            }
            if !lost {
                election.release().await;
                return Err(OperateError::Ended);
            }
        }
    }

    /// Everything that only the holder of the lease does. Dropped, nothing of it goes on.
    async fn work(&self, client: &Client, settings: &Settings, shutdown: &CancellationToken) {
        let (coordinator_sender, coordinator_wakes) = mpsc::unbounded_channel();
        let (worker_sender, worker_wakes) = mpsc::unbounded_channel();
        let wake = Wake { coordinators: coordinator_sender, workers: worker_sender };
        let mut tasks = JoinSet::new();
        let caches = tokio::select! {
            () = shutdown.cancelled() => return,
            caches = caches::start(client, &settings.scope, &wake, &self.metrics, &mut tasks, |problem| {
                tracing::warn!("{problem}");
                self.problem.send_replace(Some(problem));
            }) => caches,
        };
        self.problem.send_replace(None);
        let (probe_results, mut probed) = mpsc::unbounded_channel();
        let reporter =
            Reporter { controller: "muster".to_owned(), instance: Some(settings.identity.clone()) };
        let (events, recorded) = mpsc::channel(EVENTS);
        tasks.spawn(record(Recorder::new(client.clone(), reporter), recorded));
        let context = Arc::new(Context::new(
            Arc::clone(&caches),
            Writer::new(client.clone(), Arc::clone(&self.metrics)),
            wake,
            Arc::clone(&self.metrics),
            events,
            settings.image.clone(),
            Probes::new(probe_results),
        ));
        let answers = Arc::clone(&context);
        tasks.spawn(async move {
            while let Some(answer) = probed.recv().await {
                locked(&answers.probes).finished(&answer);
                let secret = answer.key.clone();
                locked(&answers.probed).insert(answer.key, (answer.revision, answer.probe));
                wake_users(&secret, &answers);
            }
        });

        let memory = Arc::clone(&context);
        tasks.spawn(async move {
            loop {
                sleep(FORGET).await;
                memory.forget();
            }
        });

        let config = || Config::default().concurrency(CONCURRENCY);
        let looks_at_coordinators = Controller::for_stream(stream::pending(), caches.coordinators.clone())
            .reconcile_on(wakes(coordinator_wakes))
            .with_config(config())
            .graceful_shutdown_on(shutdown.clone().cancelled_owned())
            .run(coordinators::reconcile, retry, Arc::clone(&context))
            .for_each(|_| ready(()));
        let looks_at_workers = Controller::for_stream(stream::pending(), caches.worker_store.clone())
            .reconcile_on(wakes(worker_wakes))
            .with_config(config())
            .graceful_shutdown_on(shutdown.clone().cancelled_owned())
            .run(workers::reconcile, retry, context)
            .for_each(|_| ready(()));
        let ended = async {
            shutdown.cancelled().await;
            tokio::time::sleep(END_DEADLINE).await;
        };
        tokio::select! {
            _ = async { tokio::join!(looks_at_coordinators, looks_at_workers) } => {}
            () = ended => tracing::warn!("a look that was under way did not end in time and is given up"),
        }
    }
}

impl Default for Operator {
    fn default() -> Self {
        Self::new()
    }
}

fn wakes<K: kube::runtime::reflector::Lookup>(
    mut wakes: mpsc::UnboundedReceiver<ObjectRef<K>>,
) -> impl futures::Stream<Item = ObjectRef<K>> {
    stream::poll_fn(move |context| wakes.poll_recv(context))
}

/// Wakes the coordinators whose object store was just probed.
fn wake_users(secret: &Key, context: &Context) {
    for coordinator in context.caches.coordinators.state() {
        let key = Key::of(coordinator.as_ref());
        let names = coordinator.0.as_ref().ok().and_then(|c| c.spec.s3.as_ref()).map(|s3| s3.secret.as_str());
        if key.namespace == secret.namespace && names == Some(secret.name.as_str()) {
            context.wake.coordinator(&key);
        }
    }
}

/// How soon an object is looked at again after a failure.
fn retry<K: Resource<DynamicType = ()>>(object: Arc<K>, error: &WriteError, context: Arc<Context>) -> Action {
    let key = Key::of(object.as_ref());
    let wait = context.failures.failed(&key);
    let cause = std::error::Error::source(error).map(|cause| format!(": {cause}")).unwrap_or_default();
    tracing::warn!(kind = %K::kind(&()), object = %key, retry_in = ?wait, "{error}{cause}");
    Action::requeue(wait)
}

/// Records events one after the other. They are for people, and nobody waits for them.
async fn record(recorder: Recorder, mut events: mpsc::Receiver<(Event, ObjectReference)>) {
    while let Some((event, about)) = events.recv().await {
        match timeout(DEADLINE, recorder.publish(&event, &about)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(object = about.name, %error, "event not recorded"),
            Err(_) => tracing::debug!(object = about.name, "event not recorded in time"),
        }
    }
}

/// Waits until the API server answers.
async fn check_installed(client: &Client, scope: &Scope) -> Result<(), OperateError> {
    let api: Api<Coordinator> = scope.api(client);
    let mut failures = WatchFailures::default();
    loop {
        let (wait, _) = match timeout(DEADLINE, api.list_metadata(&ListParams::default().limit(1))).await {
            Ok(Ok(_)) => return Ok(()),
            Ok(Err(kube::Error::Api(status))) if status.code == 404 => {
                return Err(OperateError::NotInstalled);
            }
            Ok(Err(kube::Error::Api(status))) if [401, 403].contains(&status.code) => {
                return Err(OperateError::Request(Box::new(kube::Error::Api(status))));
            }
            Ok(Err(error)) => {
                tracing::warn!(%error, "the API server cannot be reached; it is tried again");
                failures.failed()
            }
            Err(_) => {
                tracing::warn!("the API server does not answer; it is tried again");
                failures.failed()
            }
        };
        sleep(wait).await;
    }
}
