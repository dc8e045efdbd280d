//! What the objects of one coordinator are made from, and all of them.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::{Resource, ResourceExt as _};
use muster_api::{Coordinator, Worker};
use muster_model::AppName;
use muster_planner::{Observed, Plan, Temporary};

use crate::line::Line;
use crate::names::{APPLICATION_LABEL, COORDINATOR_LABEL, MANAGED_BY_LABEL, MANAGER};
use crate::{Object, access, balancer, budgets, network, secrets, services, worker};

/// Everything that the objects of one coordinator and its workers depend on.
#[derive(Debug, Clone, Copy)]
pub struct Deployment<'a> {
    /// The namespace.
    pub namespace: &'a str,
    /// Muster's own image, which pods take their agent from.
    pub image: &'a str,
    /// The coordinator, as the API server has it: its uid makes it the owner.
    pub coordinator: &'a Coordinator,
    /// The workers whose units carry this coordinator's assignments.
    pub workers: &'a BTreeMap<AppName, &'a Worker>,
    /// What is there.
    pub observed: &'a Observed,
    /// What is to be.
    pub plan: &'a Plan,
}

/// Every object of a deployment but its Units. The same deployment gives the same objects in the same order.
///
/// Of a product that this build does not run there is nothing to be made. Of a version line that it does not support there are no
/// StatefulSets among them: the ones that exist stay as they are, and so does everything that their pods rely on.
#[must_use]
pub fn objects(deployment: &Deployment<'_>) -> Vec<Object> {
    let spec = &deployment.coordinator.spec;
    let (Some(name), Some(newest)) = (deployment.name(), Line::newest(spec)) else { return Vec::new() };
    // As the planner has it: whatever is asked for, units can be stopped.
    let line = Line::asked_for(spec).or_else(|| deployment.observed.removing.then_some(newest));
    let mut objects = secrets::objects(deployment, &name);
    objects.extend(access::objects(deployment, &name));
    objects.extend(services::objects(deployment, &name));
    objects.extend(budgets::objects(deployment, &name, &line.unwrap_or(newest)));
    objects.extend(network::objects(deployment, &name));
    if let Some(line) = &line {
        objects.push(balancer::stateful_set(deployment, &name));
        // What cannot be read asks for nothing: its pods stay as they are.
        let unreadable =
            |worker: &AppName| deployment.observed.workers.get(worker).is_some_and(|w| w.unreadable);
        for (application, worker) in deployment.workers.iter().filter(|(name, _)| !unreadable(name)) {
            objects.extend(worker::stateful_set(deployment, &name, application, worker, line));
        }
    }
    objects
}

impl Deployment<'_> {
    /// The coordinator's name, which the API server has checked.
    pub(crate) fn name(&self) -> Option<AppName> {
        AppName::new(self.coordinator.name_any()).ok()
    }

    /// The labels of every object of an application.
    pub(crate) fn labels(&self, coordinator: &AppName, application: &AppName) -> BTreeMap<String, String> {
        let product = &self.coordinator.spec.product;
        [
            (MANAGED_BY_LABEL, MANAGER),
            ("app.kubernetes.io/name", product),
            ("app.kubernetes.io/instance", coordinator.as_str()),
            (COORDINATOR_LABEL, coordinator.as_str()),
            (APPLICATION_LABEL, application.as_str()),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into()
    }

    /// The metadata of an object that the coordinator owns.
    pub(crate) fn of_coordinator(&self, coordinator: &AppName, name: impl Into<String>) -> ObjectMeta {
        self.meta(coordinator, coordinator, name.into(), self.coordinator)
    }

    /// The temporary worker of the coordinator, which goes with it whatever happens.
    #[must_use]
    pub fn temporary_worker(&self, temporary: &Temporary) -> Worker {
        let mut worker = Worker::temporary(temporary.name.as_str(), temporary.spec.clone());
        let labels = worker.metadata.labels.get_or_insert_default();
        labels.insert(MANAGED_BY_LABEL.to_owned(), MANAGER.to_owned());
        worker.metadata.namespace = Some(self.namespace.to_owned());
        worker.metadata.owner_references = Some(vec![owner_reference(self.coordinator)]);
        worker
    }

    /// The metadata of an object that a worker owns.
    pub(crate) fn of_worker(
        &self,
        coordinator: &AppName,
        application: &AppName,
        worker: &Worker,
        name: impl Into<String>,
    ) -> ObjectMeta {
        self.meta(coordinator, application, name.into(), worker)
    }

    fn meta(
        &self,
        coordinator: &AppName,
        application: &AppName,
        name: String,
        owner: &impl Resource<DynamicType = ()>,
    ) -> ObjectMeta {
        ObjectMeta {
            name: Some(name),
            namespace: Some(self.namespace.to_owned()),
            labels: Some(self.labels(coordinator, application)),
            owner_references: Some(vec![owner_reference(owner)]),
            ..ObjectMeta::default()
        }
    }
}

/// Makes `owner` the one that an object goes with.
fn owner_reference<K: Resource<DynamicType = ()>>(owner: &K) -> OwnerReference {
    let meta = owner.meta();
    OwnerReference {
        api_version: K::api_version(&()).into_owned(),
        kind: K::kind(&()).into_owned(),
        name: meta.name.clone().unwrap_or_default(),
        uid: meta.uid.clone().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}
