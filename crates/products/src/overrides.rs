//! Users' overrides of the generated config, and the paths that are not theirs.

use muster_model::yaml;
use serde_json::{Map, Value};

use crate::placeholder;

/// An override that touches a setting which Muster sets itself.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
#[error("override {path:?} is set by Muster: {instead}")]
pub struct OwnedOverride {
    /// The path of the override, its keys joined by dots.
    pub path: String,
    /// What to do instead. Commands in it speak of `COORDINATOR`.
    pub instead: &'static str,
}

impl OwnedOverride {
    /// The same for a coordinator that has a name.
    #[must_use]
    pub fn said_of(&self, coordinator: &str) -> String {
        let instead = self.instead.replace("COORDINATOR", coordinator);
        format!("override {:?} is set by Muster: {instead}", self.path)
    }
}

/// A setting, or a whole section, that Muster owns.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Owned {
    /// Keys joined by dots. Everything below is owned as well.
    pub(crate) path: &'static str,
    /// What to do instead.
    pub(crate) instead: &'static str,
}

/// An entry of a product's list.
pub(crate) const fn owned(path: &'static str, instead: &'static str) -> Owned {
    Owned { path, instead }
}

pub(crate) const UNIT: &str = "remove it, each unit has its own";
pub(crate) const RINGS: &str = "remove it, all units must agree on their rings";
pub(crate) const STORE: &str = "change the S3 relation";
pub(crate) const REPLICAS: &str = "set the option replication-factor";
pub(crate) const LEAVING: &str = "remove it, whether a unit leaves or restarts is told when it stops";
pub(crate) const PORT: &str = "remove it, the load balancer and the agents count on the port";
pub(crate) const PEER_PORT: &str = "remove it, units count on each other's port";
pub(crate) const LABEL: &str = "remove it, it tells this cluster from others";
pub(crate) const FIRST: &str = "remove it, the first unit has nobody to join";
pub(crate) const TLS: &str = "set tls of the coordinator";
pub(crate) const TENANTS: &str =
    "remove it, the load balancer must know; set the option: muster config COORDINATOR multi-tenancy=true";

/// The overrides that touch an owned path: by naming it, something below it, or by replacing or removing something above it.
pub(crate) fn touched(overrides: &Map<String, Value>, owned: &[Owned]) -> Vec<OwnedOverride> {
    let mut found = Vec::new();
    visit(overrides, &mut Vec::new(), &mut |path| {
        let first = owned.iter().find(|owned| touches(path, owned.path));
        found.extend(first.map(|owned| OwnedOverride { path: path.join("."), instead: owned.instead }));
    });
    found
}

/// The YAML of a generated config with overrides.
pub(crate) fn document(generated: Value, overrides: Option<&Map<String, Value>>, owned: &[Owned]) -> String {
    let mut tree = generated;
    if let (Some(tree), Some(overrides)) = (tree.as_object_mut(), overrides) {
        merge(tree, overrides, owned);
    }
    // Equal overrides must give equal bytes whatever the order of their keys, also if maps keep their order.
    tree.sort_all_objects();
    yaml::to_string(&tree).expect("a tree of texts, finite numbers, lists and maps has a YAML form")
}

/// Merges overrides into the generated tree: maps deeply, lists and scalars replaced, null removes. Texts stay
/// what they are, also where they look like placeholders. What touches an owned path is left out.
fn merge(base: &mut Map<String, Value>, overrides: &Map<String, Value>, owned: &[Owned]) {
    merge_at(base, overrides, owned, &mut Vec::new());
}

fn merge_at<'a>(
    base: &mut Map<String, Value>,
    overrides: &'a Map<String, Value>,
    owned: &[Owned],
    path: &mut Vec<&'a str>,
) {
    for (key, value) in overrides {
        path.push(key);
        match value {
            _ if owned.iter().any(|owned| is_within(path, owned.path)) => {}
            Value::Object(entries) => {
                let below = match base.get_mut(key) {
                    Some(Value::Object(below)) => {
                        merge_at(below, entries, owned, path);
                        None
                    }
                    _ => {
                        let mut fresh = Map::new();
                        merge_at(&mut fresh, entries, owned, path);
                        Some(fresh).filter(|fresh| !fresh.is_empty())
                    }
                };
                base.extend(below.map(|below| (key.clone(), below.into())));
            }
            _ if owned.iter().any(|owned| touches(path, owned.path)) => {}
            Value::Null => drop(base.remove(key)),
            value => drop(base.insert(key.clone(), escaped(value))),
        }
        path.pop();
    }
}

fn escaped(value: &Value) -> Value {
    match value {
        Value::String(text) => placeholder::literal(text).into(),
        Value::Array(items) => items.iter().map(escaped).collect(),
        Value::Object(entries) => entries.iter().map(|(key, value)| (key.clone(), escaped(value))).collect(),
        scalar @ (Value::Null | Value::Bool(_) | Value::Number(_)) => scalar.clone(),
    }
}

/// Calls `leaf` with the path of everything that is not a map.
fn visit<'a>(entries: &'a Map<String, Value>, path: &mut Vec<&'a str>, leaf: &mut impl FnMut(&[&str])) {
    for (key, value) in entries {
        path.push(key);
        match value {
            Value::Object(entries) => visit(entries, path, leaf),
            _ => leaf(path),
        }
        path.pop();
    }
}

/// Whether one of the two paths leads to or through the other.
fn touches(path: &[&str], owned: &str) -> bool {
    path.iter().zip(owned.split('.')).all(|(key, owned)| *key == owned)
}

/// Whether `path` leads to what is owned or to something below it.
fn is_within(path: &[&str], owned: &str) -> bool {
    path.len() >= owned.split('.').count() && touches(path, owned)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const OWNED: &[Owned] =
        &[Owned { path: "a.b", instead: "leave it" }, Owned { path: "s", instead: "leave it too" }];

    fn map(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    fn merged(base: Value, overrides: Value) -> Value {
        let mut base = map(base);
        merge(&mut base, &map(overrides), OWNED);
        base.into()
    }

    #[test]
    fn maps_merge_others_replace_null_removes() {
        let base = json!({ "x": { "y": 1, "z": [1, 2] }, "gone": { "q": 1 }, "n": 1 });
        let overrides = json!({ "x": { "z": [3], "new": { "deep": null, "k": "v" } }, "gone": null, "n": { "m": 1 }, "absent": null });
        let expected = json!({ "x": { "y": 1, "z": [3], "new": { "k": "v" } }, "n": { "m": 1 } });
        assert_eq!(merged(base, overrides), expected);
    }

    #[test]
    fn owned_paths_are_named_and_left_out() {
        let base = json!({ "a": { "b": 1, "c": 1 }, "s": { "t": 1 } });
        for (overrides, named) in [
            (json!({ "a": { "b": 2 } }), "a.b"),
            (json!({ "a": { "b": { "deeper": 2 } } }), "a.b.deeper"),
            (json!({ "a": null }), "a"),
            (json!({ "a": [] }), "a"),
            (json!({ "s": { "t": null } }), "s.t"),
            (json!({ "s": "text" }), "s"),
        ] {
            let found = touched(&map(overrides.clone()), OWNED);
            assert_eq!(found.iter().map(|o| o.path.as_str()).collect::<Vec<_>>(), [named], "{overrides}");
            assert_eq!(merged(base.clone(), overrides.clone()), base, "{overrides}");
        }
        for free in [
            json!({ "a": { "c": 2 } }),
            json!({ "a": {} }),
            json!({ "a.b": 1 }),
            json!({ "b": 1 }),
            json!({}),
        ] {
            assert_eq!(touched(&map(free.clone()), OWNED), [], "{free}");
        }
        let message = touched(&map(json!({ "a": null })), OWNED)[0].to_string();
        assert_eq!(message, "override \"a\" is set by Muster: leave it");
    }
}
