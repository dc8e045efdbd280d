//! What is said to happen, and what happens in a simulated cluster.

#![allow(clippy::unwrap_used, reason = "a test may fail by a panic")]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use muster_api::{OptionValue, TemporaryWorker};
use muster_model::{Reason, Role, RoleSet, UnitName};
use muster_planner::{Act, Data, Forecast, Pace, Service, forecast, preview};
use muster_relation::{Drain, Run};
use muster_testkit::cluster::{Cluster, app, monolith, scalable, worker};

/// A monolith that is asked in one edit to be read, write and backend.
fn to_be_split() -> Cluster {
    let mut cluster = monolith(1);
    cluster.worker("w").spec = worker(1, &["read"]);
    cluster.deploy("i", worker(1, &["write"]));
    cluster.deploy("b", worker(1, &["backend"]));
    cluster
}

fn with_option(mut cluster: Cluster) -> Cluster {
    cluster.observed.spec.config.insert("retention-period".to_owned(), OptionValue::Text("30d".to_owned()));
    cluster
}

fn unit(name: &str) -> UnitName {
    name.parse().unwrap()
}

/// The steps as a person reads them.
fn said(forecast: &Forecast) -> Vec<String> {
    let mut said = Vec::new();
    for step in &forecast.steps {
        said.push(step.what());
        said.push(format!("  waits for {}", step.waits()));
        let effects = [step.on_writes(), step.on_reads(), step.on_data()];
        said.extend(effects.into_iter().flatten().map(|effect| format!("  {effect}")));
    }
    said
}

fn check(cluster: &Cluster, expected: &[&str]) -> Forecast {
    let forecast = forecast(&cluster.observed);
    assert_eq!(said(&forecast), expected);
    assert!(forecast.comes_to_rest);
    forecast
}

#[test]
fn what_is_at_rest_takes_no_step() {
    for cluster in [monolith(1), scalable()] {
        let forecast = check(&cluster, &[]);
        assert_eq!((forecast.end.to_string().as_str(), forecast.reloads), ("active", 0));
        assert!(forecast.findings.is_empty() && forecast.obstacles.is_empty());
    }
}

#[test]
fn a_first_deployment_waits_for_nothing() {
    let forecast = check(
        &Cluster::new(&[("w", worker(3, &["all"]))]),
        &[
            "mimir/0 is made and starts",
            "  waits for nothing",
            "w/0…/2 are made and start with all",
            "  waits for nothing",
        ],
    );
    assert_eq!(forecast.end.to_string(), "active");
}

#[test]
fn a_monolith_is_split_after_the_others_are_ready() {
    let forecast = check(
        &to_be_split(),
        &[
            "b/0 is made and starts with backend",
            "  waits for nothing",
            "i/0 is made and starts with write",
            "  waits for nothing",
            "mimir-transition/0 is made and starts with all",
            "  waits for b/0, i/0 ready",
            "w/0 leaves the load balancer, uploads what it holds, leaves its rings and restarts with read",
            "  waits for mimir-transition/0 ready",
            "  queries may miss what w/0 uploaded until they find it in the object store",
            "  what w/0 held goes to the object store first",
            "mimir-transition/0 leaves the load balancer, uploads what it holds, leaves its rings, stops and is removed",
            "  waits for w/0 ready",
            "  queries may miss what mimir-transition/0 uploaded until they find it in the object store",
            "  what mimir-transition/0 held goes to the object store first",
        ],
    );
    assert_eq!(forecast.end.to_string(), "active");
}

#[test]
fn a_monolith_is_split_without_a_temporary_worker_where_none_is_to_come() {
    let mut cluster = to_be_split();
    let transitions = cluster.observed.spec.transitions.get_or_insert_default();
    transitions.temporary_worker = TemporaryWorker::Never;
    check(
        &cluster,
        &[
            "b/0 is made and starts with backend",
            "  waits for nothing",
            "i/0 is made and starts with write",
            "  waits for nothing",
            "w/0 leaves the load balancer, uploads what it holds, leaves its rings and restarts with read",
            "  waits for b/0, i/0 ready",
            "  queries fail while w/0 is away",
            "  what w/0 held goes to the object store first",
        ],
    );
}

#[test]
fn an_option_goes_to_one_unit_after_the_other() {
    let forecast = check(
        &with_option(monolith(3)),
        &[
            "w/0…/2 leave the load balancer and restart with the new config, one after the other",
            "  waits for nothing, then each for the one before",
            "  what w/0…/2 held stays on disk",
        ],
    );
    assert_eq!(forecast.steps[0].pace(), Pace::OneByOne);
    check(
        &with_option(monolith(1)),
        &[
            "w/0 restarts with the new config",
            "  waits for nothing",
            "  writes fail while w/0 is away",
            "  queries fail while w/0 is away",
            "  what w/0 held stays on disk",
        ],
    );
    // One copy only: others take writes, and nobody else has what the unit holds.
    let two = forecast_of(&with_option(monolith(2)));
    assert_eq!((&two.steps[0].writes, &two.steps[0].reads), (&Service::None, &Service::Short));
}

fn forecast_of(cluster: &Cluster) -> Forecast {
    forecast(&cluster.observed)
}

#[test]
fn units_come_at_once_and_go_one_after_the_other() {
    let mut cluster = monolith(1);
    cluster.worker("w").spec.units = 3;
    check(&cluster, &["w/1, w/2 are made and start with all", "  waits for nothing"]);
    cluster.settle();
    cluster.worker("w").spec.units = 1;
    check(
        &cluster,
        &[
            "w/1, w/2 leave the load balancer, upload what they hold, leave their rings, stop and are removed, one after the other",
            "  waits for nothing, then each for the one before",
            "  queries may miss what w/1, w/2 uploaded until they find it in the object store",
            "  what w/1, w/2 held goes to the object store first",
        ],
    );
}

#[test]
fn a_removal_stops_everything() {
    let mut cluster = monolith(2);
    cluster.observed.removing = true;
    let forecast = forecast_of(&cluster);
    assert!(forecast.is_gone && forecast.comes_to_rest);
    let of = |name: &str| forecast.steps.iter().find(|s| s.units().any(|u| *u == unit(name))).unwrap();
    let step = of("w/1");
    assert_eq!(step.acts, [Act::Stop { drains: true }, Act::Remove]);
    assert_eq!(step.data, Data::Uploaded);
    assert!(step.on_writes().unwrap().ends_with("fail from then on"));
    // Nobody gives it an object store any more.
    cluster.observed.object_store = muster_planner::ObjectStore::NotRelated;
    assert!(forecast_of(&cluster).steps.iter().any(|step| step.data == Data::GivenUp));
}

#[test]
fn what_is_wrong_with_an_edit_is_said_beside_what_it_does() {
    let mut cluster = monolith(1);
    let before = cluster.observed.clone();
    cluster.worker("w").spec = worker(1, &["read"]);
    let forecast = check(
        &cluster,
        &[
            "mimir/0 stops",
            "  waits for nothing",
            "  writes fail from then on",
            "  queries fail from then on",
            "w/0 uploads what it holds, leaves its rings and stops",
            "  waits for nothing",
            "  writes fail from then on",
            "  queries fail from then on",
            "  what w/0 held goes to the object store first",
        ],
    );
    assert_eq!(forecast.findings[0].reason, Reason::MissingRequiredRoles);
    assert!(forecast.end.to_string().starts_with("blocked: "));
    // What is refused changes nothing.
    let mut refused = before.clone();
    refused.spec.config.insert("retention-period".to_owned(), OptionValue::Text("banana".to_owned()));
    let preview = preview(Some(&before), &refused, None).with_forecast(Some(&before), &refused, true);
    assert_eq!(preview.refusals().len(), 1);
    assert_eq!(preview.forecast.unwrap().steps, []);
}

#[test]
fn only_a_coordinator_that_is_asked_something_else_has_steps() {
    let before = monolith(1).observed;
    let published = || preview(None, &before, None).balancer.after;
    let of = |after: &muster_planner::Observed, edits| {
        preview(Some(&before), after, published()).with_forecast(Some(&before), after, edits).forecast
    };
    assert_eq!(of(&before, true), None);
    assert_eq!(of(&before, false).unwrap().steps, []);
    let mut after = before.clone();
    after.workers.get_mut(&app("w")).unwrap().spec.units = 2;
    assert_eq!(of(&after, true).unwrap().steps.len(), 1);
}

#[test]
fn what_cannot_be_told_stays_as_it_is() {
    let mut unseen = with_option(monolith(3));
    unseen.unit(&unit("w/1")).connected = false;
    let forecast = forecast_of(&unseen);
    assert!(forecast.comes_to_rest);
    assert_eq!(forecast.obstacles.len(), 1);
    assert_eq!(
        (&forecast.obstacles[0].unit, forecast.obstacles[0].why.as_str()),
        (&unit("w/1"), "it cannot be seen")
    );
    assert!(forecast.steps.iter().all(|step| step.units().all(|u| *u != unit("w/1"))));

    let mut unknown = with_option(monolith(3));
    unknown.forget(&unit("w/2"));
    let forecast = forecast_of(&unknown);
    assert_eq!((forecast.steps.len(), forecast.obstacles.len()), (0, 1), "{:?}", said(&forecast));

    let mut leaves = monolith(3);
    leaves.worker("w").spec.units = 2;
    for _ in 0..5 {
        leaves.plan();
        if leaves.unit(&unit("w/2")).is_told_to_run() {
            for name in leaves.units() {
                leaves.advance(&name);
            }
        }
    }
    let why = "1 block not uploaded".to_owned();
    let going = leaves.unit(&unit("w/2"));
    assert!(!going.is_told_to_run());
    let (epoch, report) = (going.assigned.as_ref().unwrap().epoch, going.report.as_mut().unwrap());
    (report.epoch, report.drain) = (epoch, Some(Drain { tries: 2, why }));
    let forecast = forecast_of(&leaves);
    assert_eq!(forecast.obstacles[0].why, "it cannot leave yet: 1 block not uploaded");

    let mut broken = monolith(1);
    broken.broken.push(unit("w/1"));
    broken.worker("w").spec.units = 2;
    for _ in 0..4 {
        broken.plan();
        broken.advance(&unit("w/1"));
    }
    assert_eq!(forecast_of(&broken).obstacles[0].why, "its process ends: exit code 1");
}

/// Every state that a cluster passes through can be asked what is left to do.
#[test]
fn what_is_under_way_goes_on() {
    for mut cluster in [Cluster::new(&[("w", worker(3, &["all"]))]), with_option(scalable()), to_be_split()] {
        for _ in 0..200 {
            let forecast = forecast_of(&cluster);
            assert!(forecast.comes_to_rest && forecast.obstacles.is_empty(), "{:?}", said(&forecast));
            assert_eq!(forecast.end.to_string(), "active", "{:?}", said(&forecast));
            let mut busy = cluster.plan();
            for unit in cluster.units() {
                busy |= cluster.advance(&unit);
            }
            if !busy {
                assert_eq!(forecast.steps, []);
                break;
            }
        }
    }
}

/// In which plan each worker unit was told another process, and to do what.
fn carried_out(mut cluster: Cluster) -> BTreeMap<UnitName, Vec<(usize, Run, RoleSet)>> {
    let mut told = BTreeMap::<UnitName, Vec<_>>::new();
    for round in 0.. {
        let before = cluster.observed.clone();
        let mut busy = cluster.plan();
        for (name, worker) in &cluster.observed.workers {
            for (number, now) in worker.units.iter().filter_map(|(n, u)| Some((n, u.assigned.as_ref()?))) {
                let before = before.workers.get(name).and_then(|w| w.units.get(number)?.assigned.as_ref());
                if before.is_none_or(|before| !before.same_process(now)) {
                    told.entry(name.unit(*number)).or_default().push((round, now.run, now.roles.clone()));
                }
            }
        }
        for unit in cluster.units() {
            busy |= cluster.advance(&unit);
        }
        if !busy {
            break;
        }
    }
    told
}

#[test]
fn the_order_is_the_one_in_which_it_is_done() {
    let mut down = scalable();
    down.worker("w").spec.units = 2;
    down.worker("r").spec.units = 1;
    let mut trade = Cluster::new(&[("x", worker(1, &["read", "backend"])), ("y", worker(1, &["write"]))]);
    trade.settle();
    trade.worker("x").spec = worker(1, &["write"]);
    trade.worker("y").spec = worker(1, &["read", "backend"]);
    let mut gone = scalable();
    gone.worker("b").removing = true;
    let clusters = [
        to_be_split(),
        with_option(scalable()),
        with_option(monolith(3)),
        down,
        trade,
        gone,
        with_option(to_be_split()),
    ];
    for cluster in clusters {
        let forecast = forecast_of(&cluster);
        let done = carried_out(cluster.clone());
        let said = said(&forecast);
        let changes = |act: &Act| {
            matches!(act, Act::Start { .. } | Act::Restart { .. } | Act::GiveUp { .. } | Act::Stop { .. })
        };
        let mut foretold = BTreeMap::<UnitName, usize>::new();
        for step in &forecast.steps {
            let of_workers = |unit: &&UnitName| *unit.application() != cluster.observed.name;
            for unit in step.units().filter(of_workers).filter(|_| step.acts.iter().any(changes)) {
                let nth = foretold.entry(unit.clone()).or_insert(0);
                assert!(done.get(unit).is_some_and(|told| told.len() > *nth), "{unit}: {said:#?} {done:#?}");
                *nth += 1;
            }
            let nth = |unit: &UnitName| foretold.get(unit).map_or(0, |nth| nth.saturating_sub(1));
            let when = |unit: &UnitName| done.get(unit).map(|told| told[nth(unit)].0);
            for pair in step.waves.windows(2) {
                let (last, first) =
                    (pair[0].iter().filter_map(when).max(), pair[1].iter().filter_map(when).min());
                assert!(last < first, "{pair:?}: {said:#?} {done:#?}");
            }
            let first: Vec<usize> = step.waves[0].iter().filter_map(when).collect();
            for wait in step.waits_for.iter().flat_map(|wait| &wait.units) {
                assert!(first.iter().all(|first| when(wait) < Some(*first)), "{wait}: {said:#?} {done:#?}");
            }
        }
        let done: BTreeMap<_, _> = done.into_iter().map(|(unit, told)| (unit, told.len())).collect();
        assert_eq!(foretold, done, "{said:#?}");
    }
}

#[test]
fn many_units_take_few_lines() {
    let mut cluster = Cluster::new(&[
        ("r", worker(100, &["read"])),
        ("w", worker(100, &["write"])),
        ("b", worker(100, &["backend"])),
    ]);
    cluster.settle();
    let mut cluster = with_option(cluster);
    cluster.worker("r").spec.units = 120;
    let begun = Instant::now();
    let forecast = forecast_of(&cluster);
    let took = begun.elapsed();
    let said = said(&forecast);
    assert!(forecast.comes_to_rest);
    assert!(said.len() <= 30 && said.iter().all(|line| line.len() < 200), "{said:#?}");
    let units: BTreeSet<_> = forecast.steps.iter().flat_map(|step| step.units().cloned()).collect();
    assert_eq!(units.len(), 320);
    println!("{took:?}: {said:#?}");
    assert!(took.as_secs() < 60, "{took:?}");
}

#[test]
fn roles_are_named_as_they_are_switched_on() {
    let mut cluster = scalable();
    cluster.worker("r").spec = worker(2, &["read", "backend"]);
    let forecast = forecast_of(&cluster);
    let roles = forecast.steps.iter().flat_map(|step| &step.acts).find_map(|act| match act {
        Act::Restart { roles, .. } => Some(roles.clone()),
        _ => None,
    });
    let expected = cluster.observed.workers[&app("r")].spec.roles.keys().cloned().collect::<Vec<_>>();
    match roles {
        Some(roles) => {
            assert!(roles.iter().all(|role| role.parse::<Role>().is_ok()), "{roles:?} {expected:?}")
        }
        None => panic!("{:?}", said(&forecast)),
    }
}
