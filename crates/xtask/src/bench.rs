//! `cargo xtask bench`: the figures that the project holds itself to, each with its bar.

use std::process::Command;

use muster_testkit::servers::workspace;

use crate::run::succeed;
use crate::{images, servers};

/// The parts that run the image's program, which takes minutes to build.
const OF_IMAGE: [&str; 2] = ["kubernetes", "fleet"];
/// The part that runs images in pods. It is measured only if it is named.
const OF_PODS: &str = "cluster-transitions";

/// Builds what is missing, then measures the named parts, or all.
///
/// # Errors
/// Something is missing, a build fails, or a figure misses its bar.
pub(crate) fn run(parts: &[String]) -> anyhow::Result<()> {
    const HINT: &str = "install Rust with rustup (https://rustup.rs)";
    servers::provide(&[])?;
    let mut build = Command::new("cargo");
    // The whole workspace, so that everything is built with the features that it has in tests.
    build.current_dir(workspace()).args(["build", "--release", "--locked", "--workspace", "--bins"]);
    succeed(&mut build, HINT)?;
    if parts.is_empty() || parts.iter().any(|part| OF_IMAGE.contains(&part.as_str())) {
        images::program(images::Build::Shipped)?;
    }
    if parts.iter().any(|part| part == OF_PODS) {
        images::run(images::Build::Shipped)?;
    }
    succeed(Command::new(workspace().join("target/release/bench")).args(parts), HINT)
}
