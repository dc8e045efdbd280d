//! `cargo xtask bench`: the figures that the project holds itself to, each with its bar.

use std::process::Command;

use muster_testkit::servers::workspace;

use crate::run::succeed;
use crate::{images, servers};

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
    images::program()?;
    succeed(Command::new(workspace().join("target/release/bench")).args(parts), HINT)
}
