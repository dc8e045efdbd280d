//! What rollouts keep to for every product, in a simulated cluster.

#![allow(clippy::unwrap_used, reason = "a test may fail by a panic")]

use std::collections::{BTreeMap, BTreeSet};

use jiff::SignedDuration;
use muster_api::OptionValue;
use muster_model::{Product, Revision, Role, RoleSet, UnitName, Version};
use muster_planner::ObservedUnit;
use muster_products::{role_table, supported_versions, workload};
use muster_relation::Service;
use muster_testkit::cluster::{Cluster, app, worker};
use proptest::prelude::*;

/// A worker's name, its units and its roles.
type Line = (&'static str, u32, &'static [&'static str]);

const MONOLITH: &[Line] = &[("all", 3, &["all"])];
const MIMIR: &[Line] = &[("b", 2, &["backend"]), ("r", 3, &["read"]), ("w", 3, &["write"])];
const LOKI: &[Line] = &[("b", 2, &["backend"]), ("r", 3, &["read"]), ("w", 3, &["write"])];
const TEMPO: &[Line] = &[
    ("c", 1, &["compactor"]),
    ("d", 2, &["distributor"]),
    ("f", 2, &["query-frontend"]),
    ("i", 3, &["ingester"]),
    ("q", 2, &["querier"]),
];

/// Every product, on one kind of unit and apart.
const LINES: [(Product, &[Line]); 6] = [
    (Product::Loki, LOKI),
    (Product::Loki, MONOLITH),
    (Product::Mimir, MIMIR),
    (Product::Mimir, MONOLITH),
    (Product::Tempo, TEMPO),
    (Product::Tempo, MONOLITH),
];

fn version(product: Product) -> Version {
    *supported_versions(product).first().unwrap()
}

/// A cluster of that product that is active, with `units` of every worker, or as many as the line says.
fn active(product: Product, line: &[Line], units: Option<u32>) -> Cluster {
    let workers: Vec<_> =
        line.iter().map(|(name, n, roles)| (*name, worker(units.unwrap_or(*n), roles))).collect();
    let mut cluster = Cluster::new(&workers);
    cluster.observed.spec.product = product.to_string();
    cluster.observed.spec.version = Some(version(product).to_string());
    cluster.settle();
    let status = cluster.status();
    assert!(status.starts_with("active"), "{product}: {status}");
    cluster
}

/// Sets an option that every product has and that is part of the config of every unit.
fn set(cluster: &mut Cluster, product: Product, days: Option<i64>) {
    let value = days.map(|days| match product {
        Product::Mimir => OptionValue::Text(format!("{days}d")),
        Product::Loki | Product::Tempo => OptionValue::Integer(days),
    });
    let config = &mut cluster.observed.spec.config;
    config.clear();
    config.extend(value.map(|value| ("retention-period".to_owned(), value)));
}

/// The revision that the last plan wants.
fn wanted(cluster: &Cluster) -> Revision {
    cluster.last.as_ref().unwrap().revision.clone().unwrap()
}

fn worker_units(cluster: &Cluster) -> impl Iterator<Item = (UnitName, &ObservedUnit)> {
    let workers = cluster.observed.workers.iter();
    workers.flat_map(|(name, worker)| worker.units.iter().map(|(number, unit)| (name.unit(*number), unit)))
}

/// The units whose assignment names this revision.
fn told(cluster: &Cluster, revision: &Revision) -> BTreeSet<UnitName> {
    let units = worker_units(cluster);
    let units = units.filter(|(_, unit)| unit.assigned.as_ref().is_some_and(|a| a.revision == *revision));
    units.map(|(name, _)| name).collect()
}

/// How many processes each unit has been told to begin.
type Restarts = BTreeMap<UnitName, u32>;

/// Plans, and counts for every unit that is told another process. Checks that of no ring more than one member is away.
/// Says whether anything was to be done.
fn step(cluster: &mut Cluster, product: Product, restarts: &mut Restarts) -> bool {
    let before = cluster.clone();
    let busy = cluster.plan();
    let table = role_table(product, version(product)).unwrap();
    let mut changed: Vec<RoleSet> = Vec::new();
    let mut away: Vec<RoleSet> = Vec::new();
    let after: BTreeMap<_, _> = worker_units(cluster).collect();
    for (name, unit) in worker_units(&before) {
        let next = after[&name].assigned.as_ref();
        let other = unit.assigned.as_ref().zip(next).is_some_and(|(now, next)| !now.same_process(next));
        if other {
            *restarts.entry(name).or_default() += 1;
        }
        if other && unit.is_ready() {
            changed.push(table.expand(&unit.current_roles()));
        } else if unit.is_told_to_run() && !unit.is_ready() {
            away.push(table.expand(&unit.current_roles()));
        }
    }
    let rings = Role::ALL.iter().filter(|role| workload(product).in_ring(**role));
    for role in rings {
        let count = |sets: &[RoleSet]| sets.iter().filter(|roles| roles.contains(*role)).count();
        let (changed, away) = (count(&changed), count(&away));
        assert!(
            changed == 0 || changed + away <= 1,
            "{product}: {changed} members with {role} were taken while {away} were away"
        );
    }
    busy
}

/// One agent after the other does a step, in the order of `schedule`.
fn run(
    cluster: &mut Cluster,
    product: Product,
    schedule: &[prop::sample::Index],
    restarts: &mut Restarts,
    mut look: impl FnMut(&mut Cluster),
) {
    for turn in schedule {
        step(cluster, product, restarts);
        look(cluster);
        let units = cluster.units();
        cluster.advance(turn.get(&units));
    }
}

/// As [`run`], until nothing is left to be done.
fn settle(
    cluster: &mut Cluster,
    product: Product,
    restarts: &mut Restarts,
    mut look: impl FnMut(&mut Cluster),
) {
    for _ in 0..500 {
        let mut busy = step(cluster, product, restarts);
        look(cluster);
        for unit in cluster.units() {
            busy |= cluster.advance(&unit);
        }
        if !busy {
            return;
        }
    }
    panic!("{product} does not come to rest: {}", cluster.status());
}

fn schedule(turns: usize) -> impl Strategy<Value = Vec<prop::sample::Index>> {
    prop::collection::vec(any::<prop::sample::Index>(), 0..turns)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// An option is set, and set back before its rollout is through, however far that came: the revision is the old one
    /// again, every unit was changed once for each edit at most, and those that the first edit had not reached not at all.
    #[test]
    fn an_option_set_and_set_back_restarts_nothing_twice(line in 0..LINES.len(), turns in schedule(120)) {
        let (product, workers) = LINES[line];
        let mut cluster = active(product, workers, None);
        let old = wanted(&cluster);
        let mut there = Restarts::new();
        set(&mut cluster, product, Some(90));
        run(&mut cluster, product, &turns, &mut there, |_| {});
        prop_assert!(there.values().all(|times| *times == 1), "{:?}", there);
        let reached = there.keys().cloned().collect::<BTreeSet<_>>();
        set(&mut cluster, product, None);
        let mut back = Restarts::new();
        settle(&mut cluster, product, &mut back, |_| {});
        prop_assert_eq!(wanted(&cluster), old.clone());
        prop_assert_eq!(told(&cluster, &old).len(), worker_units(&cluster).count());
        prop_assert_eq!(&back.keys().cloned().collect::<BTreeSet<_>>(), &reached);
        prop_assert!(back.values().all(|times| *times == 1), "{:?}", back);
        prop_assert_eq!(cluster.status(), active(product, workers, None).status());
        prop_assert!(!cluster.plan(), "quiet in the end");
    }

    /// A rollout that goes through changes every unit once.
    #[test]
    fn a_rollout_changes_every_unit_once(line in 0..LINES.len(), turns in schedule(200)) {
        let (product, workers) = LINES[line];
        let mut cluster = active(product, workers, None);
        let old = wanted(&cluster);
        set(&mut cluster, product, Some(90));
        let mut restarts = Restarts::new();
        run(&mut cluster, product, &turns, &mut restarts, |_| {});
        settle(&mut cluster, product, &mut restarts, |_| {});
        prop_assert_ne!(wanted(&cluster), old);
        prop_assert_eq!(restarts.len(), worker_units(&cluster).count());
        prop_assert!(restarts.values().all(|times| *times == 1), "{:?}", restarts);
    }

    /// Every binary takes a config, but after the first few units none comes up with it. Once one has ended, no further unit is told it,
    /// however long that lasts and whatever the unit does about it; if the very first one ends, no second one ever is.
    #[test]
    fn a_halted_rollout_touches_no_further_unit(line in 0..LINES.len(), good in 0..4usize, turns in schedule(120)) {
        let (product, workers) = LINES[line];
        let mut cluster = active(product, workers, None);
        let old = wanted(&cluster);
        set(&mut cluster, product, Some(90));
        let mut touched: Vec<UnitName> = Vec::new();
        let mut ended = None;
        let mut look = |cluster: &mut Cluster| {
            let new = wanted(cluster);
            let with_new = if new == old { BTreeSet::new() } else { told(cluster, &new) };
            let more: Vec<_> = with_new.iter().filter(|name| !touched.contains(name)).cloned().collect();
            // The plan that has just been made saw this.
            let ends = |(name, unit): (UnitName, &ObservedUnit)| {
                unit.report.as_ref().is_some_and(|report| report.service == Service::Backoff).then_some(name)
            };
            ended = ended.take().or_else(|| worker_units(cluster).find_map(ends));
            assert!(ended.is_none() || more.is_empty(), "{product}: {ended:?} ended, and {more:?} are told the same");
            touched.extend(more);
            cluster.broken = touched.iter().skip(good).filter(|name| with_new.contains(name)).cloned().collect();
        };
        let mut restarts = Restarts::new();
        run(&mut cluster, product, &turns, &mut restarts, &mut look);
        for _ in 0..4 {
            settle(&mut cluster, product, &mut restarts, &mut look);
            cluster.now += SignedDuration::from_mins(10);
        }
        let status = cluster.status();
        match &ended {
            None => prop_assert!(status.starts_with("active") && touched.len() <= good, "{} {:?}", status, touched),
            // Units of different roles may have been told at the same time.
            Some(_) => {
                let named = touched.iter().skip(good).any(|unit| status.contains(&unit.to_string()));
                prop_assert!(!status.starts_with("active") && named, "{}", status);
                prop_assert!(good > 0 || touched.len() == 1, "{:?}", touched);
            }
        }
        // With the old config again all is well.
        cluster.broken.clear();
        set(&mut cluster, product, None);
        settle(&mut cluster, product, &mut restarts, |_| {});
        prop_assert_eq!(wanted(&cluster), old);
        prop_assert!(cluster.status().starts_with("active"), "{}", cluster.status());
    }
}

/// The config does not know how many units there are, nor when and in which order they came.
#[test]
fn few_and_many_units_share_the_same_bytes() {
    let document = |cluster: &Cluster| {
        let data = cluster.last.as_ref().unwrap().cluster.clone().unwrap();
        assert_eq!(data.documents.len(), 1);
        data.documents.into_iter().next().unwrap()
    };
    for (product, line) in LINES {
        let few = active(product, line, Some(3));
        let many = active(product, line, Some(300));
        assert_eq!(worker_units(&many).count(), 300 * line.len());
        assert_eq!(document(&few), document(&many), "{product}");
        // A unit more or less is no other config either.
        let mut scaled = few.clone();
        scaled.observed.workers.get_mut(&app(line[0].0)).unwrap().spec.units = 4;
        scaled.settle();
        assert_eq!(document(&few), document(&scaled), "{product}");
        let mut again = active(product, line, Some(3));
        assert!(!again.plan());
        assert_eq!(again.last, few.last, "{product}: equal input gives an equal plan");
    }
}

/// Which units the load balancer sends queries of Loki to.
fn readers(cluster: &Cluster) -> BTreeSet<UnitName> {
    let documents = &cluster.last.as_ref().unwrap().balancer_cluster.as_ref().unwrap().documents;
    let document = documents.values().next().unwrap();
    let (_, upstream) = document.split_once("upstream read").unwrap();
    let (servers, _) = upstream.split_once('}').unwrap();
    let is_there = |unit: &ObservedUnit| servers.contains(&format!("{}:", unit.address.as_deref().unwrap()));
    worker_units(cluster).filter(|(_, unit)| is_there(unit)).map(|(name, _)| name).collect()
}

/// A unit of Loki that runs everything does not see what `write` units hold alone.
#[test]
fn queries_of_loki_go_to_readers_once_others_write() {
    let mut cluster = active(Product::Loki, MONOLITH, None);
    let all: BTreeSet<_> = (0..3).map(|number| app("all").unit(number)).collect();
    assert_eq!(readers(&cluster), all);
    cluster.deploy("r", worker(1, &["read"]));
    cluster.deploy("b", worker(1, &["backend"]));
    cluster.settle();
    let with_reader: BTreeSet<_> = all.iter().cloned().chain([app("r").unit(0)]).collect();
    assert_eq!(readers(&cluster), with_reader, "nobody else holds fresh data");
    cluster.deploy("w", worker(1, &["write"]));
    cluster.settle();
    assert_eq!(readers(&cluster), BTreeSet::from([app("r").unit(0)]));
    cluster.worker("r").spec.units = 0;
    cluster.settle();
    assert_eq!(readers(&cluster), all, "better than nobody");
}
