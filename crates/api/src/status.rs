//! Conditions, as Kubernetes has them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One condition of an application.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// Which question it answers.
    #[serde(rename = "type")]
    pub kind: ConditionType,
    /// The answer.
    pub status: ConditionStatus,
    /// Why, as a stable CamelCase word (`muster_model::Reason`).
    pub reason: String,
    /// Why, for a person.
    pub message: String,
}

/// What a unit was let go without, because a person consented to lose it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Abandoned {
    /// The unit, as application/number.
    pub unit: String,
    /// What it was let go without, in the words that the person gave.
    pub lost: String,
    /// When the consent was given (RFC 3339).
    pub at: String,
}

/// The questions that conditions answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum ConditionType {
    /// Every required role is covered.
    Coherent,
    /// The object store was reached with the given credentials.
    ObjectStoreReady,
    /// The workload's own check accepts the config.
    ConfigAccepted,
    /// Every unit runs the current revision and roles.
    RolledOut,
    /// Every required role has a ready unit and the load balancer is ready.
    Available,
    /// It works, but less well than it should.
    Degraded,
}

/// The answer of a condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ConditionStatus {
    /// Yes.
    True,
    /// No.
    False,
    /// Not known yet.
    Unknown,
}
