//! `cargo xtask cluster`: a real Kubernetes cluster to try things on.

use std::ffi::OsString;
use std::process::Command;

use muster_testkit::kubernetes::binaries;

use crate::run::succeed;
use crate::{images, servers};

/// Hands the arguments to the cluster's script, after what it needs is there.
///
/// # Errors
/// A build or the script fails.
pub(crate) fn run(arguments: &[OsString]) -> anyhow::Result<()> {
    servers::provide(&[servers::Name::Kubernetes])?;
    let starts = arguments.first().is_some_and(|verb| verb == "up" || verb == "run");
    let with_nodes = !arguments.iter().any(|argument| argument == "--api-only");
    if starts && with_nodes {
        servers::provide(&[servers::Name::Nginx, servers::Name::Mimir])?;
        images::run(images::Build::Quick)?;
    }
    let mut script = Command::new(binaries::kit().join("cluster"));
    script.args(arguments);
    script.env("MUSTER_KUBE_BIN", binaries::directory()?).env("MUSTER_KUBE_IMAGES", binaries::images());
    succeed(&mut script, "the checkout is not complete")
}
