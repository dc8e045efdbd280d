//! How long one plan takes, and that a converged cluster gets an empty one.

use std::hint::black_box;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use muster_api::OptionValue;
use muster_testkit::cluster::{Cluster, worker};

use crate::Figure;

/// Workers, and the longest that one plan may take.
const BARS: [(u32, Duration); 4] = [
    (3, Duration::from_micros(100)),
    (30, Duration::from_micros(300)),
    (300, Duration::from_millis(3)),
    (3000, Duration::from_millis(40)),
];

/// Converged clusters of read, write and backend workers, each application with ten units at most.
fn cluster(workers: u32) -> Cluster {
    let roles = ["read", "write", "backend"];
    let applications = (workers / 10).max(3);
    let specs: Vec<(String, _)> = (0..applications)
        .map(|n| {
            let units = workers / applications;
            (format!("w{n}"), worker(units, &[roles[n as usize % 3]]))
        })
        .collect();
    let named: Vec<_> = specs.iter().map(|(name, spec)| (name.as_str(), spec.clone())).collect();
    let mut cluster = Cluster::new(&named);
    cluster.settle();
    cluster
}

/// The same with an option changed each time, so that the config is rendered anew.
fn new_config(cluster: &Cluster, workers: u32, bar: Option<Duration>) -> Figure {
    let mut observed = cluster.observed.clone();
    let mut times: Vec<Duration> = (3..53)
        .map(|days| {
            let period = OptionValue::Text(format!("{days}d"));
            observed.spec.config.insert("retention-period".to_owned(), period);
            let started = Instant::now();
            black_box(muster_planner::plan(black_box(&observed), Timestamp::UNIX_EPOCH));
            started.elapsed()
        })
        .collect();
    times.sort_unstable();
    let median = times[times.len() / 2];
    Figure {
        what: format!("plan, {workers} worker units, config and nginx rendered anew"),
        measured: format!("{median:.1?}"),
        bar: bar.map_or_else(|| "none".to_owned(), |bar| format!("{bar:?}")),
        holds: bar.is_none_or(|bar| median <= bar),
    }
}

/// How long one plan takes with 300 units of which every one has to do something, half-way: all give up one role for another.
fn in_transition() -> Figure {
    const BAR: Duration = Duration::from_millis(5);
    const UNITS: u32 = 300;
    let mut cluster = cluster(UNITS);
    let applications = cluster.observed.workers.keys().cloned().collect::<Vec<_>>();
    for (number, name) in applications.iter().enumerate() {
        let next = ["write", "backend", "read"][number % 3];
        cluster.worker(name.as_str()).spec.roles = worker(1, &[next]).roles;
    }
    // Long enough that some have changed and most have not.
    for _ in 0..50 {
        cluster.plan();
        for unit in cluster.units() {
            cluster.advance(&unit);
        }
    }
    let mut times: Vec<Duration> = (0..50)
        .map(|_| {
            let started = Instant::now();
            black_box(muster_planner::plan(black_box(&cluster.observed), cluster.now));
            started.elapsed()
        })
        .collect();
    times.sort_unstable();
    let median = times[times.len() / 2];
    let said = cluster.last.as_ref().and_then(|plan| plan.transition.as_ref()).map(|t| t.message.clone());
    Figure {
        what: format!("plan, {UNITS} worker units in transition ({})", said.as_deref().unwrap_or("none")),
        measured: format!("{median:.1?}"),
        bar: format!("{BAR:?}"),
        holds: said.is_some() && median <= BAR,
    }
}

pub(crate) fn figures() -> Vec<Figure> {
    let mut figures = Vec::new();
    let mut growth = Vec::new();
    for (workers, bar) in BARS {
        let cluster = cluster(workers);
        let mut times: Vec<Duration> = (0..50)
            .map(|_| {
                let started = Instant::now();
                black_box(muster_planner::plan(black_box(&cluster.observed), Timestamp::UNIX_EPOCH));
                started.elapsed()
            })
            .collect();
        times.sort_unstable();
        let (least, median) = (times[0], times[times.len() / 2]);
        growth.push(median.as_secs_f64() / f64::from(workers));
        figures.push(Figure {
            what: format!("plan, {workers} worker units, median of {} (least {least:.1?})", times.len()),
            measured: format!("{median:.1?}"),
            bar: format!("{bar:?}"),
            holds: median <= bar,
        });
        match workers {
            3 => figures.push(new_config(&cluster, workers, None)),
            300 => figures.push(new_config(&cluster, workers, Some(bar))),
            _ => {}
        }
        let plan = muster_planner::plan(&cluster.observed, Timestamp::UNIX_EPOCH);
        let changes = plan.changes(&cluster.observed);
        let writes = changes.assign.len() + changes.create.len() + changes.remove.len();
        let quiet = changes.is_empty() && plan.carry == cluster.observed.carry;
        figures.push(Figure {
            what: format!("plan, {workers} worker units, nothing changed: writes"),
            measured: writes.to_string(),
            bar: "0".to_owned(),
            holds: quiet,
        });
    }
    figures.push(in_transition());
    let (ten, most) = (growth[2], growth[3]);
    figures.push(Figure {
        what: "plan, time per unit, 3000 against 300".to_owned(),
        measured: format!("{:.2}", most / ten),
        bar: "1.25 (noise allowed)".to_owned(),
        holds: most / ten <= 1.25,
    });
    figures
}
