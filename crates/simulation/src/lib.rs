//! The planner and the agents' machines in a simulated cluster: what must hold, whatever fails and whoever edits.
//!
//! The real [`plan`](muster_planner::plan()) and the real [`Machine`](muster_agent::machine::Machine) of every agent run against simulated disks,
//! processes, rings, clients and an object store. A [`Schedule`] follows from a seed: crashes of every actor between any two steps, late and
//! lost reports, a missing API, a missing object store, edits. Time is virtual, and the same seed always does the same.
//!
//! - [`step`] is what can happen, [`schedule`] a list of it, with a script to replay it and a way to shorten it.
//! - [`world`] is everything together; `unit` one agent with its process and disk; [`disk`] how each product keeps data.
//! - `promises` is what every plan must keep to.
//! - [`bug`] is what is built in on purpose, to show that the rest finds it.
//!
//! What is checked and found stands in `docs/design/simulation.md`. For tests only; nothing links it.

pub mod bug;
pub mod dice;
pub mod disk;
mod ground;
mod layout;
mod promises;
#[cfg(feature = "deliberate-bugs")]
mod sabotage;
pub mod schedule;
pub mod step;
mod unit;
pub mod world;

pub use bug::Bug;
pub use ground::Fault;
pub use layout::Start;
pub use schedule::{Ends, Schedule};
