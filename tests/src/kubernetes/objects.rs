//! What there is in a namespace, without what differs from one run to the next.

use std::collections::BTreeMap;

use kube::Client;
use kube::api::{Api, ApiResource, DynamicObject, ListParams};
use serde_json::{Map, Value, json};

/// The kinds that Muster reads and writes, and what their objects bring along: group, version, kind, plural.
pub const KINDS: [(&str, &str, &str, &str); 13] = [
    ("muster.dev", "v1alpha1", "Coordinator", "coordinators"),
    ("muster.dev", "v1alpha1", "Worker", "workers"),
    ("muster.dev", "v1alpha1", "Unit", "units"),
    ("apps", "v1", "StatefulSet", "statefulsets"),
    ("", "v1", "Service", "services"),
    ("", "v1", "ServiceAccount", "serviceaccounts"),
    ("", "v1", "Secret", "secrets"),
    ("", "v1", "Pod", "pods"),
    ("", "v1", "PersistentVolumeClaim", "persistentvolumeclaims"),
    ("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets"),
    ("networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies"),
    ("rbac.authorization.k8s.io", "v1", "Role", "roles"),
    ("rbac.authorization.k8s.io", "v1", "RoleBinding", "rolebindings"),
];

/// The objects of one kind of [`KINDS`].
#[must_use]
pub fn api(client: &Client, namespace: &str, kind: &str) -> Api<DynamicObject> {
    let (group, version, kind, plural) = KINDS.into_iter().find(|known| known.2 == kind).unwrap();
    let api_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
    let resource = ApiResource {
        group: group.to_owned(),
        version: version.to_owned(),
        api_version,
        kind: kind.to_owned(),
        plural: plural.to_owned(),
    };
    Api::namespaced_with(client.clone(), namespace, &resource)
}

/// Everything in a namespace, by kind and name: specs and statuses, labels, finalizers and owners' names. Left out is what the
/// API server counts or times, addresses, epochs, and the hashes that follow from a coordinator's uid: of revisions it is said whether
/// they are the current one.
pub async fn settled(client: &Client, namespace: &str) -> kube::Result<BTreeMap<String, Value>> {
    let mut all = BTreeMap::new();
    let mut current = Vec::new();
    for (_, _, kind, _) in KINDS {
        for object in api(client, namespace, kind).list(&ListParams::default()).await? {
            if kind == "Coordinator" {
                current.extend(object.data["status"]["revision"].as_str().map(str::to_owned));
            }
            let name = object.metadata.name.clone().unwrap_or_default();
            // Kubernetes' own, in every namespace.
            if kind == "ServiceAccount" && name == "default" {
                continue;
            }
            all.insert(format!("{kind}/{name}"), essence(kind, namespace, &current, object));
        }
    }
    Ok(all)
}

fn essence(kind: &str, namespace: &str, current: &[String], object: DynamicObject) -> Value {
    let meta = &object.metadata;
    let owners: Vec<_> =
        meta.owner_references.iter().flatten().map(|o| format!("{}/{}", o.kind, o.name)).collect();
    let mut essence = json!({
        "labels": meta.labels, "finalizers": meta.finalizers, "owners": owners,
        "deleted": meta.deletion_timestamp.is_some(),
    });
    match kind {
        // What pods and claims are is for the controllers of StatefulSets to say.
        "Pod" | "PersistentVolumeClaim" => essence["labels"] = Value::Null,
        "Secret" => essence["keys"] = object.data["data"].as_object().map_or(0, Map::len).into(),
        "StatefulSet" => {
            essence["spec"] = object.data["spec"].clone();
            essence["replicas"] = object.data["status"]["replicas"].clone();
        }
        "PodDisruptionBudget" | "Service" => essence["spec"] = object.data["spec"].clone(),
        _ => {
            for part in ["spec", "status", "rules", "subjects", "roleRef"] {
                essence[part] = object.data[part].clone();
            }
        }
    }
    scrub(&mut essence, namespace, current);
    essence
}

/// Fields whose values differ from one run to the next.
const VARYING: [&str; 8] =
    ["epoch", "podUID", "instance", "address", "clusterIP", "clusterIPs", "carryOver", "observedGeneration"];

/// Of a revision it stays whether it is the one that a coordinator moves its units to.
fn scrub(value: &mut Value, namespace: &str, current: &[String]) {
    match value {
        Value::Object(map) => {
            map.retain(|key, _| !VARYING.contains(&key.as_str()));
            if let Some(Value::String(revision)) = map.get_mut("revision") {
                let word = if current.contains(revision) { "current" } else { "other" };
                *revision = word.to_owned();
            }
            map.values_mut().for_each(|value| scrub(value, namespace, current));
        }
        Value::Array(list) => list.iter_mut().for_each(|value| scrub(value, namespace, current)),
        Value::String(text) if text.contains(namespace) => *text = text.replace(namespace, "NAMESPACE"),
        Value::String(_) | Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// What differs between two of them, in words.
#[must_use]
pub fn difference(expected: &BTreeMap<String, Value>, found: &BTreeMap<String, Value>) -> Vec<String> {
    let names = expected.keys().chain(found.keys()).collect::<std::collections::BTreeSet<_>>();
    let mut all = Vec::new();
    for name in names {
        match (expected.get(name), found.get(name)) {
            (Some(_), None) => all.push(format!("{name} is missing")),
            (None, Some(_)) => all.push(format!("{name} is there")),
            (Some(one), Some(other)) => parts(name, one, other, &mut all),
            (None, None) => {}
        }
    }
    all
}

fn parts(path: &str, expected: &Value, found: &Value, all: &mut Vec<String>) {
    match (expected, found) {
        (Value::Object(one), Value::Object(other)) => {
            for key in one.keys().chain(other.keys().filter(|key| !one.contains_key(*key))) {
                let none = Value::Null;
                let (one, other) = (one.get(key).unwrap_or(&none), other.get(key).unwrap_or(&none));
                parts(&format!("{path}.{key}"), one, other, all);
            }
        }
        (one, other) if one != other => all.push(format!("{path}: {one} expected, {other} found")),
        _ => {}
    }
}
