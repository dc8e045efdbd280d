//! `kubectl muster`: the same program under the name that kubectl looks for.

use std::process::ExitCode;

fn main() -> ExitCode {
    muster_cli::main()
}
