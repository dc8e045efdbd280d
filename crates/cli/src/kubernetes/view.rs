//! What `muster status` shows of a namespace: what the operator says in the statuses of coordinators and workers, and
//! what the units' agents report.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::Secret;
use kube::api::DynamicObject;
use muster_api::{
    ApplicationStatus, ConditionStatus, ConditionType, CoordinatorSpec, CoordinatorStatus, Document,
    FORMAT_VERSION, ModelStatus, UnitStatusMessage, UnitView, WorkerSpec, WorkerStatus, secret_values,
};
use muster_manifests::names::unit_number;
use muster_model::{
    AppName, Coverage, ObjectStorage, Product, Reason, Role, RoleSet, Status, UnitName, WorkloadStatus,
};
use muster_relation::Report;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::documents::Found;
use crate::args::status_word;

/// What carries the model.
const SUBSTRATE: &str = "kubernetes";

/// The objects of a namespace.
pub(crate) struct Seen {
    /// All coordinators.
    pub(crate) coordinators: Vec<Found>,
    /// All workers.
    pub(crate) workers: Vec<Found>,
    /// The Secrets of type `muster.dev/s3`.
    pub(crate) stores: Vec<Secret>,
    /// All Units.
    pub(crate) units: Vec<DynamicObject>,
}

/// Puts a namespace into words.
pub(crate) fn model_status(namespace: &str, seen: &Seen) -> ModelStatus {
    let units = Units::new(&seen.units);
    let mut applications = BTreeMap::new();
    for secret in &seen.stores {
        let name = secret.metadata.name.as_deref().and_then(|name| AppName::new(name).ok());
        applications.extend(name.map(|name| {
            let status = of_store(&name, secret, &seen.coordinators);
            (name, status)
        }));
    }
    // An application goes before a Secret of its name, and a coordinator before a worker.
    for found in &seen.workers {
        let status = match &found.document {
            Ok(Document::Worker(worker)) => of_worker(found, &worker.spec, &seen.coordinators, &units),
            _ => unreadable(found),
        };
        applications.insert(found.name.clone(), status);
    }
    for found in &seen.coordinators {
        let status = match &found.document {
            Ok(Document::Coordinator(coordinator)) => of_coordinator(found, &coordinator.spec, &units),
            _ => unreadable(found),
        };
        applications.insert(found.name.clone(), status);
    }
    ModelStatus {
        format_version: FORMAT_VERSION,
        model: namespace.to_owned(),
        substrate: SUBSTRATE.to_owned(),
        context: None,
        problem: None,
        applications,
    }
}

fn of_coordinator(found: &Found, spec: &CoordinatorSpec, units: &Units<'_>) -> ApplicationStatus {
    let said: CoordinatorStatus = said(&found.status, |status, message| CoordinatorStatus {
        status,
        message,
        ..CoordinatorStatus::default()
    });
    let gateway = said.endpoints.as_ref().map(|endpoints| endpoints.gateway.as_str());
    let product: Option<Product> = spec.product.parse().ok();
    let host = gateway.and_then(|url| Some(url.split_once("://")?.1.rsplit_once(':')?.0));
    let related = |secret: Option<&str>| secret.and_then(|name| AppName::new(name).ok());
    let relations = [
        ("s3", related(spec.s3.as_ref().map(|s3| s3.secret.as_str()))),
        ("certificates", related(spec.tls.as_ref().map(|tls| tls.secret.as_str()))),
    ];
    ApplicationStatus {
        product,
        scale: spec.units,
        relations: relations.into_iter().filter_map(|(end, app)| Some((end.to_owned(), app?))).collect(),
        remote_write: spec.remote_write.iter().filter_map(|name| AppName::new(name).ok()).collect(),
        coverage: product
            .filter(|_| said.observed_generation.is_some())
            .and_then(|product| coverage(product, spec.version.as_deref(), &said.coverage)),
        units: units.of(&found.name, &said.unit_statuses),
        endpoints: host.zip(product).map_or_else(BTreeMap::new, |(host, product)| {
            let config = spec
                .config
                .iter()
                .map(|(option, value)| (option.clone(), serde_json::to_value(value).unwrap_or_default()))
                .collect();
            let (options, _) = muster_products::charm::coordinator(product).validate(&config);
            let endpoints = muster_products::workload(product).endpoints(&options).into_iter();
            endpoints.map(|one| (one.purpose.to_owned(), one.at(host, spec.tls.is_some()))).collect()
        }),
        revision: said.revision.clone(),
        rollout: said.rollout.clone(),
        transition: said.transition.clone(),
        abandoned: said.abandoned.clone(),
        ..application(
            format!("{}-coordinator-k8s", spec.product),
            status(found, &said.status, &said.message, said.observed_generation),
            said.conditions,
        )
    }
}

fn of_worker(
    found: &Found,
    spec: &WorkerSpec,
    coordinators: &[Found],
    units: &Units<'_>,
) -> ApplicationStatus {
    let said: WorkerStatus =
        said(&found.status, |status, message| WorkerStatus { status, message, ..WorkerStatus::default() });
    let related = spec.coordinator.as_deref().and_then(|name| AppName::new(name).ok());
    let product = spec.product.clone().or_else(|| {
        let coordinator = coordinators.iter().find(|found| Some(&found.name) == related.as_ref())?;
        match &coordinator.document {
            Ok(Document::Coordinator(coordinator)) => Some(coordinator.spec.product.clone()),
            _ => None,
        }
    });
    let product: Option<Product> = product.and_then(|product| product.parse().ok());
    ApplicationStatus {
        product,
        scale: spec.units,
        roles: spec.roles.iter().filter(|(_, on)| **on).map(|(role, _)| role.clone()).collect(),
        relations: related.map(|coordinator| ("cluster".to_owned(), coordinator)).into_iter().collect(),
        units: units.of(&found.name, &said.unit_statuses),
        ..application(
            product.map_or_else(|| "worker".to_owned(), |product| format!("{product}-worker-k8s")),
            status(found, &said.status, &said.message, said.observed_generation),
            Vec::new(),
        )
    }
}

/// An S3 Secret. Whether its store can be used is found out by the coordinators that name it.
fn of_store(name: &AppName, secret: &Secret, coordinators: &[Found]) -> ApplicationStatus {
    let storage = secret_values(secret)
        .and_then(|values| ObjectStorage::from_secret(&values).map_err(|error| error.to_string()));
    let mut endpoints = BTreeMap::new();
    let status = match storage {
        Err(problem) => {
            Status::new(WorkloadStatus::Blocked, format!("{problem}; fix it: muster config {name} KEY=VALUE"))
        }
        Ok(storage) => {
            endpoints.insert("s3".to_owned(), storage.endpoint.to_string());
            match coordinators.iter().find_map(|found| probe_failure(name, found)) {
                Some(message) => Status::new(WorkloadStatus::Blocked, message),
                None => Status::new(WorkloadStatus::Active, format!("bucket {}", storage.bucket)),
            }
        }
    };
    ApplicationStatus { endpoints, ..application("s3-integrator".to_owned(), status, Vec::new()) }
}

/// What a coordinator met when it tried the object store.
fn probe_failure(store: &AppName, coordinator: &Found) -> Option<String> {
    const FAILURES: [Reason; 3] =
        [Reason::ObjectStoreDenied, Reason::BucketMissing, Reason::ObjectStoreUnreachable];
    let Ok(Document::Coordinator(document)) = &coordinator.document else { return None };
    if document.spec.s3.as_ref()?.secret != store.as_str() {
        return None;
    }
    let said: CoordinatorStatus = serde_json::from_value(coordinator.status.clone()).ok()?;
    let condition = said.conditions.into_iter().find(|condition| {
        condition.kind == ConditionType::ObjectStoreReady
            && condition.status == ConditionStatus::False
            && FAILURES.iter().any(|reason| reason.as_str() == condition.reason)
    })?;
    Some(condition.message)
}

/// A coordinator or worker that this muster cannot read.
fn unreadable(found: &Found) -> ApplicationStatus {
    let problem = found.document.as_ref().err().cloned().unwrap_or_default();
    application(
        found.kind.to_string().to_lowercase(),
        Status::new(WorkloadStatus::Error, problem),
        Vec::new(),
    )
}

/// An application of which nothing else is known.
fn application(charm: String, status: Status, conditions: Vec<muster_api::Condition>) -> ApplicationStatus {
    ApplicationStatus {
        charm,
        product: None,
        status,
        scale: 0,
        roles: Vec::new(),
        relations: BTreeMap::new(),
        remote_write: Vec::new(),
        conditions,
        coverage: None,
        revision: None,
        rollout: None,
        transition: None,
        endpoints: BTreeMap::new(),
        abandoned: Vec::new(),
        units: BTreeMap::new(),
    }
}

/// An object's status. Of one that a newer operator wrote at least the words.
fn said<T: DeserializeOwned>(status: &Value, words: impl Fn(String, String) -> T) -> T {
    let text = |field: &str| status[field].as_str().unwrap_or_default().to_owned();
    T::deserialize(status).unwrap_or_else(|_| words(text("status"), text("message")))
}

/// What the operator says of an application; of what it has not seen yet, that.
fn status(found: &Found, word: &str, message: &str, observed: Option<i64>) -> Status {
    const WAITING: &str = "waiting for the operator";
    if found.removing && observed < found.generation {
        return Status::new(WorkloadStatus::Maintenance, format!("removing: {WAITING}"));
    }
    if word.is_empty() {
        let message =
            format!("{WAITING}; if that lasts, see whether it runs: kubectl get pods -n muster-system");
        return Status::new(WorkloadStatus::Waiting, message);
    }
    if observed < found.generation {
        return Status::new(WorkloadStatus::Waiting, WAITING);
    }
    spoken(word, message)
}

fn spoken(word: &str, message: &str) -> Status {
    match status_word(word) {
        Ok(status) => Status::new(status, message),
        Err(_) => Status::new(WorkloadStatus::Waiting, format!("{word}: {message}")),
    }
}

/// What the operator counted, and what is missing by the role table.
fn coverage(product: Product, version: Option<&str>, counted: &BTreeMap<String, u32>) -> Option<Coverage> {
    let version = match version {
        Some(version) => version.parse().ok()?,
        None => *muster_products::supported_versions(product).first()?,
    };
    let table = muster_products::role_table(product, version).ok()?;
    let counted: Vec<(RoleSet, u32)> = counted
        .iter()
        .filter_map(|(role, units)| Some(([role.parse::<Role>().ok()?].into_iter().collect(), *units)))
        .collect();
    Some(table.coverage(counted.iter().map(|(roles, units)| (roles, *units))))
}

/// What is known of units by their Units: application, then number.
struct Units<'a>(BTreeMap<&'a str, BTreeMap<u32, Option<Report>>>);

impl<'a> Units<'a> {
    fn new(objects: &'a [DynamicObject]) -> Self {
        let mut units: BTreeMap<&str, BTreeMap<u32, Option<Report>>> = BTreeMap::new();
        for object in objects {
            let Some(application) = object.data["spec"]["application"].as_str() else { continue };
            let name = AppName::new(application).ok();
            let number = name.and_then(|name| unit_number(&name, object.metadata.name.as_deref()?));
            if let Some(number) = number {
                units.entry(application).or_default().insert(number, report(object));
            }
        }
        Self(units)
    }

    /// An application's units: those that there are, and those that the operator speaks of.
    fn of(
        &self,
        application: &AppName,
        said: &BTreeMap<String, UnitStatusMessage>,
    ) -> BTreeMap<UnitName, UnitView> {
        let there = self.0.get(application.as_str());
        let numbers: BTreeSet<u32> = there
            .into_iter()
            .flat_map(|units| units.keys().copied())
            .chain(said.keys().filter_map(|number| number.parse().ok()))
            .collect();
        let unit = |number: u32| {
            let report = there.and_then(|units| units.get(&number)?.as_ref());
            (application.unit(number), unit(report, said.get(&number.to_string())))
        };
        numbers.into_iter().map(unit).collect()
    }
}

/// What a unit's agent reports. What an earlier pod of the same name reported says nothing about this one.
fn report(object: &DynamicObject) -> Option<Report> {
    let report = serde::Deserialize::deserialize(&object.data["status"]["report"]).ok();
    let pod = object.data["spec"]["podUID"].as_str();
    report.filter(|report: &Report| pod.is_none_or(|uid| uid == report.instance))
}

/// One unit. The operator speaks only of those that are not simply ready.
fn unit(report: Option<&Report>, said: Option<&UnitStatusMessage>) -> UnitView {
    let status = match (said, report) {
        (Some(said), _) => spoken(&said.status, &said.message),
        (None, Some(report)) if report.ready => Status::new(WorkloadStatus::Active, "ready"),
        (None, Some(_)) => Status::new(WorkloadStatus::Waiting, "starting"),
        (None, None) => Status::new(WorkloadStatus::Waiting, "being made"),
    };
    let applied = report.and_then(|report| report.applied.as_ref());
    UnitView {
        status,
        address: report.map(|report| report.address.clone()),
        roles: applied.map(|applied| applied.roles.iter().collect()).unwrap_or_default(),
        revision: applied.map(|applied| applied.revision.to_string()),
        ready: report.is_some_and(|report| report.ready),
        restarts: report.map_or(0, |report| report.restarts),
        at_risk: said.and_then(|said| said.at_risk.clone()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::fake::app;
    use muster_api::Kind;

    fn object(value: Value) -> DynamicObject {
        serde_json::from_value(value).unwrap()
    }

    fn coordinator(spec: Value, status: Value) -> Found {
        let metadata = json!({ "name": "mimir", "generation": 2 });
        Found::new(Kind::Coordinator, object(json!({ "metadata": metadata, "spec": spec, "status": status })))
            .unwrap()
    }

    fn worker(metadata: Value, status: Value) -> Found {
        let spec = json!({ "coordinator": "mimir", "units": 3, "roles": { "all": false, "read": true } });
        Found::new(Kind::Worker, object(json!({ "metadata": metadata, "spec": spec, "status": status })))
            .unwrap()
    }

    fn unit_object(name: &str, pod: &str, report: Value) -> DynamicObject {
        let spec = json!({ "application": "mimir-read", "coordinator": "mimir", "podUID": pod });
        object(json!({ "metadata": { "name": name }, "spec": spec, "status": { "report": report } }))
    }

    fn report(instance: &str, ready: bool) -> Value {
        json!({
            "instance": instance, "address": "10.0.0.7", "agentVersion": "1", "epoch": 3, "service": "running",
            "ready": ready, "restarts": 1,
            "applied": { "revision": "0123456789abcdef", "roles": ["querier", "query-frontend"] },
        })
    }

    fn seen(coordinators: Vec<Found>, workers: Vec<Found>, units: Vec<DynamicObject>) -> Seen {
        Seen { coordinators, workers, stores: Vec::new(), units }
    }

    fn mimir_spec() -> Value {
        json!({ "product": "mimir", "s3": { "secret": "s3" } })
    }

    fn mimir_status() -> Value {
        json!({
            "status": "active", "message": "", "observedGeneration": 2, "units": 1,
            "coverage": { "querier": 2, "query-frontend": 2 },
            "endpoints": { "gateway": "http://mimir.team.svc:8080" },
            "rollout": { "updated": 2, "total": 3 }, "revision": "0123456789abcdef",
        })
    }

    #[test]
    fn the_operator_s_words_are_shown() {
        let status =
            model_status("team", &seen(vec![coordinator(mimir_spec(), mimir_status())], vec![], vec![]));
        assert_eq!((status.model.as_str(), status.substrate.as_str()), ("team", "kubernetes"));
        let mimir = &status.applications[&app("mimir")];
        assert_eq!(mimir.status, Status::new(WorkloadStatus::Active, ""));
        assert_eq!(mimir.charm, "mimir-coordinator-k8s");
        assert_eq!(mimir.endpoints["push"], "http://mimir.team.svc:8080/api/v1/push");
        assert_eq!(mimir.relations["s3"], app("s3"));
        let coverage = mimir.coverage.as_ref().unwrap();
        assert_eq!(coverage.units[&Role::Querier], 2);
        assert!(coverage.missing_required.contains(Role::Ingester), "{coverage:?}");
        assert!(!coverage.missing_required.contains(Role::Querier), "{coverage:?}");
    }

    #[test]
    fn before_the_operator_says_anything_nothing_is_known() {
        let status =
            model_status("team", &seen(vec![coordinator(mimir_spec(), Value::Null)], vec![], vec![]));
        let mimir = &status.applications[&app("mimir")];
        assert!(
            mimir.coverage.is_none() && mimir.endpoints.is_empty() && mimir.units.is_empty(),
            "{mimir:?}"
        );
    }

    #[test]
    fn what_the_operator_has_not_seen_is_not_said_to_be_so() {
        let of = |metadata: Value, status: Value| {
            let status = model_status("team", &seen(vec![], vec![worker(metadata, status)], vec![]));
            let status = &status.applications[&app("mimir-read")].status;
            (status.status, status.message.clone())
        };
        let active =
            |observed: i64| json!({ "status": "active", "message": "", "observedGeneration": observed });
        let metadata = json!({ "name": "mimir-read", "generation": 2 });
        let going =
            json!({ "name": "mimir-read", "generation": 2, "deletionTimestamp": "2026-01-01T00:00:00Z" });
        assert_eq!(of(metadata.clone(), active(2)), (WorkloadStatus::Active, String::new()));
        let waiting = (WorkloadStatus::Waiting, "waiting for the operator".to_owned());
        assert_eq!(of(metadata.clone(), active(1)), waiting);
        let (word, message) = of(metadata.clone(), Value::Null);
        assert!(word == WorkloadStatus::Waiting && message.contains("kubectl get pods"), "{message}");
        assert_eq!(of(going, active(1)).0, WorkloadStatus::Maintenance);
        let newer = json!({ "status": "asleep", "message": "z", "observedGeneration": 2, "units": "many" });
        assert_eq!(of(metadata, newer).1, "waiting for the operator");
    }

    #[test]
    fn units_are_those_that_there_are_and_those_that_the_operator_speaks_of() {
        let said = json!({
            "status": "waiting", "message": "1 of 3 units is ready", "observedGeneration": 2,
            "unitStatuses": { "1": { "status": "error", "message": "it ends" }, "4": { "status": "waiting", "message": "no pod" } },
        });
        let units = vec![
            unit_object("mimir-read-0", "a", report("a", true)),
            unit_object("mimir-read-1", "b", report("b", true)),
            unit_object("mimir-read-2", "c", report("an-earlier-pod", true)),
            unit_object("mimir-read-3", "d", report("d", false)),
            unit_object("mimir-read-01", "e", report("e", true)),
        ];
        let metadata = json!({ "name": "mimir-read", "generation": 2 });
        let found =
            seen(vec![coordinator(mimir_spec(), mimir_status())], vec![worker(metadata, said)], units);
        let status = model_status("team", &found);
        let read = &status.applications[&app("mimir-read")];
        assert_eq!(
            (read.charm.as_str(), read.scale, &read.roles),
            ("mimir-worker-k8s", 3, &vec!["read".to_owned()])
        );
        let shown: Vec<String> =
            read.units.iter().map(|(name, unit)| format!("{name} {}", unit.status)).collect();
        assert_eq!(
            shown,
            [
                "mimir-read/0 active: ready",
                "mimir-read/1 error: it ends",
                "mimir-read/2 waiting: being made",
                "mimir-read/3 waiting: starting",
                "mimir-read/4 waiting: no pod",
            ]
        );
        let unit = &read.units[&app("mimir-read").unit(0)];
        assert_eq!((unit.address.as_deref(), unit.restarts, unit.ready), (Some("10.0.0.7"), 1, true));
        assert_eq!(unit.roles, [Role::Querier, Role::QueryFrontend]);
        assert_eq!(read.units[&app("mimir-read").unit(2)].address, None);
    }

    #[test]
    fn stores_show_what_their_coordinator_met() {
        let secret = |text: &str| -> Secret {
            let Document::Secret(secret) = Document::parse_stream(text).unwrap().remove(0) else { panic!() };
            *secret
        };
        let good = "{apiVersion: v1, kind: Secret, metadata: {name: s3}, type: muster.dev/s3, stringData: {endpoint: 'http://h:9000', bucket: bbb, access-key: k, secret-key: hunter2}}";
        let denied = json!({
            "status": "blocked", "message": "x", "observedGeneration": 2,
            "conditions": [{ "type": "ObjectStoreReady", "status": "False", "reason": "ObjectStoreDenied", "message": "access denied" }],
        });
        let of = |text: &str, status: Value| {
            let mut found = seen(vec![coordinator(mimir_spec(), status)], vec![], vec![]);
            found.stores = vec![secret(text)];
            model_status("team", &found).applications[&app("s3")].clone()
        };
        let shown = of(good, mimir_status());
        assert_eq!(shown.status, Status::new(WorkloadStatus::Active, "bucket bbb"));
        assert!(shown.endpoints["s3"].starts_with("http://h:9000"));
        assert_eq!(of(good, denied).status, Status::new(WorkloadStatus::Blocked, "access denied"));
        let missing = of(&good.replace("bucket: bbb,", ""), mimir_status()).status;
        assert!(
            missing.status == WorkloadStatus::Blocked && missing.message.contains("muster config s3"),
            "{missing}"
        );
    }

    #[test]
    fn an_object_of_a_newer_version_is_an_error_and_hides_nothing() {
        let newer = coordinator(json!({ "product": "mimir", "colour": "red" }), mimir_status());
        let metadata = json!({ "name": "mimir-read", "generation": 1 });
        let status = model_status("team", &seen(vec![newer], vec![worker(metadata, Value::Null)], vec![]));
        let mimir = &status.applications[&app("mimir")].status;
        assert!(mimir.status == WorkloadStatus::Error && mimir.message.contains("colour"), "{mimir}");
        assert_eq!(status.applications[&app("mimir-read")].charm, "worker");
    }
}
