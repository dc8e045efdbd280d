//! Workers that no coordinator decides about: they are told what they lack, and may go when they are to go.

use std::sync::Arc;

use kube::Resource as _;
use kube::runtime::controller::Action;
use muster_api::Worker;
use muster_model::{AppName, Status, WorkloadStatus};
use muster_planner::unrelated_worker;
use serde_json::json;
use tokio::time::Instant;

use crate::caches::Guarded;
use crate::context::Context;
use crate::gather::{coordinator_named, decides};
use crate::key::Key;
use crate::report::lone_worker_status;
use crate::write::WriteError;

/// Looks at a worker.
pub(crate) async fn reconcile(
    object: Arc<Guarded<Worker>>,
    context: Arc<Context>,
) -> Result<Action, WriteError> {
    let started = Instant::now();
    let key = Key::of(object.as_ref());
    let result = look(&key, &object, &context).await;
    context.metrics.reconciled("Worker", result.is_ok(), started.elapsed());
    match result {
        Ok(()) => {
            context.failures.succeeded(&key);
            Ok(Action::await_change())
        }
        // What changed it wakes us.
        Err(WriteError::Conflict { .. }) => Ok(Action::await_change()),
        Err(error) => Err(error),
    }
}

async fn look(key: &Key, object: &Guarded<Worker>, context: &Context) -> Result<(), WriteError> {
    let name = AppName::new(key.name.clone()).map_err(|error| error.to_string());
    let leaves = object.meta().deletion_timestamp.is_some();
    let (worker, name) = match (&object.0, name) {
        (Ok(worker), Ok(name)) => (worker, name),
        _ if leaves => return context.writer.remove_finalizer::<Worker>(key, object.meta()).await,
        (Err(error), _) => return say_unusable(key, context, &error.to_string()).await,
        (_, Err(error)) => return say_unusable(key, context, &error).await,
    };
    if decides(worker, &context.caches).is_some() {
        return Ok(());
    }
    if leaves {
        return context.writer.remove_finalizer::<Worker>(key, object.meta()).await;
    }
    let coordinator = worker.spec.coordinator.as_deref();
    let said = match coordinator_named(key, &context.caches) {
        Some(_) => Status::new(
            WorkloadStatus::Blocked,
            format!(
                "a coordinator is named {name} too; application names are unique in a namespace, rename one of them"
            ),
        ),
        None => unrelated_worker(&name, coordinator),
    };
    let set = context.caches.stateful_sets.get(key);
    let units = set.and_then(|set| usize::try_from(set.status.as_ref()?.replicas).ok()).unwrap_or(0);
    let next = lone_worker_status(&name, worker, units, &said);
    if worker.status.as_ref() != Some(&next) {
        context.writer.put_status::<Worker>(key, None, &next).await?;
    }
    Ok(())
}

async fn say_unusable(key: &Key, context: &Context, why: &str) -> Result<(), WriteError> {
    tracing::warn!(worker = %key, why, "worker cannot be used");
    let status = json!({ "status": "error", "message": format!("this worker cannot be used: {why}") });
    context.writer.put_status::<Worker>(key, None, &status).await.map(drop)
}
