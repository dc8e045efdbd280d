//! One unit: the cluster relation's data on Kubernetes.

use kube::CustomResource;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One unit of a worker or coordinator. Made by the coordinator; nobody else needs to write one.
#[derive(CustomResource, Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "muster.dev",
    version = "v1alpha1",
    kind = "Unit",
    plural = "units",
    namespaced,
    status = "UnitStatus",
    derive = "PartialEq",
    category = "muster",
    selectable = ".spec.application",
    selectable = ".spec.coordinator",
    printcolumn(name = "Application", type_ = "string", json_path = ".spec.application"),
    printcolumn(name = "Roles", type_ = "string", json_path = ".status.report.applied.roles"),
    printcolumn(name = "Service", type_ = "string", json_path = ".status.report.service"),
    printcolumn(name = "Ready", type_ = "boolean", json_path = ".status.report.ready"),
    printcolumn(name = "Revision", type_ = "string", json_path = ".status.report.applied.revision"),
    printcolumn(name = "Address", type_ = "string", json_path = ".status.report.address"),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.report.lastError"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
// Nothing unknown is refused: agents of an older version must go on reading what a newer coordinator writes.
#[serde(rename_all = "camelCase")]
pub struct UnitSpec {
    /// The unit's application.
    #[serde(default)]
    pub application: String,
    /// The coordinator whose assignments the unit carries.
    #[serde(default)]
    pub coordinator: String,
    /// The uid of the pod that the unit is: only that pod may write the report.
    #[serde(default, rename = "podUID", skip_serializing_if = "Option::is_none")]
    pub pod_uid: Option<String>,
    /// What the unit is to run (`muster_relation::Assignment`). Written by the coordinator only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "document")]
    pub assignment: Option<Value>,
}

/// What the unit says of itself.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UnitStatus {
    /// What is true of the unit (`muster_relation::Report`). Written by that unit's agent only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "document")]
    pub report: Option<Value>,
}

fn document(_: &mut SchemaGenerator) -> Schema {
    schemars::json_schema!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true })
}
