//! Coordinators, workers and Secrets as the API server has them and as verbs see them, and edits of them as patches.

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{DynamicObject, ObjectMeta};
use muster_api::{API_VERSION, Document, Kind};
use muster_manifests::names::CONSENT_ANNOTATIONS;
use muster_model::AppName;
use serde_json::{Map, Value, json};

use crate::failure::Failure;

/// Where `kubectl apply` keeps all that it was given: of a Secret, its values too.
const LAST_APPLIED_ANNOTATION: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// A coordinator or worker as the API server has it.
#[derive(Debug)]
pub(crate) struct Found {
    /// Which of the two.
    pub(crate) kind: Kind,
    /// Its name.
    pub(crate) name: AppName,
    /// The document without its status, or why this muster cannot read it.
    pub(crate) document: Result<Document, String>,
    /// Its status, null where it has none.
    pub(crate) status: Value,
    /// The generation of its spec.
    pub(crate) generation: Option<i64>,
    /// Whether it is on its way out.
    pub(crate) removing: bool,
}

impl Found {
    /// Takes an object apart. One without a usable name is none that verbs could name.
    pub(crate) fn new(kind: Kind, mut object: DynamicObject) -> Option<Self> {
        let name = AppName::new(object.metadata.name.clone()?).ok()?;
        let document = json!({
            "apiVersion": API_VERSION,
            "kind": kind,
            "metadata": kept(&object.metadata),
            "spec": object.data["spec"].take(),
        });
        Some(Self {
            kind,
            name,
            document: Document::from_value(document).map_err(|problem| {
                format!(
                    "it cannot be read ({problem}); the cluster may have a newer Muster: use its version of muster"
                )
            }),
            status: object.data["status"].take(),
            generation: object.metadata.generation,
            removing: object.metadata.deletion_timestamp.is_some(),
        })
    }
}

/// A Secret as a document.
pub(crate) fn of_secret(secret: Secret) -> Document {
    Document::Secret(Box::new(Secret { metadata: kept(&secret.metadata), ..secret }))
}

/// What verbs need of an object's metadata.
fn kept(metadata: &ObjectMeta) -> ObjectMeta {
    let annotations = metadata.annotations.clone().map(|mut annotations| {
        // A consent is for one unit of this very model.
        annotations.retain(|key, _| key != LAST_APPLIED_ANNOTATION && !key.starts_with(CONSENT_ANNOTATIONS));
        annotations
    });
    ObjectMeta {
        name: metadata.name.clone(),
        labels: metadata.labels.clone(),
        annotations: annotations.filter(|annotations| !annotations.is_empty()),
        resource_version: metadata.resource_version.clone(),
        deletion_timestamp: metadata.deletion_timestamp.clone(),
        ..ObjectMeta::default()
    }
}

/// A document's metadata.
pub(crate) fn metadata(document: &Document) -> &ObjectMeta {
    match document {
        Document::Coordinator(coordinator) => &coordinator.metadata,
        Document::Worker(worker) => &worker.metadata,
        Document::Secret(secret) => &secret.metadata,
    }
}

/// A document's metadata.
pub(crate) fn metadata_mut(document: &mut Document) -> &mut ObjectMeta {
    match document {
        Document::Coordinator(coordinator) => &mut coordinator.metadata,
        Document::Worker(worker) => &mut worker.metadata,
        Document::Secret(secret) => &mut secret.metadata,
    }
}

/// A document as an object to make.
pub(crate) fn object(document: &Document) -> Result<DynamicObject, Failure> {
    let value = serde_json::to_value(document).map_err(Failure::new)?;
    serde_json::from_value(value).map_err(Failure::new)
}

/// The JSON merge patch from one form of a document to another, refused by the API server if the object is not the
/// one that was read any more. Fields that this muster does not know stay as they are. `None` where nothing differs.
pub(crate) fn patch(before: &Document, wanted: &Document) -> Result<Option<Value>, Failure> {
    let Some(Value::Object(mut patch)) = difference(&content(before)?, &content(wanted)?) else {
        return Ok(None);
    };
    if let Some(version) = &metadata(before).resource_version {
        patch.insert("metadata".to_owned(), json!({ "resourceVersion": version }));
    }
    Ok(Some(Value::Object(patch)))
}

/// What verbs edit of a document. A Secret's texts are among its data, as the API server keeps them.
fn content(document: &Document) -> Result<Value, Failure> {
    let document = match document {
        Document::Secret(secret) => {
            let mut secret = secret.clone();
            let texts = secret.string_data.take().unwrap_or_default();
            let data = secret.data.get_or_insert_default();
            data.extend(texts.into_iter().map(|(key, text)| (key, ByteString(text.into_bytes()))));
            Document::Secret(secret)
        }
        other => other.clone(),
    };
    let mut value = serde_json::to_value(&document).map_err(Failure::new)?;
    if let Some(fields) = value.as_object_mut() {
        fields.retain(|field, _| field != "metadata" && field != "status");
    }
    Ok(value)
}

/// What of `wanted` is not in `before`, and null for what is only there.
fn difference(before: &Value, wanted: &Value) -> Option<Value> {
    let (Value::Object(before), Value::Object(wanted)) = (before, wanted) else {
        return (before != wanted).then(|| wanted.clone());
    };
    let mut patch = Map::new();
    for (field, value) in wanted {
        let change = match before.get(field) {
            Some(now) => difference(now, value),
            None => Some(value.clone()),
        };
        patch.extend(change.map(|change| (field.clone(), change)));
    }
    let gone = before.keys().filter(|field| !wanted.contains_key(*field));
    patch.extend(gone.map(|field| (field.clone(), Value::Null)));
    (!patch.is_empty()).then_some(Value::Object(patch))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::documents;

    fn object(value: Value) -> DynamicObject {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn an_edit_is_a_patch_of_what_it_changes_only() {
        let all = documents("");
        assert_eq!(patch(&all[1], &all[1]).unwrap(), None);
        let Document::Worker(worker) = &all[1] else { panic!() };
        let mut before = worker.clone();
        before.metadata.resource_version = Some("7".to_owned());
        let mut wanted = before.clone();
        wanted.spec.units = 3;
        wanted.spec.coordinator = None;
        wanted.spec.roles = [("read".to_owned(), true), ("write".to_owned(), true)].into();
        let patch = patch(&Document::Worker(before), &Document::Worker(wanted)).unwrap();
        let expected = json!({
            "metadata": { "resourceVersion": "7" },
            "spec": { "units": 3, "coordinator": null, "roles": { "all": null, "write": true } },
        });
        assert_eq!(patch, Some(expected));
    }

    #[test]
    fn a_secret_s_texts_are_patched_where_they_are_kept() {
        let mut before = Secret::default();
        let data = [("endpoint", "http://h"), ("bucket", "b"), ("secret-key", "hunter2")];
        before.data =
            Some(data.map(|(key, text)| (key.to_owned(), ByteString(text.as_bytes().to_vec()))).into());
        let mut wanted = before.clone();
        wanted.data = None;
        wanted.string_data = Some(
            [("endpoint", "http://h"), ("bucket", "c")].map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
        );
        let (before, wanted) = (Document::Secret(Box::new(before)), Document::Secret(Box::new(wanted)));
        assert_eq!(
            patch(&before, &wanted).unwrap(),
            Some(json!({ "data": { "bucket": "Yw==", "secret-key": null } }))
        );
        assert_eq!(patch(&wanted, &wanted).unwrap(), None);
    }

    #[test]
    fn what_only_the_server_knows_is_not_handed_on() {
        let found = Found::new(
            Kind::Worker,
            object(json!({
                "apiVersion": API_VERSION, "kind": "Worker",
                "metadata": {
                    "name": "w", "uid": "1-2", "resourceVersion": "7", "generation": 3,
                    "managedFields": [{ "manager": "x" }],
                    "annotations": { LAST_APPLIED_ANNOTATION: "hunter2", "mine": "kept" },
                },
                "spec": { "units": 2 },
                "status": { "status": "active" },
            })),
        )
        .unwrap();
        let document = serde_json::to_value(found.document.unwrap()).unwrap();
        let metadata = json!({ "name": "w", "resourceVersion": "7", "annotations": { "mine": "kept" } });
        assert_eq!(document["metadata"], metadata);
        assert_eq!(document["status"], Value::Null);
        assert_eq!((found.generation, found.status), (Some(3), json!({ "status": "active" })));
    }

    #[test]
    fn an_object_of_a_newer_version_is_found_all_the_same() {
        let newer = json!({ "metadata": { "name": "w" }, "spec": { "colour": "red" } });
        let found = Found::new(Kind::Worker, object(newer)).unwrap();
        let problem = found.document.unwrap_err();
        assert!(problem.contains("colour") && problem.contains("newer Muster"), "{problem}");
        assert!(Found::new(Kind::Worker, object(json!({ "metadata": { "name": "No_Name" } }))).is_none());
    }
}
