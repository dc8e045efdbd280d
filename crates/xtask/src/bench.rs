//! `cargo xtask bench`: the figures that the project holds itself to, each with its bar.

use std::process::Command;

use muster_testkit::servers::workspace;

use crate::run::succeed;
use crate::servers;

/// Everything that the benchmark starts besides real servers, in release mode as users run it.
const PACKAGES: &[&str] =
    &["muster-cli", "muster-worker", "muster-coordinator", "muster-testkit", "muster-tests"];

/// Builds what is missing, then measures the named parts, or all.
///
/// # Errors
/// Something is missing, a build fails, or a figure misses its bar.
pub(crate) fn run(parts: &[String]) -> anyhow::Result<()> {
    const HINT: &str = "install Rust with rustup (https://rustup.rs)";
    servers::provide(&[])?;
    let mut build = Command::new("cargo");
    build.current_dir(workspace()).args(["build", "--release", "--locked", "--bins"]);
    build.args(PACKAGES.iter().flat_map(|package| ["-p", package]));
    succeed(&mut build, HINT)?;
    succeed(Command::new(workspace().join("target/release/bench")).args(parts), HINT)
}
