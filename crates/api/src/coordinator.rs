//! The coordinator application.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Affinity, ResourceRequirements, Toleration, TopologySpreadConstraint};
use kube::CustomResource;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};

use crate::{Abandoned, Condition, TransitionStatus, UnitStatusMessage};

/// A coordinator: the single point of integration of one product.
#[derive(CustomResource, Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "muster.dev",
    version = "v1alpha1",
    kind = "Coordinator",
    plural = "coordinators",
    namespaced,
    status = "CoordinatorStatus",
    derive = "PartialEq",
    scale(
        spec_replicas_path = ".spec.units",
        status_replicas_path = ".status.units",
        label_selector_path = ".status.selector"
    ),
    shortname = "coord",
    category = "muster",
    selectable = ".spec.product",
    validation = Rule::new("self.metadata.name.size() <= 53 && self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')")
        .message("metadata.name: write at most 53 lower-case letters, digits and '-', starting with a letter"),
    validation = Rule::new("self.spec.product == oldSelf.spec.product")
        .message("spec.product cannot change; deploy another coordinator"),
    validation = Rule::new("!has(self.spec.remoteWrite) || self.spec.remoteWrite.size() == 0 || self.spec.product == 'tempo'")
        .message("spec.remoteWrite is for tempo, no other product writes metrics; remove it"),
    printcolumn(name = "Product", type_ = "string", json_path = ".spec.product"),
    printcolumn(name = "Status", type_ = "string", json_path = ".status.status"),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.message"),
    printcolumn(name = "Units", type_ = "integer", json_path = ".status.units"),
    printcolumn(name = "Revision", type_ = "string", json_path = ".status.revision"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = crate::bound)]
pub struct CoordinatorSpec {
    /// The product to run: tempo, mimir or loki. Cannot be changed.
    #[schemars(extend("enum" = ["mimir", "loki", "tempo"]))]
    pub product: String,
    /// The product's version line, for example "2.17". The newest supported line when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The number of load balancer units.
    #[serde(default = "one")]
    #[schemars(range(max = crate::MAX_UNITS))]
    pub units: u32,
    /// The S3 relation. The coordinator is blocked without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub s3: Option<ObjectStorageReference>,
    /// The remote-write relation: the Mimir coordinators that the metrics made of spans are written to. The certificate of one that
    /// has one must be for NAME.NAMESPACE.svc, on one machine for its load balancer's address. Tempo only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("maxItems" = 8, "x-kubernetes-list-type" = "set"), inner(length(min = 1, max = 53), regex(pattern = "^[a-z]([-a-z0-9]*[a-z0-9])?$")))]
    pub remote_write: Vec<String>,
    /// The charm's options by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub config: BTreeMap<String, OptionValue>,
    /// Merged into the generated workload config: maps deeply, lists and scalars replaced, null removes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "free_object")]
    pub overrides: Option<serde_json::Map<String, serde_json::Value>>,
    /// How long a worker unit may take to become ready with a new config, in seconds. One that does not goes back to the last good
    /// config, and the rollout halts. 600 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 86400))]
    pub progress_deadline_seconds: Option<u32>,
    /// What happens to running services when a required role is missing.
    #[serde(default)]
    pub on_incoherent: OnIncoherent,
    /// How units give up roles, and what stands in for them meanwhile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transitions: Option<Transitions>,
    /// The server certificate. Plain HTTP when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsReference>,
    /// Images, on Kubernetes only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub images: Option<Images>,
    /// Whether traffic to and from the units is limited by NetworkPolicies. Kubernetes only.
    #[serde(default)]
    pub network_policies: bool,
    /// CPU and memory of each load balancer unit. Kubernetes only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<ResourceRequirements>,
    /// Labels that a load balancer's node must have. Kubernetes only.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub node_selector: BTreeMap<String, String>,
    /// Where load balancer units may go. Kubernetes only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub affinity: Option<Affinity>,
    /// Taints that load balancer units tolerate. Kubernetes only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tolerations: Vec<Toleration>,
    /// How load balancer units are spread. Over nodes and zones, as well as can be, when absent. Kubernetes only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topology_spread_constraints: Option<Vec<TopologySpreadConstraint>>,
    /// The load balancer units' priority class. Kubernetes only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority_class_name: Option<String>,
    /// More labels for the load balancer units' pods. Kubernetes only.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

fn one() -> u32 {
    1
}

fn free_object(_: &mut SchemaGenerator) -> Schema {
    schemars::json_schema!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true })
}

/// The value of a charm option: a text, a whole number or a boolean, as charms have them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum OptionValue {
    /// true or false.
    Boolean(bool),
    /// A whole number.
    Integer(i64),
    /// A text.
    Text(String),
    /// Anything else. Kept so that it can be reported instead of failing the document.
    Other(serde_json::Value),
}

impl JsonSchema for OptionValue {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "OptionValue".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        // A structural schema has no untyped unions; int-or-string with booleans needs this extension.
        schemars::json_schema!({ "x-kubernetes-preserve-unknown-fields": true })
    }
}

impl std::fmt::Display for OptionValue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Boolean(value) => write!(f, "{value}"),
            Self::Integer(value) => write!(f, "{value}"),
            Self::Text(value) => f.write_str(value),
            Self::Other(value) => write!(f, "{value}"),
        }
    }
}

/// Names the Secret of the S3 relation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ObjectStorageReference {
    /// A Secret of type `muster.dev/s3` in the same namespace.
    #[schemars(length(min = 1, max = 253), regex(pattern = "^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"))]
    pub secret: String,
}

/// Names the Secret with the server certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TlsReference {
    /// A Secret of type `kubernetes.io/tls` in the same namespace.
    #[schemars(length(min = 1, max = 253), regex(pattern = "^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"))]
    pub secret: String,
}

/// Images to run instead of the built-in ones.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Images {
    /// The product's image.
    #[schemars(length(min = 1), regex(pattern = r"^\S+$"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workload: Option<String>,
    /// The load balancer's image.
    #[schemars(length(min = 1), regex(pattern = r"^\S+$"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nginx: Option<String>,
    /// Secrets of type `kubernetes.io/dockerconfigjson` to pull the images with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pull_secrets: Vec<String>,
}

/// What happens to running services when a required role is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum OnIncoherent {
    /// All services are stopped gracefully until the roles are covered again.
    #[default]
    Stop,
    /// What runs keeps running with its last good assignment.
    Hold,
}

/// How units give up roles, and what stands in for them meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Transitions {
    /// Whether units that are about to give up data wait until everybody finds in the object store what was uploaded.
    #[serde(default)]
    pub read_hold: ReadHold,
    /// Whether a temporary worker that runs everything stands in where units leave roles that nobody else has.
    #[serde(default)]
    pub temporary_worker: TemporaryWorker,
}

/// Whether units that are about to give up data wait until everybody finds in the object store what was uploaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum ReadHold {
    /// Units of Mimir take nothing new, upload, and answer queries for two minutes longer; units of Tempo upload and answer for half a
    /// minute. Of Loki and Tempo the next one waits (75 and 32 s) where there is more than one copy.
    #[default]
    Auto,
    /// They go as soon as it is uploaded. Queries miss it for a while.
    Never,
}

/// Whether a temporary worker that runs everything stands in where units leave roles that nobody else has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum TemporaryWorker {
    /// It is made, serves until the others have changed, uploads what it holds, and goes. It is called NAME-transition.
    #[default]
    Auto,
    /// Nothing stands in: such a role has no ready unit until one of them is ready with it.
    Never,
}

/// What is true of a coordinator.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CoordinatorStatus {
    /// Juju's workload status: active, waiting, maintenance, blocked or error.
    #[serde(default)]
    pub status: String,
    /// What is wrong and what fixes it.
    #[serde(default)]
    pub message: String,
    /// The generation of the spec that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Coherent, ObjectStoreReady, ConfigAccepted, RolledOut, Available, Degraded.
    #[serde(default)]
    pub conditions: Vec<Condition>,
    /// How many units run each role.
    #[serde(default)]
    pub coverage: BTreeMap<String, u32>,
    /// The revision that units are moved to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// How far the units are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<RolloutStatus>,
    /// How far the deployment is on its way to what is asked for. Absent where nothing is under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transition: Option<TransitionStatus>,
    /// Where clients send to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoints: Option<Endpoints>,
    /// The number of load balancer units.
    #[serde(default)]
    pub units: u32,
    /// Selects the load balancer units' pods. For autoscalers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,
    /// The load balancer units that are not simply ready, by number.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub unit_statuses: BTreeMap<String, UnitStatusMessage>,
    /// What units were let go without, the latest last; at most 20.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub abandoned: Vec<Abandoned>,
    /// What the operator remembers from one plan to the next (`muster_planner::CarryOver` without its documents).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "free_object")]
    pub carry_over: Option<serde_json::Map<String, serde_json::Value>>,
}

/// How many units run what they should.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct RolloutStatus {
    /// Units that run the current revision and roles and are ready.
    pub updated: u32,
    /// All units.
    pub total: u32,
}

/// Where clients send to.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Endpoints {
    /// The load balancer's URL.
    pub gateway: String,
}
