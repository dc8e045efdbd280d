//! What holds for the objects of every deployment.

use std::collections::{BTreeMap, BTreeSet};

use muster_api::WorkerSpec;
use muster_model::AppName;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::deployments::{Model, NAMESPACE, pod_labels, selecting, value};

const ROLES: [&str; 8] =
    ["all", "read", "write", "backend", "ingester", "querier", "store-gateway", "query-frontend"];

/// Labels that somebody might want on pods, ours among them.
const LABELS: [&str; 7] = [
    "app.kubernetes.io/managed-by",
    "app.kubernetes.io/name",
    "app.kubernetes.io/instance",
    "app.kubernetes.io/component",
    "muster.dev/coordinator",
    "muster.dev/application",
    "team",
];

fn labels() -> impl Strategy<Value = BTreeMap<String, String>> {
    let key = proptest::sample::select(&LABELS[..]).prop_map(str::to_owned);
    proptest::collection::btree_map(key, "[a-z]{0,8}", 0..6)
}

fn worker_specs() -> impl Strategy<Value = BTreeMap<String, WorkerSpec>> {
    // Names as long as they may be, too.
    let name = prop_oneof!["[a-l][a-z]{0,6}", "[a-l][a-z0-9-]{51}[a-z]"];
    let roles = proptest::sample::subsequence(&ROLES[..], 0..3);
    let spec = (0..4_u32, roles, labels()).prop_map(|(units, roles, labels)| WorkerSpec {
        labels,
        ..muster_testkit::cluster::worker(units, &roles)
    });
    proptest::collection::btree_map(name, spec, 0..5)
}

fn model(workers: &BTreeMap<String, WorkerSpec>, labels: &BTreeMap<String, String>) -> Model {
    let workers: Vec<_> = workers.iter().map(|(name, spec)| (name.as_str(), spec.clone())).collect();
    let mut model = Model::of(&workers);
    model.spec().labels = labels.clone();
    model.spec().network_policies = true;
    model.settle();
    model
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn objects_are_complete(workers in worker_specs(), labels in labels()) {
        let model = model(&workers, &labels);
        let objects: Vec<Value> = model.objects().iter().map(value).collect();
        let mut seen = BTreeSet::new();
        for object in &objects {
            let (kind, meta) = (object["kind"].as_str().unwrap(), &object["metadata"]);
            let name = meta["name"].as_str().unwrap();
            prop_assert!(name.len() <= 63, "{kind} {name}");
            prop_assert!(seen.insert((kind, name)), "two of {kind} {name}");
            prop_assert_eq!(&meta["namespace"], NAMESPACE);
            prop_assert_eq!(&meta["labels"]["app.kubernetes.io/managed-by"], "muster");
            prop_assert_eq!(&meta["labels"]["muster.dev/coordinator"], "mimir");
            let [owner] = &meta["ownerReferences"].as_array().unwrap()[..] else { panic!("not one owner") };
            let of_worker =
                ["StatefulSet", "ServiceAccount"].contains(&kind) && workers.contains_key(name);
            let (owner_kind, owner_name) =
                if of_worker { ("Worker", name) } else { ("Coordinator", "mimir") };
            let expected = json!({
                "apiVersion": "muster.dev/v1alpha1",
                "kind": owner_kind,
                "name": owner_name,
                "uid": format!("uid-{owner_name}"),
                "controller": true,
                "blockOwnerDeletion": true,
            });
            prop_assert_eq!(owner, &expected);
            let application = if of_worker { name } else { "mimir" };
            prop_assert_eq!(&meta["labels"]["muster.dev/application"], application);
        }
        let again: Vec<Value> = model.objects().iter().map(value).collect();
        prop_assert_eq!(objects, again);
    }

    #[test]
    fn pods_are_found_by_their_labels(workers in worker_specs(), labels in labels()) {
        let model = model(&workers, &labels);
        let (sets, budgets) = (model.stateful_sets(), model.budgets());
        prop_assert_eq!(sets.len(), workers.len() + 1);
        for (name, set) in &sets {
            let pods = pod_labels(set);
            let (component, given) = match workers.get(name) {
                Some(worker) => ("worker", &worker.labels),
                None => ("load-balancer", &labels),
            };
            let ours = BTreeMap::from([
                ("app.kubernetes.io/managed-by", "muster"),
                ("app.kubernetes.io/name", "mimir"),
                ("app.kubernetes.io/instance", "mimir"),
                ("app.kubernetes.io/component", component),
                ("muster.dev/coordinator", "mimir"),
                ("muster.dev/application", name),
            ]);
            for (key, value) in &ours {
                prop_assert_eq!(pods.get(*key).map(String::as_str), Some(*value), "{}", name);
            }
            for (key, value) in given.iter().filter(|(key, _)| !ours.contains_key(key.as_str())) {
                prop_assert_eq!(pods.get(key), Some(value), "{}", name);
            }
            let selector = set.spec.as_ref().unwrap().selector.match_labels.clone().unwrap();
            prop_assert!(selector.iter().all(|(key, value)| pods.get(key) == Some(value)));
            let text: Vec<_> = selector.iter().map(|(key, value)| format!("{key}={value}")).collect();
            let application = AppName::new(name.as_str()).unwrap();
            prop_assert_eq!(text.join(","), muster_manifests::names::unit_selector(&application));
            prop_assert_eq!(selecting(&budgets, &pods).len(), 1, "{}", name);
        }
    }

    /// Pod Security `restricted`, and a root file system that nobody writes.
    #[test]
    fn pods_are_restricted(workers in worker_specs()) {
        let model = model(&workers, &BTreeMap::new());
        for set in model.stateful_sets().values() {
            let pod = serde_json::to_value(&set.spec.as_ref().unwrap().template.spec).unwrap();
            let user = &pod["securityContext"];
            prop_assert_eq!(&user["runAsNonRoot"], true);
            prop_assert_eq!(&user["seccompProfile"]["type"], "RuntimeDefault");
            for field in ["runAsUser", "runAsGroup", "fsGroup"] {
                prop_assert_eq!(&user[field], 10_001);
            }
            prop_assert_eq!(&pod["automountServiceAccountToken"], false);
            for field in ["hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace"] {
                prop_assert_eq!(&pod[field], &Value::Null);
            }
            let containers = ["initContainers", "containers"].map(|field| pod[field].as_array().unwrap());
            for container in containers.into_iter().flatten() {
                let expected = json!({
                    "allowPrivilegeEscalation": false,
                    "readOnlyRootFilesystem": true,
                    "capabilities": { "drop": ["ALL"] },
                });
                prop_assert_eq!(&container["securityContext"], &expected);
            }
            for volume in pod["volumes"].as_array().unwrap() {
                let bounded = volume["emptyDir"]["sizeLimit"].is_string() || volume["projected"].is_object();
                prop_assert!(bounded, "{}", volume);
            }
        }
    }
}
