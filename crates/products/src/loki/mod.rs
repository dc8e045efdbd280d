//! Grafana Loki. Its roles are known; it cannot be run yet.

pub mod roles;

use muster_model::Version;

/// The version lines that a coordinator may ask for, newest first.
pub const SUPPORTED: &[Version] = &[Version { major: 3, minor: 7 }];
