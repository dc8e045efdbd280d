//! All objects of a small and of a large deployment. `UPDATE_GOLDENS=1 cargo test -p muster-manifests` writes them again.

use std::path::Path;

use muster_manifests::{Object, UnitObject, unit};
use muster_model::yaml;
use serde_json::{Value, json};

use crate::deployments::{DISTRIBUTED, MONOLITHIC, Model, value};

fn golden(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("UPDATE_GOLDENS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(text, expected, "{name} differs; if that is meant, run with UPDATE_GOLDENS=1");
}

/// An object without what changes with every change of the shared config, which has goldens of its own.
fn shown(object: &Object) -> Value {
    let mut value = value(object);
    if matches!(object, Object::Secret(_)) {
        let entries = value["data"].as_object().unwrap().keys();
        let entry =
            |name: &String| if name.ends_with(".conf") { "REVISION.conf".into() } else { name.clone() };
        let names = entries.map(|name| (entry(name), json!("…")));
        value["data"] = names.collect::<serde_json::Map<_, _>>().into();
    }
    value
}

fn stream(values: impl Iterator<Item = Value>) -> String {
    values.map(|value| yaml::to_string(&value).unwrap()).collect::<Vec<_>>().join("---\n")
}

#[test]
fn monolithic() {
    let model = Model::parse(MONOLITHIC);
    let plan = model.last();
    let units = model.with_deployment(plan, |deployment| {
        let unit_of = |name, worker| {
            let coordinator = &model.cluster.observed.name;
            let pod_uid = Some(format!("uid of {name}"));
            let assignment = Some(json!({ "revision": "…" }));
            unit(deployment, coordinator, UnitObject { name, worker, pod_uid, assignment })
        };
        let units = plan.assignments.keys().map(|name| unit_of(name, model.workers.get(name.application())));
        units.map(|unit| serde_json::to_value(unit).unwrap()).collect::<Vec<_>>()
    });
    golden("monolithic.yaml", &stream(model.objects().iter().map(shown).chain(units)));
}

#[test]
fn distributed() {
    let model = Model::parse(DISTRIBUTED);
    golden("distributed.yaml", &stream(model.objects().iter().map(shown)));
}
