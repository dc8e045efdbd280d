//! What `muster status` shows. The JSON form is stable and described in `docs/reference/status.md`.

use std::collections::BTreeMap;

use muster_model::{AppName, Coverage, Product, Role, Status, UnitName};
use serde::{Deserialize, Serialize};

use crate::{Abandoned, Condition, RolloutStatus, TransitionStatus};

/// The version of the JSON form. Grows when a field goes or changes its meaning, not when one is added.
pub const FORMAT_VERSION: u32 = 1;

/// All applications of a model with their units.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ModelStatus {
    /// [`FORMAT_VERSION`].
    pub format_version: u32,
    /// The model's name.
    pub model: String,
    /// What carries it: `local` or `kubernetes`.
    pub substrate: String,
    /// The kubeconfig context through which it was looked at, on Kubernetes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<String>,
    /// What keeps the substrate itself from working, such as a full disk under the model directory, or from being seen whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// Every application by name.
    pub applications: BTreeMap<AppName, ApplicationStatus>,
}

/// One application.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ApplicationStatus {
    /// The charm that was deployed, for example `mimir-worker-k8s`.
    pub charm: String,
    /// The product, where the application has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub product: Option<Product>,
    /// Status and message.
    #[serde(flatten)]
    pub status: Status,
    /// The number of units that are asked for.
    pub scale: u32,
    /// The roles that are switched on, as declared. Empty for what is no worker.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<String>,
    /// The applications that this one is related to: endpoint (`cluster`, `s3`, `certificates`) to name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub relations: BTreeMap<String, AppName>,
    /// The coordinators that this one sends metrics to, over `send-remote-write`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remote_write: Vec<AppName>,
    /// Conditions, of coordinators.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// Coverage, of coordinators.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub coverage: Option<Coverage>,
    /// The revision that units are moved to, of coordinators.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// How far the units are, of coordinators.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<RolloutStatus>,
    /// How far it is on its way to what is asked for, of coordinators. Absent where nothing is under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transition: Option<TransitionStatus>,
    /// Where clients send to: `push`, `query`, `s3`, by purpose.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub endpoints: BTreeMap<String, String>,
    /// What units were let go without, of coordinators, the latest last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub abandoned: Vec<Abandoned>,
    /// The units by name.
    pub units: BTreeMap<UnitName, UnitView>,
}

/// One unit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UnitView {
    /// Status and message.
    #[serde(flatten)]
    pub status: Status,
    /// The unit's address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// The roles that its process runs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<Role>,
    /// The revision that its process runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// Whether the workload answers that it is ready.
    pub ready: bool,
    /// How often the process was started again after it ended by itself.
    #[serde(default)]
    pub restarts: u32,
    /// What would be lost without it, where it is to leave and cannot. `muster run UNIT abandon-data` lets it go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_risk: Option<String>,
}
