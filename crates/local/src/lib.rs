//! The single-machine substrate: `muster up`.
//!
//! A model lives in a directory ([`ModelDirectory`]). Each unit is an agent process with a loopback address of its own; the
//! embedded S3 server is a unit like the others. The engine gathers what is there, lets `muster-planner` decide, saves the
//! decision, and carries it out. The control socket lets the other verbs reach it.
//!
//! Start reading at [`up::up`].

mod agents;
pub mod control;
mod directory;
mod edits;
mod embedded;
mod engine;
mod gather;
pub mod object_store;
mod preview;
mod programs;
mod state;
pub mod up;
mod view;

pub use directory::{DirectoryError, ModelDirectory};
pub use edits::EditError;
pub use programs::workload_binary;
pub use state::{EmbeddedStore, State, Stored, UnitRecord};
