//! Units that are about to give up data answer queries until everybody finds it in the object store.

#![allow(clippy::unwrap_used, reason = "a test may fail by a panic")]

use jiff::SignedDuration;
use muster_api::{OptionValue, ReadHold, Transitions};
use muster_model::{Product, UnitName};
use muster_planner::forecast;
use muster_relation::Run;
use muster_testkit::cluster::{Cluster, app, worker};

/// How long others may take to find what Mimir uploaded.
const VISIBLE: SignedDuration = SignedDuration::from_secs(107);

fn active(units: u32, copies: i64) -> Cluster {
    active_of(Product::Mimir, units, copies)
}

fn active_of(product: Product, units: u32, copies: i64) -> Cluster {
    let mut cluster = Cluster::new(&[("all", worker(units, &["all"]))]);
    cluster.observed.spec.product = product.to_string();
    cluster.observed.spec.version = None;
    cluster.observed.spec.transitions = None;
    cluster.observed.spec.config = [("replication-factor".to_owned(), OptionValue::Integer(copies))].into();
    cluster.settle();
    assert!(cluster.status().starts_with("active"), "{}", cluster.status());
    cluster
}

fn all(number: u32) -> UnitName {
    app("all").unit(number)
}

/// A unit of two is to go, and is held.
fn held() -> (Cluster, UnitName) {
    let mut cluster = active(2, 1);
    cluster.worker("all").spec.units = 1;
    rest(&mut cluster);
    (cluster, all(1))
}

/// Plans and lets agents act until neither does anything, at the same time on the clock.
fn rest(cluster: &mut Cluster) {
    for _ in 0..200 {
        let mut busy = cluster.plan();
        for unit in cluster.units() {
            busy |= cluster.advance(&unit);
        }
        if !busy {
            return;
        }
    }
    panic!("it does not come to rest");
}

fn quiesces(cluster: &mut Cluster, unit: &UnitName) -> bool {
    let told = cluster.unit(unit).assigned.clone().unwrap();
    told.run == Run::Start && told.quiesces
}

fn is_there(cluster: &Cluster, unit: &UnitName) -> bool {
    cluster.units().contains(unit)
}

#[test]
fn a_unit_that_goes_is_held_until_others_find_what_it_uploaded() {
    let (mut cluster, leaver) = held();
    assert!(quiesces(&mut cluster, &leaver) && cluster.runs(&leaver));
    let until = cluster.last.as_ref().unwrap().held_until.unwrap();
    assert_eq!(until, cluster.now + VISIBLE);
    let said = cluster.last.as_ref().unwrap().workers[&app("all")].unit_statuses[&1].to_string();
    assert!(said.contains("answers queries until others find what it uploaded"), "{said}");
    cluster.now = until - SignedDuration::from_millis(1);
    rest(&mut cluster);
    assert!(quiesces(&mut cluster, &leaver), "a moment too early");
    cluster.now = until;
    rest(&mut cluster);
    assert!(!is_there(&cluster, &leaver));
    assert_eq!(cluster.last.as_ref().unwrap().held_until, None);
}

#[test]
fn without_read_hold_or_data_it_goes_at_once() {
    let mut off = active(2, 1);
    off.observed.spec.transitions =
        Some(Transitions { read_hold: ReadHold::Never, ..Transitions::default() });
    let mut empty = active(2, 1);
    empty.empty = vec![all(1)];
    for mut cluster in [off, empty] {
        let before = cluster.now;
        cluster.worker("all").spec.units = 1;
        rest(&mut cluster);
        assert_eq!((cluster.now, is_there(&cluster, &all(1))), (before, false));
    }
}

#[test]
fn a_mind_changed_has_it_take_data_again() {
    let (mut cluster, leaver) = held();
    cluster.worker("all").spec.units = 2;
    rest(&mut cluster);
    assert!(!quiesces(&mut cluster, &leaver) && cluster.runs(&leaver));
    assert!(cluster.status().starts_with("active"), "{}", cluster.status());
    // Told once more, it is held for the whole time again.
    cluster.now += VISIBLE;
    cluster.worker("all").spec.units = 1;
    rest(&mut cluster);
    assert_eq!(cluster.last.as_ref().unwrap().held_until, Some(cluster.now + VISIBLE));
}

#[test]
fn what_another_process_uploaded_proves_nothing() {
    let (mut cluster, leaver) = held();
    cluster.now += VISIBLE - SignedDuration::from_secs(1);
    let quiet = cluster.unit(&leaver).report.as_mut().unwrap().quiet.as_mut().unwrap();
    quiet.process = "a later one".to_owned();
    cluster.plan();
    assert_eq!(cluster.last.as_ref().unwrap().held_until, Some(cluster.now + VISIBLE));
}

#[test]
fn all_that_go_are_held_together_once_enough_stay() {
    let mut cluster = active(3, 3);
    cluster.deploy("write", worker(3, &["write"]));
    cluster.deploy("read", worker(1, &["read"]));
    cluster.deploy("backend", worker(1, &["backend"]));
    cluster.worker("all").spec.units = 0;
    let leavers: Vec<_> = (0..3).map(all).collect();
    let mut told_together = false;
    for _ in 0..200 {
        cluster.plan();
        let held = leavers.iter().filter(|unit| quiesces(&mut cluster.clone(), unit)).count();
        let ready = (0..3).filter(|n| {
            let unit = app("write").unit(*n);
            is_there(&cluster, &unit) && cluster.clone().unit(&unit).is_ready()
        });
        assert!(held == 0 || ready.count() == 3, "writes need three that stay");
        told_together |= held == 3;
        if told_together {
            break;
        }
        for unit in cluster.units() {
            cluster.advance(&unit);
        }
    }
    assert!(told_together);
    let before = cluster.now;
    cluster.settle();
    assert_eq!(cluster.now.duration_since(before), VISIBLE, "one wait for all of them");
    assert!(leavers.iter().all(|unit| !is_there(&cluster, unit)));
}

#[test]
fn who_cannot_upload_is_not_held_for_ever_nor_with_old_keys() {
    let hold = || {
        let mut cluster = active(2, 1);
        cluster.worker("all").spec.units = 1;
        for _ in 0..3 {
            cluster.plan();
        }
        assert!(quiesces(&mut cluster, &all(1)));
        cluster
    };
    let goes = |mut cluster: Cluster| {
        let (balancer, stayer, leaver) = (cluster.observed.name.unit(0), all(0), all(1));
        for _ in 0..6 {
            cluster.plan();
            cluster.advance(&balancer);
            cluster.advance(&stayer);
            // It obeys, and its uploads fail.
            let unit = cluster.unit(&leaver);
            let epoch = unit.assigned.as_ref().unwrap().epoch;
            unit.report.as_mut().unwrap().epoch = epoch;
        }
        let told = cluster.unit(&all(1)).assigned.clone().unwrap();
        told.run == Run::Stop
    };
    let mut waits = hold();
    waits.now += SignedDuration::from_mins(19);
    assert!(!goes(waits.clone()));
    waits.now += SignedDuration::from_mins(1);
    assert!(goes(waits));
    let mut edited = hold();
    edited.observed.spec.config.insert("retention-period".to_owned(), OptionValue::Text("30d".to_owned()));
    assert!(goes(edited));
}

#[test]
fn units_that_end_with_their_upload_leave_time_between_them() {
    for (product, found) in [(Product::Loki, 75), (Product::Tempo, 32)] {
        let found = SignedDuration::from_secs(found);
        let mut cluster = active_of(product, 5, 3);
        cluster.worker("all").spec.units = 3;
        rest(&mut cluster);
        let there = |cluster: &Cluster| [3, 4].map(|number| is_there(cluster, &all(number)));
        if product == Product::Tempo {
            // What they had before that is uploaded and found first.
            assert!([3, 4].iter().all(|number| quiesces(&mut cluster, &all(*number))));
            assert_eq!(there(&cluster), [true; 2]);
            cluster.now += found;
            rest(&mut cluster);
        }
        assert_eq!(there(&cluster).iter().filter(|there| **there).count(), 1, "{product}: one goes at once");
        let until = cluster.last.as_ref().unwrap().held_until.unwrap();
        assert_eq!(until, cluster.now + found, "{product}");
        assert!(cluster.status().contains("others to find"), "{}", cluster.status());
        cluster.now = until - SignedDuration::from_millis(1);
        rest(&mut cluster);
        assert!(there(&cluster).contains(&true), "{product}: a moment too early");
        cluster.now = until;
        rest(&mut cluster);
        assert_eq!(there(&cluster), [false; 2], "{product}");
        assert!(cluster.status().starts_with("active"), "{}", cluster.status());

        // With one copy each goes with what nobody else has, whoever went before.
        let mut one = active_of(product, 3, 1);
        one.worker("all").spec.units = 1;
        rest(&mut one);
        if product == Product::Tempo {
            assert_eq!(one.units().len(), 4);
            one.now += found;
            rest(&mut one);
        }
        assert_eq!(one.units().len(), 2, "{product}");
    }
}

#[test]
fn the_forecast_names_the_wait() {
    let mut cluster = active(2, 1);
    cluster.worker("all").spec.units = 1;
    let forecast = forecast(&cluster.observed);
    assert!(forecast.comes_to_rest, "{forecast:#?}");
    let steps: Vec<_> =
        forecast.steps.iter().map(|step| (step.what(), step.waits(), step.on_reads())).collect();
    let held = "all/1 takes nothing new, uploads what it holds and answers queries until others find it";
    assert_eq!(steps[0].0, held, "{steps:#?}");
    assert!(steps[1].1.contains("what all/1 uploaded to be found"), "{steps:#?}");
    assert!(steps.iter().all(|(_, _, reads)| reads.is_none()), "{steps:#?}");
}
