//! Chores of this repository: `cargo xtask --help`.

mod bench;
mod cluster;
mod demo;
mod generate;
mod images;
mod run;
mod servers;
mod test;
mod tidy;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Chores of this repository.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Build or install the real servers that tests and the demo run, where they are missing.
    Servers {
        /// Which; all of them if none is named.
        #[arg(value_enum)]
        names: Vec<servers::Name>,
    },
    /// Check the rules of this repository that neither rustc nor clippy know.
    Tidy,
    /// Write the reference pages that are made from the code.
    Generate {
        /// Write nothing; fail if a page is stale.
        #[arg(long)]
        check: bool,
    },
    /// Build the container images without a container engine.
    Images {
        /// As tests run them: in minutes less, and larger.
        #[arg(long)]
        quick: bool,
    },
    /// Start, end or use a real Kubernetes cluster on this machine: up, run, down, kubectl …
    Cluster {
        /// What the cluster's script is told.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
        arguments: Vec<std::ffi::OsString>,
    },
    /// Play the main job on real servers and print what was measured.
    Demo,
    /// Measure the figures that the project holds itself to; fail if one misses its bar.
    Bench {
        /// Which parts; all of them if none is named. The program names them when one is unknown.
        parts: Vec<String>,
    },
    /// Run everything that must pass: format, lints, tidy, all tests.
    Test,
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().task {
        Task::Servers { names } => servers::provide(&names),
        Task::Tidy => tidy::run(),
        Task::Generate { check } => generate::run(check),
        Task::Images { quick } => {
            images::run(if quick { images::Build::Quick } else { images::Build::Shipped })
        }
        Task::Cluster { arguments } => cluster::run(&arguments),
        Task::Demo => demo::run(),
        Task::Bench { parts } => bench::run(&parts),
        Task::Test => test::run(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            anstream::eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
