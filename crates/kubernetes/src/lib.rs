//! The Kubernetes substrate: the operator.
//!
//! It watches coordinators, workers and what belongs to them, and carries out what `muster-planner` decides about each coordinator:
//! `gather` what the planner observes, plan, build the objects (`muster-manifests`), `apply` what differs, `report` in the statuses.
//! One operator acts at a time, the holder of a Lease.
//!
//! [`preview`](fn@preview) says what an edit would change, to somebody who is not the operator.
//!
//! Not here: any decision about roles, units or configs. Start reading at [`Operator::run`], then `coordinators`.

mod apply;
mod backoff;
mod belonging;
mod cache;
mod caches;
mod context;
mod coordinators;
mod gather;
mod key;
mod lease;
mod metrics;
mod operate;
mod pace;
mod packed;
mod preview;
mod quantity;
mod report;
mod secrets;
mod workers;
mod write;

pub use caches::Scope;
pub use operate::{OperateError, Operator, Settings};
pub use preview::{PreviewError, Proposal, preview};
