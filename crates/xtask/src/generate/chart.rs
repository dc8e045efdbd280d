//! What the Helm chart has in common with `deploy/operator.yaml`: who may do what. It stands there once, and the chart's templates
//! take it from `files/`. What is in there helm does not read as a template, so that no expression can be mistaken for one.

use anyhow::Context as _;
use serde_json::{Map, Value};

use super::{YAML_NOTE, operator};

/// The chart's own description: a chart is of the version that it installs.
pub(super) fn description() -> anyhow::Result<String> {
    let version = env!("CARGO_PKG_VERSION");
    Ok(format!(
        "{YAML_NOTE}apiVersion: v2
name: muster
description: The operator of Muster, which runs Grafana Mimir, Loki and Tempo as a coordinator and its workers.
type: application
version: {version}
appVersion: {version}
# Admission policies are stable from here on.
kubeVersion: \">=1.30.0-0\"
home: {}
",
        env!("CARGO_PKG_REPOSITORY")
    ))
}

/// What the operator may do with what it looks after.
pub(super) fn rules() -> anyhow::Result<String> {
    part("ClusterRole", "muster-operator", "rules")
}

/// What the operator may do with its Lease.
pub(super) fn lease_rules() -> anyhow::Result<String> {
    part("Role", "muster-operator", "rules")
}

/// Who writes the reports of units.
pub(super) fn unit_reports() -> anyhow::Result<String> {
    part("ValidatingAdmissionPolicy", "muster-unit-reports", "spec")
}

/// How coordinators and workers are deleted.
pub(super) fn deletion() -> anyhow::Result<String> {
    part("ValidatingAdmissionPolicy", "muster-deletion", "spec")
}

/// How deep what is free of form may nest.
pub(super) fn nesting() -> anyhow::Result<String> {
    part("ValidatingAdmissionPolicy", "muster-nesting", "spec")
}

/// One field of one of the operator's objects, as a document.
fn part(kind: &str, name: &str, field: &'static str) -> anyhow::Result<String> {
    let objects: Vec<Value> = muster_model::yaml::documents(&operator()?)?;
    let value = objects
        .into_iter()
        .find(|object| object["kind"] == kind && object["metadata"]["name"] == name)
        .and_then(|mut object| object.get_mut(field).map(Value::take))
        .with_context(|| format!("the operator has no {kind} {name} with {field}"))?;
    let document = Map::from_iter([(field.to_owned(), value)]);
    Ok(format!("{YAML_NOTE}{}", muster_model::yaml::to_string(&document)?))
}
