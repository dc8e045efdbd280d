//! Cold starts of the operator on a hundred coordinators with ten workers each: before anything was made for them, and when all is there
//! and each coordinator was edited while no operator ran.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use futures::StreamExt as _;
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, ResourceExt as _};
use muster_api::{Coordinator, Unit};
use muster_testkit::kubernetes::Level;
use muster_tests::kubernetes::{Operator, Site, s3_secret};
use serde_json::json;

use super::bare::{Bare, timed};
use super::deployment::{coordinator, worker};
use super::{mebibytes, percentile, shipped, status};
use crate::Figure;

const NAMESPACE: &str = "fleet";
const COORDINATORS: usize = 100;
const WORKERS: usize = 10;
/// On a machine like that on which the kit was measured, see [`timed`].
const BAR: Duration = Duration::from_secs(60);
const MEMORY_BAR: f64 = 80.0;
/// How many rounds of two bare writes are measured before.
const ROUNDS: usize = 50;
/// The generation of a coordinator that was edited once.
const EDITED: i64 = 2;
/// When the measurement is given up.
const LONGEST: Duration = Duration::from_secs(300);

pub(super) async fn figures() -> anyhow::Result<Vec<Figure>> {
    let site = shipped(Site::start(Level::Controllers).await)?;
    let mut bare = Bare::start(&site).await?;
    let mut baseline = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        baseline.push(bare.round().await?);
    }
    let bare = percentile(&mut baseline, 50);
    let _doubles = site.doubles();
    site.namespace(NAMESPACE).await;
    for number in 0..COORDINATORS {
        let (name, secret) = (format!("c{number}"), format!("s3-c{number}"));
        let mut all = vec![s3_secret(&secret, &format!("bucket-{number}")), coordinator(&name, &secret)];
        all.extend(
            (0..WORKERS).map(|worker_number| worker(&format!("{name}-w{worker_number}"), &name, 1, "all")),
        );
        site.apply(NAMESPACE, &all).await;
    }
    let config = watcher::Config::default;
    let coordinators: Api<Coordinator> = Api::namespaced(site.cluster.client().await, NAMESPACE);
    let units: Api<Unit> = Api::namespaced(site.cluster.client().await, NAMESPACE);
    let mut coordinators = watcher(coordinators, config()).default_backoff().applied_objects().boxed();
    let mut units = watcher(units, config()).default_backoff().applied_objects().boxed();

    let started = Instant::now();
    let mut operator = site.operator("operator-0");
    let mut told = BTreeSet::new();
    let mut said: BTreeMap<String, bool> = BTreeMap::new();
    let (mut decided, mut active) = (None, None);
    let all = async {
        while active.is_none() {
            tokio::select! {
                unit = units.next() => {
                    let unit = unit.context("the watch ended")?;
                    if let (Ok(unit), true) = (unit, decided.is_none())
                        && unit.spec.application.contains("-w")
                        && unit.spec.assignment.is_some()
                    {
                        told.insert(unit.name_any());
                    }
                }
                coordinator = coordinators.next() => {
                    let coordinator = coordinator.context("the watch ended")?;
                    if let Ok(coordinator) = coordinator
                        && let Some(status) = &coordinator.status
                        && status.observed_generation == coordinator.metadata.generation
                    {
                        said.insert(coordinator.name_any(), status.status == "active");
                    }
                }
            }
            if decided.is_none() && told.len() == COORDINATORS * WORKERS && said.len() == COORDINATORS {
                decided = Some(started.elapsed());
            }
            if decided.is_some() && said.values().filter(|active| **active).count() == COORDINATORS {
                active = Some(started.elapsed());
            }
        }
        anyhow::Ok(())
    };
    let outcome = tokio::time::timeout(LONGEST, all).await;
    if let Ok(failed) = outcome {
        failed?;
    }
    let verbs = ["get", "apply", "apply-status", "patch"];
    let requests = counts(&operator, "muster_operator_requests_total", "verb", &verbs).await;
    let kinds = ["Coordinator", "Worker"];
    let looks = counts(&operator, "muster_operator_reconciles_total", "kind", &kinds).await;
    anstream::println!(
        "  until then the operator took {:.1?} of a processor; looks: {looks}; requests: {requests}",
        processor_time(operator.process().pid().as_raw())?
    );
    let memory = operator.resident();
    let peak = status(operator.process().pid().as_raw(), "VmHWM")?;
    let Some(decided) = decided else {
        bail!("{} of {} units were told anything in {LONGEST:?}", told.len(), COORDINATORS * WORKERS)
    };
    let active = active.map_or(format!("not within {LONGEST:?}"), |time| format!("{time:.1?}"));
    anstream::println!(
        "  {COORDINATORS} × {WORKERS}: every unit told after {decided:.1?}, all active: {active}; resident then {:.1} MiB",
        mebibytes(memory)
    );
    operator.stop().await;
    for number in 0..COORDINATORS {
        let spec = json!({"config": {"retention-period": "7d"}});
        site.patch_coordinator(NAMESPACE, &format!("c{number}"), spec).await;
    }
    let started = Instant::now();
    let operator = site.operator("operator-1");
    let mut said = BTreeSet::new();
    let all = async {
        while said.len() < COORDINATORS {
            let coordinator = coordinators.next().await.context("the watch ended")?;
            if let Ok(coordinator) = coordinator
                && let Some(status) = &coordinator.status
                && status.observed_generation >= Some(EDITED)
            {
                said.insert(coordinator.name_any());
            }
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(LONGEST, all).await.context("an edit was not decided about")??;
    let again = started.elapsed();
    drop(operator);
    let cold = format!("{COORDINATORS} coordinators × {WORKERS} workers, cold start: all decided");
    let edited = "the same when all is there and each coordinator was edited".to_owned();
    let times = [(cold, decided), (edited, again)].map(|(what, time)| timed(what, time, bare, BAR));
    let mut figures: Vec<Figure> = times.into_iter().flatten().collect();
    figures.push(Figure {
        what: "operator of the fleet, most resident memory until all is active".to_owned(),
        measured: format!("{:.1} MiB", mebibytes(peak)),
        bar: format!("{MEMORY_BAR} MiB"),
        holds: mebibytes(peak) <= MEMORY_BAR,
    });
    Ok(figures)
}

/// A counter of the operator by one of its labels.
async fn counts(operator: &Operator, counter: &str, label: &str, values: &[&str]) -> String {
    let mut counts = Vec::new();
    for value in values {
        let count = operator.metric(counter, &format!("{label}=\"{value}\"")).await.unwrap_or_default();
        counts.push(format!("{count} {value}"));
    }
    counts.join(", ")
}

/// How long a process was on a processor.
fn processor_time(pid: i32) -> anyhow::Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // What comes before is the program's name, which may have spaces.
    let (_, fields) = stat.rsplit_once(')').context("an unknown kernel")?;
    let ticks = fields.split_whitespace().skip(11).take(2).map(str::parse::<u64>);
    let ticks = ticks.sum::<Result<u64, _>>()?;
    // A tick is a hundredth of a second in all kernels' interface to programs (USER_HZ).
    Ok(Duration::from_millis(ticks * 10))
}
