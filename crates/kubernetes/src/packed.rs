//! Objects with their largest parts as text.
//!
//! Typed, the pods' part of a StatefulSet is by far the most of all that is cached: a volume alone takes 3 kB, whatever it says.
//! As text all of it takes about as much.

use std::borrow::Cow;
use std::ops::{Deref, DerefMut};

use k8s_openapi::api::apps::v1::StatefulSet;
use kube::Resource;
use kube::core::ObjectMeta;
use muster_api::Unit;
use serde::de::{DeserializeOwned, Error as _};
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

/// What of a kind is packed.
pub(crate) trait Parts {
    /// The places in an object, as JSON pointers. Without them it can still be read.
    const AT: &'static [&'static str];
}

impl Parts for StatefulSet {
    const AT: &'static [&'static str] = &["/spec/template/spec"];
}

/// Where a Unit has its assignment.
pub(crate) const ASSIGNMENT: &str = "/spec/assignment";
/// Where a Unit has its report.
pub(crate) const REPORT: &str = "/status/report";

impl Parts for Unit {
    const AT: &'static [&'static str] = &[ASSIGNMENT, REPORT];
}

/// An object without its packed parts, and these as JSON texts.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Packed<K> {
    object: K,
    /// As many as the kind has places; `None` where the object has nothing.
    texts: Vec<Option<Box<str>>>,
}

impl<K: Parts> Packed<K> {
    /// What stands at one of the kind's places. Nothing: there is nothing, or null.
    pub(crate) fn part<T: DeserializeOwned>(&self, at: &str) -> Result<Option<T>, serde_json::Error> {
        let place = K::AT.iter().position(|place| *place == at);
        let text = place.and_then(|place| self.texts.get(place)?.as_deref());
        text.map(serde_json::from_str).transpose()
    }
}

/// Without what is packed.
impl<K> Deref for Packed<K> {
    type Target = K;

    fn deref(&self) -> &K {
        &self.object
    }
}

impl<K> DerefMut for Packed<K> {
    fn deref_mut(&mut self) -> &mut K {
        &mut self.object
    }
}

impl<'de, K: Parts + DeserializeOwned> Deserialize<'de> for Packed<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut value = Value::deserialize(deserializer)?;
        let mut pack = |at: &&str| {
            let part = value.pointer_mut(at).map(Value::take).filter(|part| !part.is_null());
            part.map(|part| part.to_string().into_boxed_str())
        };
        let texts = K::AT.iter().map(&mut pack).collect();
        let object = serde_json::from_value(value).map_err(D::Error::custom)?;
        Ok(Self { object, texts })
    }
}

/// The whole object.
impl<K: Parts + Serialize> Serialize for Packed<K> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut value = serde_json::to_value(&self.object).map_err(S::Error::custom)?;
        for (at, text) in K::AT.iter().zip(&self.texts) {
            let Some(text) = text else { continue };
            let part: Value = serde_json::from_str(text).map_err(S::Error::custom)?;
            let place = at.rsplit_once('/').and_then(|(map, key)| {
                let map = value.pointer_mut(map)?.as_object_mut()?;
                Some(map.entry(key).or_insert(Value::Null))
            });
            if let Some(place) = place {
                *place = part;
            }
        }
        value.serialize(serializer)
    }
}

impl<K: Resource> Resource for Packed<K> {
    type DynamicType = K::DynamicType;
    type Scope = K::Scope;

    fn kind(dynamic: &Self::DynamicType) -> Cow<'_, str> {
        K::kind(dynamic)
    }

    fn group(dynamic: &Self::DynamicType) -> Cow<'_, str> {
        K::group(dynamic)
    }

    fn version(dynamic: &Self::DynamicType) -> Cow<'_, str> {
        K::version(dynamic)
    }

    fn plural(dynamic: &Self::DynamicType) -> Cow<'_, str> {
        K::plural(dynamic)
    }

    fn meta(&self) -> &ObjectMeta {
        self.object.meta()
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        self.object.meta_mut()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn nothing_is_lost_by_packing() {
        let unit = json!({
            "apiVersion": "muster.dev/v1alpha1", "kind": "Unit", "metadata": {"name": "w-0"},
            "spec": {"application": "w", "coordinator": "c", "assignment": {"epoch": 7, "unknown": [1, "é"]}},
            "status": {"report": {"ready": true}},
        });
        let packed: Packed<Unit> = serde_json::from_value(unit.clone()).unwrap();
        assert_eq!(packed.spec.assignment, None);
        assert_eq!(packed.part::<Value>(ASSIGNMENT).unwrap(), Some(unit["spec"]["assignment"].clone()));
        assert_eq!(packed.part::<Value>(REPORT).unwrap(), Some(json!({"ready": true})));
        assert_eq!(serde_json::to_value(&packed).unwrap(), unit);
        let bare = json!({"apiVersion": "muster.dev/v1alpha1", "kind": "Unit", "metadata": {}, "spec": {}});
        let packed: Packed<Unit> = serde_json::from_value(bare).unwrap();
        assert_eq!(packed.part::<Value>(REPORT).unwrap(), None);

        let set = json!({
            "apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "w"},
            "spec": {"selector": {}, "serviceName": "w",
                     "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "x"}]}}},
            "status": {"replicas": 2},
        });
        let packed: Packed<StatefulSet> = serde_json::from_value(set.clone()).unwrap();
        assert!(packed.spec.as_ref().unwrap().template.spec.is_none());
        assert_eq!(serde_json::to_value(&packed).unwrap(), set);
    }
}
