//! The options of an application: what `config` lists and changes. A coordinator keeps them in `spec.config`, a worker
//! as roles (`role-read` is `spec.roles.read`), an s3-integrator as the keys of its Secret.

use std::collections::{BTreeMap, BTreeSet};

use muster_api::{Document, OptionValue, secret_values};
use muster_model::{AppName, ObjectStorage, ObjectStorageProblem};
use muster_products::charm::{Charm, CharmKind, OptionKind};
use serde::Serialize;
use serde_json::Value;

use crate::applications::{ApplicationError, Applications};
use crate::failure::Failure;
use crate::settings::HIDDEN;

/// What a worker's options begin with.
const ROLE_PREFIX: &str = "role-";

/// One option with its value.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct OptionView {
    /// The value in force. Absent where there is none, and where it is hidden.
    pub(crate) value: Option<Value>,
    /// The charm's default.
    pub(crate) default: Option<Value>,
    /// Where the value comes from.
    pub(crate) source: Source,
    /// The type: `string`, `int`, `boolean` …
    #[serde(rename = "type")]
    pub(crate) kind: String,
    /// What it does.
    pub(crate) description: String,
    /// Whether the value is a secret, which is never printed.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) hidden: bool,
}

/// Where an option's value comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Source {
    /// A person set it.
    User,
    /// The charm.
    Default,
    /// A person set it, and the charm has no such option.
    Unknown,
    /// Neither a person nor the charm gives a value.
    Unset,
}

impl Source {
    /// The word that tables show.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Default => "default",
            Self::Unknown => "unknown",
            Self::Unset => "unset",
        }
    }
}

/// Why options cannot be listed or changed.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum OptionError {
    /// The application has no options, or is not there.
    #[error(transparent)]
    Application(#[from] ApplicationError),
    /// The charm refuses values. All refusals, not the first only.
    #[error("{}", .problems.join("; "))]
    Refused {
        /// The charm, which `muster explain options` describes.
        charm: String,
        /// What is wrong with each.
        problems: Vec<String>,
    },
    /// The Secret's values are not text.
    #[error("Secret {app}: {problem}")]
    Unreadable {
        /// The Secret.
        app: AppName,
        /// What is wrong.
        problem: String,
    },
}

impl From<OptionError> for Failure {
    fn from(error: OptionError) -> Self {
        let failure = Self::new(&error);
        match error {
            OptionError::Refused { charm, .. } => {
                failure.hint(format!("list the options of the charm: muster explain options {charm}"))
            }
            OptionError::Application(_) | OptionError::Unreadable { .. } => failure,
        }
    }
}

/// All options of an application by name.
pub(crate) fn list(apps: &Applications, app: &AppName) -> Result<BTreeMap<String, OptionView>, OptionError> {
    let charm = apps.charm(app)?;
    let given = given(app, apps.get(app)?, charm)?;
    let mut views = BTreeMap::new();
    for (name, option) in &charm.options {
        let hidden = is_hidden(charm, name);
        let default = option.default.clone();
        let source = match given.get(name) {
            // A worker always says something about `all`; what it says is a person's choice only if it differs.
            Some(value) if is_worker(charm) && Some(value) == default.as_ref() => Source::Default,
            Some(_) => Source::User,
            // A worker that lists roles has only those.
            None if default.is_none() => Source::Unset,
            None if is_worker(charm) && default == Some(Value::Bool(true)) => Source::User,
            None => Source::Default,
        };
        let value = match given.get(name) {
            Some(value) => Some(value.clone()),
            None if is_worker(charm) => Some(Value::Bool(false)),
            None => default.clone(),
        };
        let view = OptionView {
            value: value.filter(|_| !hidden),
            default,
            source,
            kind: kind_name(option.kind).to_owned(),
            description: option.description.clone(),
            hidden,
        };
        views.insert(name.clone(), view);
    }
    for (name, value) in given.iter().filter(|(name, _)| !charm.options.contains_key(*name)) {
        let view = OptionView {
            // The value of what is not known could be anything, in a Secret a secret.
            value: Some(value.clone()).filter(|_| charm.kind != CharmKind::S3Integrator),
            default: None,
            source: Source::Unknown,
            kind: "unknown".to_owned(),
            description: format!("{} has no such option; take it away with --reset {name}", charm.name),
            hidden: charm.kind == CharmKind::S3Integrator,
        };
        views.insert(name.clone(), view);
    }
    Ok(views)
}

/// The application's document with options changed. Only what is changed is judged, so that one of several mistakes
/// can be put right.
pub(crate) fn edit(
    apps: &Applications,
    app: &AppName,
    set: &BTreeMap<String, String>,
    reset: &[String],
) -> Result<Document, OptionError> {
    change(apps.charm(app)?, app, apps.get(app)?, set, reset)
}

/// [`edit`] for a document that need not be in the model yet.
pub(crate) fn change(
    charm: &'static Charm,
    app: &AppName,
    document: &Document,
    set: &BTreeMap<String, String>,
    reset: &[String],
) -> Result<Document, OptionError> {
    let mut values = given(app, document, charm)?;
    let mut problems = Vec::new();
    for key in reset {
        let known = charm.options.get(key);
        let was = values.remove(key);
        match known.map(|option| &option.default) {
            Some(Some(Value::Bool(true))) if is_worker(charm) => {
                values.insert(key.clone(), Value::Bool(true));
            }
            None if was.is_none() => problems.push(format!("{} has no option {key:?} to reset", charm.name)),
            _ => {}
        }
        if set.contains_key(key) {
            problems.push(format!("option {key} is both set and reset"));
        }
    }
    for (key, text) in set {
        match charm.parse(key, text) {
            Ok(value) => {
                values.insert(key.clone(), value);
            }
            Err(problem) => problems.push(problem.to_string()),
        }
    }
    if problems.is_empty() {
        let (_, found) = charm.validate(&values);
        problems.extend(found.iter().filter(|p| set.contains_key(&p.option)).map(ToString::to_string));
    }
    if problems.is_empty() && charm.kind == CharmKind::S3Integrator {
        let changed: BTreeSet<&str> = set.keys().map(String::as_str).collect();
        problems.extend(object_store_problems(&values, &changed));
    }
    if !problems.is_empty() {
        return Err(OptionError::Refused { charm: charm.name.clone(), problems });
    }
    Ok(with_values(document, values))
}

/// The type's name, as charms write it.
pub(crate) fn kind_name(kind: OptionKind) -> &'static str {
    match kind {
        OptionKind::String => "string",
        OptionKind::Int => "int",
        OptionKind::Boolean => "boolean",
    }
}

fn is_worker(charm: &Charm) -> bool {
    matches!(charm.kind, CharmKind::Worker(_))
}

/// Whether the option's value is never printed.
pub(crate) fn is_hidden(charm: &Charm, option: &str) -> bool {
    charm.kind == CharmKind::S3Integrator && HIDDEN.contains(&option)
}

/// What the document says of options.
fn given(app: &AppName, document: &Document, charm: &Charm) -> Result<BTreeMap<String, Value>, OptionError> {
    Ok(match document {
        Document::Coordinator(coordinator) => {
            let value = |value: &OptionValue| match value {
                OptionValue::Boolean(value) => Value::from(*value),
                OptionValue::Integer(value) => Value::from(*value),
                OptionValue::Text(value) => Value::from(value.as_str()),
                OptionValue::Other(value) => value.clone(),
            };
            coordinator.spec.config.iter().map(|(key, option)| (key.clone(), value(option))).collect()
        }
        Document::Worker(worker) => {
            let roles = worker.spec.roles.iter();
            roles.map(|(role, on)| (format!("{ROLE_PREFIX}{role}"), Value::Bool(*on))).collect()
        }
        Document::Secret(secret) => {
            let values = secret_values(secret)
                .map_err(|problem| OptionError::Unreadable { app: app.clone(), problem })?;
            // A Secret holds texts only; the charm knows what they stand for.
            let typed = |key: &str, text: &str| charm.parse(key, text).unwrap_or_else(|_| Value::from(text));
            values.iter().map(|(key, secret)| (key.clone(), typed(key, secret.expose()))).collect()
        }
    })
}

/// The document with other options.
fn with_values(document: &Document, values: BTreeMap<String, Value>) -> Document {
    let mut document = document.clone();
    match &mut document {
        Document::Coordinator(coordinator) => {
            let option = |value: Value| match value {
                Value::Bool(value) => OptionValue::Boolean(value),
                Value::String(value) => OptionValue::Text(value),
                other => other.as_i64().map_or(OptionValue::Other(other), OptionValue::Integer),
            };
            coordinator.spec.config = values.into_iter().map(|(key, value)| (key, option(value))).collect();
        }
        Document::Worker(worker) => {
            let role = |(key, value): (String, Value)| {
                Some((key.strip_prefix(ROLE_PREFIX)?.to_owned(), value.as_bool()?))
            };
            worker.spec.roles = values.into_iter().filter_map(role).collect();
        }
        Document::Secret(secret) => {
            secret.data = None;
            let text = |value: Value| if let Value::String(text) = value { text } else { value.to_string() };
            secret.string_data = Some(values.into_iter().map(|(key, value)| (key, text(value))).collect());
        }
    }
    document
}

/// What is wrong with the changed keys of an S3 Secret, beyond their types. What is still missing is no mistake:
/// keys come one by one, and the coordinator says what it waits for.
fn object_store_problems(values: &BTreeMap<String, Value>, changed: &BTreeSet<&str>) -> Vec<String> {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let secrets =
        values.iter().map(|(key, value)| (key.clone(), muster_model::Secret::new(text(value)))).collect();
    let Err(error) = ObjectStorage::from_secret(&secrets) else { return Vec::new() };
    let concerns = |problem: &ObjectStorageProblem| {
        let key = match problem {
            ObjectStorageProblem::Missing(_) => return false,
            ObjectStorageProblem::Unprintable(key) | ObjectStorageProblem::Boolean(key) => key,
            ObjectStorageProblem::Endpoint { .. } => "endpoint",
            ObjectStorageProblem::Bucket(_) => "bucket",
            ObjectStorageProblem::Path(_) => "path",
            ObjectStorageProblem::Region(_) => "region",
            ObjectStorageProblem::CaChain => "tls-ca-chain",
        };
        changed.contains(key)
    };
    error.0.iter().filter(|problem| concerns(problem)).map(ToString::to_string).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::{app, model};

    fn set(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    fn edited(name: &str, pairs: &[(&str, &str)], reset: &[&str]) -> Result<Document, OptionError> {
        let reset: Vec<String> = reset.iter().map(|r| (*r).to_owned()).collect();
        edit(&model(""), &app(name), &set(pairs), &reset)
    }

    fn roles(document: &Document) -> Vec<(&str, bool)> {
        let Document::Worker(worker) = document else { panic!("{document:?}") };
        worker.spec.roles.iter().map(|(role, on)| (role.as_str(), *on)).collect()
    }

    #[test]
    fn roles_of_a_worker_merge() {
        let document = edited("mimir-read", &[("role-write", "true"), ("role-all", "false")], &[]).unwrap();
        assert_eq!(roles(&document), [("all", false), ("read", true), ("write", true)]);
        let document = edited("mimir-read", &[], &["role-read", "role-all"]).unwrap();
        assert_eq!(roles(&document), [("all", true)]);
    }

    #[test]
    fn options_of_a_coordinator_are_typed() {
        let document =
            edited("mimir", &[("retention-period", "30d"), ("replication-factor", "3")], &[]).unwrap();
        let Document::Coordinator(coordinator) = document else { panic!() };
        assert_eq!(coordinator.spec.config["retention-period"], OptionValue::Text("30d".into()));
        assert_eq!(coordinator.spec.config["replication-factor"], OptionValue::Integer(3));
    }

    #[test]
    fn every_mistake_is_reported_and_nothing_is_changed() {
        let error = edited("mimir", &[("replication-factor", "many"), ("colour", "red")], &[]).unwrap_err();
        let OptionError::Refused { problems, charm } = &error else { panic!("{error}") };
        assert_eq!((problems.len(), charm.as_str()), (2, "mimir-coordinator-k8s"), "{error}");
        assert!(edited("mimir-read", &[("role-read", "maybe")], &[]).is_err());
        assert!(edited("mimir-read", &[("role-colour", "true")], &[]).is_err());
        assert!(edited("mimir-read", &[], &["role-colour"]).is_err());
        assert!(edited("mimir-read", &[("role-read", "true")], &["role-read"]).is_err());
        assert!(edited("mimir", &[("retention-period", "for ever")], &[]).is_err());
    }

    #[test]
    fn secrets_change_and_are_never_listed() {
        let document = edited("s3", &[("bucket", "other"), ("secret-key", "new")], &["endpoint"]).unwrap();
        let Document::Secret(secret) = &document else { panic!() };
        let values = secret.string_data.clone().unwrap();
        assert_eq!((values["bucket"].as_str(), values["secret-key"].as_str()), ("other", "new"));
        assert!(!values.contains_key("endpoint"));
        let views = list(&model(""), &app("s3")).unwrap();
        assert_eq!(views["secret-key"].value, None);
        assert!(!serde_json::to_string(&views).unwrap().contains("hunter2"));
        let error =
            edited("s3", &[("endpoint", "http://h/path"), ("secret-key", "hun ter2")], &[]).unwrap_err();
        assert!(error.to_string().contains("endpoint") && !error.to_string().contains("hun ter2"), "{error}");
    }

    #[test]
    fn sources_tell_who_chose() {
        let views = list(&model(""), &app("mimir-read")).unwrap();
        assert_eq!(
            (views["role-read"].source, &views["role-read"].value),
            (Source::User, &Some(Value::Bool(true)))
        );
        assert_eq!(
            (views["role-all"].source, &views["role-all"].value),
            (Source::User, &Some(Value::Bool(false)))
        );
        assert_eq!(
            (views["role-write"].source, &views["role-write"].value),
            (Source::Default, &Some(Value::Bool(false)))
        );
        let apps = model(
            "{apiVersion: muster.dev/v1alpha1, kind: Coordinator, metadata: {name: odd}, spec: {product: mimir, config: {colour: red}}}",
        );
        assert_eq!(list(&apps, &app("odd")).unwrap()["colour"].source, Source::Unknown);
        assert!(edit(&apps, &app("odd"), &BTreeMap::new(), &["colour".to_owned()]).is_ok());
    }
}
