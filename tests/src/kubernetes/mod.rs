//! The operator on a real API server: installed as users install it, run as a process with the rights of its own ServiceAccount.
//!
//! [`Site`] is a cluster with Muster's custom resources and rules; [`doubles`] plays the kubelets and the agents where there is no
//! node; [`objects`] says what there is in a form that two runs can be compared by.
//!
//! What is here panics where something does not happen, as a test does.

#![expect(clippy::unwrap_used, reason = "these functions serve tests and benchmarks only, which may panic")]

pub mod doubles;
pub mod node;
pub mod objects;
mod operator;
mod site;
pub mod transition;

pub use operator::Operator;
pub use site::{S3_ADDRESS, Site, s3_secret};
