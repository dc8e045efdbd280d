//! Carries out a plan: brings every object to what the plan makes of it, in an order that survives a crash between any two writes.
//!
//! 1. Secrets and Roles: what assignments and RoleBindings are about to name.
//! 2. The coordinator's status, if it has something new to remember: nothing is told to a unit that would be forgotten.
//!    Where any of these is refused, that is said, and nothing else is done.
//! 3. What pods need to come up, and the temporary worker.
//! 4. StatefulSets, Units, and pods that are made anew, all at once.
//! 5. Statuses.
//! 6. Finalizers of what has no unit left.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::future::{BoxFuture, FutureExt as _};
use futures::stream;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::{Resource, ResourceExt as _};
use muster_api::{Coordinator, Unit, Worker};
use muster_manifests::names::{APPLICATION_LABEL, pod_name, unit_number};
use muster_manifests::{Deployment, Object, UnitObject, objects, unit};
use muster_model::{AppName, Finding, Reason, UnitName, WorkloadStatus};
use muster_planner::{Observed, Plan, PlannedApplication};
use tokio::time::Instant;

use crate::cache::Cache;
use crate::context::{Context, Memory};
use crate::key::Key;
use crate::packed::ASSIGNMENT;
use crate::quantity;
use crate::report;
use crate::write::{Mode, Pending, WriteError, seen_coordinator, seen_new_worker, seen_worker};

/// How many writes of one coordinator are under way at once.
const AT_ONCE: usize = 8;
/// How long a status that says nothing urgent waits for the next one: a rollout of many units need not write one for each.
const STATUS_INTERVAL: Duration = Duration::from_secs(1);

/// A plan with what it is about.
pub(crate) struct Application<'a> {
    pub(crate) key: &'a Key,
    pub(crate) name: &'a AppName,
    pub(crate) coordinator: &'a Coordinator,
    pub(crate) observed: &'a Observed,
    pub(crate) workers: &'a BTreeMap<AppName, Arc<Worker>>,
    pub(crate) plan: &'a Plan,
    pub(crate) context: &'a Context,
}

/// What came of it.
#[derive(Default)]
pub(crate) struct Applied {
    /// Writes that the caches are yet to take in.
    pub(crate) pending: Vec<Pending>,
    /// What the API server refused, by object.
    pub(crate) obstacles: BTreeMap<String, Finding>,
    /// The first write that failed otherwise.
    pub(crate) failed: Option<WriteError>,
    /// When something that was put off is due.
    pub(crate) again: Option<Duration>,
}

/// A write, with the application that it is for.
type Write<'a> = BoxFuture<'a, (AppName, Result<Option<Pending>, WriteError>)>;

impl Applied {
    /// Notes what came of a write. Says whether all is as it was to be.
    pub(crate) fn note(
        &mut self,
        application: &AppName,
        result: Result<Option<Pending>, WriteError>,
    ) -> bool {
        let written = result.is_ok();
        match result {
            Ok(pending) => self.pending.extend(pending),
            Err(error @ (WriteError::Foreign { .. } | WriteError::Refused { .. })) => {
                let reason = match error {
                    WriteError::Foreign { .. } => Reason::ForeignObject,
                    _ => Reason::WriteRefused,
                };
                let finding =
                    Finding::application(application, WorkloadStatus::Blocked, reason, error.to_string());
                self.obstacles.insert(error.object(), finding);
            }
            Err(error) => {
                // A conflict is the least of failures; anything else is worth more attention.
                if self.failed.as_ref().is_none_or(|failed| matches!(failed, WriteError::Conflict { .. })) {
                    self.failed = Some(error);
                }
            }
        }
        written
    }

    async fn all(&mut self, writes: Vec<Write<'_>>) -> bool {
        let mut running = stream::iter(writes).buffer_unordered(AT_ONCE);
        let mut written = true;
        while let Some((application, result)) = running.next().await {
            written &= self.note(&application, result);
        }
        written
    }
}

impl<'a> Application<'a> {
    /// `applied` is what was noted on the way here.
    pub(crate) async fn apply(&self, mut applied: Applied, memory: &mut Memory) -> Applied {
        let workers: BTreeMap<AppName, &Worker> =
            self.workers.iter().map(|(name, worker)| (name.clone(), worker.as_ref())).collect();
        let deployment = Deployment {
            namespace: &self.key.namespace,
            image: &self.context.image,
            coordinator: self.coordinator,
            workers: &workers,
            observed: self.observed,
            plan: self.plan,
        };
        let (mut secrets, mut first, mut rest) = (Vec::new(), Vec::new(), Vec::new());
        let wanted = objects(&deployment);
        let prune = self.unwanted(&wanted);
        for object in wanted {
            match &object {
                Object::Secret(_) | Object::Role(_) => secrets.push(self.put(object, &mut applied)),
                Object::StatefulSet(_) => rest.push(self.put(object, &mut applied)),
                _ => first.push(self.put(object, &mut applied)),
            }
        }
        let shared = applied.all(secrets).await;
        if applied.failed.is_some() {
            return applied;
        }

        let mut status =
            report::coordinator_status(&self.key.namespace, self.coordinator, self.observed, self.plan);
        let now = self.coordinator.status.as_ref();
        let carry = now.and_then(|now| now.carry_over.as_ref());
        if !shared {
            // Nobody is told of this plan, so there is nothing to remember of it.
            status.carry_over = carry.cloned();
        }
        // What is only said of it waits, as all statuses do, for what units are told.
        let remembers = shared && !self.plan.carry.decides_like(&self.observed.carry);
        let mut reported = now == Some(&status);
        if (remembers || !shared) && !reported {
            let written = self.write_status(&status).await;
            if !applied.note(self.name, written) {
                return applied;
            }
            reported = true;
            memory.reported = Some(Instant::now());
        }
        if !shared {
            return applied;
        }

        first.extend(self.temporary(&deployment));
        applied.all(first).await;
        rest.extend(prune);
        rest.extend(self.units(&deployment));
        rest.extend(self.pods());
        applied.all(rest).await;
        // Nobody waits for statuses as units wait for what they are told.
        let quiet = memory.reported.map_or(STATUS_INTERVAL, |at| at.elapsed());
        let is_due = |urgent: bool| urgent || (quiet >= STATUS_INTERVAL && self.context.pace.take());
        let mut statuses = Vec::new();
        if !reported && is_due(report::is_urgent(now, &status)) {
            statuses.push(self.write_of(self.name, async { self.write_status(&status).await }));
            reported = true;
        }
        for (name, worker) in self.workers {
            let Some(status) = self.worker_status(name, worker) else { continue };
            if is_due(report::is_urgent_for_worker(worker.status.as_ref(), &status)) {
                statuses.push(self.write_of(name, self.write_worker_status(worker, status)));
            } else {
                reported = false;
            }
        }
        if !statuses.is_empty() {
            memory.reported = Some(Instant::now());
        }
        if !reported {
            let left = STATUS_INTERVAL.saturating_sub(quiet);
            applied.again = Some(if left.is_zero() { STATUS_INTERVAL } else { left });
        }
        applied.all(statuses).await;
        // Whatever else failed: what has no unit left may go.
        let finalizers = self.finalizers();
        applied.all(finalizers).await;
        applied
    }

    fn write_of(
        &self,
        application: &AppName,
        write: impl Future<Output = Result<Option<Pending>, WriteError>> + Send + 'a,
    ) -> Write<'a> {
        let application = application.clone();
        async move { (application, write.await) }.boxed()
    }
}

impl<'a> Application<'a> {
    /// What is left of a coordinator on its way out is changed, but nothing is made for it any more.
    fn mode(&self) -> Mode {
        if self.observed.removing { Mode::UpdateOnly } else { Mode::Put }
    }

    /// The application that an object is for: one of the workers, else the coordinator.
    fn application_of(&self, object: &impl Resource) -> AppName {
        let labels = object.meta().labels.as_ref();
        let label = labels.and_then(|labels| labels.get(APPLICATION_LABEL));
        let worker = label.and_then(|label| self.workers.keys().find(|name| name.as_str() == label));
        worker.unwrap_or(self.name).clone()
    }

    fn put(&self, object: Object, applied: &mut Applied) -> Write<'a> {
        let (context, mode) = (self.context, self.mode());
        let (writer, caches) = (&context.writer, &*context.caches);
        macro_rules! put {
            ($object:expr, $cache:ident) => {{
                let object = $object;
                let application = self.application_of(&object);
                self.write_of(&application, writer.put(caches, |caches| &caches.$cache, object, mode))
            }};
        }
        match object {
            Object::ServiceAccount(object) => put!(object, service_accounts),
            Object::Role(object) => put!(object, roles),
            Object::RoleBinding(object) => put!(object, role_bindings),
            Object::Secret(object) => put!(object, secrets),
            Object::Service(object) => put!(object, services),
            Object::PodDisruptionBudget(object) => put!(object, budgets),
            Object::NetworkPolicy(object) => put!(object, network_policies),
            Object::StatefulSet(mut object) => {
                let application = self.application_of(object.as_ref());
                let there = caches.stateful_sets.get(&Key::of(object.as_ref()));
                if there.is_some_and(|there| keep_claims(&mut object, &there)) {
                    let finding = Finding::application(
                        &application,
                        WorkloadStatus::Active,
                        Reason::StorageKept,
                        "spec.storage cannot change for a worker that exists: its units keep the disks that they have; \
                         for other disks deploy another worker",
                    );
                    applied.obstacles.insert(format!("storage of {application}"), finding);
                }
                put!(*object, stateful_sets)
            }
        }
    }

    /// Makes the temporary worker, or removes it as a user removes one.
    fn temporary(&self, deployment: &Deployment<'_>) -> Vec<Write<'a>> {
        let writer = &self.context.writer;
        let made = self.plan.deploys(self.observed).map(|temporary| {
            let worker = deployment.temporary_worker(temporary);
            self.write_of(self.name, async move {
                let made = writer.make(&worker).await?;
                Ok(Some(seen_new_worker(&made)))
            })
        });
        let worker = self.plan.withdraws(self.observed).and_then(|name| self.workers.get(&name));
        let removed = worker.map(|worker| {
            let (key, uid) = (Key::of(worker.as_ref()), worker.uid());
            self.write_of(self.name, async move { writer.delete::<Worker>(&key, uid).await.map(|()| None) })
        });
        made.into_iter().chain(removed).collect()
    }

    /// Objects that an earlier plan asked for and this one does not. Only of kinds that come and go with what users ask for.
    fn unwanted(&self, wanted: &[Object]) -> Vec<Write<'a>> {
        // A deployment that this build cannot run stays as it is.
        if wanted.is_empty() {
            return Vec::new();
        }
        let budgets: Vec<&str> = wanted
            .iter()
            .filter_map(|o| match o {
                Object::PodDisruptionBudget(budget) => budget.metadata.name.as_deref(),
                _ => None,
            })
            .collect();
        let policies: Vec<&str> = wanted
            .iter()
            .filter_map(|o| match o {
                Object::NetworkPolicy(policy) => policy.metadata.name.as_deref(),
                _ => None,
            })
            .collect();
        let caches = &self.context.caches;
        let mut writes = self.deletes::<PodDisruptionBudget>(&caches.budgets, &budgets);
        writes.extend(self.deletes::<NetworkPolicy>(&caches.network_policies, &policies));
        writes
    }

    fn deletes<K: crate::write::Kind>(&self, cache: &Cache<K>, wanted: &[&str]) -> Vec<Write<'a>> {
        let writer = &self.context.writer;
        let uid = self.coordinator.metadata.uid.as_deref();
        let ours = |object: &K| object.owner_references().iter().any(|owner| Some(owner.uid.as_str()) == uid);
        let unwanted = cache.of(self.key).into_iter().filter(|object| {
            ours(object)
                && object.meta().deletion_timestamp.is_none()
                && !wanted.contains(&object.name_any().as_str())
        });
        unwanted
            .map(|object| {
                let (key, uid) = (Key::of(object.as_ref()), object.uid());
                self.write_of(self.name, async move { writer.delete::<K>(&key, uid).await.map(|()| None) })
            })
            .collect()
    }

    /// Every application with what is planned for it and its object, which owns its Units.
    fn applications(&self) -> impl Iterator<Item = (&AppName, &PlannedApplication, Option<&Worker>)> {
        let workers = self
            .workers
            .iter()
            .filter_map(|(name, worker)| Some((name, self.plan.workers.get(name)?, Some(worker.as_ref()))));
        std::iter::once((self.name, &self.plan.balancers, None)).chain(workers)
    }

    /// A Unit for every pod that is to be one, with what it is to run; and none for one that ends or is gone. Until then it is what
    /// says that the unit has stopped.
    fn units(&self, deployment: &Deployment<'_>) -> Vec<Write<'a>> {
        let context = self.context;
        let caches = &*context.caches;
        let there = caches.units.of(self.key);
        let mut writes = Vec::new();
        for (name, planned, worker) in self.applications() {
            for number in &planned.units {
                let unit_name = name.unit(*number);
                if let Some(wanted) = self.wanted_unit(deployment, &unit_name, worker) {
                    // Made also for a coordinator that goes: a unit stops only if it can be told and say that it has.
                    let write = context.writer.put_unit(caches, wanted, Mode::Guarded);
                    writes.push(self.write_of(name, write));
                }
            }
            let unwanted = there.iter().filter(|unit| {
                let belongs = unit.labels().get(APPLICATION_LABEL).is_some_and(|app| app == name.as_str());
                belongs
                    && unit_number(name, &unit.name_any())
                        .is_none_or(|number| !planned.units.contains(&number))
            });
            for unit in unwanted.filter(|unit| unit.meta().deletion_timestamp.is_none()) {
                let (key, uid) = (Key::of(unit.as_ref()), unit.uid());
                let pod = caches.pods.get(&key);
                if pod.is_some_and(|pod| pod.metadata.deletion_timestamp.is_none()) {
                    continue;
                }
                let delete = async move { context.writer.delete::<Unit>(&key, uid).await.map(|()| None) };
                writes.push(self.write_of(name, delete));
            }
        }
        writes
    }

    /// The Unit as it is to be, or nothing while there is no pod that it could be of.
    fn wanted_unit(
        &self,
        deployment: &Deployment<'_>,
        name: &UnitName,
        worker: Option<&Worker>,
    ) -> Option<Unit> {
        let caches = &self.context.caches;
        let key = self.key.sibling(pod_name(name));
        let there = caches.units.get(&key);
        let there = there.as_ref().and_then(|unit| unit.0.as_ref().ok());
        let pod = caches.pods.get(&key);
        let pod = pod.filter(|pod| pod.metadata.deletion_timestamp.is_none());
        let pod_uid = match (pod, there) {
            (Some(pod), _) => pod.uid(),
            // Its next pod finds its orders already.
            (None, Some(there)) => there.spec.pod_uid.clone(),
            (None, None) => return None,
        };
        let now = || there.and_then(|unit| unit.part(ASSIGNMENT).ok()?);
        let planned = self.plan.assignments.get(name).and_then(|next| serde_json::to_value(next).ok());
        Some(unit(
            deployment,
            self.name,
            UnitObject {
                name,
                worker,
                pod_uid,
                // A unit that the plan tells nothing keeps what it was told.
                assignment: planned.or_else(now),
            },
        ))
    }

    /// Takes away the pods of units that are made anew. Their StatefulSet brings them back as they are to be.
    fn pods(&self) -> Vec<Write<'a>> {
        let context = self.context;
        let pods = self.plan.replace.iter().filter_map(|name| {
            let pod = context.caches.pods.get(&self.key.sibling(pod_name(name)))?;
            Some((name, pod))
        });
        pods.filter(|(_, pod)| pod.metadata.deletion_timestamp.is_none())
            .map(|(name, pod)| {
                let (key, uid) = (Key::of(pod.as_ref()), pod.uid());
                let delete = async move { context.writer.delete::<Pod>(&key, uid).await.map(|()| None) };
                self.write_of(name.application(), delete)
            })
            .collect()
    }

    async fn write_status(
        &self,
        status: &muster_api::CoordinatorStatus,
    ) -> Result<Option<Pending>, WriteError> {
        let now = self.coordinator.status.as_ref();
        let conditions = now.map(|now| now.conditions.as_slice()).unwrap_or_default();
        let abandoned = now.map(|now| now.abandoned.as_slice()).unwrap_or_default();
        let mut events = report::events(conditions, &status.conditions);
        events.extend(report::abandonments(abandoned, &status.abandoned));
        let version = self.coordinator.resource_version();
        let written: Coordinator = self.context.writer.put_status(self.key, version, status).await?;
        self.context.record(events, &self.coordinator.object_ref(&()));
        Ok(Some(seen_coordinator(&written)))
    }

    /// The worker's status, if it says anything new.
    fn worker_status(&self, name: &AppName, worker: &Worker) -> Option<muster_api::WorkerStatus> {
        let (observed, planned) = (self.observed.workers.get(name)?, self.plan.workers.get(name)?);
        if observed.unreadable {
            // Its own reconcile says so.
            return None;
        }
        let next = report::worker_status(name, worker, &observed.units, planned);
        (worker.status.as_ref() != Some(&next)).then_some(next)
    }

    fn write_worker_status(
        &self,
        worker: &Worker,
        status: muster_api::WorkerStatus,
    ) -> impl Future<Output = Result<Option<Pending>, WriteError>> + Send + use<'a> {
        let (context, key) = (self.context, Key::of(worker));
        let event = report::worker_event(worker.status.as_ref(), &status);
        let reference = worker.object_ref(&());
        async move {
            let written: Worker = context.writer.put_status(&key, None, &status).await?;
            context.record(event, &reference);
            Ok(Some(seen_worker(&written)))
        }
    }

    /// Lets go of workers, and of the coordinator itself, that are to go and have no unit left.
    fn finalizers(&self) -> Vec<Write<'a>> {
        let context = self.context;
        let mut writes = Vec::new();
        for (name, worker) in self.workers {
            let leaves = worker.metadata.deletion_timestamp.is_some();
            if leaves && self.plan.is_gone(name, self.name) {
                let (key, meta) = (Key::of(worker.as_ref()), worker.metadata.clone());
                let remove = async move {
                    context.writer.remove_finalizer::<Worker>(&key, &meta).await.map(|()| None)
                };
                writes.push(self.write_of(name, remove));
            }
        }
        // Nobody would take Units away once the coordinator is gone.
        let has_units = !context.caches.units.of(self.key).is_empty();
        if self.observed.removing && self.plan.is_gone(self.name, self.name) && !has_units {
            let (key, meta) = (self.key.clone(), self.coordinator.metadata.clone());
            let remove = async move {
                context.writer.remove_finalizer::<Coordinator>(&key, &meta).await.map(|()| None)
            };
            writes.push(self.write_of(self.name, remove));
        }
        writes
    }
}

/// A StatefulSet's claims cannot change (`apps/v1`): leaves them as they are. Says whether that is something else than was asked.
fn keep_claims(wanted: &mut StatefulSet, there: &StatefulSet) -> bool {
    let (Some(wanted), Some(there)) = (&mut wanted.spec, &there.spec) else { return false };
    let asked = |spec: &k8s_openapi::api::apps::v1::StatefulSetSpec| {
        let claims = spec.volume_claim_templates.iter().flatten();
        claims
            .map(|claim| {
                let spec = claim.spec.as_ref();
                let size = spec.and_then(|s| s.resources.as_ref()?.requests.as_ref()?.get("storage"));
                let size = size.map(|size| size.0.clone()).unwrap_or_default();
                (claim.metadata.name.clone(), size, spec.and_then(|s| s.storage_class_name.clone()))
            })
            .collect::<Vec<_>>()
    };
    let (now, next) = (asked(there), asked(wanted));
    let differs = now.len() != next.len()
        || now.iter().zip(&next).any(|(now, next)| {
            // A class that was left open was filled in by the server.
            now.0 != next.0 || !quantity::is_same(&now.1, &next.1) || (next.2.is_some() && now.2 != next.2)
        });
    if differs {
        let mut claims = there.volume_claim_templates.clone();
        for claim in claims.iter_mut().flatten() {
            claim.status = None;
        }
        wanted.volume_claim_templates = claims;
    }
    differs
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn set(size: &str, class: Option<&str>) -> StatefulSet {
        let claim = json!({"metadata": {"name": "data"},
                           "spec": {"resources": {"requests": {"storage": size}}, "storageClassName": class}});
        serde_json::from_value(json!({
            "metadata": {"name": "w"},
            "spec": {"selector": {}, "serviceName": "w", "template": {}, "volumeClaimTemplates": [claim]},
        }))
        .unwrap()
    }

    #[test]
    fn disks_stay_as_they_are_and_that_is_said_only_where_it_matters() {
        let there = set("1Gi", Some("standard"));
        for (size, class, differs) in [
            ("1Gi", Some("standard"), false),
            ("1024Mi", None, false),
            ("2Gi", None, true),
            ("1Gi", Some("fast"), true),
        ] {
            let mut wanted = set(size, class);
            assert_eq!(keep_claims(&mut wanted, &there), differs, "{size} {class:?}");
            assert_eq!(wanted == there, differs || class.is_some(), "{size} {class:?}");
        }
    }
}
