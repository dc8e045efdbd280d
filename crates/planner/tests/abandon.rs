//! Units that are let go without what they hold: only those, and only for what a person consented to.

#![allow(clippy::unwrap_used, reason = "a test may fail by a panic")]

use jiff::Timestamp;
use muster_model::{Reason, UnitName};
use muster_planner::{Abandonment, Consent};
use muster_relation::{Drain, Run, Service};
use muster_testkit::cluster::{Cluster, app, failed_store, scalable};
use proptest::prelude::*;

const LOST: &str = "1 block of tenant \"anonymous\" not uploaded";
const UNSEEN: &str =
    "whatever it holds that is not in the object store, nobody knows how much: the unit cannot be seen";
const HELD: &str = "whatever it has not uploaded yet, nobody knows how much: the object store cannot be used";

fn leaver() -> UnitName {
    app("w").unit(2)
}

/// Scales `w` from three units to two, and lets all but the third do what they are told until that one is told to leave.
fn scale_in(cluster: &mut Cluster) {
    cluster.worker("w").spec.units = 2;
    cluster.unit(&leaver()).instance = Some("one".to_owned());
    for _ in 0..20 {
        cluster.plan();
        if cluster.unit(&leaver()).assigned.as_ref().unwrap().run == Run::Stop {
            return;
        }
        for name in cluster.units() {
            cluster.advance(&name);
        }
    }
    panic!("it is never told to leave");
}

/// The third unit has tried to leave and could not upload all.
fn stall(cluster: &mut Cluster) {
    let unit = cluster.unit(&leaver());
    let epoch = unit.assigned.as_ref().unwrap().epoch;
    let report = unit.report.as_mut().unwrap();
    (report.epoch, report.applied, report.ready) = (epoch, None, false);
    (report.service, report.holds_data) = (Service::Stopping, true);
    report.drain = Some(Drain { tries: 1, why: LOST.to_owned() });
}

fn stalled() -> Cluster {
    let mut cluster = scalable();
    scale_in(&mut cluster);
    stall(&mut cluster);
    for _ in 0..10 {
        cluster.plan();
        for name in cluster.units().into_iter().filter(|name| *name != leaver()) {
            cluster.advance(&name);
        }
    }
    cluster
}

/// A consent to lose this with a unit as it is now.
fn consent(cluster: &mut Cluster, name: &UnitName, lost: &str, second: i64) {
    let unit = cluster.unit(name);
    let order = unit.assigned.as_ref().map(|told| told.epoch);
    let at = Timestamp::from_second(second).unwrap();
    unit.consent = Some(Consent::new(unit.instance.clone(), order, lost.to_owned(), at));
}

/// The units that need not keep what they hold.
fn give_up(cluster: &mut Cluster) -> Vec<UnitName> {
    let mut units = cluster.units();
    units.retain(|name| cluster.unit(name).assigned.as_ref().is_some_and(|told| told.gives_up));
    units
}

fn records(cluster: &Cluster) -> &[Abandonment] {
    &cluster.observed.carry.abandoned
}

fn at_risk(cluster: &Cluster, name: &UnitName) -> Option<String> {
    let planned = &cluster.last.as_ref().unwrap().workers[name.application()];
    planned.at_risk.get(&name.number()).cloned()
}

fn said(cluster: &Cluster, name: &UnitName) -> String {
    let planned = &cluster.last.as_ref().unwrap().workers[name.application()];
    planned.unit_statuses[&name.number()].to_string()
}

#[test]
fn a_unit_goes_without_what_it_holds_once_somebody_consented_to_that() {
    let mut cluster = stalled();
    assert_eq!(at_risk(&cluster, &leaver()).as_deref(), Some(LOST));
    let status = said(&cluster, &leaver());
    assert!(status.contains(LOST) && status.ends_with("muster run w/2 abandon-data"), "{status}");
    assert!(!cluster.plan(), "it stays, and there is nothing to do");

    consent(&mut cluster, &leaver(), LOST, 1);
    cluster.plan();
    assert_eq!(give_up(&mut cluster), [leaver()]);
    assert!(said(&cluster, &leaver()).ends_with(&format!("let go without {LOST}")));
    let record = records(&cluster)[0].clone();
    assert_eq!((record.unit, record.lost.as_str(), record.in_force), (leaver(), LOST, true));

    let unit = cluster.unit(&leaver());
    let epoch = unit.assigned.as_ref().unwrap().epoch;
    let report = unit.report.as_mut().unwrap();
    (report.epoch, report.service, report.drain) = (epoch, Service::Stopped, None);
    cluster.settle();
    assert!(!cluster.units().contains(&leaver()));
    assert_eq!(cluster.units().len(), 7);
    let kept: Vec<_> = records(&cluster).iter().map(|record| (&record.unit, record.in_force)).collect();
    assert_eq!(kept, [(&leaver(), false)], "what was lost is remembered");
}

#[test]
fn a_consent_is_for_one_leave() {
    let mut cluster = stalled();
    consent(&mut cluster, &leaver(), LOST, 1);
    cluster.plan();
    // It may stay after all.
    cluster.worker("w").spec.units = 3;
    cluster.settle();
    assert_eq!(cluster.units().len(), 8);
    assert!(give_up(&mut cluster).is_empty() && !records(&cluster)[0].in_force);
    scale_in(&mut cluster);
    stall(&mut cluster);
    cluster.plan();
    assert!(give_up(&mut cluster).is_empty(), "the former consent was for the former leave");
    consent(&mut cluster, &leaver(), LOST, 2);
    cluster.plan();
    assert_eq!(give_up(&mut cluster), [leaver()]);
    assert_eq!(records(&cluster).len(), 2);
}

#[test]
fn a_unit_that_nobody_sees_counts_as_gone() {
    let mut cluster = scalable();
    cluster.unit(&leaver()).instance = Some("one".to_owned());
    for name in [leaver(), app("w").unit(1)] {
        cluster.unit(&name).connected = false;
    }
    cluster.worker("w").spec.units = 1;
    cluster.settle();
    for name in [leaver(), app("w").unit(1)] {
        assert_eq!(at_risk(&cluster, &name).as_deref(), Some(UNSEEN));
    }
    assert_eq!(cluster.units().len(), 8);
    // It is back before anybody acts on the consent.
    consent(&mut cluster, &leaver(), UNSEEN, 1);
    let mut back = cluster.clone();
    back.unit(&leaver()).connected = true;
    back.plan();
    assert!(records(&back).is_empty() && give_up(&mut back).is_empty());

    cluster.settle();
    assert!(!cluster.units().contains(&leaver()) && cluster.units().contains(&app("w").unit(1)));
    assert_eq!(records(&cluster).len(), 1);
}

#[test]
fn a_unit_that_waits_for_an_object_store_need_not() {
    let mut cluster = scalable();
    cluster.observed.object_store = failed_store(Reason::ObjectStoreUnreachable);
    cluster.worker("w").removing = true;
    cluster.settle();
    let (one, kept) = (app("w").unit(1), [app("w").unit(0), app("w").unit(2)]);
    assert_eq!(at_risk(&cluster, &one).as_deref(), Some(HELD));
    consent(&mut cluster, &one, HELD, 1);
    cluster.settle();
    assert!(!cluster.units().contains(&one));
    for name in kept {
        assert!(cluster.unit(&name).is_told_to_run(), "{name}");
    }
}

#[test]
fn a_coordinator_of_an_unknown_version_lets_go_too() {
    let mut cluster = stalled();
    cluster.observed.spec.version = Some("9.9".to_owned());
    consent(&mut cluster, &leaver(), LOST, 1);
    cluster.plan();
    assert_eq!(give_up(&mut cluster), [leaver()]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever is consented to for whomever: a unit is let go only if it is kept from leaving, and the consent is for this instance of
    /// it, for what it was told last, and for just what is at risk.
    #[test]
    fn no_consent_lets_another_unit_go(
        consents in prop::collection::vec((0..8_usize, 0..2_u8, 0..2_u64, 0..3_usize), 0..8),
    ) {
        let mut cluster = stalled();
        let units = cluster.units();
        let mut expected = Vec::new();
        for (which, instance, older, words) in consents {
            let name = &units[which];
            let unit = cluster.unit(name);
            let order = unit.assigned.as_ref().unwrap().epoch;
            let instance = [Some("one"), Some("two")][usize::from(instance)].map(str::to_owned);
            let is_good = *name == leaver() && instance == unit.instance && older == 0 && words == 0;
            let lost = [LOST, UNSEEN, HELD][words].to_owned();
            unit.consent = Some(Consent::new(instance, Some(order - older), lost, Timestamp::UNIX_EPOCH));
            if *name == leaver() {
                expected = if is_good { vec![leaver()] } else { Vec::new() };
            }
        }
        let before = cluster.units().len();
        cluster.plan();
        prop_assert_eq!(give_up(&mut cluster), expected.clone());
        prop_assert_eq!(records(&cluster).len(), expected.len());
        prop_assert_eq!(cluster.units().len(), before);
    }
}
