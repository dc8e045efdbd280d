//! The figures that the project holds itself to. `cargo xtask bench` builds this in release mode and runs it.
//!
//! Without arguments it measures everything but the transitions; else the named parts. How each figure is measured stands in
//! `docs/performance.md`.

mod agent;
mod balancer;
mod check;
mod examples;
mod kubernetes;
mod machine;
mod plan;
mod rest;
mod rollout;
mod transitions;
mod up;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::bail;

/// The parts that take hours, and are measured only if they are named.
const CAMPAIGN: &str = "transitions";
const CLUSTER_CAMPAIGN: &str = "cluster-transitions";

/// One figure: what was measured, and whether it holds its bar.
struct Figure {
    what: String,
    measured: String,
    bar: String,
    holds: bool,
}

/// The parts, in the order in which they are measured.
const PARTS: [&str; 10] =
    ["plan", "agent", "check", "rest", "up", "examples", "balancer", "rollout", "kubernetes", "fleet"];

async fn measure(part: &str) -> anyhow::Result<Vec<Figure>> {
    match part {
        "plan" => Ok(plan::figures()),
        "agent" => Ok(agent::figures().await),
        "check" => check::figures(),
        "rest" => rest::figures().await,
        "up" => up::figures().await,
        "examples" => examples::figures().await,
        "rollout" => rollout::figures().await,
        "balancer" => balancer::figures().await,
        "kubernetes" => kubernetes::figures(),
        "fleet" => kubernetes::fleet_figures(),
        CAMPAIGN => transitions::figures().await,
        CLUSTER_CAMPAIGN => transitions::in_clusters(),
        unknown => {
            bail!(
                "{unknown:?} is no part of the benchmark; the parts are {}, {CAMPAIGN}, {CLUSTER_CAMPAIGN}",
                PARTS.join(", ")
            )
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<ExitCode> {
    let asked: Vec<String> = std::env::args().skip(1).collect();
    let parts: Vec<&str> =
        if asked.is_empty() { PARTS.to_vec() } else { asked.iter().map(String::as_str).collect() };
    anstream::println!("{}", machine::facts());
    let started = Instant::now();
    let mut all = true;
    for part in parts {
        for Figure { what, measured, bar, holds } in measure(part).await? {
            let mark = if holds { "ok" } else { "MISSED" };
            anstream::println!("{what:<74} {measured:>14}   bar {bar:<22} {mark}");
            all &= holds;
        }
    }
    anstream::println!("measured in {:.0?}", started.elapsed());
    Ok(if all { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The least and the median of durations.
///
/// # Panics
/// There are none.
fn least_and_median(mut times: Vec<Duration>) -> (Duration, Duration) {
    times.sort_unstable();
    (times[0], times[times.len() / 2])
}

/// A duration as milliseconds, with its sign left to the caller.
fn milliseconds(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}
