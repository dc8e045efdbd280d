//! `coordinator operate`: the operator as a process.

use anyhow::Context as _;
use kube::Client;
use muster_kubernetes::{Operator, Scope, Settings};
use muster_telemetry::admin::{self, Health};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::args::Operate;

/// Operates until SIGTERM or SIGINT.
pub(crate) fn run(arguments: Operate) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("failed to start the runtime")?;
    runtime.block_on(operate(arguments))
}

async fn operate(arguments: Operate) -> anyhow::Result<()> {
    let shutdown = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate()).context("failed to listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("failed to listen for SIGINT")?;
    let client = Client::try_default()
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

struct OperatorHealth(Operator);

impl Health for OperatorHealth {
    fn unready(&self) -> Option<String> {
        (!self.0.is_ready()).then(|| "the API server was not reached yet".to_owned())
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
