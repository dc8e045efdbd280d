//! `coordinator`, `worker`, `muster` and `kubectl-muster` in one program, which is the one that it is called by.
//!
//! They share most of their code, so that one file of all is less than half as large as three, and an image is pulled by every
//! node.

use std::env;
use std::path::Path;
use std::process::ExitCode;

#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> anyhow::Result<ExitCode> {
    let called = env::args_os().next().unwrap_or_default();
    match Path::new(&called).file_name().and_then(|name| name.to_str()) {
        Some("coordinator") => muster_coordinator::main().map(|()| ExitCode::SUCCESS),
        Some("worker") => muster_worker::main().map(|()| ExitCode::SUCCESS),
        _ => Ok(muster_cli::main()),
    }
}
