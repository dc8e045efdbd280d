//! The cluster relation: what a coordinator tells a unit ([`Assignment`], [`ClusterData`]) and what the unit
//! reports back ([`Report`]). Substrates carry these values; nothing here sends or stores. What Canonical's charms
//! exchange instead is in [`juju`].
//!
//! Unknown fields are ignored when reading, so that a newer side can talk to an older one.

mod assignment;
mod cluster;
mod frame;
pub mod juju;
mod report;
mod secret;

pub use assignment::{Assignment, Run};
pub use cluster::ClusterData;
pub use frame::{Frame, FrameError, MAX_FRAME_LEN, ToAgent, ToCoordinator};
pub use report::{Applied, Check, Drain, Exit, Quiet, Report, Service, Waiting};
pub use secret::EntriesError;
