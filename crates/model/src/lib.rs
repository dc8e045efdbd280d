//! The vocabulary of Muster.
//!
//! Names, products, roles, coverage, findings, statuses, revisions, and the types that hold object storage and
//! TLS material without ever showing a secret. Pure: no clock, environment, files, network or randomness.
//!
//! Not here: what differs between products (`muster-products`) and every decision (`muster-planner`).
//! Start reading at [`Role`] and [`Finding`].

mod coverage;
mod finding;
mod names;
mod ports;
mod product;
mod revision;
mod role;
pub mod route;
mod secret;
mod status;
mod storage;
mod tls;
pub mod yaml;

pub use coverage::{Coverage, RoleTable};
pub use finding::{Finding, Reason, Subject};
pub use names::{AppName, NameError, UnitName};
pub use ports::{AGENT_PORT, GOSSIP_PORT, GRPC_PORT, HTTP_PORT, host_and_port};
pub use product::{Product, UnknownProduct, Version, VersionError};
pub use revision::{Revision, RevisionError};
pub use role::{Role, RoleSet, UnknownRole};
pub use secret::Secret;
pub use status::{Status, WorkloadStatus};
pub use storage::{Endpoint, ObjectStorage, ObjectStorageError, ObjectStorageProblem, Scheme};
pub use tls::{TlsError, TlsMaterial};
