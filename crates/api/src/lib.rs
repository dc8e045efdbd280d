//! Muster's custom resources, `muster.dev/v1alpha1`: [`Coordinator`], [`Worker`], [`Unit`].
//!
//! The same documents describe a model on Kubernetes and on one machine. Types only: no client. Unknown fields are refused in what
//! users write ([`Document`]). What the API server has was checked by it, and may be of a newer version: there they are passed over.

// Each printer column is an attribute with the same keys, which clippy takes for a mistake.
#[allow(clippy::duplicated_attributes)]
mod coordinator;
mod document;
mod model_status;
mod status;
mod transition;
#[allow(clippy::duplicated_attributes)]
mod unit;
#[allow(clippy::duplicated_attributes)]
mod worker;

use schemars::Schema;
use schemars::transform::{RecursiveTransform, Transform as _};
use serde_json::Value;

pub use coordinator::{
    Coordinator, CoordinatorSpec, CoordinatorStatus, Endpoints, Images, ObjectStorageReference, OnIncoherent,
    OptionValue, ReadHold, RolloutStatus, TemporaryWorker, TlsReference, Transitions,
};
pub use document::{Document, DocumentError, Kind, secret_values};
pub use model_status::{ApplicationStatus, FORMAT_VERSION, ModelStatus, UnitView};
pub use status::{Abandoned, Condition, ConditionStatus, ConditionType};
pub use transition::{TransitionPhase, TransitionStatus, TransitionWork};
pub use unit::{Unit, UnitSpec, UnitStatus};
pub use worker::{Retain, Storage, TEMPORARY_LABEL, UnitStatusMessage, Worker, WorkerSpec, WorkerStatus};

/// A quantity, as `ResourceRequirements` has it (`k8s.io/apimachinery/pkg/api/resource`).
const QUANTITY: &str = r"^[+-]?([0-9]+|[0-9]+\.[0-9]*|\.[0-9]+)([KMGTPE]i|[numkMGTPE]|[eE][+-]?[0-9]+)?$";

/// Says what Kubernetes' own kinds leave to its API server: the width of integers, and what a quantity is. It lets through what is not
/// in the schema, and nobody could read it or make a pod of it.
fn bound(schema: &mut Schema) {
    RecursiveTransform(|schema: &mut Schema| {
        for list in ["limits", "requests"] {
            let pointer = format!("/properties/{list}/additionalProperties");
            if let Some(Value::Object(quantity)) = schema.pointer_mut(&pointer) {
                quantity.entry("pattern").or_insert(QUANTITY.into());
            }
        }
        if schema.get("format").is_some_and(|format| format == "int32") {
            let bounds = schema.ensure_object();
            bounds.entry("minimum").or_insert(i32::MIN.into());
            bounds.entry("maximum").or_insert(i32::MAX.into());
        }
    })
    .transform(schema);
}

/// The API group.
pub const GROUP: &str = "muster.dev";
/// The API version of every kind.
pub const VERSION: &str = "v1alpha1";
/// `apiVersion` as documents write it.
pub const API_VERSION: &str = "muster.dev/v1alpha1";
/// The most units that one application can have: more is a slip of the finger.
pub const MAX_UNITS: u32 = 10_000;
/// The type of a Secret that stands for the S3 relation.
pub const S3_SECRET_TYPE: &str = "muster.dev/s3";
