//! The operator's life: wait for the lease, work while it is held, let go of it.

use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt as _, stream};
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::ListParams;
use kube::runtime::Controller;
use kube::runtime::controller::{Action, Config};
use kube::runtime::events::{Recorder, Reporter};
use kube::runtime::reflector::ObjectRef;
use kube::{Api, Client, Resource};
use muster_api::Coordinator;
use muster_s3::Probes;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::caches::{self, Scope, Wake};
use crate::context::{Context, locked};
use crate::key::Key;
use crate::lease::Election;
use crate::metrics::Metrics;
use crate::write::{WriteError, Writer};
use crate::{coordinators, workers};

/// The Lease that the acting operator holds.
const LEASE: &str = "muster-operator";
/// How many coordinators are looked at at once. Every look waits for the API server most of its time.
const CONCURRENCY: u16 = 16;
/// How long a look that is under way at the end may take.
const END_DEADLINE: Duration = Duration::from_secs(5);

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
    /// The API server cannot be asked.
    #[error("failed to ask the API server for coordinators")]
    Request(#[source] Box<kube::Error>),
    /// All work has ended, though nobody asked for it.
    #[error("the operator's work ended unexpectedly")]
    Ended,
}

/// What a running operator shows to those who look after it.
#[derive(Clone)]
pub struct Operator {
    metrics: Arc<Metrics>,
    ready: watch::Sender<bool>,
}

impl Operator {
    /// An operator that has not begun.
    #[must_use]
    pub fn new() -> Self {
        Self { metrics: Arc::new(Metrics::new()), ready: watch::Sender::new(false) }
    }

    /// Whether it works, or stands by for the one that does.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        *self.ready.borrow()
    }

    /// Its metrics in Prometheus' text format.
    #[must_use]
    pub fn metrics(&self) -> String {
        self.metrics.page()
    }

    /// Operates until `shutdown`: stands by until it holds the lease, works as long as it does, and lets go of it at the end.
    ///
    /// # Errors
    /// The custom resources are not installed, or the API server refuses to show them.
    pub async fn run(
        &self,
        client: Client,
        settings: Settings,
        shutdown: CancellationToken,
    ) -> Result<(), OperateError> {
        check_installed(&client, &settings.scope).await?;
        self.ready.send_replace(true);
        let leases: Api<Lease> = Api::namespaced(client.clone(), &settings.lease_namespace);
        let election = Election::new(leases, LEASE, &settings.identity);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                () = election.win() => {}
            }
            tracing::info!(identity = settings.identity, "this operator acts now");
            self.metrics.lead(true);
            let lost = tokio::select! {
                () = self.work(&client, &settings, &shutdown) => false,
                // The work ends here and now, wherever it is: somebody else does it already.
                () = election.keep() => true,
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
            caches = caches::start(client, &settings.scope, &wake, &self.metrics, &mut tasks) => caches,
        };
        let (probe_results, mut probed) = mpsc::unbounded_channel();
        let reporter =
            Reporter { controller: "muster".to_owned(), instance: Some(settings.identity.clone()) };
        let context = Arc::new(Context::new(
            Arc::clone(&caches),
            Writer::new(client.clone(), Arc::clone(&self.metrics)),
            wake,
            Arc::clone(&self.metrics),
            Recorder::new(client.clone(), reporter),
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

async fn check_installed(client: &Client, scope: &Scope) -> Result<(), OperateError> {
    let api: Api<Coordinator> = scope.api(client);
    match api.list_metadata(&ListParams::default().limit(1)).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 404 => Err(OperateError::NotInstalled),
        Err(error) => Err(OperateError::Request(Box::new(error))),
    }
}
