//! `cargo xtask test`: everything that must pass.

use std::env;
use std::ffi::OsString;
use std::process::Command;
use std::time::Instant;

use anyhow::Context as _;
use muster_testkit::servers::workspace;

use crate::run::succeed;
use crate::{images, servers, tidy};

type Step = (&'static str, fn() -> anyhow::Result<()>);

const STEPS: &[Step] = &[
    ("format", || cargo(&["fmt", "--all", "--check"])),
    ("lints", || cargo(&["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"])),
    ("tidy", tidy::run),
    ("servers", || servers::provide(&[])),
    ("binaries", || cargo(&["build", "--workspace", "--bins", "--locked"])),
    ("images", || images::run(images::Build::Quick)),
    ("tests", || cargo(&["test", "--workspace", "--locked", "--no-fail-fast"])),
];

/// Runs one step after the other and stops at the first that fails.
///
/// # Errors
/// A step failed; the message names it.
pub(crate) fn run() -> anyhow::Result<()> {
    let started = Instant::now();
    for (name, step) in STEPS {
        anstream::eprintln!("── {name}");
        let step_started = Instant::now();
        step().with_context(|| format!("step {name:?} failed after {:.1?}", step_started.elapsed()))?;
        anstream::eprintln!("── {name}: ok, {:.1?}", step_started.elapsed());
    }
    anstream::eprintln!("── all {} steps passed in {:.0?}", STEPS.len(), started.elapsed());
    Ok(())
}

/// Runs the cargo that runs us.
fn cargo(arguments: &[&str]) -> anyhow::Result<()> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    succeed(
        Command::new(cargo).current_dir(workspace()).args(arguments),
        "install Rust with rustup (https://rustup.rs); rust-toolchain.toml names the components",
    )
}
