//! All that differs between Tempo, Mimir and Loki: role tables per version line, the shared config and its
//! placeholders, gateway routes, how a unit leaves, and the charms with their options.
//!
//! Pure: no clock, environment, files, network or randomness. Start reading at [`Workload`].
//!
//! Not here: when a unit is told to do something (`muster-planner`) and how (`muster-agent`).

pub mod charm;
mod check;
mod held;
pub mod loki;
pub mod mimir;
mod object_store;
mod overrides;
pub mod placeholder;
mod quiesce;
mod ring;
pub mod tempo;
mod unit;
mod version;
mod workload;

pub use held::{Disk, Ending};
pub use overrides::OwnedOverride;
pub use quiesce::{Block, Evidence, Metrics, Quiesce, TakesNothing};
pub use ring::Ring;
pub use version::{UnsupportedVersion, check_version, role_table, supported_versions};
pub use workload::{
    Choice, ConfigInputs, Endpoint, Flushed, HttpCall, MAX_MESSAGE_LEN, Peer, RemoteWrite, RoleConflict,
    UnitValues, Workload, workload,
};
