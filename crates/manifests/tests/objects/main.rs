//! The objects of whole deployments, with plans from the planner.

#![expect(clippy::unwrap_used, reason = "these functions serve tests only, which may panic")]

mod deployments;
mod goldens;
mod properties;
mod rules;
