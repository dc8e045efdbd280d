//! Workers that no coordinator decides about: they are told what they lack, and may go when they are to go.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::Resource as _;
use kube::runtime::controller::Action;
use muster_api::Worker;
use muster_model::{AppName, Status, WorkloadStatus};
use muster_planner::unrelated_worker;
use tokio::time::Instant;

use crate::belonging::{Holder, decides, holder, silent_coordinator};
use crate::caches::Guarded;
use crate::context::Context;
use crate::key::Key;
use crate::report::{lone_worker_status, worker_event};
use crate::write::WriteError;

/// How long a worker that is to go waits while its coordinator is there and cannot be used.
const PATIENCE: Duration = Duration::from_secs(600);

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
        Ok(action) => {
            context.failures.succeeded(&key);
            Ok(action)
        }
        // What changed it wakes us.
        Err(WriteError::Conflict { .. }) => Ok(Action::await_change()),
        Err(error) => Err(error),
    }
}

async fn look(key: &Key, object: &Guarded<Worker>, context: &Context) -> Result<Action, WriteError> {
    let name = AppName::new(key.name.clone()).map_err(|error| error.to_string());
    let leaves = object.meta().deletion_timestamp.is_some();
    let decided = decides(object, &context.caches).is_some();
    let (worker, name) = match (&object.0, name) {
        (Ok(worker), Ok(name)) => (worker, name),
        _ if leaves && !decided => return let_go(key, object, context).await,
        (Err(error), _) => return say_unusable(object, context, &error.to_string()).await,
        (_, Err(error)) => return say_unusable(object, context, &error).await,
    };
    if decided {
        return Ok(Action::await_change());
    }
    let silent = silent_coordinator(object, &context.caches);
    let left = match &silent {
        Some((_, true)) if leaves => patience_left(object),
        _ => None,
    };
    if leaves && left.is_none() {
        return let_go(key, object, context).await;
    }
    let said = match (holder(key, &context.caches), silent) {
        (Some(Holder::Coordinator), _) => Status::new(
            WorkloadStatus::Blocked,
            format!(
                "a coordinator is named {name} too; application names are unique in a namespace, rename one of them"
            ),
        ),
        (_, Some((coordinator, _))) if leaves => Status::new(
            WorkloadStatus::Blocked,
            format!(
                "removing: coordinator {0} cannot be used, so nobody tells the units to flush; see: muster status {0}; \
                 after {1} minutes they go as they are",
                coordinator.name,
                PATIENCE.as_secs() / 60
            ),
        ),
        (_, Some((coordinator, _))) => Status::new(
            WorkloadStatus::Blocked,
            format!("coordinator {0} cannot be used; see: muster status {0}", coordinator.name),
        ),
        (_, None) => unrelated_worker(&name, worker.spec.coordinator.as_deref()),
    };
    let set = context.caches.stateful_sets.get(key);
    let units = set.and_then(|set| usize::try_from(set.status.as_ref()?.replicas).ok()).unwrap_or(0);
    let next = lone_worker_status(&name, worker, units, &said);
    if worker.status.as_ref() != Some(&next) {
        context.writer.put_status::<Worker>(key, None, &next).await?;
        context.record(worker_event(worker.status.as_ref(), &next), &worker.object_ref(&()));
    }
    Ok(left.map_or_else(Action::await_change, Action::requeue))
}

/// How much longer a worker that is to go waits for somebody to tell its units to flush.
fn patience_left(object: &Guarded<Worker>) -> Option<Duration> {
    let since = object.meta().deletion_timestamp.as_ref()?.0;
    let waited = Duration::try_from(Timestamp::now().duration_since(since)).unwrap_or_default();
    PATIENCE.checked_sub(waited).filter(|left| !left.is_zero())
}

async fn let_go(key: &Key, object: &Guarded<Worker>, context: &Context) -> Result<Action, WriteError> {
    context.writer.remove_finalizer::<Worker>(key, object.meta()).await?;
    Ok(Action::await_change())
}

async fn say_unusable(object: &Guarded<Worker>, context: &Context, why: &str) -> Result<Action, WriteError> {
    let said = Status::new(WorkloadStatus::Error, format!("this worker cannot be used: {why}"));
    context.say(object, &said).await?;
    Ok(Action::await_change())
}
