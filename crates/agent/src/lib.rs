//! The agent: one process that supervises exactly one workload.
//!
//! It takes an [`Assignment`](muster_relation::Assignment) from its coordinator, checks the config offline with the
//! workload's own binary, starts, reloads, restarts or stops the workload, and reports what is true. It survives an
//! absent coordinator for as long as it takes, also across its own restart.
//!
//! - [`machine`] decides: pure, `(event, now) -> actions`.
//! - `driver` carries out: processes, files, probes, calls.
//! - [`workload`] knows how each kind of workload is started: a product, nginx, or a fixed command.
//! - [`channel`] carries assignments and reports between agent and coordinator.
//! - `state` keeps on disk what must outlive the agent.
//! - `health` is what the pages `/live`, `/ready` and `/metrics` say.
//!
//! Not here: what the workloads' configs and arguments are (`muster-products`, `muster-nginx`) and who is to run what
//! (`muster-planner`). Start reading at [`machine::Machine`], then [`run()`].

pub mod channel;
mod driver;
mod health;
mod install;
pub mod machine;
mod marker;
mod run;
mod settings;
mod state;
pub mod workload;

pub use driver::check_config;
pub use install::{InstallError, install};
pub use run::{RunError, run};
pub use settings::{Arguments as UnitArguments, Settings};
