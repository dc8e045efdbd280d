//! Documents as users write them: a YAML stream of Coordinators, Workers and Secrets.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::Secret;
use muster_model::{AppName, yaml};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{API_VERSION, Coordinator, Worker};

/// One document of a model. Its `Debug` shows no Secret's values.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged, try_from = "Value")]
pub enum Document {
    /// A coordinator application.
    Coordinator(Box<Coordinator>),
    /// A worker application.
    Worker(Box<Worker>),
    /// A Secret: the S3 relation, or a server certificate.
    Secret(Box<Secret>),
}

impl TryFrom<Value> for Document {
    type Error = String;

    fn try_from(value: Value) -> Result<Self, String> {
        Self::from_value(value)
    }
}

impl std::fmt::Debug for Document {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Coordinator(coordinator) => coordinator.fmt(f),
            Self::Worker(worker) => worker.fmt(f),
            Self::Secret(secret) => {
                let keys: BTreeSet<&String> = secret
                    .data
                    .iter()
                    .flat_map(BTreeMap::keys)
                    .chain(secret.string_data.iter().flat_map(BTreeMap::keys))
                    .collect();
                let mut shown = f.debug_struct("Secret");
                shown.field("name", &secret.metadata.name).field("type", &secret.type_).field("keys", &keys);
                shown.finish_non_exhaustive()
            }
        }
    }
}

/// The kinds of documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Kind {
    /// [`Coordinator`].
    Coordinator,
    /// [`Worker`].
    Worker,
    /// [`Secret`].
    Secret,
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Coordinator => "Coordinator",
            Self::Worker => "Worker",
            Self::Secret => "Secret",
        })
    }
}

/// Why a text is no stream of documents.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// Not YAML, or not within the limits.
    #[error("{0}")]
    Yaml(#[from] yaml::YamlError),
    /// One document is not as it should be.
    #[error("document {index}{}: {message}", .name.as_ref().map(|n| format!(" ({n})")).unwrap_or_default())]
    Document {
        /// Which one, counted from 1.
        index: usize,
        /// `Kind name`, as far as it could be read.
        name: Option<String>,
        /// What is wrong and what to write instead.
        message: String,
    },
}

impl Document {
    /// Reads a YAML stream. Unknown kinds, unknown fields, missing or unusable names are errors that say which
    /// document and what to write.
    pub fn parse_stream(text: &str) -> Result<Vec<Self>, DocumentError> {
        let mut documents = Vec::new();
        for (position, value) in yaml::documents::<Value>(text)?.into_iter().enumerate() {
            if value.is_null() {
                continue;
            }
            let name = label(&value);
            let document = Self::from_value(value).map_err(|message| DocumentError::Document {
                index: position + 1,
                name,
                message,
            })?;
            documents.push(document);
        }
        Ok(documents)
    }

    /// Reads one document from its JSON form.
    pub fn from_value(value: Value) -> Result<Self, String> {
        let text = |key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (kind, version) = (text("kind"), text("apiVersion"));
        let expect = |wanted: &str| {
            if version == wanted {
                Ok(())
            } else {
                Err(format!("apiVersion is {version:?}; write {wanted:?}"))
            }
        };
        let document = match kind.as_str() {
            "Coordinator" => {
                expect(API_VERSION)?;
                Self::Coordinator(Box::new(read(value)?))
            }
            "Worker" => {
                expect(API_VERSION)?;
                Self::Worker(Box::new(read(value)?))
            }
            "Secret" => {
                expect("v1")?;
                Self::Secret(Box::new(read(value)?))
            }
            "" => return Err("\"kind\" is missing; write Coordinator, Worker or Secret".to_owned()),
            other => return Err(format!("kind {other:?} is not known; write Coordinator, Worker or Secret")),
        };
        document.name()?;
        Ok(document)
    }

    /// The document's kind.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Coordinator(_) => Kind::Coordinator,
            Self::Worker(_) => Kind::Worker,
            Self::Secret(_) => Kind::Secret,
        }
    }

    /// `metadata.name`, checked.
    pub fn name(&self) -> Result<AppName, String> {
        let name = match self {
            Self::Coordinator(c) => &c.metadata.name,
            Self::Worker(w) => &w.metadata.name,
            Self::Secret(s) => &s.metadata.name,
        };
        let name = name.as_deref().ok_or("\"metadata.name\" is missing")?;
        AppName::new(name).map_err(|e| e.to_string())
    }
}

/// All values of a Secret as text: `data` decoded, then `stringData` over it. A value that is not UTF-8 is an error.
pub fn secret_values(secret: &Secret) -> Result<BTreeMap<String, muster_model::Secret>, String> {
    let mut values = BTreeMap::new();
    for (key, bytes) in secret.data.iter().flatten() {
        let text =
            String::from_utf8(bytes.0.clone()).map_err(|_| format!("key {key:?} is not UTF-8 text"))?;
        values.insert(key.clone(), muster_model::Secret::new(text));
    }
    for (key, text) in secret.string_data.iter().flatten() {
        values.insert(key.clone(), muster_model::Secret::new(text.clone()));
    }
    Ok(values)
}

fn label(value: &Value) -> Option<String> {
    let kind = value.get("kind")?.as_str()?;
    let name = value.pointer("/metadata/name").and_then(Value::as_str).unwrap_or("without a name");
    Some(format!("{kind} {name}"))
}

/// Reads a document strictly. The kinds themselves do not: what the API server has may be of a newer version.
fn read<T: serde::de::DeserializeOwned>(value: Value) -> Result<T, String> {
    let mut unknown = None;
    let mut note = |path: serde_ignored::Path<'_>| {
        let path = path.to_string();
        // The first two were looked at, and nobody but Muster writes a status.
        let is_known = ["apiVersion", "kind"].contains(&path.as_str()) || path.starts_with("status");
        if !is_known && unknown.is_none() {
            unknown = Some(unknown_field(&path));
        }
    };
    let read = serde_path_to_error::deserialize(serde_ignored::Deserializer::new(value, &mut note));
    let read = read.map_err(|e| {
        let path = e.path().to_string();
        let inner = e.into_inner();
        if path == "." { inner.to_string() } else { format!("{path}: {inner}") }
    })?;
    unknown.map_or(Ok(read), Err)
}

/// Says of a path that nothing is known there. What is optional is marked in it by `?`.
fn unknown_field(path: &str) -> String {
    let steps: Vec<&str> = path.split('.').filter(|step| *step != "?").collect();
    match steps.split_last() {
        Some((field, above)) if !above.is_empty() => format!("{}: unknown field `{field}`", above.join(".")),
        _ => format!("unknown field `{path}`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "
apiVersion: muster.dev/v1alpha1
kind: Coordinator
metadata: {name: mimir}
spec: {product: mimir, s3: {secret: s3}, config: {retention-period: 30d, replication-factor: 3}}
---
apiVersion: muster.dev/v1alpha1
kind: Worker
metadata: {name: mimir-worker}
spec: {coordinator: mimir}
---
apiVersion: v1
kind: Secret
metadata: {name: s3}
type: muster.dev/s3
stringData: {endpoint: 'http://127.0.0.1:9000'}
";

    fn check_refused(text: &str, expect: &str) {
        let error = Document::parse_stream(text).unwrap_err().to_string();
        assert!(error.contains(expect), "{error:?} lacks {expect:?}");
    }

    #[test]
    fn a_stream_is_read_with_defaults() {
        let documents = Document::parse_stream(GOOD).unwrap();
        assert_eq!(
            documents.iter().map(Document::kind).collect::<Vec<_>>(),
            [Kind::Coordinator, Kind::Worker, Kind::Secret]
        );
        let Document::Worker(worker) = &documents[1] else { panic!("{documents:?}") };
        assert_eq!((worker.spec.units, worker.spec.roles.get("all")), (1, Some(&true)));
        let shown = format!("{:?}", documents[2]);
        assert!(shown.contains("endpoint") && !shown.contains("127.0.0.1"), "{shown}");
        for document in documents {
            let again = Document::from_value(serde_json::to_value(&document).unwrap()).unwrap();
            assert_eq!(again, document);
        }
    }

    #[test]
    fn a_kind_is_what_it_says_and_what_the_api_server_has_may_be_newer() {
        let newer = serde_json::json!({
            "apiVersion": API_VERSION, "kind": "Worker", "metadata": { "name": "w" },
            "spec": { "product": "mimir", "coordinator": "m", "colour": "red", "storage": { "colour": "red" } },
        });
        assert!(serde_json::from_value::<Document>(newer.clone()).is_err());
        let worker: Worker = serde_json::from_value(newer.clone()).unwrap();
        assert_eq!(worker.spec.coordinator.as_deref(), Some("m"));
        let known = serde_json::to_value(worker).unwrap();
        assert_eq!(serde_json::from_value::<Document>(known).unwrap().kind(), Kind::Worker);
    }

    #[test]
    fn bad_documents_are_refused_with_their_place() {
        check_refused(
            &GOOD.replace("coordinator: mimir", "coordinator: mimir, colour: red"),
            "document 2 (Worker mimir-worker): spec: unknown field `colour`",
        );
        let storage = "coordinator: mimir, storage: {size: 1Gi, colour: red}";
        check_refused(&GOOD.replace("coordinator: mimir", storage), "spec.storage: unknown field `colour`");
        let spread = "coordinator: mimir, tolerations: [{kye: x}]";
        check_refused(&GOOD.replace("coordinator: mimir", spread), "spec.tolerations.0: unknown field `kye`");
        check_refused(&GOOD.replace("stringData", "stringdata"), "unknown field `stringdata`");
        check_refused(&GOOD.replace("coordinator: mimir", "units: -1"), "spec.units");
        check_refused(&GOOD.replace("kind: Worker", "kind: Pod"), "kind \"Pod\" is not known");
        check_refused(&GOOD.replace("name: mimir-worker", "name: Mimir_Worker"), "is not usable");
        check_refused(&GOOD.replace("v1alpha1", "v9"), "apiVersion");
        check_refused("- 1\n", "\"kind\" is missing");
        check_refused("kind: Worker\nkind: Worker\n", "duplicate");
    }
}
