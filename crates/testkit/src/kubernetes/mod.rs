//! A real Kubernetes cluster for tests: `cargo xtask servers kubernetes` builds it, [`Cluster`] runs one.

pub mod binaries;
mod cluster;
mod volumes;

pub use cluster::{Cluster, Level, client};
