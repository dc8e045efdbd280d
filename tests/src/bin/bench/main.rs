//! The figures that the project holds itself to. `cargo xtask bench` builds this in release mode and runs it.

mod plan;

use std::process::ExitCode;

/// One figure: what was measured, and whether it holds its bar.
struct Figure {
    what: String,
    measured: String,
    bar: String,
    holds: bool,
}

fn main() -> ExitCode {
    let mut figures = Vec::new();
    figures.extend(plan::figures());
    let mut all = true;
    for Figure { what, measured, bar, holds } in &figures {
        let mark = if *holds { "ok" } else { "MISSED" };
        anstream::println!("{what:<58} {measured:>28}   bar {bar:<24} {mark}");
        all &= holds;
    }
    if all { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
