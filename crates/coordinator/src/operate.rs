//! `coordinator operate`: the operator as a process.

use std::time::Duration;

use anyhow::Context as _;
use kube::{Client, Config};
use muster_kubernetes::{Operator, Scope, Settings};
use muster_telemetry::admin::{self, Health};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::args::Operate;

/// How long a connection may be silent while an answer is due. Watches hear from a living API server about once a minute.
const SILENCE: Duration = Duration::from_secs(150);

/// Operates until SIGTERM or SIGINT.
pub(crate) fn run(arguments: Operate) -> anyhow::Result<()> {
    // It waits for the API server nearly all the time. One thread spares the memory and the locks of others.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("failed to start the runtime")?;
    runtime.block_on(operate(arguments))
}

async fn operate(arguments: Operate) -> anyhow::Result<()> {
    let shutdown = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate()).context("failed to listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("failed to listen for SIGINT")?;
    let client = connect()
        .await
        .context("no way to the API server: neither a pod's identity nor a kubeconfig is usable")?;
    let operator = Operator::new();
    tokio::spawn(admin::serve(arguments.admin_address, OperatorHealth(operator.clone())));
    let ends = shutdown.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("asked to end");
        ends.cancel();
    });
    let settings = Settings {
        scope: arguments.namespace.map_or(Scope::Cluster, Scope::Namespace),
        lease_namespace: arguments.lease_namespace,
        identity: arguments.identity,
        image: arguments.image,
    };
    operator.run(client, settings, shutdown).await?;
    Ok(())
}

/// The pod's own identity, or a kubeconfig where there is one.
async fn connect() -> Result<Client, kube::Error> {
    let mut config = Config::infer().await.map_err(kube::Error::InferConfig)?;
    // Every look and every watch tries again by itself.
    config.default_retry = false;
    config.read_timeout = Some(SILENCE);
    config.reset_reader_on_write = true;
    Client::try_from(config)
}

struct OperatorHealth(Operator);

impl Health for OperatorHealth {
    fn unready(&self) -> Option<String> {
        self.0.problem()
    }

    fn metrics(&self) -> String {
        self.0.metrics()
    }

    fn listens(&self, problem: Option<String>) {
        if let Some(problem) = problem {
            tracing::warn!("{problem}");
        }
    }
}
