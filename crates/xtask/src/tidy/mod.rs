//! The rules of this repository that neither rustc nor clippy know. Each rule says why it is there.

mod layers;
mod manifests;
mod sources;

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::process::Command;

use anyhow::{Context as _, bail, ensure};
use cargo_metadata::{Metadata, MetadataCommand};
use muster_testkit::servers::workspace;

/// A place where a rule is broken.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Violation {
    /// The file, from the workspace's root, with the line if there is one.
    place: String,
    /// What is there.
    what: String,
    /// What to do instead.
    remedy: &'static str,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {}", self.place, self.what, self.remedy)
    }
}

/// Checks all rules and prints every violation.
///
/// # Errors
/// A rule is broken, or the repository cannot be read.
pub(crate) fn run() -> anyhow::Result<()> {
    let metadata =
        MetadataCommand::new().no_deps().current_dir(workspace()).exec().context("cargo metadata failed")?;
    let mut violations = layer_violations(&metadata)?;
    for file in files()? {
        // Deleted and not yet committed, or no text: then there is nothing to check.
        let Ok(text) = fs::read_to_string(workspace().join(&file)) else { continue };
        violations.extend(manifests::check(&file, &text));
        violations.extend(sources::check(&file, &text));
    }
    violations.sort();
    for violation in &violations {
        anstream::eprintln!("{violation}");
    }
    crate::generate::run(true)?;
    ensure!(violations.is_empty(), "{} places break this repository's rules", violations.len());
    Ok(())
}

fn layer_violations(metadata: &Metadata) -> anyhow::Result<Vec<Violation>> {
    let mut violations = Vec::new();
    for package in metadata.workspace_packages() {
        let dependencies: Vec<_> = package
            .dependencies
            .iter()
            .map(|dependency| (dependency.name.as_str(), dependency.kind))
            .collect();
        violations.extend(layers::check(&package.name, &dependencies));
        if layers::is_pure(&package.name) {
            violations.extend(layers::check_reach(&package.name, &reached(&package.name)?));
        }
    }
    Ok(violations)
}

/// The names of all crates that `package` links. Asked of `cargo tree` and not of the metadata, because that resolves the
/// features of this package alone: another crate of the workspace may rightly want more of a shared dependency.
fn reached(package: &str) -> anyhow::Result<BTreeSet<String>> {
    let arguments = [
        "tree",
        "--prefix",
        "none",
        "--format",
        "{p}",
        "--edges",
        "normal,no-proc-macro",
        "--package",
        package,
    ];
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let names = output(Command::new(cargo).args(arguments))?;
    Ok(names.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect())
}

/// All files that are tracked or about to be, from the workspace's root.
fn files() -> anyhow::Result<Vec<String>> {
    let list =
        output(Command::new("git").args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]))?;
    Ok(list.split('\0').filter(|name| !name.is_empty()).map(str::to_owned).collect())
}

fn output(command: &mut Command) -> anyhow::Result<String> {
    let output =
        command.current_dir(workspace()).output().with_context(|| format!("failed to run {command:?}"))?;
    if !output.status.success() {
        bail!("{command:?} failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    String::from_utf8(output.stdout).with_context(|| format!("{command:?} wrote what is no UTF-8"))
}
