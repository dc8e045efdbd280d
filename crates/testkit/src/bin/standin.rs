//! Runs the stand-in for a workload. See `muster_testkit::standin`.

use std::env;
use std::process::ExitCode;

use muster_testkit::standin::{ENVIRONMENT, Flags, run};

fn main() -> anyhow::Result<ExitCode> {
    let more = env::var(ENVIRONMENT).unwrap_or_default();
    let words = env::args().skip(1).chain(more.split_whitespace().map(str::to_owned));
    Ok(run(&Flags::parse(words)?)?)
}
