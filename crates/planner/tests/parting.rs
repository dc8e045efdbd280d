//! Before a unit is taken away, another one says that it has left the ring.

#![allow(clippy::unwrap_used, reason = "a test may fail by a panic")]

use muster_model::UnitName;
use muster_relation::Run;
use muster_testkit::cluster::{Cluster, app, scalable};

fn write(number: u32) -> UnitName {
    app("w").unit(number)
}

/// Who is told to forget the unit.
fn witnesses(cluster: &mut Cluster, unit: &UnitName) -> Vec<UnitName> {
    let told = |cluster: &mut Cluster, name: &UnitName| cluster.unit(name).assigned.clone();
    let names = cluster.units();
    names.into_iter().filter(|name| told(cluster, name).is_some_and(|t| t.forgets.contains(unit))).collect()
}

/// A cluster whose third write unit has stopped because it is not asked for any more, and who is asked about it.
fn parting() -> (Cluster, UnitName) {
    let mut cluster = scalable();
    cluster.worker("w").spec.units = 2;
    for _ in 0..50 {
        cluster.plan();
        if let Some(witness) = witnesses(&mut cluster, &write(2)).pop() {
            return (cluster, witness);
        }
        for unit in cluster.units() {
            cluster.advance(&unit);
        }
    }
    panic!("nobody is asked: {}", cluster.status());
}

#[test]
fn a_unit_goes_once_another_sees_that_it_has_left_the_ring() {
    let (mut cluster, witness) = parting();
    assert!(cluster.unit(&write(2)).has_stopped() && witness != write(2));
    assert!(!cluster.plan(), "nothing happens before it is said");
    assert!(cluster.units().contains(&write(2)));
    let status = cluster.last.as_ref().unwrap().workers[&app("w")].unit_statuses[&2].to_string();
    assert_eq!(status, format!("maintenance: stopped: goes once {witness} sees that it has left the ring"));
    let transition = cluster.last.as_ref().unwrap().transition.clone().unwrap();
    let wait = format!("{witness} to see that w/2 left the ring");
    assert!(transition.waits_for.contains(&wait), "{:?}", transition.waits_for);

    cluster.advance(&witness);
    cluster.plan();
    assert!(!cluster.units().contains(&write(2)));
    cluster.settle();
    assert_eq!(witnesses(&mut cluster, &write(2)), [], "a later unit of that name is another one");
    assert_eq!(cluster.status(), "active");
}

#[test]
fn who_is_asked_stays_the_same_while_it_is_there_and_is_another_one_else() {
    let (mut cluster, witness) = parting();
    cluster.unit(&witness).connected = false;
    cluster.plan();
    let others = witnesses(&mut cluster, &write(2));
    assert!(others.len() == 1 && others[0] != witness, "{others:?}");
    cluster.unit(&witness).connected = true;
    cluster.plan();
    assert_eq!(witnesses(&mut cluster, &write(2)), others);
    cluster.settle();
    assert!(!cluster.units().contains(&write(2)));
}

#[test]
fn a_unit_that_is_asked_for_again_starts_when_nobody_is_told_to_forget_it() {
    let (mut cluster, _) = parting();
    cluster.worker("w").spec.units = 3;
    cluster.plan();
    let told = cluster.unit(&write(2)).assigned.clone().unwrap();
    assert_eq!(told.run, Run::Stop, "somebody was told to forget it");
    assert_eq!(witnesses(&mut cluster, &write(2)), []);
    cluster.plan();
    assert_eq!(cluster.unit(&write(2)).assigned.as_ref().unwrap().run, Run::Start);
    cluster.settle();
    assert_eq!(cluster.status(), "active");
}

#[test]
fn where_nobody_is_left_who_could_be_asked_units_go_at_once() {
    let mut cluster = scalable();
    cluster.observed.removing = true;
    for _ in 0..50 {
        cluster.plan();
        for unit in cluster.units() {
            let told = cluster.unit(&unit).assigned.clone();
            assert!(told.is_none_or(|told| told.forgets.is_empty()), "{unit}");
            cluster.advance(&unit);
        }
    }
    assert!(cluster.units().is_empty());
}
