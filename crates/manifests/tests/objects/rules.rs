//! What objects depend on, and what not.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use k8s_openapi::jiff::Timestamp;
use muster_api::{
    Images, OnIncoherent, OptionValue, ReadHold, Retain, Storage, TemporaryWorker, TlsReference, Transitions,
};
use muster_manifests::Object;
use muster_model::Reason;
use muster_planner::{ObjectStore, Temporary};
use muster_testkit::cluster::{app, failed_store, ready_store, storage, worker};
use serde_json::{Value, json};

use crate::deployments::{DISTRIBUTED, MONOLITHIC, Model, pod_labels, selecting, value};

fn kinds(objects: &[Object]) -> Vec<String> {
    let mut kinds: Vec<_> = objects.iter().map(|o| value(o)["kind"].as_str().unwrap().to_owned()).collect();
    kinds.dedup();
    kinds
}

fn templates(model: &Model) -> BTreeMap<String, Value> {
    let sets = model.stateful_sets().into_iter();
    sets.map(|(name, set)| (name, serde_json::to_value(set.spec.unwrap().template).unwrap())).collect()
}

#[test]
fn pods_are_made_anew_for_nothing_that_agents_can_do() {
    type Edit = fn(&mut Model);
    let base = templates(&Model::distributed());
    let edits: [(&str, Edit); 10] = [
        ("roles", |m| m.worker("mimir-read").roles = [("all".to_owned(), true)].into()),
        ("refused roles", |m| m.worker("mimir-read").roles = [("bogus".to_owned(), true)].into()),
        ("no roles", |m| m.worker("mimir-write").roles.clear()),
        ("units", |m| m.worker("mimir-write").units = 7),
        ("load balancer units", |m| m.spec().units = 3),
        ("options", |m| {
            let retention = OptionValue::Text("30d".to_owned());
            m.spec().config = [("retention-period".to_owned(), retention)].into();
        }),
        ("overrides", |m| m.spec().overrides = json!({ "limits": {} }).as_object().cloned()),
        ("when incoherent", |m| m.spec().on_incoherent = OnIncoherent::Hold),
        ("transitions", |m| {
            m.spec().transitions =
                Some(Transitions { read_hold: ReadHold::Auto, temporary_worker: TemporaryWorker::Never });
        }),
        ("certificate", |m| m.spec().tls = Some(TlsReference { secret: "tls".to_owned() })),
    ];
    for (what, edit) in edits {
        let mut model = Model::distributed();
        edit(&mut model);
        model.plan();
        assert_eq!(templates(&model), base, "{what}, planned");
        model.settle();
        assert_eq!(templates(&model), base, "{what}, carried out");
    }
    let other_bucket = |mut store: ObjectStore| {
        if let ObjectStore::Related { storage: of, .. } = &mut store {
            **of = storage("other");
        }
        store
    };
    let unreachable = failed_store(Reason::ObjectStoreUnreachable);
    for store in [ObjectStore::NotRelated, unreachable, other_bucket(ready_store())] {
        let mut model = Model::distributed();
        model.cluster.observed.object_store = store;
        model.settle();
        assert_eq!(templates(&model), base);
    }
    let images = Images { workload: Some("mimir:x".to_owned()), ..Images::default() };
    let mut model = Model::distributed();
    model.spec().images = Some(images);
    assert_ne!(templates(&model)["mimir-read"], base["mimir-read"]);
    assert_eq!(templates(&model)["mimir"], base["mimir"]);
}

#[test]
fn a_temporary_worker_goes_with_its_coordinator() {
    let model = Model::distributed();
    let temporary = Temporary { name: app("mimir-transition"), spec: worker(1, &["all"]) };
    let made = model.with_deployment(model.last(), |deployment| deployment.temporary_worker(&temporary));
    assert!(Temporary::is(&made, &app("mimir")) && !Temporary::is(&made, &app("other")));
    assert_eq!(made.spec, temporary.spec);
    let owners = made.metadata.owner_references.clone().unwrap();
    assert_eq!(owners.len(), 1);
    assert_eq!((owners[0].kind.as_str(), owners[0].name.as_str()), ("Coordinator", "mimir"));
    assert!(made.metadata.namespace.is_some() && made.status.is_none());
}

#[test]
fn replicas_reach_up_to_the_last_unit() {
    let mut model = Model::distributed();
    let mut plan = model.last().clone();
    let replicas = |model: &Model, plan: &_| {
        let objects = model.objects_with(plan);
        let values = objects.iter().map(value).filter(|v| v["kind"] == "StatefulSet");
        let named = values.map(|v| (v["metadata"]["name"].clone(), v["spec"]["replicas"].clone()));
        named.map(|(name, replicas)| format!("{}={replicas}", name.as_str().unwrap())).collect::<Vec<_>>()
    };
    assert_eq!(replicas(&model, &plan), ["mimir=1", "mimir-backend=1", "mimir-read=1", "mimir-write=3"]);
    plan.workers.get_mut(&app("mimir-write")).unwrap().units = [0, 4].into();
    plan.workers.get_mut(&app("mimir-read")).unwrap().units.clear();
    assert_eq!(replicas(&model, &plan), ["mimir=1", "mimir-backend=1", "mimir-read=0", "mimir-write=5"]);

    // A unit that is to go stays until it has stopped.
    model.worker("mimir-write").units = 1;
    model.plan();
    assert_eq!(replicas(&model, model.last())[3], "mimir-write=3");
    model.settle();
    assert_eq!(replicas(&model, model.last())[3], "mimir-write=1");
}

#[test]
fn disks_follow_what_storage_says() {
    let policy = |storage: Option<Storage>| {
        let mut model = Model::parse(MONOLITHIC);
        model.worker("mimir-worker").storage = storage;
        let set = model.stateful_sets().remove("mimir-worker").unwrap().spec.unwrap();
        let policy = set.persistent_volume_claim_retention_policy.unwrap();
        (policy.when_deleted.unwrap(), policy.when_scaled.unwrap())
    };
    let texts = |(deleted, scaled): (&str, &str)| (deleted.to_owned(), scaled.to_owned());
    assert_eq!(policy(None), texts(("Retain", "Retain")));
    for (retain, expected) in [
        (Retain::Always, ("Retain", "Retain")),
        (Retain::WhenScaled, ("Delete", "Retain")),
        (Retain::Never, ("Delete", "Delete")),
    ] {
        assert_eq!(policy(Some(Storage { retain, ..Storage::default() })), texts(expected), "{retain:?}");
    }
}

/// By application, how many units may be evicted at once.
fn evictions(model: &Model) -> Vec<(String, Vec<String>, IntOrString)> {
    let applications = model.workers.keys().map(ToString::to_string);
    let budgets = model.budgets();
    let of = |name: &str| {
        let budget = budgets[name].spec.clone().unwrap();
        (
            budget.selector.unwrap().match_expressions.unwrap().remove(0).values.unwrap(),
            budget.max_unavailable.unwrap(),
        )
    };
    let sets = model.stateful_sets();
    applications
        .map(|application| {
            let labels = pod_labels(&sets[&application]);
            let [budget] = selecting(&budgets, &labels)[..] else {
                panic!("not one budget for {application}")
            };
            let (among, allowed) = of(budget);
            assert_eq!(among[0], budget);
            (application, among, allowed)
        })
        .collect()
}

#[test]
fn rings_are_kept_whole() {
    let mut model = Model::parse(DISTRIBUTED);
    let third = IntOrString::String("33%".to_owned());
    let one = IntOrString::Int(1);
    let of = |name: &str, among: &[&str], allowed: &IntOrString| {
        (name.to_owned(), among.iter().map(|a| (*a).to_owned()).collect::<Vec<_>>(), allowed.clone())
    };
    let ingesters = ["mimir-write", "mimir-write-spare"];
    let at_rest = [
        of("mimir-backend", &["mimir-backend"], &one),
        of("mimir-read", &["mimir-read"], &third),
        of("mimir-write", &ingesters, &one),
        of("mimir-write-spare", &ingesters, &one),
    ];
    assert_eq!(evictions(&model), at_rest);

    // Nobody knows better than the units what they still run.
    model.worker("mimir-write-spare").roles = [("querier".to_owned(), true)].into();
    model.plan();
    assert_eq!(evictions(&model), at_rest);
    model.settle();
    assert_eq!(
        evictions(&model)[2..],
        [of("mimir-write", &["mimir-write"], &one), of("mimir-write-spare", &["mimir-write-spare"], &third),]
    );
    model.worker("mimir-write").roles = [("bogus".to_owned(), true)].into();
    model.settle();
    assert_eq!(evictions(&model)[2], of("mimir-write", &["mimir-write"], &one));
}

#[test]
fn a_version_that_is_refused_changes_nothing_that_runs() {
    let mut model = Model::distributed();
    let budgets = model.budgets();
    for version in ["9.9", "3.0", "newest"] {
        model.spec().version = Some(version.to_owned());
        model.settle();
        assert!(model.stateful_sets().is_empty(), "{version}");
        assert_eq!(model.budgets(), budgets, "{version}");
        let kept = [
            "ServiceAccount",
            "Role",
            "RoleBinding",
            "Role",
            "RoleBinding",
            "Service",
            "PodDisruptionBudget",
        ];
        assert_eq!(kinds(&model.objects()), kept, "{version}");
    }
    // On the way out the units are stopped all the same.
    model.coordinator.metadata.deletion_timestamp = Some(Time(Timestamp::UNIX_EPOCH));
    model.settle();
    let sets = model.stateful_sets();
    assert_eq!(sets.len(), 4);
    assert!(sets.values().all(|set| set.spec.as_ref().unwrap().replicas == Some(0)));
}

#[test]
fn of_a_product_that_cannot_be_run_there_is_nothing() {
    for product in ["prometheus", ""] {
        let mut model = Model::of(&[("worker", worker(1, &["all"]))]);
        model.spec().product = product.to_owned();
        model.spec().version = None;
        model.settle();
        assert_eq!(model.objects(), [], "{product}");
    }
}

#[test]
fn what_was_shared_stays_when_there_is_nothing_new() {
    let mut model = Model::distributed();
    let secrets = |model: &Model| {
        let values = model.objects().iter().map(value).filter(|v| v["kind"] == "Secret").collect::<Vec<_>>();
        let entries = |v: &Value| v["data"].as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        let named = values.iter().map(|v| (v["metadata"]["name"].as_str().unwrap().to_owned(), entries(v)));
        named.collect::<BTreeMap<_, _>>()
    };
    let shared = secrets(&model);
    assert_eq!(shared.keys().collect::<Vec<_>>(), ["mimir-balancer", "mimir-cluster"]);
    assert!(shared["mimir-cluster"].contains(&"s3.json".to_owned()));
    assert!(!shared["mimir-balancer"].contains(&"s3.json".to_owned()), "nginx knows no object store");
    model.cluster.observed.object_store = ObjectStore::NotRelated;
    model.settle();
    assert!(!secrets(&model).contains_key("mimir-cluster"));
}

#[test]
fn secrets_are_not_shown() {
    let model = Model::distributed();
    let shown = format!("{:?}", model.objects().iter().find(|o| matches!(o, Object::Secret(_))).unwrap());
    assert!(shown.contains("mimir-cluster") && shown.contains("s3.json"), "{shown}");
    assert!(shown.len() < 300, "{shown}");
}

#[test]
fn networks_are_limited_on_request() {
    let mut model = Model::distributed();
    assert!(!kinds(&model.objects()).contains(&"NetworkPolicy".to_owned()));
    model.spec().network_policies = true;
    assert!(kinds(&model.objects()).contains(&"NetworkPolicy".to_owned()));
}

#[test]
fn pods_may_read_one_secret_and_write_reports() {
    let model = Model::parse(DISTRIBUTED);
    let mut found = Vec::new();
    for object in model.objects() {
        let Object::Role(role) = object else { continue };
        for rule in role.rules.unwrap() {
            let list = |texts: Option<Vec<String>>| texts.unwrap_or_default().join(",");
            let resources = format!("{}/{}", list(rule.api_groups), list(rule.resources));
            found.push(format!("{} {resources} {}", rule.verbs.join(","), list(rule.resource_names)));
        }
    }
    assert_eq!(
        found,
        [
            "get,list,watch /secrets mimir-balancer",
            "get,list,watch muster.dev/units ",
            "patch muster.dev/units/status ",
            "get,list,watch /secrets mimir-cluster",
            "get,list,watch muster.dev/units ",
            "patch muster.dev/units/status ",
        ]
    );
}

#[test]
fn what_is_there_of_a_worker_that_cannot_be_read_stays() {
    let mut model = Model::distributed();
    let before = model.objects();
    model.cluster.observed.workers.get_mut(&app("mimir-write")).unwrap().unreadable = true;
    let kept: Vec<_> = before
        .into_iter()
        .filter(|o| !(value(o)["kind"] == "StatefulSet" && value(o)["metadata"]["name"] == "mimir-write"))
        .collect();
    assert_eq!(model.objects(), kept, "all but its pods' template is known");
}

#[test]
fn nobody_keeps_what_a_worker_may_do_after_it_left() {
    let subjects = |model: &Model| {
        let objects = model.objects();
        let bindings = objects.iter().map(value).filter(|o| o["kind"] == "RoleBinding");
        let mut named = bindings.filter(|o| o["metadata"]["name"] == "mimir-worker");
        named.next().map(|binding| binding["subjects"].as_array().map_or(0, Vec::len))
    };
    let mut model = Model::parse(MONOLITHIC);
    assert_eq!(subjects(&model), Some(1));
    model.workers.clear();
    model.cluster.observed.workers.clear();
    assert_eq!(subjects(&model), Some(0));
}
