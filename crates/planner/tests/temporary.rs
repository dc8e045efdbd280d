//! A temporary worker stands in where units trade roles that nobody else has.

#![allow(clippy::unwrap_used, reason = "a test may fail by a panic")]

use muster_api::{ReadHold, Storage, TemporaryWorker, Transitions};
use muster_model::{AppName, Product, Reason, Role, RoleSet, UnitName, WorkloadStatus};
use muster_planner::{Observed, ObservedUnit, Plan, Published, forecast, plan};
use muster_products::{role_table, supported_versions};
use muster_relation::Run;
use muster_testkit::cluster::{Cluster, app, failed_store, ready_store, scalable, worker};

const TEMPORARY: &str = "mimir-transition";

fn unit(name: &str) -> UnitName {
    name.parse().unwrap()
}

/// A cluster at rest with one unit of each part of Mimir.
fn lean() -> Cluster {
    lean_of(Product::Mimir)
}

/// The same of another product with these parts.
fn lean_of(product: Product) -> Cluster {
    let mut cluster = Cluster::new(&[
        ("a", worker(1, &["write"])),
        ("b", worker(1, &["backend"])),
        ("c", worker(1, &["read"])),
    ]);
    cluster.observed.spec.product = product.to_string();
    cluster.observed.spec.version = None;
    cluster.settle();
    assert_eq!(cluster.status(), "active");
    cluster
}

/// Gives `a` and `b` each other's roles, as one edit.
fn trade(cluster: &mut Cluster) {
    let roles = |cluster: &mut Cluster, name: &str| cluster.worker(name).spec.roles.clone();
    let (a, b) = (roles(cluster, "a"), roles(cluster, "b"));
    cluster.worker("a").spec.roles = b;
    cluster.worker("b").spec.roles = a;
}

fn trading() -> Cluster {
    let mut cluster = lean();
    trade(&mut cluster);
    cluster
}

fn set(cluster: &mut Cluster, transitions: Transitions) {
    cluster.observed.spec.transitions = Some(transitions);
}

fn never() -> Transitions {
    Transitions { temporary_worker: TemporaryWorker::Never, ..Transitions::default() }
}

fn has_temporary(cluster: &Cluster) -> bool {
    cluster.observed.workers.values().any(|worker| worker.temporary)
}

/// The required roles that no unit answers in.
fn unserved(observed: &Observed) -> RoleSet {
    let product: Product = observed.spec.product.parse().unwrap();
    let table = role_table(product, supported_versions(product)[0]).unwrap();
    let units = observed.workers.values().flat_map(|worker| worker.units.values());
    let roles = units.filter(|unit| unit.is_ready()).map(|unit| table.expand(&unit.current_roles()));
    table.required.difference(&roles.flat_map(|roles| roles.iter().collect::<Vec<_>>()).collect())
}

/// Lets everything happen, one agent at a time. `look` sees every plan before it is carried out.
fn follow(cluster: &mut Cluster, mut look: impl FnMut(&mut Cluster, &Plan, &Published)) {
    let mut planned = |cluster: &mut Cluster| {
        let plan = plan(&cluster.observed, cluster.now);
        let changes = plan.changes(&cluster.observed);
        look(cluster, &plan, &changes);
        cluster.plan()
    };
    for _ in 0..500 {
        let mut busy = planned(cluster);
        for unit in cluster.units() {
            // A plan in between may have taken it away.
            if cluster.units().contains(&unit) {
                busy |= cluster.advance(&unit);
                busy |= planned(cluster);
            }
        }
        if !busy {
            match cluster.last.as_ref().unwrap().held_until {
                Some(until) => cluster.now = cluster.now.max(until),
                None => return,
            }
        }
    }
    panic!("it does not come to rest: {}", cluster.status());
}

/// Follows a cluster to its end without a role that nobody serves. Says whether a temporary worker was there.
fn follow_without_a_gap(cluster: &mut Cluster) -> bool {
    let (mut came, mut ran, mut stopped) = (false, false, false);
    follow(cluster, |cluster, plan, changes| {
        assert_eq!(unserved(&cluster.observed), RoleSet::new(), "{}", plan.status);
        for document in plan.balancer_cluster.iter().flat_map(|cluster| cluster.documents.values()) {
            assert!(!document.contains("no ready unit has the role"), "{}: {document}", plan.status);
        }
        let there = cluster.observed.workers.iter().find(|(_, worker)| worker.temporary);
        came |= there.is_some();
        let mut units = there.into_iter().flat_map(|(_, worker)| worker.units.values());
        ran |= units.clone().any(ObservedUnit::is_told_to_run);
        stopped |= units.any(|unit| unit.assigned.as_ref().is_some_and(|a| a.run == Run::Stop));
        // It is told to stop, which uploads what it holds, before it is taken away.
        assert!(
            stopped || !ran || changes.remove.iter().all(|unit| unit.application().as_str() != TEMPORARY)
        );
    });
    assert!(!has_temporary(cluster) && ran == stopped);
    came
}

fn runs(cluster: &mut Cluster, name: &str, role: Role) -> bool {
    let unit = cluster.unit(&unit(name));
    unit.is_ready() && unit.current_roles().contains(role)
}

#[test]
fn units_that_trade_roles_are_stood_in_for() {
    for read_hold in [ReadHold::Never, ReadHold::Auto] {
        let mut cluster = trading();
        set(&mut cluster, Transitions { read_hold, ..Transitions::default() });
        assert!(follow_without_a_gap(&mut cluster));
        assert_eq!(cluster.status(), "active");
        assert!(runs(&mut cluster, "b/0", Role::Ingester) && runs(&mut cluster, "a/0", Role::StoreGateway));
        assert_eq!(cluster.units().len(), 4, "{:?}", cluster.units());
    }
}

/// To give up data takes as long as the object store does. What such a unit keeps is served meanwhile.
#[test]
fn it_stands_in_for_the_only_unit_of_a_role_that_gives_up_data_beside_it() {
    let one_and_many = [(ReadHold::Never, 1), (ReadHold::Never, 2), (ReadHold::Auto, 1), (ReadHold::Auto, 2)];
    for (read_hold, backends) in one_and_many {
        let mut cluster =
            Cluster::new(&[("r", worker(1, &["read", "write"])), ("b", worker(backends, &["backend"]))]);
        cluster.settle();
        set(&mut cluster, Transitions { read_hold, ..Transitions::default() });
        cluster.worker("r").spec.roles = worker(1, &["read"]).roles;
        cluster.worker("b").spec.roles = worker(backends, &["backend", "write"]).roles;
        // It comes before the only `backend` starts anew, for which alone it would not.
        assert!(follow_without_a_gap(&mut cluster));
        assert_eq!(cluster.status(), "active");
        // A hold of its own for each of the two that give up data: that the other one comes changes nothing for the first.
        let holds = if read_hold == ReadHold::Auto { 2 } else { 0 };
        assert_eq!(cluster.now.as_second(), holds * 107);
        assert!(!runs(&mut cluster, "r/0", Role::Ingester) && runs(&mut cluster, "b/0", Role::Ingester));
    }
    // Beside units that write, a Loki that runs everything answers no queries: it would be of no help.
    let mut cluster = Cluster::new(&[("w", worker(1, &["all"]))]);
    cluster.observed.spec.product = "loki".to_owned();
    cluster.observed.spec.version = None;
    cluster.settle();
    cluster.worker("w").spec.roles = worker(1, &["read"]).roles;
    for (name, role) in [("i", "write"), ("b", "backend")] {
        cluster.deploy(name, worker(1, &[role]));
    }
    follow(&mut cluster, |cluster, _, _| assert!(!has_temporary(cluster)));
    assert_eq!(cluster.status(), "active");
}

#[test]
fn it_is_as_the_worker_that_holds_data() {
    let mut cluster = lean();
    let storage = Storage { size: Some("5Gi".to_owned()), ..Storage::default() };
    cluster.worker("b").spec.storage = Some(storage.clone());
    cluster.worker("b").spec.priority_class_name = Some("high".to_owned());
    trade(&mut cluster);
    cluster.plan();
    let made = cluster.last.as_ref().unwrap().temporary.clone().unwrap();
    assert_eq!(made.name, app(TEMPORARY));
    assert_eq!((made.spec.units, &made.spec.roles), (1, &worker(1, &["all"]).roles));
    assert_eq!(made.spec.coordinator.as_deref(), Some("mimir"));
    assert_eq!(made.spec.priority_class_name.as_deref(), Some("high"));
    let made = made.spec.storage.unwrap();
    assert_eq!((made.size, made.retain), (storage.size, muster_api::Retain::Never));
}

#[test]
fn it_comes_for_no_other_change() {
    // Each unit that trades has another one of its kind: they go one by one.
    let mut many = Cluster::new(&[
        ("a", worker(3, &["write"])),
        ("b", worker(2, &["backend"])),
        ("c", worker(1, &["read"])),
    ]);
    many.settle();
    trade(&mut many);
    let mut split = Cluster::new(&[("w", worker(1, &["all"]))]);
    split.settle();
    split.worker("w").removing = true;
    split.deploy("r", worker(1, &["read"]));
    split.deploy("i", worker(1, &["write"]));
    split.deploy("b", worker(1, &["backend"]));
    let mut replaced = lean();
    replaced.worker("a").removing = true;
    replaced.deploy("d", worker(1, &["write"]));
    // The only unit with a role gets another one beside it, and nobody gives up data.
    let mut more = lean();
    more.worker("b").spec.roles = worker(1, &["backend", "write"]).roles;
    follow(&mut more, |cluster, _, _| assert!(!has_temporary(cluster)));
    assert_eq!(more.status(), "active");
    for mut cluster in [many, split, replaced, scalable()] {
        assert!(!follow_without_a_gap(&mut cluster));
        assert_eq!(cluster.status(), "active");
    }
}

#[test]
fn it_counts_for_nothing_but_what_it_serves() {
    let mut cluster = trading();
    let (mut seen, copies) = (false, cluster.observed.carry.replication_factor);
    follow(&mut cluster, |cluster, plan, _| {
        let Some(there) = cluster.observed.workers.get(&app(TEMPORARY)) else { return };
        seen = true;
        assert_eq!(plan.rollout.total, 3);
        assert_eq!(plan.coverage.units.get(&Role::Ingester), Some(&1));
        assert_eq!(plan.carry.replication_factor, copies);
        let status = &plan.workers[&app(TEMPORARY)].status;
        assert!(there.removing || status.message.starts_with("temporary: stands in"), "{status}");
        // It covers nothing: with nobody else all services stop, and so does it.
        let mut alone = cluster.observed.clone();
        alone.workers.retain(|_, worker| worker.temporary);
        let alone = muster_planner::plan(&alone, cluster.now);
        assert!(alone.status.message.contains("no worker is related"), "{}", alone.status);
        assert_eq!(alone.temporary, None);
    });
    assert!(seen);
}

#[test]
fn nothing_stands_in_where_nothing_may() {
    let mut never_asked = trading();
    set(&mut never_asked, never());
    let mut taken = trading();
    taken.observed.temporary_name_taken = true;
    let mut own = lean();
    own.deploy(TEMPORARY, worker(1, &["overrides-exporter"]));
    own.settle();
    trade(&mut own);
    for (mut cluster, says) in [(never_asked, false), (taken, true), (own, true)] {
        let (mut said, mut gap) = (false, false);
        follow(&mut cluster, |cluster, plan, changes| {
            assert_eq!(changes.deploy, None);
            said |= plan.findings.iter().any(|finding| finding.reason == Reason::NoTemporaryWorker);
            gap |= !unserved(&cluster.observed).is_empty();
        });
        assert!(gap && said == says && !has_temporary(&cluster));
        assert_eq!(cluster.status(), "active");
    }
    assert!(
        AppName::new("m".repeat(50)).is_ok_and(|name| muster_planner::Temporary::name_for(&name).is_none())
    );
}

#[test]
fn it_goes_when_the_edit_is_taken_back() {
    for steps in 0..12 {
        let mut cluster = trading();
        for _ in 0..steps {
            cluster.plan();
            for unit in cluster.units() {
                cluster.advance(&unit);
            }
        }
        trade(&mut cluster);
        follow_without_a_gap(&mut cluster);
        assert_eq!(cluster.status(), "active", "after {steps}");
        assert!(runs(&mut cluster, "a/0", Role::Ingester));
    }
}

#[test]
fn whoever_meddles_with_it_breaks_nothing() {
    type Meddle = fn(&mut Cluster);
    let meddles: [Meddle; 4] = [
        |cluster| cluster.worker(TEMPORARY).removing = true,
        |cluster| cluster.worker(TEMPORARY).spec.units = 0,
        |cluster| cluster.worker(TEMPORARY).spec.units = 2,
        |cluster| set(cluster, never()),
    ];
    for meddle in meddles {
        for steps in 1..12 {
            let mut cluster = trading();
            for _ in 0..steps {
                cluster.plan();
                for unit in cluster.units() {
                    cluster.advance(&unit);
                }
            }
            if has_temporary(&cluster) {
                meddle(&mut cluster);
            }
            cluster.settle();
            assert_eq!(cluster.status(), "active", "after {steps}");
            assert!(!has_temporary(&cluster));
            assert!(runs(&mut cluster, "b/0", Role::Ingester));
        }
    }
}

#[test]
fn it_stays_while_the_object_store_is_away_and_goes_with_the_coordinator() {
    let mut cluster = trading();
    let stands_in = unit("mimir-transition/0");
    while !cluster.units().contains(&stands_in) || !cluster.unit(&stands_in).is_ready() {
        cluster.plan();
        for unit in cluster.units() {
            cluster.advance(&unit);
        }
    }
    cluster.observed.object_store = failed_store(Reason::ObjectStoreUnreachable);
    let held = plan(&cluster.observed, cluster.now);
    assert_eq!(held.temporary.map(|temporary| temporary.name), Some(app(TEMPORARY)));
    let mut removed = cluster.clone();
    removed.observed.object_store = ready_store();
    removed.observed.removing = true;
    removed.settle();
    assert!(removed.units().is_empty() && !has_temporary(&removed));
    cluster.observed.object_store = ready_store();
    cluster.settle();
    assert_eq!(cluster.status(), "active");
}

#[test]
fn its_part_of_the_way_is_told() {
    let mut cluster = trading();
    let mut said: Vec<String> = Vec::new();
    follow(&mut cluster, |_, plan, _| {
        let line = plan.transition.as_ref().map_or_else(|| "nothing".to_owned(), |now| now.message.clone());
        if said.last() != Some(&line) {
            said.push(line);
        }
        assert_eq!(plan.transition.is_none(), plan.status.status == WorkloadStatus::Active);
    });
    let at = |text: &str| said.iter().position(|line| line.contains(text));
    let made = at("starting mimir-transition/0").unwrap();
    let goes = at("stopping mimir-transition/0").unwrap();
    assert!(made < goes && said.last().is_some_and(|last| last == "nothing"), "{said:#?}");
    assert!(at("edited").is_none(), "{said:#?}");
}

#[test]
fn its_part_of_the_way_is_foreseen() {
    let cluster = trading();
    let forecast = forecast(&cluster.observed);
    assert!(forecast.comes_to_rest && forecast.end.to_string() == "active", "{}", forecast.end);
    let steps: Vec<String> = forecast.steps.iter().map(|step| step.what()).collect();
    let at = |what: &str| {
        steps.iter().position(|step| step.starts_with("mimir-transition/0") && step.contains(what))
    };
    assert!(at("is made").is_some() && at("is made") < at("is removed"), "{steps:#?}");
    assert!(forecast.steps.iter().all(|step| step.on_writes().is_none()));
}

#[test]
fn nobody_turns_to_it() {
    let mut cluster = lean_of(Product::Loki);
    trade(&mut cluster);
    follow(&mut cluster, |cluster, _, changes| {
        let own = cluster.observed.workers.get(&app(TEMPORARY)).and_then(|worker| worker.units.get(&0));
        let Some(address) = own.and_then(|unit| unit.address.clone()) else { return };
        let mut told = changes.assign.values().flat_map(|next| next.peers.values());
        assert!(told.all(|host| *host != address));
    });
    assert_eq!(cluster.status(), "active");
}
