//! What is said of a transition while it lasts, in a simulated cluster.

#![allow(clippy::unwrap_used, reason = "a test may fail by a panic")]

use std::time::Instant;

use muster_api::{OptionValue, TransitionStatus, TransitionWork};
use muster_model::{Reason, UnitName};
use muster_planner::plan;
use muster_relation::Drain;
use muster_testkit::cluster::{Cluster, app, failed_store, monolith, ready_store, scalable, worker};

fn unit(name: &str) -> UnitName {
    name.parse().unwrap()
}

/// What the last plan says is under way.
fn under_way(cluster: &Cluster) -> Option<TransitionStatus> {
    cluster.last.as_ref().unwrap().transition.clone()
}

fn message(cluster: &Cluster) -> String {
    under_way(cluster).map(|transition| transition.message).unwrap_or_default()
}

/// Lets everything happen, one agent at a time, and takes down what is said; each line once, until it changes. No phase comes again.
fn story(cluster: &mut Cluster) -> Vec<String> {
    let mut said: Vec<String> = Vec::new();
    let mut reached = 0;
    for _ in 0..400 {
        let mut busy = cluster.plan();
        let mut note = |cluster: &Cluster| {
            let now = under_way(cluster);
            let phase = now.as_ref().map_or(0, |transition| transition.phase);
            assert!(phase == 0 || phase >= reached, "{said:#?} {now:#?}");
            reached = phase;
            let line = now.map_or_else(|| "nothing".to_owned(), |transition| transition.message);
            if said.last() != Some(&line) {
                said.push(line);
            }
        };
        note(cluster);
        for unit in cluster.units() {
            // What another one said may have let it go.
            if cluster.units().contains(&unit) {
                busy |= cluster.advance(&unit);
                busy |= cluster.plan();
                note(cluster);
            }
        }
        if !busy {
            return said;
        }
    }
    panic!("it does not come to rest: {said:#?}");
}

/// A monolith that is asked in one edit to be read, write and backend, and its own worker to go.
fn to_be_replaced() -> Cluster {
    let mut cluster = monolith(1);
    cluster.deploy("r", worker(1, &["read"]));
    cluster.deploy("i", worker(1, &["write"]));
    cluster.deploy("b", worker(1, &["backend"]));
    cluster.worker("w").removing = true;
    cluster
}

#[test]
fn a_first_deployment_and_what_is_at_rest_are_no_transition() {
    let mut cluster = Cluster::new(&[("w", worker(2, &["all"]))]);
    assert_eq!(story(&mut cluster), ["nothing"]);
    for mut cluster in [monolith(1), scalable()] {
        assert_eq!(story(&mut cluster), ["nothing"]);
    }
    // Nor is a process that ends by itself.
    let mut cluster = monolith(2);
    let crashed = cluster.unit(&unit("w/1")).report.as_mut().unwrap();
    crashed.ready = false;
    cluster.plan();
    assert_eq!(under_way(&cluster), None);
    assert_ne!(cluster.status(), "active");
}

#[test]
fn a_monolith_that_is_replaced_goes_through_three_phases() {
    let mut cluster = to_be_replaced();
    let said = story(&mut cluster);
    assert_eq!(
        said,
        [
            "transition 1/3: starting b/0, i/0 and 1 more",
            "transition 1/3: starting i/0 and r/0",
            "transition 1/3: starting r/0",
            // All are told that those who stay are there now.
            "transition 2/3: draining w/0 (not begun yet)",
            "transition 2/3: draining w/0",
            "transition 3/3: stopping w/0",
            "nothing",
        ]
    );
    assert_eq!(cluster.status(), "active");
}

#[test]
fn a_monolith_that_becomes_read_drains_and_restarts() {
    let mut cluster = monolith(1);
    cluster.worker("w").spec = worker(1, &["read"]);
    cluster.deploy("i", worker(1, &["write"]));
    cluster.deploy("b", worker(1, &["backend"]));
    cluster.plan();
    let phases = under_way(&cluster).unwrap().phases;
    let phases: Vec<_> = phases.iter().map(|phase| (phase.work, phase.units.as_str(), phase.total)).collect();
    assert_eq!(
        phases,
        [
            (TransitionWork::MakeReady, "b/0, i/0", 2),
            (TransitionWork::Drain, "w/0", 1),
            (TransitionWork::Restart, "w/0", 1)
        ]
    );
    let said = story(&mut cluster);
    // It is the only one that answers queries, so another one comes first that does so meanwhile.
    for expected in [
        "transition 1/4: starting mimir-transition/0",
        "transition 2/4: draining w/0",
        "transition 3/4: restarting w/0",
        "transition 4/4: stopping mimir-transition/0",
    ] {
        assert!(said.iter().any(|line| line == expected), "{expected}: {said:#?}");
    }
}

#[test]
fn roles_that_are_gained_are_a_phase_of_their_own() {
    let mut cluster = scalable();
    cluster.worker("r").spec = worker(2, &["read", "backend"]);
    let said = story(&mut cluster);
    assert!(said[0].starts_with("transition 1/1: giving more roles to r/0"), "{said:#?}");
    assert_eq!(said.last().unwrap(), "nothing");
}

#[test]
fn a_config_that_is_rolled_out_is_said_as_ever_and_counts_as_a_phase() {
    let mut cluster = monolith(3);
    let days = OptionValue::Text("30d".to_owned());
    cluster.observed.spec.config.insert("retention-period".to_owned(), days);
    cluster.plan();
    assert!(cluster.status().starts_with("maintenance: rolling out "), "{}", cluster.status());
    let said = story(&mut cluster);
    assert!(said.iter().all(|line| line == "nothing" || line.starts_with("transition 1/1: restarting w/")));
    // What is changed and restarts nothing is none.
    cluster.observed.spec.units = 1;
    assert_eq!(story(&mut cluster), ["nothing"]);
}

#[test]
fn units_that_go_are_drained_one_after_the_other() {
    let mut cluster = monolith(3);
    cluster.worker("w").spec.units = 1;
    let said = story(&mut cluster);
    let draining: Vec<_> = said.iter().filter(|line| line.starts_with("transition 1/2: draining")).collect();
    assert!(draining.iter().any(|line| line.ends_with("1 more to follow")), "{said:#?}");
    assert!(said.iter().any(|line| line.starts_with("transition 2/2: stopping")), "{said:#?}");
}

#[test]
fn a_drain_that_stalls_says_who_why_and_when_it_is_tried_again() {
    let mut cluster = monolith(2);
    cluster.worker("w").spec.units = 1;
    for _ in 0..8 {
        cluster.plan();
        cluster.advance(&unit("mimir/0"));
        cluster.advance(&unit("w/0"));
        if cluster.unit(&unit("w/1")).is_told_to_run() {
            cluster.advance(&unit("w/1"));
        }
    }
    let why = "2 blocks of tenant anonymous";
    for tries in [1, 2, 3] {
        let drain = Some(Drain { tries, why: why.to_owned() });
        cluster.unit(&unit("w/1")).report.as_mut().unwrap().drain = drain;
        cluster.plan();
        // How often it tried is no news for the whole.
        assert_eq!(message(&cluster), format!("transition 1/2: draining w/1 ({why})"));
        assert_eq!(cluster.status(), format!("maintenance: {}", message(&cluster)));
    }
    assert_eq!(
        under_way(&cluster).unwrap().waits_for,
        [format!(
            "w/1, which keeps what is not in the object store yet ({why}); it tries again once its process is ready and has been \
             up for 15 s"
        )]
    );
}

#[test]
fn what_waits_says_for_what() {
    let mut cluster = to_be_replaced();
    cluster.plan();
    for name in ["b/0", "i/0", "r/0", "mimir/0"] {
        while cluster.advance(&unit(name)) {}
        cluster.plan();
        while cluster.advance(&unit(name)) {}
    }
    // One falls ill before the last unit of its role goes.
    cluster.unit(&unit("i/0")).report.as_mut().unwrap().ready = false;
    cluster.observed.carry.leaving_balancer.clear();
    cluster.plan();
    let now = under_way(&cluster).unwrap();
    assert!(now.message.contains("i/0"), "{now:#?}");
    // Nothing goes on without the object store, and that is said.
    cluster.observed.object_store = failed_store(Reason::ObjectStoreUnreachable);
    cluster.plan();
    let now = under_way(&cluster).unwrap();
    assert!(now.message.ends_with("(held: the store says no)"), "{now:#?}");
    cluster.observed.object_store = ready_store();
    cluster.settle();
    assert_eq!((under_way(&cluster), cluster.status().as_str()), (None, "active"));
}

#[test]
fn a_mind_changed_half_way_says_what_is_taken_back_and_what_is_not() {
    let mut cluster = monolith(3);
    cluster.worker("w").spec.units = 1;
    // Until one of the two is told to go.
    let told = |cluster: &Cluster| {
        let units = &cluster.observed.workers[&app("w")].units;
        units.values().filter(|unit| !unit.is_told_to_run()).count()
    };
    for _ in 0..20 {
        if told(&cluster) > 0 {
            break;
        }
        for name in ["mimir/0", "w/0", "w/1", "w/2"] {
            cluster.advance(&unit(name));
        }
        cluster.plan();
    }
    assert_eq!(told(&cluster), 1);
    cluster.worker("w").spec.units = 3;
    cluster.plan();
    let now = under_way(&cluster).unwrap();
    assert_eq!(
        now.message,
        "transition 1/1: starting w/1; edited half-way, w/2 taken back, w/1 rolled forward"
    );
    assert_eq!(
        now.edited,
        [
            "w/2: taken back, nothing was begun",
            "w/1: rolls forward, something was begun that cannot be undone"
        ]
    );
    let said = story(&mut cluster);
    assert!(said.iter().all(|line| line == "nothing" || line.contains("edited half-way")), "{said:#?}");
    assert_eq!(said.last().unwrap(), "nothing");
    // Where nothing was begun nothing is left to be said.
    cluster.worker("w").spec.units = 1;
    let mut early = cluster.clone();
    early.plan();
    assert!(under_way(&early).is_some());
    early.worker("w").spec.units = 3;
    early.plan();
    assert_eq!(under_way(&early), None);
}

#[test]
fn units_that_were_made_before_the_edit_are_taken_away_again() {
    let mut cluster = monolith(1);
    cluster.worker("w").spec.units = 3;
    cluster.plan();
    while cluster.advance(&unit("w/1")) || cluster.plan() {}
    cluster.worker("w").spec.units = 1;
    cluster.plan();
    let now = under_way(&cluster).unwrap();
    assert!(now.edited[0].contains("w/1"), "{now:#?}");
    story(&mut cluster);
    assert_eq!(cluster.status(), "active");
}

#[test]
fn a_restarted_coordinator_says_the_same() {
    let mut cluster = to_be_replaced();
    for _ in 0..200 {
        let busy = cluster.plan();
        let kept = serde_json::to_string(&cluster.observed.carry).unwrap();
        let mut other = cluster.clone();
        other.observed.carry = serde_json::from_str(&kept).unwrap();
        other.plan();
        cluster.plan();
        assert_eq!(under_way(&cluster), under_way(&other));
        let units = cluster.units();
        if !units.iter().any(|unit| cluster.advance(unit)) && !busy {
            assert_eq!(under_way(&cluster), None);
            return;
        }
    }
    panic!("it does not come to rest: {}", cluster.status());
}

#[test]
fn hundreds_of_units_take_few_words_and_little_time() {
    let mut cluster = Cluster::new(&[
        ("r", worker(100, &["read"])),
        ("w", worker(100, &["write"])),
        ("b", worker(100, &["backend"])),
    ]);
    cluster.settle();
    cluster.worker("w").spec.units = 50;
    cluster.worker("r").spec = worker(120, &["read", "backend"]);
    cluster.worker("b").spec.units = 0;
    cluster.plan();
    let bytes = |cluster: &Cluster| {
        let last = cluster.last.as_ref().unwrap();
        let mut carry = serde_json::to_value(&last.carry).unwrap();
        carry.as_object_mut().unwrap().remove("documents");
        (carry["transition"].to_string().len(), serde_json::to_string(&last.transition).unwrap().len())
    };
    let (kept, said) = bytes(&cluster);
    assert!(kept < 2_000 && said < 2_000, "{kept} {said}");
    let message = message(&cluster);
    assert!(message.len() < 200, "{message}");
    let time = |observed: &muster_planner::Observed| {
        let begun = Instant::now();
        for _ in 0..10 {
            std::hint::black_box(plan(observed, cluster.now));
        }
        begun.elapsed() / 10
    };
    let during = time(&cluster.observed);
    let mut at_rest = cluster.observed.clone();
    at_rest.carry.opened = false;
    let without = time(&at_rest);
    println!("a plan takes {during:?} with a transition, {without:?} without; {kept} and {said} bytes");
    // It is a small part of the plan that it is said about.
    assert!(during < without * 3, "{during:?} {without:?}");
}
