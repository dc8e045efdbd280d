//! The `cluster` relation as Canonical's charms for Tempo, Mimir and Loki speak it over Juju: what their coordinator
//! writes into its application's databag ([`CoordinatorApplication`]), what their workers write into the
//! application's ([`WorkerApplication`]) and each unit's ([`WorkerUnit`]). A coordinator writes no unit databag.
//!
//! The three products share one format; what differs is which keys they fill and what the endpoint is called
//! ([`endpoint`], [`interface`]). Each value of a databag is one JSON text, written as Python's `json` writes it, so
//! that both sides leave each other's bytes alone. Borrowed facts come from `coordinated-workers` 4.1.4, whose
//! format is that of 2.2.4.
//!
//! Not here: watching Juju, running what a databag asks for, the databags among a coordinator's own units.

mod address;
mod coordinator;
mod databag;
mod endpoint;
mod json;
mod worker;

pub use address::Address;
pub use coordinator::{CoordinatorApplication, RemoteWriteEndpoint};
pub use databag::{Databag, DatabagError};
pub use endpoint::{endpoint, interface};
pub use worker::{WorkerApplication, WorkerUnit};
