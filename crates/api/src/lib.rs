//! Muster's custom resources, `muster.dev/v1alpha1`: [`Coordinator`], [`Worker`], [`Unit`].
//!
//! The same documents describe a model on Kubernetes and on one machine. Types only: no client. Unknown fields are
//! refused when a document is read for one machine; on Kubernetes the API server prunes or refuses them.

// Each printer column is an attribute with the same keys, which clippy takes for a mistake.
#[allow(clippy::duplicated_attributes)]
mod coordinator;
mod document;
mod model_status;
mod status;
#[allow(clippy::duplicated_attributes)]
mod unit;
#[allow(clippy::duplicated_attributes)]
mod worker;

pub use coordinator::{
    Coordinator, CoordinatorSpec, CoordinatorStatus, Endpoints, Images, ObjectStorageReference, OnIncoherent,
    OptionValue, RolloutStatus, TlsReference,
};
pub use document::{Document, DocumentError, Kind, secret_values};
pub use model_status::{ApplicationStatus, FORMAT_VERSION, ModelStatus, UnitView};
pub use status::{Condition, ConditionStatus, ConditionType};
pub use unit::{Unit, UnitSpec, UnitStatus};
pub use worker::{Retain, Storage, UnitStatusMessage, Worker, WorkerSpec, WorkerStatus};

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
