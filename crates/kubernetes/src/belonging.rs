//! Which worker belongs to which coordinator, and who has a name that both want.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::apps::v1::StatefulSet;
use kube::core::ObjectMeta;
use kube::runtime::reflector::ObjectRef;
use kube::{Resource as _, ResourceExt as _};
use muster_api::{Coordinator, Worker};
use muster_manifests::names::{APPLICATION_LABEL, COORDINATOR_LABEL};
use muster_model::AppName;

use crate::caches::{Caches, Guarded, related};
use crate::gather::units;
use crate::key::Key;
use crate::write::controller;

/// The coordinator of that name.
pub(crate) fn coordinator_named(key: &Key, caches: &Caches) -> Option<Arc<Guarded<Coordinator>>> {
    caches.coordinators.get(&ObjectRef::new(&key.name).within(&key.namespace))
}

/// Who has a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Holder {
    Coordinator,
    Worker,
}

/// Of a coordinator and a worker of one name, the one that has it: whose pods there are, else the older one, else the worker. `None`:
/// there are not both.
pub(crate) fn holder(key: &Key, caches: &Caches) -> Option<Holder> {
    let (coordinator, worker) = (coordinator_named(key, caches)?, caches.workers.get(key)?);
    let set = caches.stateful_sets.get(key);
    let owner = set.as_ref().and_then(|set| controller(&set.metadata));
    let created = |meta: &ObjectMeta| meta.creation_timestamp.as_ref().map(|time| time.0);
    let (coordinator, worker) = (coordinator.meta(), worker.meta());
    Some(match owner {
        Some(owner) if coordinator.uid.as_deref() == Some(owner) => Holder::Coordinator,
        Some(owner) if worker.uid.as_deref() == Some(owner) => Holder::Worker,
        _ if created(coordinator) < created(worker) => Holder::Coordinator,
        _ => Holder::Worker,
    })
}

/// Whether a coordinator is there and decides anything: it can be read, and has its name for itself.
fn acts(coordinator: &Key, caches: &Caches) -> bool {
    coordinator_named(coordinator, caches).is_some_and(|object| object.0.is_ok())
        && holder(coordinator, caches) != Some(Holder::Worker)
}

/// The coordinator whose assignments a worker's units carry, as long as it exists, else the one that it names, if that exists.
fn coordinator_of(worker: &Guarded<Worker>, caches: &Caches) -> Option<Key> {
    let key = Key::of(worker);
    let exists = |coordinator: &Key| coordinator_named(coordinator, caches).is_some();
    let attached = caches.stateful_sets.get(&key).filter(|set| carries_units(&key, set, caches));
    let attached = attached.and_then(|set| set.labels().get(COORDINATOR_LABEL).map(|c| key.sibling(c)));
    attached.filter(exists).or_else(|| related(worker).into_iter().find(exists))
}

/// The coordinator that decides about a worker. Nobody decides about a worker that belongs to none that acts, or whose name a
/// coordinator has.
pub(crate) fn decides(worker: &Guarded<Worker>, caches: &Caches) -> Option<Key> {
    if holder(&Key::of(worker), caches) == Some(Holder::Coordinator) {
        return None;
    }
    coordinator_of(worker, caches).filter(|coordinator| acts(coordinator, caches))
}

/// The coordinator that a worker belongs to and that does not act, and whether any unit waits for what it does not say.
pub(crate) fn silent_coordinator(worker: &Guarded<Worker>, caches: &Caches) -> Option<(Key, bool)> {
    let coordinator = coordinator_of(worker, caches).filter(|coordinator| !acts(coordinator, caches))?;
    let name = AppName::new(worker.name_any()).ok()?;
    let waits = units(&coordinator, &name, caches).values().any(|unit| !unit.has_stopped());
    Some((coordinator, waits))
}

/// Whether a StatefulSet has pods, or is about to.
fn carries_units(key: &Key, set: &StatefulSet, caches: &Caches) -> bool {
    let wanted = set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    let there = set.status.as_ref().map_or(0, |status| status.replicas);
    let pods = || {
        set.labels().get(COORDINATOR_LABEL).is_some_and(|coordinator| {
            let pods = caches.pods.of(&key.sibling(coordinator));
            pods.iter().any(|pod| pod.labels().get(APPLICATION_LABEL).is_some_and(|app| *app == key.name))
        })
    };
    wanted > 0 || there > 0 || pods()
}

/// The workers that a coordinator decides about. One that cannot be read is known by its StatefulSet.
pub(crate) fn attached_workers(
    coordinator: &Key,
    caches: &Caches,
) -> BTreeMap<AppName, Arc<Guarded<Worker>>> {
    let related = caches.workers.of(coordinator);
    let sets = caches.stateful_sets.of(coordinator);
    let attached = sets.iter().filter_map(|set| caches.workers.get(&Key::of(set.as_ref())));
    let mut workers = BTreeMap::new();
    for worker in related.into_iter().chain(attached) {
        let name = AppName::new(worker.name_any());
        if let (Ok(name), true) = (name, decides(&worker, caches).as_ref() == Some(coordinator)) {
            workers.entry(name).or_insert(worker);
        }
    }
    workers
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use kube::runtime::watcher::Event;
    use muster_api::TEMPORARY_LABEL;
    use serde_json::{Value, json};

    use super::*;
    use crate::gather::{Probed, Remembered, gather};
    use crate::secrets::Named;

    const AT: [&str; 2] = ["2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"];

    /// The caches of a namespace with these objects.
    fn caches(objects: &[Value]) -> Caches {
        let (coordinators, mut coordinator_writer) = kube::runtime::reflector::store();
        let (worker_store, _) = kube::runtime::reflector::store();
        let caches = Caches::new(coordinators, worker_store);
        for object in objects {
            let object = object.clone();
            match object["kind"].as_str().unwrap() {
                "Coordinator" => {
                    coordinator_writer
                        .apply_watcher_event(&Event::Apply(serde_json::from_value(object).unwrap()));
                }
                "Worker" => drop(caches.workers.note(Event::Apply(serde_json::from_value(object).unwrap()))),
                "StatefulSet" => {
                    drop(caches.stateful_sets.note(Event::Apply(serde_json::from_value(object).unwrap())));
                }
                other => panic!("{other}"),
            }
        }
        caches
    }

    fn coordinator(name: &str, created: &str, spec: &Value) -> Value {
        json!({"kind": "Coordinator", "spec": spec,
               "metadata": {"name": name, "namespace": "n", "uid": format!("c-{name}"), "creationTimestamp": created}})
    }

    fn worker(name: &str, created: &str, spec: &Value) -> Value {
        json!({"kind": "Worker", "spec": spec,
               "metadata": {"name": name, "namespace": "n", "uid": format!("w-{name}"), "creationTimestamp": created}})
    }

    fn set(name: &str, coordinator: &str, owner: &str) -> Value {
        let owner = json!([{"apiVersion": "muster.dev/v1alpha1", "kind": "Worker", "name": name, "uid": owner,
                            "controller": true}]);
        let labels = json!({ COORDINATOR_LABEL: coordinator, APPLICATION_LABEL: name });
        json!({"kind": "StatefulSet", "metadata": {"name": name, "namespace": "n", "labels": labels,
               "ownerReferences": owner},
               "spec": {"replicas": 1, "selector": {}, "serviceName": name, "template": {}}})
    }

    fn key(name: &str) -> Key {
        Key::new("n", name)
    }

    fn decided_by(name: &str, caches: &Caches) -> Option<String> {
        decides(&caches.workers.get(&key(name)).unwrap(), caches).map(|key| key.name)
    }

    fn mimir() -> Value {
        json!({ "product": "mimir" })
    }

    #[test]
    fn the_older_of_one_name_has_it_and_a_running_worker_is_not_taken_away() {
        let old = |first: &str| {
            let (c, w) = if first == "Coordinator" { (AT[0], AT[1]) } else { (AT[1], AT[0]) };
            vec![coordinator("x", c, &mimir()), worker("x", w, &json!({"coordinator": "mimir"}))]
        };
        let with = |mut objects: Vec<Value>, more: &[Value]| {
            objects.push(coordinator("mimir", AT[0], &mimir()));
            objects.extend_from_slice(more);
            caches(&objects)
        };
        let by_age = with(old("Coordinator"), &[]);
        assert_eq!((holder(&key("x"), &by_age), decided_by("x", &by_age)), (Some(Holder::Coordinator), None));
        let by_age = with(old("Worker"), &[]);
        assert_eq!(holder(&key("x"), &by_age), Some(Holder::Worker));
        assert_eq!(decided_by("x", &by_age), Some("mimir".to_owned()));
        let runs = with(old("Coordinator"), &[set("x", "mimir", "w-x")]);
        assert_eq!(holder(&key("x"), &runs), Some(Holder::Worker));
        let runs = with(old("Worker"), &[set("x", "x", "c-x")]);
        assert_eq!(holder(&key("x"), &runs), Some(Holder::Coordinator));
        assert_eq!(holder(&key("mimir"), &runs), None);
        // Nobody waits for a coordinator that has no name.
        let names_it = with(old("Worker"), &[worker("other", AT[0], &json!({"coordinator": "x"}))]);
        assert_eq!(decided_by("other", &names_it), None);
        let other = names_it.workers.get(&key("other")).unwrap();
        assert_eq!(silent_coordinator(&other, &names_it), Some((key("x"), false)));
    }

    #[test]
    fn a_worker_that_cannot_be_read_stays_with_the_coordinator_that_its_units_obey() {
        let bad = worker("w", AT[0], &json!({"coordinator": "mimir", "units": "many"}));
        let lost = caches(&[coordinator("mimir", AT[0], &mimir()), bad.clone()]);
        assert_eq!(decided_by("w", &lost), None);
        let runs = caches(&[coordinator("mimir", AT[0], &mimir()), bad, set("w", "mimir", "w-w")]);
        assert_eq!(decided_by("w", &runs), Some("mimir".to_owned()));
        let attached = attached_workers(&key("mimir"), &runs);
        assert!(attached.values().all(|worker| worker.0.is_err()) && attached.len() == 1);
    }

    #[test]
    fn a_temporary_worker_is_told_from_those_of_users() {
        let gathered = |more: Value| {
            let caches = caches(&[coordinator("mimir", AT[0], &mimir()), more]);
            let name = AppName::new("mimir").unwrap();
            let object: Coordinator = serde_json::from_value(coordinator("mimir", AT[0], &mimir())).unwrap();
            let remembered = Remembered { carry: None, obstacles: Vec::new(), awaited: &BTreeSet::new() };
            let (probed, named) = (Probed::new(), Named::default());
            let observed =
                gather(&key("mimir"), &name, &object, &caches, &probed, &named, remembered).observed;
            let temporary = observed.workers.values().any(|worker| worker.temporary);
            (temporary, observed.temporary_name_taken)
        };
        let with_label = |mut worker: Value| {
            worker["metadata"]["labels"] = json!({ TEMPORARY_LABEL: "true" });
            worker
        };
        let related = json!({"coordinator": "mimir"});
        let name = "mimir-transition";
        assert_eq!(gathered(with_label(worker(name, AT[1], &related))), (true, false));
        // What merely has the label or the name is a user's.
        assert_eq!(gathered(with_label(worker("w", AT[1], &related))), (false, false));
        assert_eq!(gathered(worker(name, AT[1], &related)), (false, false));
        assert_eq!(gathered(worker(name, AT[1], &json!({}))), (false, true));
        assert_eq!(gathered(coordinator(name, AT[1], &mimir())), (false, true));
    }

    #[test]
    fn no_other_coordinator_takes_units_from_one_that_cannot_be_read() {
        let caches = caches(&[
            coordinator("a", AT[0], &json!({"product": 1})),
            coordinator("b", AT[0], &mimir()),
            worker("w", AT[0], &json!({"coordinator": "b"})),
            set("w", "a", "w-w"),
        ]);
        assert_eq!(decided_by("w", &caches), None);
        let worker = caches.workers.get(&key("w")).unwrap();
        assert_eq!(silent_coordinator(&worker, &caches).map(|(key, _)| key), Some(key("a")));
    }
}
