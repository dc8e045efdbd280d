//! Object storage as a deployment sees it: is it reachable, may we use it, is the bucket there?
//!
//! The only crate that links the AWS SDK. It answers questions about one bucket; it does not move data, and it
//! decides nothing: what a failed probe means for a deployment is the planner's business.
//! Start reading at [`probe()`].

mod client;
mod error;
mod probe;
mod probes;

pub use error::ProbeError;
pub use probe::{PROBE_PREFIX, keys, probe};
pub use probes::{Probed, Probes, store_revision};
