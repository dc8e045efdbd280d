//! One look at a coordinator: gather, plan, build, apply, report.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::Resource as _;
use kube::runtime::controller::Action;
use muster_api::{Coordinator, Worker};
use muster_manifests::names::FINALIZER;
use muster_model::{AppName, Status, WorkloadStatus};
use muster_planner::{ObjectStore, Probe, plan};
use tokio::time::Instant;

use crate::apply::{Application, Applied};
use crate::belonging::{Holder, attached_workers, holder};
use crate::caches::{Caches, Guarded};
use crate::context::{Context, Memory, locked};
use crate::gather::{Gathered, Remembered, gather};
use crate::key::Key;
use crate::secrets;
use crate::write::{WriteError, seen_coordinator, seen_worker};

/// How soon a coordinator is looked at again that has news for its own status.
const AT_ONCE: Duration = Duration::from_millis(50);
/// How soon a write that its watch did not bring back is looked for again.
const AFTER_WRITE: Duration = Duration::from_secs(1);
/// How long nothing is said of a new coordinator whose object store has not answered yet.
const FIRST_ANSWER: Duration = Duration::from_secs(1);
/// How much longer than the last look the next one waits.
const REST: u32 = 4;
/// How long it waits at most.
const LONGEST_REST: Duration = Duration::from_secs(1);
/// How soon a write that the API server refused is tried again.
const AFTER_REFUSAL: Duration = Duration::from_secs(30);

/// Looks at a coordinator.
pub(crate) async fn reconcile(
    object: Arc<Guarded<Coordinator>>,
    context: Arc<Context>,
) -> Result<Action, WriteError> {
    let started = Instant::now();
    let key = Key::of(object.as_ref());
    let mut memory = context.recall(&key);
    let asked = asked(&key, &object, &context.caches);
    if let Some(wait) = too_early(&mut memory, &asked, &context.caches, started) {
        context.remember(&key, memory);
        return Ok(Action::requeue(wait));
    }
    let result = look(&key, &object, &context, &mut memory).await;
    let took = started.elapsed();
    memory.rests_until = Some(started + took + took.saturating_mul(REST).min(LONGEST_REST));
    memory.asked = asked;
    context.remember(&key, memory);
    context.metrics.reconciled("Coordinator", result.is_ok(), took);
    match result {
        Ok(action) => {
            context.failures.succeeded(&key);
            Ok(action)
        }
        // Somebody else wrote first. That is no failure, but may go on: what is there now is looked at next.
        Err(WriteError::Conflict { .. }) => Ok(Action::requeue(context.failures.failed(&key))),
        Err(error) => Err(error),
    }
}

/// Which generation of their specs is there, of a coordinator and of the workers that name it.
fn asked(key: &Key, coordinator: &Guarded<Coordinator>, caches: &Caches) -> Vec<Option<i64>> {
    let workers = caches.workers.of(key).into_iter().map(|worker| worker.meta().generation);
    std::iter::once(coordinator.meta().generation).chain(workers).collect()
}

/// How much longer nothing is to be decided about a coordinator.
fn too_early(memory: &mut Memory, asked: &[Option<i64>], caches: &Caches, now: Instant) -> Option<Duration> {
    // To decide on what was there before the last write would undo it. The watch that brings the write wakes us.
    memory.pending.retain(|is_seen| !is_seen(caches));
    if !memory.pending.is_empty() {
        return Some(AFTER_WRITE);
    }
    // What units and controllers do shortly after one another is looked at once: the longer looks take, the more of it. Users do
    // not wait.
    let until = memory.rests_until.filter(|until| now < *until && memory.asked == asked)?;
    Some(until - now)
}

async fn look(
    key: &Key,
    object: &Guarded<Coordinator>,
    context: &Context,
    memory: &mut Memory,
) -> Result<Action, WriteError> {
    let name = AppName::new(key.name.clone()).map_err(|error| error.to_string());
    let (coordinator, name) = match (&object.0, name) {
        (Ok(coordinator), Ok(name)) => (coordinator, name),
        (Err(error), _) => return unusable(key, object, context, cannot_be_used(&error.to_string())).await,
        (_, Err(error)) => return unusable(key, object, context, cannot_be_used(&error)).await,
    };
    if holder(key, &context.caches) == Some(Holder::Worker) {
        let said = "a worker has this name; application names are unique in a namespace, rename one of them";
        return unusable(key, object, context, Status::new(WorkloadStatus::Blocked, said)).await;
    }
    let mut applied = Applied::default();
    if hold_on(key, coordinator, context, memory, &mut applied).await? {
        return Ok(Action::requeue(AFTER_WRITE));
    }

    let remembered = Remembered {
        carry: memory.carry.as_ref(),
        obstacles: memory.obstacles.values().cloned().collect(),
        awaited: &memory.awaited,
    };
    let named = secrets::read(key, coordinator, context).await?;
    let probed = &context.probed;
    let gathered = gather(key, &name, coordinator, &context.caches, &locked(probed), &named, remembered);
    let Gathered { observed, workers, store } = &gathered;
    if let Some(store) = store {
        context.probe(store, None);
    }
    let unknown_store = matches!(&observed.object_store, ObjectStore::Related { probe: Probe::Pending, .. });
    if unknown_store && !observed.removing {
        if coordinator.status.as_ref().is_some_and(|status| status.carry_over.is_some()) {
            // What was decided holds until the store has answered, which wakes us.
            return Ok(Action::await_change());
        }
        // An answer that comes at once spares a plan that is only about waiting for it.
        let now = Instant::now();
        let until = *memory.waits_until.get_or_insert(now + FIRST_ANSWER);
        if now < until {
            return Ok(Action::requeue(until - now));
        }
    }

    let now = Timestamp::now();
    let plan = plan(observed, now);
    if let (Some(store), Some(due)) = (store, plan.wake_at) {
        context.probe(store, Some(due));
    }
    memory.carry = Some(plan.carry.clone());
    memory.awaited = plan.changes(observed).create;
    let application = Application { key, name: &name, coordinator, observed, workers, plan: &plan, context };
    let applied = application.apply(applied, memory).await;
    memory.pending = applied.pending;
    for (object, finding) in &applied.obstacles {
        if !memory.obstacles.contains_key(object) {
            tracing::warn!(coordinator = %key, "{}", finding.message);
        }
    }
    if let Some(error) = applied.failed {
        // Not everything was tried.
        memory.obstacles.extend(applied.obstacles);
        return Err(error);
    }

    let refused = (!applied.obstacles.is_empty()).then_some(AFTER_REFUSAL);
    let news = (applied.obstacles != memory.obstacles).then_some(AT_ONCE);
    memory.obstacles = applied.obstacles;
    // A probe that is due was just started, and its answer wakes us.
    let due = plan
        .wake_at
        .filter(|at| *at > now)
        .map(|at| Duration::try_from(at.duration_since(now)).unwrap_or_default());
    let next = [refused, news, due, applied.again].into_iter().flatten().min();
    Ok(next.map_or_else(Action::await_change, Action::requeue))
}

/// Sees to it that neither the coordinator nor its workers vanish before their units have stopped. Says whether something had to
/// be written for it. A worker that the API server refuses to change is noted, and keeps nobody from their work.
async fn hold_on(
    key: &Key,
    coordinator: &Coordinator,
    context: &Context,
    memory: &mut Memory,
    applied: &mut Applied,
) -> Result<bool, WriteError> {
    let lacks = |meta: &kube::core::ObjectMeta| {
        let finalizers = meta.finalizers.iter().flatten();
        meta.deletion_timestamp.is_none() && !finalizers.into_iter().any(|f| f == FINALIZER)
    };
    if coordinator.metadata.deletion_timestamp.is_some() {
        return Ok(false);
    }
    if lacks(&coordinator.metadata) {
        let written = context.writer.add_finalizer::<Coordinator>(key, &coordinator.metadata).await?;
        memory.pending.push(seen_coordinator(&written));
    }
    let workers = attached_workers(key, &context.caches);
    for (name, worker) in workers.iter().filter(|(_, worker)| lacks(worker.meta())) {
        match context.writer.add_finalizer::<Worker>(&key.sibling(name.as_str()), worker.meta()).await {
            Ok(written) => memory.pending.push(seen_worker(&written)),
            Err(error @ WriteError::Refused { .. }) => {
                applied.note(name, Err(error));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(!memory.pending.is_empty())
}

fn cannot_be_used(why: &str) -> Status {
    Status::new(WorkloadStatus::Error, format!("this coordinator cannot be used: {why}"))
}

/// What cannot be read, or has no name of its own, gets a status that says so, and is not kept from going.
async fn unusable(
    key: &Key,
    object: &Guarded<Coordinator>,
    context: &Context,
    said: Status,
) -> Result<Action, WriteError> {
    if object.meta().deletion_timestamp.is_some() {
        context.writer.remove_finalizer::<Coordinator>(key, object.meta()).await?;
        return Ok(Action::await_change());
    }
    context.say(object, &said).await?;
    Ok(Action::await_change())
}
