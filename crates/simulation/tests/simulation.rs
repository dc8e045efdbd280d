//! Thousands of schedules, and those that once failed.
//!
//! `MUSTER_SEED=17` runs one seed alone, `MUSTER_SCHEDULES=100000` that many.

#![allow(clippy::unwrap_used, reason = "a test may fail by a panic")]

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;
use std::{env, fs, thread};

use muster_simulation::{Bug, Ends, Fault, Schedule};

/// How many schedules run where nobody asks for another number.
const SCHEDULES: u64 = 10_000;
/// Within how many seeds each deliberate bug must be found.
const SEEDS_TO_CATCH: u64 = 400;

fn number(name: &str) -> Option<u64> {
    env::var(name).ok().map(|text| text.parse().unwrap())
}

/// The lowest seed below `end` whose schedule breaks something: with a bug what the bug is meant to break.
fn first_fault(end: u64, bug: Option<Bug>) -> Option<(u64, Fault)> {
    let counts = |fault: &Fault| bug.is_none_or(|bug| bug.breaks().contains(&fault.invariant));
    let next = AtomicU64::new(0);
    let found = AtomicU64::new(u64::MAX);
    let work = || {
        let mut ends = Ends::new();
        let mut first: Option<(u64, Fault)> = None;
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= end || seed > found.load(Ordering::Relaxed) {
                return first;
            }
            if let Some(fault) = Schedule::of(seed).run(bug, &mut ends).err().filter(counts) {
                found.fetch_min(seed, Ordering::Relaxed);
                first = Some((seed, fault));
                return first;
            }
        }
    };
    let threads = thread::available_parallelism().map_or(2, usize::from);
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        workers.into_iter().filter_map(|worker| worker.join().unwrap()).min_by_key(|(seed, _)| *seed)
    })
}

/// Fails with a script that replays the fault.
fn fail(seed: u64, fault: &Fault) -> ! {
    let mut ends = Ends::new();
    let short = Schedule::of(seed).shortened(None, fault.invariant, &mut ends);
    let again = short.run(None, &mut ends).unwrap_err();
    panic!(
        "seed {seed} breaks an invariant: {fault}\n\n\
         replay it: MUSTER_SEED={seed} cargo test -p muster-simulation --test simulation\n\
         or put this into crates/simulation/seeds/NAME.txt, which breaks the same ({again}):\n\n# {}\n{short}",
        again.invariant
    );
}

#[test]
fn schedules_that_once_failed_hold() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds");
    let mut files: Vec<_> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "txt"));
    assert!(!files.is_empty());
    let faults: Vec<_> = files
        .iter()
        .filter_map(|file| {
            let schedule: Schedule = fs::read_to_string(file).unwrap().parse().unwrap();
            let fault = schedule.run(None, &mut Ends::new()).err()?;
            Some(format!("{}: {fault}", file.display()))
        })
        .collect();
    assert!(faults.is_empty(), "{faults:#?}");
}

/// Prints what happens in the file that `MUSTER_SCRIPT` names.
#[test]
fn a_script_can_be_followed() {
    if let Some(file) = env::var_os("MUSTER_SCRIPT") {
        let schedule: Schedule = fs::read_to_string(file).unwrap().parse().unwrap();
        println!("{}{:?}", schedule.trace(), schedule.run(None, &mut Ends::new()));
    }
}

#[test]
fn every_schedule_keeps_every_promise() {
    if let Some(seed) = number("MUSTER_SEED") {
        if let Err(fault) = Schedule::of(seed).run(None, &mut Ends::new()) {
            fail(seed, &fault);
        }
        return;
    }
    let started = Instant::now();
    let schedules = number("MUSTER_SCHEDULES").unwrap_or(SCHEDULES);
    if let Some((seed, fault)) = first_fault(schedules, None) {
        fail(seed, &fault);
    }
    println!("{schedules} schedules in {:.1?}", started.elapsed());
}

#[test]
fn every_deliberate_bug_is_found() {
    let mut missed = Vec::new();
    println!("| bug | breaks | found after seeds |\n|---|---|---|");
    for bug in Bug::ALL {
        match first_fault(SEEDS_TO_CATCH, Some(*bug)) {
            Some((seed, fault)) => {
                println!("| {bug} | {} | {} |", fault.invariant, seed + 1);
            }
            None => missed.push(format!("{bug}: not found within {SEEDS_TO_CATCH} seeds")),
        }
    }
    assert!(missed.is_empty(), "{missed:#?}");
}

#[test]
fn a_schedule_reads_as_it_prints_and_does_the_same_again() {
    for seed in 0..20 {
        let schedule = Schedule::of(seed);
        let again: Schedule = schedule.to_string().parse().unwrap();
        assert_eq!(again, schedule);
        assert_eq!(again.run(None, &mut Ends::new()), schedule.run(None, &mut Ends::new()));
    }
}
