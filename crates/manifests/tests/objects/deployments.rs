//! Deployments to make objects of, and ways to look at these.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::ResourceExt as _;
use muster_api::{Coordinator, CoordinatorSpec, Document, Worker, WorkerSpec};
use muster_manifests::{Deployment, Object, objects};
use muster_model::{AppName, Secret, TlsMaterial};
use muster_planner::{Plan, Tls};
use muster_testkit::cluster::{Cluster, app, worker};
use serde_json::Value;

pub(crate) const NAMESPACE: &str = "observability";
pub(crate) const IMAGE: &str = "ghcr.io/muster-dev/muster:0.1.0";
pub(crate) const MONOLITHIC: &str = include_str!("../models/monolithic.yaml");
pub(crate) const DISTRIBUTED: &str = include_str!("../models/distributed.yaml");

/// A coordinator `mimir` and its workers in a simulated cluster.
pub(crate) struct Model {
    pub(crate) coordinator: Coordinator,
    pub(crate) workers: BTreeMap<AppName, Worker>,
    pub(crate) cluster: Cluster,
}

impl Model {
    /// A model as users write it, at rest.
    pub(crate) fn parse(text: &str) -> Self {
        let (mut coordinators, mut workers) = (Vec::new(), BTreeMap::new());
        for document in Document::parse_stream(text).unwrap() {
            match document {
                Document::Coordinator(coordinator) => coordinators.push(*coordinator),
                Document::Worker(worker) => drop(workers.insert(app(&worker.name_any()), *worker)),
                Document::Secret(_) => panic!("models of these tests have no Secrets"),
            }
        }
        let [coordinator] = coordinators.try_into().unwrap();
        let mut model = Self { coordinator, workers, cluster: Cluster::new(&[]) };
        model.settle();
        model
    }

    /// A coordinator `mimir` with these workers, at rest.
    pub(crate) fn of(workers: &[(&str, WorkerSpec)]) -> Self {
        let mut coordinator = Coordinator::new("mimir", Cluster::new(&[]).observed.spec);
        coordinator.metadata.uid = Some("uid-mimir".to_owned());
        let made = workers.iter().map(|(name, spec)| {
            let mut worker = Worker::new(name, spec.clone());
            worker.metadata.uid = Some(format!("uid-{name}"));
            (app(name), worker)
        });
        let mut model = Self { coordinator, workers: made.collect(), cluster: Cluster::new(&[]) };
        model.settle();
        model
    }

    /// Read on one, write on three units, backend on one.
    pub(crate) fn distributed() -> Self {
        Self::of(&[
            ("mimir-backend", worker(1, &["backend"])),
            ("mimir-read", worker(1, &["read"])),
            ("mimir-write", worker(3, &["write"])),
        ])
    }

    pub(crate) fn spec(&mut self) -> &mut CoordinatorSpec {
        &mut self.coordinator.spec
    }

    pub(crate) fn worker(&mut self, name: &str) -> &mut WorkerSpec {
        &mut self.workers.get_mut(&app(name)).unwrap().spec
    }

    /// Shows the planner what the objects say now.
    fn observe(&mut self) {
        let observed = &mut self.cluster.observed;
        observed.spec = self.coordinator.spec.clone();
        if observed.spec.tls.is_some() {
            observed.tls = Tls::On(TlsMaterial {
                certificate: "certificate".to_owned(),
                key: Secret::new("key"),
                ca: Some("authorities".to_owned()),
            });
        }
        observed.removing = self.coordinator.metadata.deletion_timestamp.is_some();
        for (name, worker) in &self.workers {
            match self.cluster.observed.workers.get_mut(name) {
                Some(there) => there.spec = worker.spec.clone(),
                None => self.cluster.deploy(name.as_str(), worker.spec.clone()),
            }
        }
    }

    /// Plans once: nothing has been taken up by any unit yet.
    pub(crate) fn plan(&mut self) {
        self.observe();
        self.cluster.plan();
    }

    /// Plans until there is nothing to do.
    pub(crate) fn settle(&mut self) {
        self.observe();
        self.cluster.settle();
    }

    pub(crate) fn last(&self) -> &Plan {
        self.cluster.last.as_ref().unwrap()
    }

    pub(crate) fn objects(&self) -> Vec<Object> {
        self.objects_with(self.last())
    }

    pub(crate) fn objects_with(&self, plan: &Plan) -> Vec<Object> {
        self.with_deployment(plan, objects)
    }

    pub(crate) fn with_deployment<T>(&self, plan: &Plan, make: impl Fn(&Deployment<'_>) -> T) -> T {
        let workers = self.workers.iter().map(|(name, worker)| (name.clone(), worker)).collect();
        make(&Deployment {
            namespace: NAMESPACE,
            image: IMAGE,
            coordinator: &self.coordinator,
            workers: &workers,
            observed: &self.cluster.observed,
            plan,
        })
    }

    pub(crate) fn stateful_sets(&self) -> BTreeMap<String, StatefulSet> {
        let of = |object| match object {
            Object::StatefulSet(set) => Some((set.name_any(), *set)),
            _ => None,
        };
        self.objects().into_iter().filter_map(of).collect()
    }

    pub(crate) fn budgets(&self) -> BTreeMap<String, PodDisruptionBudget> {
        let of = |object| match object {
            Object::PodDisruptionBudget(budget) => Some((budget.name_any(), budget)),
            _ => None,
        };
        self.objects().into_iter().filter_map(of).collect()
    }
}

pub(crate) fn value(object: &Object) -> Value {
    serde_json::to_value(object).unwrap()
}

/// The labels of the pods that a StatefulSet makes.
pub(crate) fn pod_labels(set: &StatefulSet) -> BTreeMap<String, String> {
    let metadata = set.spec.as_ref().unwrap().template.metadata.clone().unwrap();
    metadata.labels.unwrap()
}

/// The names of the budgets that select pods with these labels.
pub(crate) fn selecting<'a>(
    budgets: &'a BTreeMap<String, PodDisruptionBudget>,
    labels: &BTreeMap<String, String>,
) -> Vec<&'a str> {
    let selects = |budget: &PodDisruptionBudget| {
        let selector = budget.spec.as_ref().unwrap().selector.as_ref().unwrap();
        let equal = selector.match_labels.iter().flatten().all(|(key, value)| labels.get(key) == Some(value));
        let among = selector.match_expressions.iter().flatten().all(|expression| {
            assert_eq!(expression.operator, "In");
            let values = expression.values.as_ref().unwrap();
            labels.get(&expression.key).is_some_and(|value| values.contains(value))
        });
        equal && among
    };
    budgets.iter().filter(|(_, budget)| selects(budget)).map(|(name, _)| name.as_str()).collect()
}
