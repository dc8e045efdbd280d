//! What plans decide, in a simulated cluster.

#![allow(clippy::unwrap_used, reason = "a test may fail by a panic")]

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use muster_api::{
    ConditionStatus, ConditionType, CoordinatorSpec, Images, OnIncoherent, OptionValue, TransitionStatus,
};
use muster_model::{Reason, Revision, Role, RoleSet, Secret, TlsMaterial, UnitName, WorkloadStatus, yaml};
use muster_planner::{
    Claim, ObjectStore, Observed, ObservedUnit, Probe, RemoteWriteTarget, Rendition, Tls, contested, preview,
    specimens,
};
use muster_relation::{Check, Run, Service};
use muster_testkit::cluster::{Cluster, app, failed_store, monolith, ready_store, scalable, storage, worker};
use proptest::prelude::*;

fn unit(name: &str) -> UnitName {
    name.parse().unwrap()
}

fn check_blocked(cluster: &mut Cluster, expect: &[&str]) {
    cluster.settle();
    let status = cluster.status();
    assert!(status.starts_with("blocked: "), "{status}");
    for expect in expect {
        assert!(status.contains(expect), "{status:?} lacks {expect:?}");
    }
}

fn running(cluster: &Cluster) -> usize {
    let workers = cluster.observed.workers.values().flat_map(|w| w.units.values());
    workers.filter(|u| u.report.as_ref().is_some_and(|r| r.applied.is_some())).count()
}

#[test]
fn a_monolith_becomes_active_and_then_nothing_changes() {
    let mut cluster = monolith(1);
    assert_eq!(cluster.status(), "active");
    let before =
        cluster.observed.workers.clone().into_iter().map(|(n, w)| (n, w.units.len())).collect::<Vec<_>>();
    assert_eq!(before, [(app("w"), 1)]);
    assert!(!cluster.plan(), "a converged cluster gets an empty plan");
    let plan = cluster.last.as_ref().unwrap();
    assert!(plan.changes(&cluster.observed).is_empty());
    assert!(
        plan.conditions
            .iter()
            .all(|c| (c.kind == ConditionType::Degraded) != (c.status == ConditionStatus::True))
    );
}

#[test]
fn without_s3_nothing_starts() {
    for (store, expect) in [
        (ObjectStore::NotRelated, "no S3 relation"),
        (ObjectStore::SecretMissing("s3".to_owned()), "does not exist"),
        (
            ObjectStore::Invalid { secret: "s3".to_owned(), problem: "key \"bucket\" is missing".to_owned() },
            "bucket",
        ),
        (
            ObjectStore::Taken { bucket: "b".to_owned(), by: "other".to_owned() },
            "already belongs to coordinator other",
        ),
        (failed_store(Reason::ObjectStoreDenied), "the store says no"),
    ] {
        let mut cluster = Cluster::new(&[("w", worker(2, &["all"]))]);
        cluster.observed.object_store = store;
        check_blocked(&mut cluster, &[expect]);
        assert_eq!(running(&cluster), 0);
        assert!(cluster.observed.workers.values().all(|w| w.units.values().all(|u| u.assigned.is_none())));
        cluster.observed.object_store = ready_store();
        cluster.settle();
        assert_eq!(cluster.status(), "active");
    }
}

#[test]
fn an_object_store_that_goes_away_stops_nothing() {
    let mut cluster = scalable();
    let before = cluster.observed.workers.clone();
    for store in [failed_store(Reason::ObjectStoreUnreachable), ObjectStore::NotRelated] {
        cluster.observed.object_store = store;
        check_blocked(&mut cluster, &[]);
        assert_eq!(running(&cluster), 7);
        for (name, worker) in &before {
            for (number, unit) in &worker.units {
                assert_eq!(cluster.observed.workers[name].units[number].assigned, unit.assigned);
            }
        }
    }
    // A crashed unit's way back into the load balancer must not depend on the object store.
    assert!(cluster.last.as_ref().unwrap().balancer_cluster.is_some());
}

#[test]
fn missing_required_roles_stop_everything_and_covering_them_starts_it_again() {
    let mut cluster = scalable();
    cluster.worker("b").spec.roles = [("backend".to_owned(), false)].into();
    check_blocked(
        &mut cluster,
        &["missing required roles: alertmanager, compactor", "muster config b role-backend=true"],
    );
    assert_eq!(running(&cluster), 0);
    let balancer = &cluster.observed.balancers[&0];
    assert_eq!(balancer.assigned.as_ref().unwrap().run, Run::Stop);
    cluster.worker("b").spec.roles = [("backend".to_owned(), true)].into();
    cluster.settle();
    assert_eq!(cluster.status(), "active");
    assert_eq!(running(&cluster), 7);
}

#[test]
fn hold_keeps_the_last_good_assignment() {
    let mut cluster = scalable();
    cluster.observed.spec.on_incoherent = OnIncoherent::Hold;
    cluster.worker("b").spec.roles = [("backend".to_owned(), false)].into();
    check_blocked(&mut cluster, &["missing required roles"]);
    assert_eq!(running(&cluster), 7);
}

#[test]
fn missing_optional_roles_degrade_only() {
    let required: Vec<&str> = vec![
        "query-scheduler",
        "query-frontend",
        "store-gateway",
        "ingester",
        "distributor",
        "compactor",
        "ruler",
        "alertmanager",
    ];
    let mut cluster = Cluster::new(&[("a", worker(1, &required)), ("q", worker(1, &["querier"]))]);
    cluster.settle();
    assert_eq!(cluster.status(), "active: degraded: missing optional roles: overrides-exporter");
}

#[test]
fn workers_that_cover_nothing_say_why() {
    let mut cluster = monolith(1);
    cluster.deploy("none", worker(1, &[]));
    cluster.deploy("zero", worker(0, &["read"]));
    cluster.deploy("typo", worker(1, &["reed"]));
    cluster.deploy("alone", worker(1, &["read", "backend"]));
    let mut other = worker(1, &["all"]);
    other.product = Some("loki".to_owned());
    cluster.deploy("loki", other);
    cluster.settle();
    assert_eq!(cluster.status(), "active", "none of them takes down what runs");
    let plan = cluster.last.as_ref().unwrap();
    for (name, expect) in [
        ("none", "muster config none role-all=true"),
        ("zero", "muster scale zero 1"),
        ("typo", "no role reed"),
        ("alone", "query-scheduler"),
        ("loki", "is for \"loki\""),
    ] {
        let status = plan.workers[&app(name)].status.to_string();
        assert!(status.starts_with("blocked: ") && status.contains(expect), "{name}: {status}");
    }
}

#[test]
fn a_rejected_edit_keeps_what_runs_and_its_coverage() {
    let mut cluster = monolith(2);
    cluster.worker("w").spec.roles.insert("reed".to_owned(), true);
    cluster.settle();
    assert_eq!(running(&cluster), 2);
    assert_eq!(cluster.status(), "active");
    assert!(cluster.last.as_ref().unwrap().workers[&app("w")].status.message.contains("no role reed"));
}

#[test]
fn bad_options_change_nothing_that_runs() {
    let mut cluster = monolith(1);
    let revision = cluster.last.as_ref().unwrap().revision.clone();
    let document = balancer_document(&cluster);
    cluster.observed.spec.config = [
        ("retention-period".to_owned(), OptionValue::Text("banana".to_owned())),
        ("colour".to_owned(), OptionValue::Integer(1)),
    ]
    .into();
    check_blocked(&mut cluster, &["colour"]);
    let plan = cluster.last.as_ref().unwrap();
    assert_eq!(plan.findings.len(), 2, "none hides another: {:?}", plan.findings);
    assert_eq!(plan.revision, revision);
    assert_eq!(running(&cluster), 1);
    assert_eq!(balancer_document(&cluster), document);
    // A worker that is added meanwhile runs with the last good config.
    cluster.deploy("more", worker(1, &["all"]));
    cluster.settle();
    assert_eq!(running(&cluster), 2);
}

#[test]
fn a_refused_config_stops_at_the_first_unit_which_keeps_its_old_one() {
    let mut cluster = monolith(3);
    let good = cluster.last.as_ref().unwrap().revision.clone().unwrap();
    cluster.observed.spec.config =
        [("retention-period".to_owned(), OptionValue::Text("30d".to_owned()))].into();
    cluster.plan();
    let bad = cluster.last.as_ref().unwrap().revision.clone().unwrap();
    assert_ne!(good, bad);
    cluster.refused.push(bad.clone());
    check_blocked(&mut cluster, &["config rejected by w/0", "bad key"]);
    let assigned = |cluster: &Cluster, revision: &Revision| {
        let units = cluster.observed.workers[&app("w")].units.values();
        units.filter(|u| u.assigned.as_ref().is_some_and(|a| a.revision == *revision)).count()
    };
    assert_eq!((assigned(&cluster, &bad), assigned(&cluster, &good)), (1, 2));
    assert!(cluster.observed.workers[&app("w")].units[&0].is_ready(), "it serves with its old config");
    // A new unit starts with the good one.
    cluster.worker("w").spec.units = 4;
    cluster.settle();
    assert_eq!(assigned(&cluster, &good), 3);
    // Setting it back restores the revision.
    cluster.observed.spec.config.clear();
    cluster.settle();
    assert_eq!(cluster.status(), "active");
    assert_eq!(assigned(&cluster, &good), 4);
}

#[test]
fn a_unit_that_does_not_come_back_halts_the_rollout() {
    let mut cluster = scalable();
    cluster.broken.push(unit("b/0"));
    cluster.observed.spec.config =
        [("retention-period".to_owned(), OptionValue::Text("30d".to_owned()))].into();
    cluster.settle();
    let status = cluster.status();
    assert!(status.starts_with("error: rollout halted: b/0 did not come back: port taken"), "{status}");
    let target = cluster.last.as_ref().unwrap().revision.clone().unwrap();
    let on_target = cluster.units().into_iter().filter(|name| {
        *name.application() != app("mimir")
            && cluster.clone().unit(name).assigned.as_ref().is_some_and(|a| a.revision == target)
    });
    assert_eq!(on_target.count(), 1, "no second unit is touched");
    cluster.broken.clear();
    cluster.settle();
    assert_eq!(cluster.status(), "active");
}

/// Sets an option and names the revision that it leads to.
fn set_retention(cluster: &mut Cluster, value: &str) -> Revision {
    cluster.observed.spec.config =
        [("retention-period".to_owned(), OptionValue::Text(value.to_owned()))].into();
    cluster.plan();
    cluster.last.as_ref().unwrap().revision.clone().unwrap()
}

/// The worker units that are told to run a revision.
fn told(cluster: &Cluster, revision: &Revision) -> Vec<String> {
    let workers = cluster.observed.workers.iter();
    let units =
        workers.flat_map(|(name, worker)| worker.units.iter().map(move |(n, unit)| (name.unit(*n), unit)));
    units
        .filter(|(_, unit)| unit.assigned.as_ref().is_some_and(|a| a.revision == *revision))
        .map(|(name, _)| name.to_string())
        .collect()
}

#[test]
fn a_unit_that_does_not_become_ready_in_time_goes_back_by_itself() {
    let mut cluster = monolith(3);
    let good = cluster.observed.carry.good.clone().unwrap();
    let bad = set_retention(&mut cluster, "30d");
    cluster.unready.extend((0..3).map(|n| (unit(&format!("w/{n}")), bad.clone())));
    cluster.settle();
    let status = cluster.status();
    assert!(status.starts_with("maintenance: rolling out"), "{status}");
    assert!(status.ends_with("0/3 units"), "{status}");
    assert_eq!(told(&cluster, &bad), ["w/0"]);
    let deadline = cluster.last.as_ref().unwrap().wake_at.unwrap();
    cluster.now = Timestamp::UNIX_EPOCH + SignedDuration::from_secs(599);
    cluster.settle();
    assert_eq!(told(&cluster, &bad), ["w/0"]);
    cluster.now = Timestamp::UNIX_EPOCH + SignedDuration::from_secs(600);
    assert!(deadline <= cluster.now);
    cluster.settle();
    assert_eq!(told(&cluster, &good).len(), 3);
    assert!(cluster.observed.workers[&app("w")].units.values().all(ObservedUnit::is_ready));
    let back = format!(
        "blocked: rollout of {} halted, w/0 is back at {}: not ready after 10m: not in the ring; last log lines: joining",
        bad.short(),
        good.short()
    );
    assert_eq!(cluster.status(), back);
    let rolled_out = &cluster.last.as_ref().unwrap().conditions[3];
    assert_eq!(rolled_out.reason, "RolloutHalted");
    // It is not tried again, also by the next coordinator, nor by a unit that is added.
    let kept = serde_json::to_value(&cluster.observed.carry).unwrap();
    cluster.observed.carry = serde_json::from_value(kept).unwrap();
    cluster.worker("w").spec.units = 4;
    cluster.settle();
    assert_eq!(told(&cluster, &good).len(), 4);
    // Set back, the old revision is there again; nothing is to be done for it.
    cluster.observed.spec.config.clear();
    cluster.settle();
    assert_eq!(cluster.status(), "active");
    assert_eq!(told(&cluster, &good).len(), 4);
    // What kept it from working is gone: it is tried once more.
    cluster.unready.clear();
    assert_eq!(set_retention(&mut cluster, "30d"), bad);
    cluster.settle();
    assert_eq!(cluster.status(), "active");
    assert_eq!(told(&cluster, &bad).len(), 4);
    assert_eq!(cluster.observed.carry.good, Some(bad));
}

#[test]
fn a_unit_whose_process_ends_again_and_again_goes_back_by_itself() {
    let mut cluster = monolith(2);
    let good = cluster.observed.carry.good.clone().unwrap();
    let bad = set_retention(&mut cluster, "30d");
    cluster.crashing.extend((0..2).map(|n| (unit(&format!("w/{n}")), bad.clone())));
    cluster.settle();
    let status = cluster.status();
    assert!(status.contains("w/0 is back at"), "{status}");
    assert!(
        status.ends_with("it ended 3 times: exit code 1; last log lines: starting | no such module"),
        "{status}"
    );
    assert_eq!(told(&cluster, &good).len(), 2);
    // Another image may be another matter.
    cluster.crashing.clear();
    cluster.observed.spec.images =
        Some(Images { workload: Some("mimir:better".to_owned()), ..Images::default() });
    cluster.settle();
    assert_eq!(cluster.status(), "active");
    assert_eq!(told(&cluster, &bad).len(), 2);
}

#[test]
fn a_revision_that_the_first_unit_ran_with_may_still_fail_at_another() {
    let mut cluster = scalable();
    let good = cluster.observed.carry.good.clone().unwrap();
    let next = set_retention(&mut cluster, "30d");
    cluster.crashing.push((unit("w/1"), next.clone()));
    cluster.settle();
    assert!(cluster.status().contains("w/1 is back at"), "{}", cluster.status());
    assert_eq!(cluster.observed.carry.good.as_ref(), Some(&good));
    let moved = told(&cluster, &next);
    assert!(!moved.is_empty() && !moved.contains(&"w/1".to_owned()), "{moved:?}");
    let units = cluster.observed.workers.values().flat_map(|w| w.units.values());
    assert!(
        units.into_iter().all(ObservedUnit::is_ready),
        "those that could stay with it, the others as they were"
    );
    // The coordinator's next config is tried as any other.
    let mended = set_retention(&mut cluster, "31d");
    cluster.settle();
    assert_eq!(cluster.status(), "active");
    assert_eq!(cluster.observed.carry.good, Some(mended));
}

#[test]
fn a_unit_leaves_the_load_balancer_before_it_is_stopped() {
    let mut cluster = scalable();
    cluster.worker("w").spec.units = 2;
    cluster.plan();
    let leaving = unit("w/2");
    assert_eq!(
        cluster.unit(&leaving).assigned.as_ref().unwrap().run,
        Run::Start,
        "not before the balancer lets go"
    );
    assert!(cluster.observed.carry.leaving_balancer.contains(&leaving));
    let address = cluster.unit(&leaving).address.clone().unwrap();
    assert!(!balancer_document(&cluster).contains(&format!("{address}:8080")));
    for _ in 0..3 {
        cluster.advance(&unit("mimir/0"));
    }
    cluster.plan();
    assert_eq!(cluster.unit(&leaving).assigned.as_ref().unwrap().run, Run::Stop);
    cluster.settle();
    assert!(!cluster.units().contains(&leaving));
    assert_eq!(cluster.status(), "active");
}

#[test]
fn a_unit_that_is_about_to_end_leaves_the_load_balancer_and_comes_back() {
    let mut cluster = scalable();
    let name = unit("w/1");
    let address = cluster.unit(&name).address.clone().unwrap();
    let ending = |cluster: &mut Cluster, name: &UnitName, ending| {
        cluster.unit(name).report.as_mut().unwrap().ending = ending;
        cluster.plan();
    };
    assert!(balancer_document(&cluster).contains(&format!("{address}:8080")));
    ending(&mut cluster, &name, true);
    assert!(!balancer_document(&cluster).contains(&format!("{address}:8080")));
    let said = &cluster.last.as_ref().unwrap().workers[name.application()].unit_statuses[&1];
    assert_eq!(said.message, "ending: it serves until nobody is sent to it");
    assert_eq!(cluster.unit(&name).assigned.as_ref().unwrap().run, Run::Start, "it is not told to");
    // As long as nobody else does what it does, it is asked.
    let others: Vec<_> = cluster.units().into_iter().filter(|other| *other != name).collect();
    for other in &others {
        ending(&mut cluster, other, true);
    }
    assert!(balancer_document(&cluster).contains(&format!("{address}:8080")));
    for name in others.iter().chain([&name]) {
        ending(&mut cluster, name, false);
    }
    cluster.settle();
    assert_eq!(cluster.status(), "active");
}

#[test]
fn gaining_units_are_ready_before_losing_ones_go() {
    let mut cluster = monolith(1);
    cluster.deploy("r", worker(1, &["read"]));
    cluster.deploy("wr", worker(1, &["write"]));
    cluster.deploy("b", worker(1, &["backend"]));
    cluster.worker("w").removing = true;
    for _ in 0..50 {
        cluster.plan();
        cluster.advance(&unit("mimir/0"));
        for name in ["r/0", "wr/0"] {
            if cluster.units().contains(&unit(name)) {
                cluster.advance(&unit(name));
            }
        }
    }
    let old = cluster.unit(&unit("w/0")).assigned.clone().unwrap();
    assert_eq!(old.run, Run::Start, "backend is not there yet: {}", cluster.status());
    cluster.settle();
    assert_eq!(cluster.status(), "active");
    assert!(!cluster.units().contains(&unit("w/0")));
}

/// While the object store is away nothing is started. What the new units are to take over stays.
#[test]
fn what_is_replaced_stays_while_others_cannot_start() {
    let mut cluster = scalable();
    cluster.settle();
    cluster.observed.object_store = failed_store(Reason::ObjectStoreUnreachable);
    cluster.deploy("all", worker(3, &["all"]));
    for worker in cluster.observed.workers.values_mut() {
        worker.removing = !worker.spec.roles.contains_key("all");
    }
    cluster.settle();
    let runs = |cluster: &Cluster| {
        let units: Vec<_> = cluster.units().into_iter().filter(|unit| cluster.runs(unit)).collect();
        let apps: BTreeSet<_> = units.iter().map(|unit| unit.application().to_string()).collect();
        apps
    };
    let before: BTreeSet<_> = scalable().observed.workers.keys().map(ToString::to_string).collect();
    assert!(runs(&cluster).is_superset(&before), "{:?}", runs(&cluster));
    cluster.observed.object_store = ready_store();
    cluster.settle();
    assert_eq!(cluster.status(), "active");
    assert_eq!(runs(&cluster), BTreeSet::from(["all".to_owned(), "mimir".to_owned()]));
}

/// A unit that gave up its ring's role is away from it until it has uploaded what it holds.
#[test]
fn units_give_up_a_ring_one_after_the_other() {
    let mut cluster = scalable();
    cluster.deploy("new", worker(3, &["write"]));
    cluster.settle();
    let name = app("w");
    cluster.worker("w").spec.roles = BTreeMap::from([("read".to_owned(), true)]);
    let moved = |cluster: &mut Cluster| -> Vec<u32> {
        let units = cluster.worker(name.as_str()).units.iter();
        let told =
            |unit: &ObservedUnit| unit.assigned.as_ref().is_some_and(|a| a.roles.contains(Role::Querier));
        units.filter(|(_, unit)| told(unit)).map(|(number, _)| *number).collect()
    };
    let drain = |cluster: &mut Cluster| {
        for _ in 0..10 {
            cluster.plan();
            cluster.advance(&unit("mimir/0"));
            for number in moved(cluster) {
                let unit = cluster.unit(&name.unit(number));
                let epoch = unit.assigned.as_ref().unwrap().epoch;
                let report = unit.report.as_mut().unwrap();
                (report.epoch, report.applied, report.ready) = (epoch, None, false);
                (report.service, report.holds_data) = (Service::Stopping, true);
            }
        }
    };
    drain(&mut cluster);
    assert_eq!(moved(&mut cluster).len(), 1, "it still uploads");
    let first = moved(&mut cluster)[0];
    cluster.unit(&name.unit(first)).report.as_mut().unwrap().holds_data = false;
    cluster.settle();
    assert_eq!(moved(&mut cluster).len(), 3);
}

/// An assignment that is taken back may have been obeyed before that is known.
#[test]
fn nobody_is_taken_while_another_one_has_not_said_what_it_obeys() {
    let mut cluster = monolith(3);
    cluster.settle();
    set_retention(&mut cluster, "30d");
    let changed = |cluster: &mut Cluster| {
        let units = cluster.worker("w").units.iter();
        let old = |unit: &ObservedUnit| {
            let (told, said) = (unit.assigned.as_ref().unwrap(), unit.report.as_ref().unwrap());
            said.epoch < told.epoch
        };
        units.filter(|(_, unit)| old(unit)).map(|(number, _)| *number).collect::<Vec<_>>()
    };
    while changed(&mut cluster).is_empty() {
        cluster.plan();
        cluster.advance(&unit("mimir/0"));
    }
    assert_eq!(changed(&mut cluster), [0]);
    // The edit is taken back, and the last unit is to go.
    cluster.observed.spec.config.clear();
    cluster.worker("w").spec.units = 2;
    for _ in 0..10 {
        cluster.plan();
        cluster.advance(&unit("mimir/0"));
    }
    assert!(cluster.unit(&unit("w/2")).is_told_to_run(), "w/0 has said nothing yet");
    cluster.settle();
    assert_eq!(cluster.units(), [unit("mimir/0"), unit("w/0"), unit("w/1")]);
}

#[test]
fn queries_go_where_they_are_answered() {
    let mut cluster = monolith(1);
    cluster.deploy("r", worker(1, &["read"]));
    cluster.settle();
    let queried = |cluster: &mut Cluster, name: &str| {
        let address = cluster.unit(&unit(name)).address.clone().unwrap();
        let text = balancer_document(cluster);
        let upstream = text.split("upstream query-frontend {").nth(1).unwrap().split('}').next().unwrap();
        upstream.contains(&format!("{address}:8080"))
    };
    assert!(queried(&mut cluster, "w/0") && !queried(&mut cluster, "r/0"), "nobody schedules for r/0");
    let said = cluster.last.as_ref().unwrap().workers[&app("r")].status.to_string();
    assert!(
        said.starts_with("active: idle: no queries reach it") && said.contains("query-scheduler"),
        "{said}"
    );
    cluster.deploy("b", worker(1, &["backend"]));
    cluster.settle();
    assert!(queried(&mut cluster, "r/0"));
    assert_eq!(cluster.last.as_ref().unwrap().workers[&app("r")].status.to_string(), "active");
}

#[test]
fn requests_go_to_units_that_nobody_sees_where_there_are_no_others() {
    let mut cluster = monolith(2);
    cluster.settle();
    let routed =
        |cluster: &Cluster, address: &str| balancer_document(cluster).contains(&format!("{address}:8080"));
    let addresses = ["w/0", "w/1"].map(|name| cluster.unit(&unit(name)).address.clone().unwrap());
    cluster.unit(&unit("w/1")).connected = false;
    cluster.plan();
    assert!(routed(&cluster, &addresses[0]) && !routed(&cluster, &addresses[1]));
    cluster.unit(&unit("w/0")).connected = false;
    cluster.plan();
    assert!(addresses.iter().all(|address| routed(&cluster, address)), "the last ones stay");
}

/// It serves as soon as it can: no reload stands between a unit's readiness and its first request.
#[test]
fn requests_go_to_a_unit_that_is_on_its_way_where_there_are_no_others() {
    let mut cluster = monolith(2);
    let addresses = ["w/0", "w/1"].map(|name| cluster.unit(&unit(name)).address.clone().unwrap());
    let listed = |cluster: &Cluster| {
        let text = balancer_document(cluster);
        addresses.iter().filter(|address| text.contains(&format!("{address}:8080"))).count()
    };
    let served = |cluster: &mut Cluster| {
        let names = ["w/0", "w/1"].map(unit);
        names.iter().filter(|name| cluster.unit(name).is_ready()).count()
    };
    for role in ["read", "all"] {
        // First nothing runs, and then everything starts at once.
        cluster.worker("w").spec.roles = [(role.to_owned(), true)].into();
        let mut expected = false;
        loop {
            let mut busy = cluster.plan();
            expected |= listed(&cluster) == 2
                && served(&mut cluster) == 0
                && balancer_document(&cluster).contains("8080 max_fails=0;");
            for name in cluster.units() {
                busy |= cluster.advance(&name);
            }
            if !busy {
                break;
            }
        }
        assert_eq!((listed(&cluster), expected), if role == "all" { (2, true) } else { (0, false) });
        assert!(!balancer_document(&cluster).contains("max_fails=0"));
    }
}

#[test]
fn seeds_change_without_restarting_anything() {
    let mut cluster = monolith(1);
    cluster.worker("w").spec.units = 2;
    cluster.plan();
    let before = cluster.unit(&unit("w/0")).report.clone();
    cluster.settle();
    let first = cluster.unit(&unit("w/0")).clone();
    assert_eq!(first.assigned.as_ref().unwrap().seeds.len(), 2);
    assert_eq!(first.report.unwrap().applied, before.unwrap().applied);
}

/// Whoever comes in place of another must find it, or there would be two rings.
#[test]
fn units_that_replace_all_others_at_once_find_them() {
    let mut cluster = monolith(1);
    let old = format!("{}:7946", cluster.unit(&unit("w/0")).address.clone().unwrap());
    cluster.deploy("new", worker(2, &["all"]));
    cluster.worker("w").removing = true;
    cluster.plan();
    cluster.plan();
    let seeds = |cluster: &mut Cluster| cluster.unit(&unit("new/0")).assigned.clone().unwrap().seeds;
    assert!(seeds(&mut cluster).contains(&old), "{:?}", seeds(&mut cluster));
    cluster.settle();
    assert!(!seeds(&mut cluster).contains(&old), "it is gone");
    assert_eq!(seeds(&mut cluster).len(), 2);
}

#[test]
fn copies_are_chosen_once_and_never_become_fewer() {
    let mut one = monolith(1);
    one.worker("w").spec.units = 5;
    one.settle();
    assert_eq!(one.observed.carry.replication_factor, Some(1));
    assert_eq!(one.status(), "active");
    let mut three = monolith(3);
    assert_eq!(three.observed.carry.replication_factor, Some(3));
    three.observed.spec.config = with_copies(1);
    check_blocked(&mut three, &["replication-factor stays 3", "muster explain replication-factor"]);
    assert_eq!(running(&three), 3);
    let mut few = Cluster::new(&[("w", worker(1, &["all"]))]);
    few.observed.spec.config = with_copies(3);
    check_blocked(&mut few, &["needs 2 units with role ingester"]);
}

#[test]
fn copies_become_more_once_enough_units_are_ready_to_keep_them() {
    let mut cluster = monolith(1);
    let before = cluster.observed.carry.published.clone();
    cluster.observed.spec.config = with_copies(3);
    check_blocked(&mut cluster, &["stays 1 until there are 3 units with role ingester, there is 1"]);
    assert_eq!(cluster.observed.carry.published, before, "nothing else happens");
    cluster.worker("w").spec.units = 3;
    let ready = |cluster: &Cluster| {
        cluster.observed.workers[&app("w")].units.values().filter(|unit| unit.is_ready()).count()
    };
    let mut said = String::new();
    while ready(&cluster) < 3 {
        cluster.plan();
        said =
            cluster.last.as_ref().unwrap().findings.iter().map(|finding| finding.message.clone()).collect();
        assert_eq!(cluster.observed.carry.replication_factor, Some(1));
        for name in cluster.units() {
            cluster.advance(&name);
        }
    }
    assert_eq!(said, "replication-factor stays 1 until 3 units with role ingester are ready, 1 of 3 are");
    cluster.settle();
    assert_eq!((cluster.observed.carry.replication_factor, cluster.status().as_str()), (Some(3), "active"));
    assert_ne!(cluster.observed.carry.published, before);
}

fn with_copies(number: i64) -> BTreeMap<String, OptionValue> {
    [("replication-factor".to_owned(), OptionValue::Integer(number))].into()
}

/// What the load balancer of a cluster was last given.
fn balancer(cluster: &Cluster) -> Option<Rendition> {
    let shared = cluster.last.as_ref()?.balancer_cluster.clone()?;
    shared.documents.into_iter().next().map(|(revision, text)| Rendition { revision, text })
}

fn with_option(observed: &Observed, option: &str, value: OptionValue) -> Observed {
    let mut edited = observed.clone();
    edited.spec.config.insert(option.to_owned(), value);
    edited
}

#[test]
fn a_preview_without_an_edit_finds_what_is_published() {
    let cluster = scalable();
    let compared = preview(Some(&cluster.observed), &cluster.observed, balancer(&cluster));
    assert!(compared.findings.is_empty() && compared.refusals().is_empty());
    assert!(compared.config.after.is_some() && compared.config.before == compared.config.after);
    assert!(compared.balancer.after.is_some() && compared.balancer.before == compared.balancer.after);
}

#[test]
fn a_preview_tells_the_revision_that_the_edit_then_gets() {
    let mut cluster = scalable();
    let text = OptionValue::Text("30d".to_owned());
    let edited = with_option(&cluster.observed, "retention-period", text.clone());
    // Also while nobody knows whether the store answers.
    for store in [ready_store(), failed_store(Reason::ObjectStoreUnreachable)] {
        let mut edited = edited.clone();
        edited.object_store = store;
        let compared = preview(Some(&cluster.observed), &edited, balancer(&cluster));
        let after = compared.config.after.clone().unwrap();
        assert!(after.text.contains("30d") && compared.config.before != compared.config.after);
        assert_eq!(compared.balancer.before, compared.balancer.after, "a rollout's waves are no change");
        let mut next = cluster.clone();
        next.observed.spec.config.insert("retention-period".to_owned(), text.clone());
        next.settle();
        assert_eq!(next.last.as_ref().unwrap().revision, Some(after.revision));
    }
    cluster.plan();
    assert_eq!(cluster.last.as_ref().unwrap().revision, cluster.observed.carry.published);
}

#[test]
fn a_preview_refuses_what_the_coordinator_would_be_blocked_for() {
    let cluster = monolith(1);
    let of = |edited: &Observed| preview(Some(&cluster.observed), edited, None);
    let factor = of(&with_option(&cluster.observed, "replication-factor", OptionValue::Integer(3)));
    assert!(factor.refusals().iter().any(|f| f.message.contains("stays 1")), "{factor:?}");
    assert!(factor.prevented.is_empty() && factor.config.before == factor.config.after);
    let unknown = of(&with_option(&cluster.observed, "colour", OptionValue::Integer(3)));
    assert_eq!((unknown.config.after.as_ref(), unknown.refusals()[0].reason), (None, Reason::UnknownOption));
    let mut other = cluster.observed.clone();
    other.object_store = ObjectStore::NotRelated;
    assert_eq!(of(&other).refusals()[0].reason, Reason::ObjectStoreMissing);
    // What was wrong before is no reason to refuse something else, as long as there is a config.
    let wrong = with_option(&cluster.observed, "replication-factor", OptionValue::Integer(3));
    let more = with_option(&wrong, "retention-period", OptionValue::Text("30d".to_owned()));
    let compared = preview(Some(&wrong), &more, None);
    assert!(compared.refusals().is_empty() && compared.config.before != compared.config.after);
    // Roles are nothing of the config's.
    let mut roles = cluster.observed.clone();
    roles.workers.get_mut(&app("w")).unwrap().spec = worker(1, &["read"]);
    let compared = of(&roles);
    assert!(compared.refusals().is_empty() && compared.config.before == compared.config.after);
    assert!(compared.findings.iter().any(|f| f.reason == Reason::MissingRequiredRoles), "{compared:?}");
}

#[test]
fn unsupported_products_are_blocked_and_nothing_else_happens() {
    for (product, version, expect) in [
        ("loki", "4.0", "4.0"),
        ("tempo", "3.0", "3.0"),
        ("graphite", "1.0", "graphite"),
        ("mimir", "9.9", "9.9"),
        ("mimir", "new", "new"),
    ] {
        let mut cluster = Cluster::new(&[("w", worker(1, &["all"]))]);
        cluster.observed.spec.product = product.to_owned();
        cluster.observed.spec.version = Some(version.to_owned());
        check_blocked(&mut cluster, &[expect]);
        assert!(cluster.units().is_empty());
    }
}

#[test]
fn removing_the_coordinator_stops_and_removes_every_unit() {
    let mut cluster = scalable();
    cluster.observed.removing = true;
    cluster.settle();
    assert!(cluster.units().is_empty());
    assert!(cluster.last.as_ref().unwrap().is_gone(&app("mimir"), &app("mimir")));
}

#[test]
fn the_first_coordinator_of_a_bucket_has_it() {
    let (a, b, c) = (app("a"), app("b"), app("c"));
    let (one, two) = (storage("one"), storage("two"));
    let claims = [(&b, &one), (&a, &one), (&c, &two)];
    let new = claims.map(|(coordinator, storage)| Claim { coordinator, storage, carry: None });
    assert_eq!(contested(new), [(&a, &b)].into());
    // One that comes to name another's bucket later does not take it from those who run with it.
    let running = monolith(1).observed.carry;
    let mimir = storage("mimir");
    let claims = [(&b, None), (&a, Some(&running))];
    let refused = contested(claims.map(|(coordinator, carry)| Claim { coordinator, storage: &mimir, carry }));
    assert_eq!(refused, [(&b, &a)].into());
}

#[test]
fn a_lost_agent_is_said_and_changes_nothing() {
    let mut cluster = monolith(2);
    cluster.unit(&unit("w/1")).connected = false;
    cluster.plan();
    let plan = cluster.last.as_ref().unwrap();
    assert_eq!(plan.workers[&app("w")].unit_statuses[&1].status, WorkloadStatus::Error);
    assert!(plan.changes(&cluster.observed).assign.keys().all(|name| *name.application() == app("mimir")));
}

#[test]
fn removing_the_coordinator_says_so_until_it_is_gone() {
    let mut cluster = scalable();
    cluster.observed.removing = true;
    cluster.plan();
    assert_eq!(cluster.status(), "maintenance: removing: 8 units left");
    // Neither a missing object store nor a version that this build does not know keeps it.
    for spoil in
        [(|c: &mut Cluster| c.observed.object_store = ObjectStore::NotRelated) as fn(&mut Cluster), |c| {
            c.observed.spec.version = Some("9.9".to_owned())
        }]
    {
        let mut cluster = scalable();
        spoil(&mut cluster);
        cluster.observed.removing = true;
        let stopped = |c: &Cluster| c.observed.workers[&app("w")].units[&0].assigned.clone().unwrap().run;
        cluster.plan();
        assert_eq!(stopped(&cluster), Run::Stop, "told to stop before it goes: {}", cluster.status());
        cluster.settle();
        assert!(cluster.units().is_empty());
    }
}

#[test]
fn units_that_trade_their_roles_do_not_wait_for_each_other() {
    let rest = ["backend", "query-frontend"];
    let mut cluster = Cluster::new(&[
        ("a", worker(1, &["write"])),
        ("b", worker(1, &["querier"])),
        ("c", worker(1, &rest[..1])),
        ("d", worker(1, &rest[1..])),
    ]);
    cluster.settle();
    assert_eq!(cluster.status(), "active");
    cluster.worker("a").spec = worker(1, &["querier"]);
    cluster.worker("b").spec = worker(1, &["write"]);
    cluster.settle();
    assert_eq!(cluster.status(), "active");
    assert!(cluster.unit(&unit("a/0")).current_roles().contains(Role::Querier));
}

#[test]
fn a_rollout_stays_halted_while_the_unit_tries_again() {
    let mut cluster = scalable();
    cluster.observed.spec.config =
        [("retention-period".to_owned(), OptionValue::Text("30d".to_owned()))].into();
    cluster.plan();
    let target = cluster.last.as_ref().unwrap().revision.clone().unwrap();
    // The first unit proves the revision, a later one ends again and again.
    while cluster.observed.carry.proven.as_ref() != Some(&target) {
        cluster.plan();
        for name in cluster.units() {
            cluster.advance(&name);
        }
    }
    let moved = |cluster: &Cluster| {
        let units = cluster.observed.workers.values().flat_map(|w| w.units.values());
        units.filter(|u| u.assigned.as_ref().is_some_and(|a| a.revision == target)).count()
    };
    cluster.broken.push(unit("w/0"));
    while !cluster.status().starts_with("error: rollout halted: w/0") {
        cluster.plan();
        for name in cluster.units() {
            cluster.advance(&name);
        }
    }
    let before = moved(&cluster);
    assert!(before < 7);
    for service in [Service::Starting, Service::Running, Service::Backoff, Service::Starting] {
        cluster.unit(&unit("w/0")).report.as_mut().unwrap().service = service;
        for _ in 0..5 {
            cluster.plan();
            for name in cluster.units().into_iter().filter(|name| *name != unit("w/0")) {
                cluster.advance(&name);
            }
        }
        assert_eq!(moved(&cluster), before, "while {service:?}");
        assert!(cluster.status().starts_with("error: rollout halted: w/0"), "{}", cluster.status());
    }
    cluster.broken.clear();
    cluster.settle();
    assert_eq!(cluster.status(), "active");
}

#[test]
fn an_agent_that_has_seen_a_higher_epoch_is_told_one_that_counts() {
    let mut cluster = monolith(1);
    for name in [unit("w/0"), unit("mimir/0")] {
        cluster.unit(&name).report.as_mut().unwrap().epoch = 90;
        cluster.plan();
        assert_eq!(cluster.unit(&name).assigned.as_ref().unwrap().epoch, 91, "{name}");
    }
    cluster.settle();
    assert_eq!(cluster.status(), "active");
}

#[test]
fn units_that_cannot_be_seen_are_not_changed() {
    let mut cluster = monolith(3);
    for number in 0..3 {
        cluster.unit(&app("w").unit(number)).connected = number == 0;
    }
    cluster.observed.spec.config =
        [("retention-period".to_owned(), OptionValue::Text("30d".to_owned()))].into();
    let good = cluster.observed.carry.good.clone();
    for _ in 0..5 {
        cluster.plan();
        cluster.advance(&unit("mimir/0"));
    }
    for number in 0..3 {
        let assigned = cluster.unit(&app("w").unit(number)).assigned.clone().unwrap();
        assert_eq!(Some(assigned.revision), good, "w/{number}: it may serve, and two are away already");
    }
    for number in 0..3 {
        cluster.unit(&app("w").unit(number)).connected = true;
    }
    cluster.settle();
    assert_eq!(cluster.status(), "active");
}

#[test]
fn a_load_balancer_that_refuses_its_config_is_not_active() {
    let mut cluster = monolith(1);
    let told = cluster.unit(&unit("mimir/0")).assigned.clone().unwrap();
    let report = cluster.unit(&unit("mimir/0")).report.as_mut().unwrap();
    report.check = Some(Check { revision: told.revision, rejected: Some("key values mismatch".to_owned()) });
    cluster.plan();
    assert_eq!(cluster.status(), "blocked: mimir/0: nginx refuses its config: key values mismatch");
}

#[test]
fn secrets_that_no_probe_has_proven_are_handed_to_nobody() {
    let mut cluster = monolith(1);
    assert!(cluster.last.as_ref().unwrap().cluster.is_some());
    for store in [
        failed_store(Reason::ObjectStoreDenied),
        ObjectStore::Related { storage: Box::new(storage("mimir")), probe: Probe::Pending },
    ] {
        cluster.observed.object_store = store;
        cluster.settle();
        assert_eq!(cluster.last.as_ref().unwrap().cluster, None, "what runs would restart with them");
    }
}

#[test]
fn a_one_shot_tool_that_has_ended_halts_nothing() {
    let mut cluster = monolith(3);
    cluster.deploy("f", worker(1, &["flusher"]));
    cluster.broken.push(unit("f/0"));
    cluster.settle();
    assert_eq!(cluster.unit(&unit("f/0")).report.as_ref().unwrap().service, Service::Backoff);
    cluster.observed.spec.config =
        [("retention-period".to_owned(), OptionValue::Text("30d".to_owned()))].into();
    cluster.settle();
    let target = cluster.last.as_ref().unwrap().revision.clone().unwrap();
    assert!(cluster.worker("w").units.values().all(|u| u.assigned.as_ref().unwrap().revision == target));
}

/// Plans, and lets every unit act but this one.
fn step_without(cluster: &mut Cluster, silent: &UnitName) {
    cluster.plan();
    for name in cluster.units().into_iter().filter(|name| name != silent) {
        cluster.advance(&name);
    }
}

#[test]
fn a_unit_of_which_nothing_is_known_is_told_nothing_until_it_says_what_it_does() {
    let mut cluster = scalable();
    let lost = unit("w/1");
    let before = cluster.clone().unit(&lost).assigned.clone().unwrap();
    cluster.observed.spec.config =
        [("retention-period".to_owned(), OptionValue::Text("30d".to_owned()))].into();
    cluster.forget(&lost);
    for _ in 0..20 {
        step_without(&mut cluster, &lost);
        assert_eq!(cluster.unit(&lost).assigned, None);
    }
    let untouched = cluster.observed.workers.values().flat_map(|w| w.units.values());
    let untouched = untouched.filter(|u| u.assigned.as_ref().is_some_and(|a| a.revision == before.revision));
    assert_eq!(untouched.count(), 6, "no other unit is restarted meanwhile: {}", cluster.status());
    // Its report tells what it was told, so that it waits for its turn like the others.
    cluster.advance(&lost);
    cluster.plan();
    let told = cluster.unit(&lost).assigned.clone().unwrap();
    assert!(told.same_process(&before) && told.epoch > before.epoch, "{told:?}");
    cluster.settle();
    assert_eq!(cluster.status(), "active");
}

#[test]
fn an_agent_obeys_again_after_what_it_was_told_was_lost() {
    for absent in [false, true] {
        let mut cluster = Cluster::new(&[("w", worker(1, &["all"]))]);
        cluster.now = Timestamp::from_millisecond(1_000).unwrap();
        // Made, and told before its agent is there.
        cluster.plan();
        cluster.plan();
        cluster.settle();
        let name = unit("w/0");
        assert_eq!(cluster.unit(&name).assigned.as_ref().unwrap().epoch, 1_000);
        cluster.now = Timestamp::from_millisecond(2_000).unwrap();
        cluster.observed.spec.config =
            [("retention-period".to_owned(), OptionValue::Text("30d".to_owned()))].into();
        cluster.forget(&name);
        if absent {
            // Its container waits to be started again, with what it remembers on disk.
            let unit = cluster.unit(&name);
            (unit.unknown, unit.absent) = (false, true);
            cluster.plan();
            assert_eq!(cluster.unit(&name).assigned.as_ref().unwrap().epoch, 2_000);
            cluster.unit(&name).absent = false;
        }
        cluster.settle();
        assert_eq!(cluster.status(), "active");
        let target = cluster.last.as_ref().unwrap().revision.clone();
        let applied = cluster.unit(&name).report.as_ref().unwrap().applied.clone();
        assert_eq!(applied.map(|a| a.revision), target);
    }
}

#[test]
fn a_unit_of_which_nothing_is_known_does_not_go_before_it_has_stopped() {
    for edit in [
        (|c: &mut Cluster| c.worker("w").removing = true) as fn(&mut Cluster),
        |c| c.worker("w").spec.units = 2,
        |c| c.observed.removing = true,
    ] {
        let mut cluster = scalable();
        edit(&mut cluster);
        let lost = unit("w/2");
        cluster.forget(&lost);
        for _ in 0..20 {
            step_without(&mut cluster, &lost);
            assert!(cluster.units().contains(&lost), "{}", cluster.status());
        }
        while cluster.units().contains(&lost) {
            let running = cluster.runs(&lost);
            cluster.plan();
            assert!(!running || cluster.units().contains(&lost));
            for name in cluster.units() {
                cluster.advance(&name);
            }
        }
    }
}

#[test]
fn the_load_balancer_keeps_its_units_when_all_orders_are_lost() {
    let mut cluster = scalable();
    // What units of a worker with refused roles run is not known either.
    cluster.worker("b").spec.roles.insert("reed".to_owned(), true);
    cluster.settle();
    let units = |cluster: &Cluster| {
        let workers = cluster.observed.workers.values().flat_map(|w| w.units.values());
        workers.chain(cluster.observed.balancers.values()).cloned().collect::<Vec<ObservedUnit>>()
    };
    let revision = cluster.unit(&unit("mimir/0")).assigned.clone().unwrap().revision;
    let processes = units(&cluster).into_iter().map(|u| u.report.unwrap().applied).collect::<Vec<_>>();
    cluster.units().iter().for_each(|name| cluster.forget(name));
    cluster.plan();
    assert_eq!(cluster.last.as_ref().unwrap().balancer_cluster, None);
    assert!(units(&cluster).iter().all(|unit| unit.assigned.is_none()));
    for name in cluster.units() {
        cluster.advance(&name);
        cluster.plan();
        let told = cluster.unit(&unit("mimir/0")).assigned.clone();
        assert!(told.is_none_or(|told| told.revision == revision && told.run == Run::Start), "{name}");
    }
    cluster.settle();
    assert_eq!(cluster.status(), "active");
    let now = units(&cluster).into_iter().map(|u| u.report.unwrap().applied).collect::<Vec<_>>();
    assert_eq!(now, processes, "nothing was restarted or reloaded");
    // One that does not serve keeps nobody else out.
    let name = unit("w/0");
    cluster.forget(&name);
    cluster.unit(&name).answers_probe = false;
    cluster.plan();
    assert!(cluster.last.as_ref().unwrap().balancer_cluster.is_some());
}

#[test]
fn what_is_removed_goes_though_the_coordinator_is_blocked() {
    let invalid = || Tls::Invalid("Secret \"tls\" does not exist".to_owned());
    for block in [
        (|c: &mut Cluster, _| c.observed.spec.on_incoherent = OnIncoherent::Hold) as fn(&mut Cluster, Tls),
        |c, invalid| c.observed.tls = invalid,
        |c, _| c.observed.spec.version = Some("9.9".to_owned()),
        |c, _| c.observed.object_store = ObjectStore::Taken { bucket: "b".to_owned(), by: "c".to_owned() },
    ] {
        let mut cluster = scalable();
        block(&mut cluster, invalid());
        cluster.worker("w").removing = true;
        let told = cluster.clone().unit(&unit("r/0")).assigned.clone();
        for _ in 0..60 {
            let before = cluster.clone();
            cluster.plan();
            let gone = before.units().into_iter().filter(|name| !cluster.units().contains(name));
            gone.for_each(|name| assert!(!before.runs(&name), "{name} went before it had stopped"));
            for name in cluster.units() {
                cluster.advance(&name);
            }
        }
        assert!(cluster.worker("w").units.is_empty(), "{}", cluster.status());
        let now = cluster.unit(&unit("r/0")).assigned.clone();
        let same = told.zip(now).is_some_and(|(told, now)| told.same_process(&now));
        assert!(same, "what stays is not touched");
    }
}

#[test]
fn what_holds_data_waits_for_an_object_store_to_flush_to_and_says_so() {
    let missing = || ObjectStore::SecretMissing("s3".to_owned());
    let unreachable = || failed_store(Reason::ObjectStoreUnreachable);
    for (store, expect, version) in [
        (missing(), "\"s3\" does not exist", "2.17"),
        (unreachable(), "the store says no", "2.17"),
        (unreachable(), "no object store is known to answer", "9.9"),
    ] {
        let mut cluster = scalable();
        cluster.observed.object_store = store;
        cluster.observed.spec.version = Some(version.to_owned());
        cluster.worker("w").removing = true;
        cluster.worker("r").removing = true;
        cluster.settle();
        let said = &cluster.last.as_ref().unwrap().workers[&app("w")].status;
        let begins = said.to_string().starts_with("waiting: removing: 3 units left, waiting to flush");
        assert!(begins && said.message.contains(expect), "{said}");
        assert_eq!(cluster.worker("w").units.len(), 3);
        if version == "2.17" {
            assert!(cluster.worker("r").units.is_empty(), "it holds nothing");
        }
        cluster.observed.object_store = ready_store();
        cluster.settle();
        assert!(cluster.worker("w").units.is_empty());
    }
    // A coordinator that goes does not wait for a store that nobody relates any more.
    let mut cluster = scalable();
    cluster.observed.object_store = unreachable();
    cluster.observed.removing = true;
    cluster.settle();
    let status = cluster.status();
    assert!(
        status.contains("removing: 3 units left, waiting to flush what they hold: the store says no"),
        "{status}"
    );
    assert!(status.ends_with("muster remove-relation mimir s3"), "{status}");
    cluster.observed.object_store = missing();
    cluster.settle();
    assert!(cluster.units().is_empty());
}

#[test]
fn a_load_balancer_does_not_go_on_without_its_certificate() {
    let mut cluster = monolith(1);
    let told = cluster.unit(&unit("mimir/0")).assigned.clone();
    cluster.observed.tls = Tls::Invalid("Secret \"tls\" does not exist".to_owned());
    check_blocked(&mut cluster, &["does not exist"]);
    assert_eq!(cluster.last.as_ref().unwrap().balancer_cluster, None);
    assert_eq!(cluster.unit(&unit("mimir/0")).assigned, told);
}

/// A Tempo in one process, with a receiver.
fn tempo() -> Cluster {
    let mut cluster = Cluster::new(&[("w", worker(1, &["all"]))]);
    let spec = &mut cluster.observed.spec;
    (spec.product, spec.version) = ("tempo".to_owned(), None);
    spec.config.insert("always-enable-otlp-http".to_owned(), OptionValue::Boolean(true));
    cluster.settle();
    cluster
}

/// What a Mimir coordinator is to a Tempo whose `spec.remoteWrite` names it.
fn mimir(config: &str, host: Option<&str>, tls: &Tls) -> RemoteWriteTarget {
    let secret = if matches!(tls, Tls::Off) { "" } else { ", tls: {secret: tls}" };
    let spec: CoordinatorSpec =
        yaml::from_str(&format!("{{product: mimir, config: {{{config}}}{secret}}}")).unwrap();
    RemoteWriteTarget::of("mimir", &spec, host, tls)
}

fn certificate(ca: &str) -> Tls {
    let values = [("tls.crt", CERTIFICATE), ("tls.key", CERTIFICATE_KEY), ("ca.crt", ca)];
    let values = values.map(|(key, text)| (key.to_owned(), Secret::new(text))).into();
    Tls::On(TlsMaterial::from_secret(&values).unwrap())
}

const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
const CERTIFICATE_KEY: &str = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";

/// The config that the units were last moved to.
fn config(cluster: &Cluster) -> serde_json::Value {
    let carry = &cluster.observed.carry;
    yaml::from_str(&carry.documents[carry.published.as_ref().unwrap()]).unwrap()
}

#[test]
fn metrics_follow_the_mimir_that_they_are_written_to() {
    let mut cluster = tempo();
    let disabled = "active: metrics-generator disabled. Add a relation over send-remote-write: muster integrate \
                    mimir:send-remote-write MIMIR";
    assert_eq!(cluster.status(), disabled);
    let without = cluster.observed.carry.published.clone();
    assert_eq!(config(&cluster)["overrides"], serde_json::Value::Null);

    let mut relate = |target: RemoteWriteTarget| {
        cluster.observed.remote_write = [("mimir".to_owned(), target)].into();
        cluster.settle();
        assert_eq!(running(&cluster), 1);
        let written = config(&cluster)["metrics_generator"]["storage"]["remote_write"].clone();
        (cluster.status(), written, cluster.observed.carry.published.clone())
    };
    let host = Some("mimir.ns.svc");
    let place = |url: &str| serde_json::json!([{ "name": "mimir", "url": url }]);
    let (status, written, _) = relate(mimir("", host, &Tls::Off));
    assert_eq!((status.as_str(), written), ("active", place("http://mimir.ns.svc:8080/api/v1/push")));

    let (_, written, _) = relate(mimir("multi-tenancy: true", host, &Tls::Off));
    assert_eq!(written[0]["headers"], serde_json::json!({ "X-Scope-OrgID": "anonymous" }));
    let (_, written, published) = relate(mimir("", host, &certificate(CERTIFICATE)));
    assert_eq!(written[0]["url"], "https://mimir.ns.svc:8080/api/v1/push");
    assert_eq!(written[0]["tls_config"]["ca"], CERTIFICATE);

    // Its certificate is away for a moment: nothing restarts, twice, for it.
    let (status, _, held) =
        relate(mimir("", host, &Tls::Invalid("Secret \"tls\" does not exist".to_owned())));
    assert_eq!(held, published);
    assert!(status.starts_with("waiting: ") && status.contains("Secret \"tls\" does not exist"), "{status}");

    for (target, expected) in [
        (RemoteWriteTarget::Missing, "blocked: coordinator \"mimir\" does not exist"),
        (RemoteWriteTarget::OtherProduct("loki".to_owned()), "blocked: mimir runs loki"),
        (
            mimir("", None, &Tls::Off),
            "active: no metrics are written to mimir, whose load balancer has no unit",
        ),
    ] {
        let (status, written, published) = relate(target);
        assert!(status.starts_with(expected), "{status}");
        assert!(["remove", "muster scale"].iter().any(|fix| status.contains(fix)), "{status}");
        assert_eq!((written, &published), (serde_json::Value::Null, &without));
    }
    cluster.observed.remote_write.clear();
    cluster.settle();
    assert_eq!(cluster.status(), disabled);
    // Whoever writes to something of their own needs no relation.
    let overrides = "{metrics_generator: {storage: {remote_write: [{url: 'http://prometheus'}]}}}";
    cluster.observed.spec.overrides = Some(yaml::from_str(overrides).unwrap());
    cluster.settle();
    assert_eq!(cluster.status(), "active");
}

#[test]
fn a_tempo_with_tenants_names_them_itself() {
    let mut cluster = tempo();
    cluster.observed.spec.config.insert("multi-tenancy".to_owned(), OptionValue::Boolean(true));
    let target = mimir("multi-tenancy: true", Some("h"), &Tls::Off);
    cluster.observed.remote_write = [("mimir".to_owned(), target)].into();
    cluster.settle();
    let config = config(&cluster);
    assert_eq!(config["multitenancy_enabled"], true);
    assert_eq!(config["metrics_generator"]["storage"]["remote_write"][0]["headers"], serde_json::Value::Null);
}

#[test]
fn only_tempo_writes_metrics() {
    let mut cluster = monolith(1);
    cluster.observed.remote_write = [("other".to_owned(), RemoteWriteTarget::Missing)].into();
    check_blocked(&mut cluster, &["spec.remoteWrite is for Tempo"]);
    assert_eq!(running(&cluster), 1);
}

fn balancer_document(cluster: &Cluster) -> String {
    let shared = cluster.last.as_ref().unwrap().balancer_cluster.as_ref().unwrap();
    shared.documents.values().next().unwrap().clone()
}

/// A receiver that is open stays open while somebody mistypes it.
#[test]
fn a_mistyped_option_closes_no_receiver() {
    let mut cluster = tempo();
    let open = |cluster: &Cluster| cluster.last.as_ref().unwrap().listeners.len();
    let closed = open(&cluster);
    let mut set = |value: OptionValue| {
        cluster.observed.spec.config.insert("always-enable-zipkin".to_owned(), value);
        cluster.settle();
        open(&cluster)
    };
    assert_eq!(set(OptionValue::Boolean(true)), closed + 1);
    assert_eq!(set(OptionValue::Text("ture".to_owned())), closed + 1);
    assert_eq!(set(OptionValue::Boolean(false)), closed);
}

#[test]
fn the_load_balancer_names_the_tenant_unless_clients_do() {
    let mut cluster = monolith(1);
    assert!(balancer_document(&cluster).contains("proxy_set_header X-Scope-OrgID anonymous;"));
    let mut set = |value: OptionValue| {
        cluster.observed.spec.config.insert("multi-tenancy".to_owned(), value);
        cluster.settle();
        let document = balancer_document(&cluster);
        let says = |word: &str| document.contains(word);
        let tenants = config(&cluster)["multitenancy_enabled"].clone();
        (says("_set_header X-Scope-OrgID"), says("return 401"), tenants)
    };
    assert_eq!(set(OptionValue::Boolean(true)), (false, true, true.into()));
    // What is wrong with an option makes nobody's data another one's.
    assert_eq!(set(OptionValue::Text("banana".to_owned())), (false, true, true.into()));
    assert_eq!(set(OptionValue::Boolean(false)), (true, false, false.into()));
    assert_eq!(set(OptionValue::Text("banana".to_owned())), (true, false, false.into()));
    assert_eq!(set(OptionValue::Boolean(false)), (true, false, false.into()));
    cluster.observed.spec.overrides = Some(yaml::from_str("{multitenancy_enabled: true}").unwrap());
    check_blocked(&mut cluster, &["muster config mimir multi-tenancy=true"]);
}

/// A user's edits.
#[derive(Debug, Clone)]
enum Edit {
    Scale(usize, u32),
    Role(usize, &'static str, bool),
    Retention(u8),
    Store(bool),
    Balancers(u32),
}

const WORKERS: [&str; 4] = ["b", "m", "r", "w"];

fn edit() -> impl Strategy<Value = Edit> {
    let role =
        prop::sample::select(vec!["all", "read", "write", "backend", "querier", "ingester", "flusher"]);
    prop_oneof![
        (0..WORKERS.len(), 0..4u32).prop_map(|(w, n)| Edit::Scale(w, n)),
        (0..WORKERS.len(), role, any::<bool>()).prop_map(|(w, r, on)| Edit::Role(w, r, on)),
        (1..3u8).prop_map(Edit::Retention),
        prop::bool::weighted(0.8).prop_map(Edit::Store),
        (1..3u32).prop_map(Edit::Balancers),
    ]
}

fn apply(cluster: &mut Cluster, edit: &Edit) {
    match edit {
        Edit::Scale(worker, units) => cluster.worker(WORKERS[*worker]).spec.units = *units,
        Edit::Role(worker, role, on) => {
            cluster.worker(WORKERS[*worker]).spec.roles.insert((*role).to_owned(), *on);
        }
        Edit::Retention(days) => {
            let value = OptionValue::Text(format!("{days}d"));
            cluster.observed.spec.config.insert("retention-period".to_owned(), value);
        }
        Edit::Store(ready) => {
            cluster.observed.object_store =
                if *ready { ready_store() } else { failed_store(Reason::ObjectStoreUnreachable) };
        }
        Edit::Balancers(units) => cluster.observed.spec.units = *units,
    }
}

/// Roles of which one member at a time may be away.
const RINGS: [Role; 3] = [Role::Alertmanager, Role::Ingester, Role::StoreGateway];

fn expand(roles: &RoleSet) -> RoleSet {
    let version = "2.17".parse().unwrap();
    muster_products::role_table(muster_model::Product::Mimir, version).unwrap().expand(roles)
}

/// Checks what one plan newly asks of units that serve.
fn check_plan(before: &Cluster, after: &Cluster) {
    let plan = after.last.as_ref().unwrap();
    let blocked = plan
        .conditions
        .iter()
        .any(|c| c.kind == ConditionType::Coherent && c.status != ConditionStatus::True);
    let mut hit: Vec<RoleSet> = Vec::new();
    let mut away: Vec<RoleSet> = Vec::new();
    for (name, worker) in &before.observed.workers {
        for (number, unit) in &worker.units {
            let Some(then) = after.observed.workers[name].units.get(number) else {
                assert!(
                    !before.runs(&name.unit(*number)),
                    "{name}/{number} was removed before it had stopped"
                );
                continue;
            };
            let changed = match (&unit.assigned, &then.assigned) {
                (Some(a), Some(b)) => !a.same_process(b),
                _ => false,
            };
            if let (Some(a), Some(b)) = (&unit.assigned, &then.assigned) {
                assert!(b.epoch >= a.epoch, "epochs never go back");
                assert!(a == b || b.epoch > a.epoch, "every change has an epoch of its own");
                let stopped = a.run == Run::Start && b.run == Run::Stop;
                let spec = &worker.spec;
                let wanted = *number < spec.units && spec.roles.values().any(|on| *on);
                assert!(
                    blocked || !stopped || !wanted,
                    "{name}/{number} was stopped though nothing asks for it"
                );
            }
            if unit.is_ready() && changed {
                hit.push(expand(&unit.current_roles()));
            } else if unit.is_told_to_run() && !unit.is_ready() {
                away.push(expand(&unit.current_roles()));
            }
        }
    }
    if blocked {
        return;
    }
    for role in RINGS {
        let hits = hit.iter().filter(|roles| roles.contains(role)).count();
        let gone = away.iter().filter(|roles| roles.contains(role)).count();
        assert!(
            hits == 0 || hits + gone <= 1,
            "{hits} members with {role} were taken while {gone} were away"
        );
    }
}

fn final_form(cluster: &Cluster) -> Vec<(UnitName, Option<(RoleSet, Run)>)> {
    let mut cluster = cluster.clone();
    let names: Vec<UnitName> = cluster.units();
    names
        .into_iter()
        .map(|name| {
            let unit = cluster.unit(&name);
            let told = unit.assigned.as_ref().map(|a| (a.roles.clone(), a.run));
            (name, told.filter(|(_, run)| *run == Run::Start))
        })
        .collect()
}

fn has_conflict(cluster: &Cluster) -> bool {
    cluster.last.as_ref().unwrap().findings.iter().any(|f| f.reason == Reason::RoleConflict)
}

fn start() -> Cluster {
    Cluster::new(&[
        ("b", worker(1, &["backend"])),
        ("m", worker(1, &["all"])),
        ("r", worker(1, &["read"])),
        ("w", worker(2, &["write"])),
    ])
}

/// Of one transition no phase comes again, and what is active is not under way.
fn check_transition(before: &mut Option<TransitionStatus>, cluster: &Cluster) {
    let last = cluster.last.as_ref().unwrap();
    let now = last.transition.clone();
    assert!(now.is_none() || last.status.status != WorkloadStatus::Active, "{now:#?}");
    if let (Some(before), Some(now)) = (&*before, &now) {
        let parts = |transition: &TransitionStatus| {
            let phases = transition.phases.iter();
            phases.map(|phase| (phase.work, phase.units.clone())).collect::<Vec<_>>()
        };
        let same = parts(before) == parts(now);
        assert!(!same || now.phase >= before.phase, "{before:#?} {now:#?}");
        assert!(now.phases.iter().all(|phase| phase.done <= phase.total && phase.total > 0), "{now:#?}");
    }
    *before = now;
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    /// Whatever users edit and in whatever order agents act: budgets are kept, coherent clusters are not stopped, epochs
    /// grow, and in the end all is quiet and the same as if the last edit had been the first.
    #[test]
    fn any_edits_in_any_schedule(
        script in prop::collection::vec((edit(), prop::collection::vec(any::<prop::sample::Index>(), 0..24)), 1..10)
    ) {
        let mut cluster = start();
        for (edit, schedule) in &script {
            apply(&mut cluster, edit);
            let mut phase = None;
            for step in schedule {
                let before = cluster.clone();
                cluster.plan();
                check_plan(&before, &cluster);
                check_transition(&mut phase, &cluster);
                let units = cluster.units();
                if !units.is_empty() {
                    let name = step.get(&units);
                    if step.index(7) == 0 {
                        cluster.forget(name);
                    } else {
                        cluster.advance(name);
                    }
                }
            }
        }
        cluster.observed.object_store = ready_store();
        cluster.settle();
        prop_assert!(!cluster.plan(), "quiet in the end");
        prop_assert_eq!(&cluster.last.as_ref().unwrap().transition, &None);

        let mut direct = start();
        for (edit, _) in &script {
            apply(&mut direct, edit);
        }
        direct.observed.object_store = ready_store();
        direct.observed.carry.replication_factor = cluster.observed.carry.replication_factor;
        direct.settle();
        // A worker whose roles are refused keeps the last good ones, and those depend on the path.
        if !has_conflict(&cluster) && !has_conflict(&direct) {
            prop_assert_eq!(final_form(&cluster), final_form(&direct));
        }
    }

    /// A unit that crashes, loses its agent or is forgotten between any two steps changes nothing of the end.
    #[test]
    fn crashes_do_not_change_the_end(steps in prop::collection::vec((any::<prop::sample::Index>(), 0..4u8), 0..60)) {
        let mut cluster = start();
        for (index, fault) in &steps {
            cluster.plan();
            let units = cluster.units();
            let name = index.get(&units).clone();
            match fault {
                0 => {
                    if let Some(report) = &mut cluster.unit(&name).report {
                        (report.ready, report.service) = (false, Service::Starting);
                    }
                }
                1 => {
                    let unit = cluster.unit(&name);
                    unit.connected = !unit.connected;
                }
                2 => cluster.forget(&name),
                _ => {
                    cluster.advance(&name);
                }
            }
        }
        for name in cluster.units() {
            cluster.unit(&name).connected = true;
        }
        cluster.settle();
        let mut undisturbed = start();
        undisturbed.settle();
        prop_assert_eq!(final_form(&cluster), final_form(&undisturbed));
        prop_assert_eq!(cluster.status(), undisturbed.status());
    }
}

/// What is observed of a model that nobody has started: no unit is there.
fn unstarted(product: &str, workers: &[(&str, u32, &[&str])]) -> Observed {
    let named: Vec<_> = workers.iter().map(|(name, units, roles)| (*name, worker(*units, roles))).collect();
    let mut observed = Cluster::new(&named).observed;
    observed.spec.product = product.to_owned();
    observed.spec.version = None;
    observed
}

#[test]
fn specimens_are_told_what_units_of_each_kind_would_be() {
    let observed = unstarted(
        "loki",
        &[
            ("back", 3, &["backend"]),
            ("read", 1, &["read"]),
            ("again", 2, &["read"]),
            ("write", 3, &["write"]),
        ],
    );
    let (cluster, units) = specimens(&observed).unwrap().workers.unwrap();
    let roles: Vec<String> = units.iter().map(|unit| unit.assignment.roles.to_string()).collect();
    assert_eq!(roles, ["backend", "read", "write"]);
    // The others are told of the leading compactor, which is told of nobody.
    let leader = units[0].address.to_string();
    for unit in &units {
        let told = unit.assignment.peers.get(&Role::Compactor);
        assert_eq!(told, (unit.assignment.roles == RoleSet::from([Role::Read])).then_some(&leader));
        assert_eq!(cluster.documents.keys().collect::<Vec<_>>(), [&unit.assignment.revision]);
        assert_eq!(unit.assignment.run, Run::Start);
    }
    let keys = serde_json::to_string(&cluster).unwrap();
    assert!(!keys.contains("\"AK\"") && !keys.contains("\"SK\""), "{keys}");
}

#[test]
fn specimens_do_not_need_a_model_that_could_run() {
    // Neither workers nor coverage.
    for workers in [&[][..], &[("w", 0, &["all"][..])], &[("w", 1, &["colour"])]] {
        let (_, units) = specimens(&unstarted("tempo", workers)).unwrap().workers.unwrap();
        assert_eq!(units.len(), 1);
        assert_eq!(units[0].assignment.roles, RoleSet::from([Role::All]));
    }
    let (_, units) = specimens(&unstarted("mimir", &[("w", 1, &["read"])])).unwrap().workers.unwrap();
    assert_eq!(units.len(), 1);
    // But a config and a certificate that can be used.
    let mut observed = unstarted("mimir", &[("w", 1, &["all"])]);
    observed.object_store = ObjectStore::NotRelated;
    observed.tls = Tls::Invalid("no key".to_owned());
    let nothing = specimens(&observed).unwrap();
    assert_eq!((nothing.workers, nothing.balancer), (None, None));
    assert_eq!(specimens(&unstarted("cortex", &[])), None);
}
