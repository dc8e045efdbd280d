//! What `muster status` shows, made from the state and the last plans.

use std::collections::BTreeMap;

use muster_api::{ApplicationStatus, CoordinatorSpec, FORMAT_VERSION, ModelStatus, UnitView};
use muster_model::{AppName, Product, Status, UnitName, WorkloadStatus};
use muster_planner::{Abandonment, Plan, PlannedApplication, Probe, unrelated_worker};
use muster_relation::{Report, Service};
use muster_s3::store_revision;

use crate::gather::{Live, parse_store};
use crate::state::{OBJECT_STORE_APP, State, UnitRecord};

/// What carries the model.
const SUBSTRATE: &str = "local";

/// Puts the whole model into words.
#[must_use]
pub(crate) fn model_status(
    state: &State,
    live: &Live,
    plans: &BTreeMap<AppName, Plan>,
    problem: Option<String>,
) -> ModelStatus {
    let mut applications = BTreeMap::new();
    for (name, coordinator, _) in state.coordinators() {
        let Some(plan) = plans.get(&name) else { continue };
        applications.insert(name.clone(), of_coordinator(state, live, &name, &coordinator.spec, plan));
    }
    for (name, worker, removing) in state.workers() {
        let planned = plans.values().find_map(|plan| plan.workers.get(&name));
        let coordinator = worker.spec.coordinator.as_deref();
        let product = worker.spec.product.as_deref().or_else(|| {
            let coordinator = state.coordinators().find(|(c, ..)| Some(c.as_str()) == coordinator)?.1;
            Some(coordinator.spec.product.as_str())
        });
        let product: Option<Product> = product.and_then(|p| p.parse().ok());
        let status = match planned {
            Some(planned) => planned.status.clone(),
            None if removing => Status::new(WorkloadStatus::Maintenance, "removing"),
            None => unrelated_worker(&name, coordinator),
        };
        let related = coordinator.and_then(|c| AppName::new(c).ok());
        applications.insert(
            name.clone(),
            ApplicationStatus {
                charm: product.map_or_else(|| "worker".to_owned(), |p| format!("{p}-worker-k8s")),
                product,
                status,
                scale: worker.spec.units,
                roles: worker
                    .spec
                    .roles
                    .iter()
                    .filter(|(_, on)| **on)
                    .map(|(role, _)| role.clone())
                    .collect(),
                relations: related.map(|c| ("cluster".to_owned(), c)).into_iter().collect(),
                remote_write: Vec::new(),
                conditions: Vec::new(),
                coverage: None,
                revision: None,
                rollout: None,
                transition: None,
                endpoints: BTreeMap::new(),
                abandoned: Vec::new(),
                units: units(state, live, &name, planned),
            },
        );
    }
    for (name, values) in state.s3_applications() {
        applications.insert(name.clone(), of_s3(live, &name, parse_store(values)));
    }
    if state.object_store.is_some()
        && let Ok(name) = AppName::new(OBJECT_STORE_APP)
    {
        applications.insert(name.clone(), of_embedded_store(state, live, &name));
    }
    ModelStatus {
        format_version: FORMAT_VERSION,
        problem,
        model: state.name.clone(),
        substrate: SUBSTRATE.to_owned(),
        context: None,
        applications,
    }
}

fn of_coordinator(
    state: &State,
    live: &Live,
    name: &AppName,
    spec: &CoordinatorSpec,
    plan: &Plan,
) -> ApplicationStatus {
    let related = |secret: &Option<&str>| secret.and_then(|s| AppName::new(s).ok());
    let relations = [
        ("s3", related(&spec.s3.as_ref().map(|s| s.secret.as_str()))),
        ("certificates", related(&spec.tls.as_ref().map(|s| s.secret.as_str()))),
    ];
    let first = state.units_of(name).next().map(|(_, unit)| unit.address.to_string());
    let at = |host: &String| {
        let endpoints = plan.endpoints.iter();
        endpoints
            .map(|endpoint| (endpoint.purpose.to_owned(), endpoint.at(host, spec.tls.is_some())))
            .collect()
    };
    let endpoints: BTreeMap<_, _> = first.as_ref().map(at).unwrap_or_default();
    ApplicationStatus {
        charm: format!("{}-coordinator-k8s", spec.product),
        product: spec.product.parse().ok(),
        status: plan.status.clone(),
        scale: spec.units,
        roles: Vec::new(),
        relations: relations.into_iter().filter_map(|(end, app)| Some((end.to_owned(), app?))).collect(),
        remote_write: spec.remote_write.iter().filter_map(|name| AppName::new(name).ok()).collect(),
        conditions: plan.conditions.clone(),
        coverage: Some(plan.coverage.clone()),
        revision: plan.revision.as_ref().map(ToString::to_string),
        rollout: Some(plan.rollout.clone()),
        transition: plan.transition.clone(),
        endpoints,
        abandoned: plan.carry.abandoned.iter().map(Abandonment::shown).collect(),
        units: units(state, live, name, Some(&plan.balancers)),
    }
}

fn units(
    state: &State,
    live: &Live,
    app: &AppName,
    planned: Option<&PlannedApplication>,
) -> BTreeMap<UnitName, UnitView> {
    state
        .units_of(app)
        .map(|(name, record)| {
            let status = planned.and_then(|p| p.unit_statuses.get(&name.number())).cloned();
            let status = status.unwrap_or_else(|| Status::new(WorkloadStatus::Waiting, "being made"));
            let at_risk = planned.and_then(|p| p.at_risk.get(&name.number())).cloned();
            (name.clone(), UnitView { at_risk, ..unit(live, name, record, status) })
        })
        .collect()
}

fn unit(live: &Live, name: &UnitName, record: &UnitRecord, status: Status) -> UnitView {
    let report = live.reports.get(name).filter(|r| r.instance == record.instance);
    let applied = report.and_then(|r| r.applied.as_ref());
    UnitView {
        status,
        address: Some(record.address.to_string()),
        roles: applied.map(|a| a.roles.iter().collect()).unwrap_or_default(),
        revision: applied.map(|a| a.revision.to_string()),
        ready: report.is_some_and(|r| r.ready) && live.connected.get(name) == Some(&true),
        restarts: report.map_or(0, |r| r.restarts),
        at_risk: None,
    }
}

fn plain(charm: &str, status: Status, scale: u32, endpoints: BTreeMap<String, String>) -> ApplicationStatus {
    ApplicationStatus {
        charm: charm.to_owned(),
        product: None,
        status,
        scale,
        roles: Vec::new(),
        relations: BTreeMap::new(),
        remote_write: Vec::new(),
        conditions: Vec::new(),
        coverage: None,
        revision: None,
        rollout: None,
        transition: None,
        endpoints,
        abandoned: Vec::new(),
        units: BTreeMap::new(),
    }
}

fn of_s3(
    live: &Live,
    name: &AppName,
    store: Result<muster_model::ObjectStorage, String>,
) -> ApplicationStatus {
    let mut endpoints = BTreeMap::new();
    let status = match store {
        Err(problem) => {
            Status::new(WorkloadStatus::Blocked, format!("{problem}; fix it: muster config {name} KEY=VALUE"))
        }
        Ok(storage) => {
            endpoints.insert("s3".to_owned(), storage.endpoint.to_string());
            let probe = live.probes.get(name).filter(|(revision, _)| *revision == store_revision(&storage));
            match probe {
                Some((_, Probe::Failed { message, .. })) => {
                    Status::new(WorkloadStatus::Blocked, message.clone())
                }
                _ => Status::new(WorkloadStatus::Active, format!("bucket {}", storage.bucket)),
            }
        }
    };
    plain("s3-integrator", status, 0, endpoints)
}

fn of_embedded_store(state: &State, live: &Live, name: &AppName) -> ApplicationStatus {
    let mut endpoints = BTreeMap::new();
    let mut views = BTreeMap::new();
    let mut status = Status::new(WorkloadStatus::Waiting, "starting");
    for (unit_name, record) in state.units_of(name) {
        let report = live.reports.get(unit_name);
        status = match report {
            Some(report) if report.ready => Status::new(WorkloadStatus::Active, "ready"),
            Some(report) if report.service == Service::Backoff => {
                Status::new(WorkloadStatus::Error, ended(report))
            }
            Some(Report { last_error: Some(error), .. }) => Status::new(WorkloadStatus::Error, error.clone()),
            _ => status,
        };
        endpoints.insert("s3".to_owned(), format!("http://{}:{}", record.address, crate::embedded::S3_PORT));
        views.insert(unit_name.clone(), unit(live, unit_name, record, status.clone()));
    }
    ApplicationStatus { units: views, ..plain("embedded-s3", status, 1, endpoints) }
}

fn ended(report: &Report) -> String {
    let Some(exit) = &report.last_exit else { return "it ends again and again".to_owned() };
    format!("{}; last log line: {}", exit.cause, exit.lines.last().map_or("none", String::as_str))
}
