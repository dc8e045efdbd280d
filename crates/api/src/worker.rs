//! A worker application.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Affinity, ResourceRequirements, Toleration, TopologySpreadConstraint};
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Condition;

/// The label of a coordinator's temporary worker, which the coordinator made itself and takes away again. It counts on that worker alone.
pub const TEMPORARY_LABEL: &str = "muster.dev/temporary";

/// A worker: units that run the coordinator's product with the same roles.
#[derive(CustomResource, Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "muster.dev",
    version = "v1alpha1",
    kind = "Worker",
    plural = "workers",
    namespaced,
    status = "WorkerStatus",
    derive = "PartialEq",
    scale(
        spec_replicas_path = ".spec.units",
        status_replicas_path = ".status.units",
        label_selector_path = ".status.selector"
    ),
    shortname = "wk",
    category = "muster",
    selectable = ".spec.coordinator",
    validation = Rule::new("self.metadata.name.size() <= 53 && self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')")
        .message("metadata.name: write at most 53 lower-case letters, digits and '-', starting with a letter"),
    validation = Rule::new("!has(oldSelf.spec.product) || (has(self.spec.product) && self.spec.product == oldSelf.spec.product)")
        .message("spec.product cannot change; deploy another worker"),
    validation = Rule::new("self.spec.roles.all(role, role in ['alertmanager', 'all', 'backend', 'compactor', 'distributor', 'flusher', 'ingester', 'metrics-generator', 'overrides-exporter', 'querier', 'query-frontend', 'query-scheduler', 'read', 'ruler', 'store-gateway', 'write'])")
        .message("spec.roles: no product has such a role; the roles of each are listed by: muster explain roles"),
    validation = Rule::new("!has(self.spec.product) || self.spec.product != 'mimir' || self.spec.roles.all(role, role in ['alertmanager', 'all', 'backend', 'compactor', 'distributor', 'flusher', 'ingester', 'overrides-exporter', 'querier', 'query-frontend', 'query-scheduler', 'read', 'ruler', 'store-gateway', 'write'])")
        .message("spec.roles: mimir has alertmanager, all, backend, compactor, distributor, flusher, ingester, overrides-exporter, querier, query-frontend, query-scheduler, read, ruler, store-gateway, write"),
    validation = Rule::new("!has(self.spec.product) || self.spec.product != 'loki' || self.spec.roles.all(role, role in ['all', 'backend', 'read', 'write'])")
        .message("spec.roles: loki has all, backend, read, write"),
    validation = Rule::new("!has(self.spec.product) || self.spec.product != 'tempo' || self.spec.roles.all(role, role in ['all', 'compactor', 'distributor', 'ingester', 'metrics-generator', 'querier', 'query-frontend'])")
        .message("spec.roles: tempo has all, compactor, distributor, ingester, metrics-generator, querier, query-frontend"),
    printcolumn(name = "Coordinator", type_ = "string", json_path = ".spec.coordinator"),
    printcolumn(name = "Roles", type_ = "string", json_path = ".status.roles"),
    printcolumn(name = "Units", type_ = "integer", json_path = ".status.units"),
    printcolumn(name = "Ready", type_ = "integer", json_path = ".status.ready"),
    printcolumn(name = "Status", type_ = "string", json_path = ".status.status"),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.message"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = crate::bound)]
pub struct WorkerSpec {
    /// The product that the worker's charm is for. The coordinator's when absent.
    #[schemars(extend("enum" = ["mimir", "loki", "tempo"]))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub product: Option<String>,
    /// The cluster relation: the coordinator's name. The worker is blocked without it.
    #[schemars(length(min = 1, max = 53))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub coordinator: Option<String>,
    /// The number of units.
    #[serde(default = "one")]
    #[schemars(range(max = crate::MAX_UNITS))]
    pub units: u32,
    /// The roles that are switched on, by name. `{all: true}` when absent.
    #[serde(default = "all")]
    #[schemars(extend("maxProperties" = 32))]
    pub roles: BTreeMap<String, bool>,
    /// The units' disks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage: Option<Storage>,
    /// CPU and memory of each unit's workload. Kubernetes only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<ResourceRequirements>,
    /// Labels that a node must have. Kubernetes only.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub node_selector: BTreeMap<String, String>,
    /// Where units may go. Kubernetes only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub affinity: Option<Affinity>,
    /// Taints that units tolerate. Kubernetes only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tolerations: Vec<Toleration>,
    /// How units are spread. Over nodes and zones, as well as can be, when absent. Kubernetes only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topology_spread_constraints: Option<Vec<TopologySpreadConstraint>>,
    /// The units' priority class. Kubernetes only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority_class_name: Option<String>,
    /// More labels for the units' pods. Kubernetes only.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

impl Worker {
    /// The temporary worker of a coordinator, with what only its substrate adds left out.
    #[must_use]
    pub fn temporary(name: &str, spec: WorkerSpec) -> Self {
        let mut worker = Self::new(name, spec);
        worker.metadata.labels = Some([(TEMPORARY_LABEL.to_owned(), "true".to_owned())].into());
        worker
    }

    /// Whether a coordinator made this worker itself, for a while.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        let labels = self.metadata.labels.as_ref();
        labels.is_some_and(|labels| labels.get(TEMPORARY_LABEL).is_some_and(|value| value == "true"))
    }
}

fn one() -> u32 {
    1
}

fn all() -> BTreeMap<String, bool> {
    [("all".to_owned(), true)].into()
}

/// The disk of each unit.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Storage {
    /// The size, for example 10Gi. On one machine it is not enforced.
    #[schemars(regex(pattern = r"^[0-9]+(\.[0-9]+)?([EPTGMk]i?|Ki|m)?$"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<String>,
    /// The storage class, on Kubernetes only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
    /// What happens to the disks of units that are gone. Kubernetes only.
    #[serde(default)]
    pub retain: Retain,
}

/// What happens to the disk of a unit that is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum Retain {
    /// It stays, and a unit of the same name finds it again.
    #[default]
    Always,
    /// It stays while the worker exists, and is deleted with it.
    WhenScaled,
    /// It is deleted with the unit.
    Never,
}

/// What is true of a worker.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkerStatus {
    /// Juju's workload status: active, waiting, maintenance, blocked or error.
    #[serde(default)]
    pub status: String,
    /// What is wrong and what fixes it.
    #[serde(default)]
    pub message: String,
    /// The generation of the spec that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The worker's conditions.
    #[serde(default)]
    pub conditions: Vec<Condition>,
    /// The roles that are switched on, as one text.
    #[serde(default)]
    pub roles: String,
    /// Units that exist.
    #[serde(default)]
    pub units: u32,
    /// Units that are ready.
    #[serde(default)]
    pub ready: u32,
    /// Selects the units' pods. For autoscalers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,
    /// The units that are not simply ready, by number.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub unit_statuses: BTreeMap<String, UnitStatusMessage>,
}

/// What keeps one unit from being simply ready.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UnitStatusMessage {
    /// Juju's workload status.
    pub status: String,
    /// What is wrong and what fixes it.
    pub message: String,
    /// What would be lost without a unit that is kept from leaving. `muster run UNIT abandon-data` lets it go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_risk: Option<String>,
}
