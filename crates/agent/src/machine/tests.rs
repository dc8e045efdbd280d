//! The machine against a simulated world: processes that crash, ignore signals or take their time, checks that fail.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use muster_model::{Product, Revision, Role, RoleSet};
use muster_relation::{Assignment, ClusterData, Quiet, Run, Service};
use proptest::prelude::*;

use super::backoff::{self, Jitter};
use super::*;

const MS: Duration = Duration::from_millis(1);
/// How long the simulated kernel takes to end a killed process.
const KILL_TIME: Duration = Duration::from_millis(3);
/// The longest time that the simulated driver takes to look at a disk.
const INSPECTION: Duration = Duration::from_millis(255);
/// The revision whose config every check refuses.
const BAD: u8 = 3;

fn revision(number: u8) -> Revision {
    Revision::of([[number].as_slice()])
}

#[derive(Debug, Clone, Copy)]
struct Ask {
    epoch: u64,
    revision: u8,
    data: bool,
    run: Run,
    nature: Nature,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Nature {
    Checked,
    Plain,
    Reloads,
}

fn order(ask: Ask) -> Arc<Order> {
    let data_roles = if ask.data { RoleSet::from([Role::Ingester]) } else { RoleSet::new() };
    Arc::new(Order {
        assignment: Assignment {
            epoch: ask.epoch,
            revision: revision(ask.revision),
            roles: data_roles.union(&RoleSet::from([Role::Querier])),
            run: ask.run,
            gives_up: false,
            quiesces: false,
            forgets: BTreeSet::new(),
            peers: std::collections::BTreeMap::new(),
            seeds: Vec::new(),
        },
        cluster: ClusterData {
            product: Product::Mimir,
            version: "2.17".parse().unwrap(),
            documents: BTreeMap::new(),
            object_storage: None,
            tls: None,
        },
        manners: Manners {
            kill_delay: Duration::from_secs(5),
            stop_signal: StopSignal::Terminate,
            leaves: ask.data,
            quiesces: ask.data,
            takes_nothing: ask.data,
            shows_ring: ask.data,
            data_roles,
            checked: ask.nature != Nature::Plain,
            reloads: ask.nature == Nature::Reloads,
        },
    })
}

fn start(epoch: u64, revision: u8) -> Ask {
    Ask { epoch, revision, data: false, run: Run::Start, nature: Nature::Checked }
}

/// A live process of the simulation.
#[derive(Debug)]
struct Process {
    order: Arc<Order>,
    /// Whether it was told that it is to leave for good.
    leaves: bool,
    stops: Vec<Duration>,
    kill_by: Option<Duration>,
}

/// Plays the driver. `dice` decides how long things take and whether they work; when they run out, everything works.
#[derive(Debug)]
struct World {
    machine: Machine,
    now: Duration,
    coming: BTreeMap<(Duration, u64), Event>,
    sequence: u64,
    live: BTreeMap<ProcessNumber, Process>,
    kept: Option<Arc<Order>>,
    /// What stands beside the data.
    marked: Option<Arc<Order>>,
    /// Whether a ring has an entry of it that only an orderly end removes.
    in_ring: bool,
    exited: bool,
    actions: Vec<Action>,
    dice: Vec<u8>,
}

impl World {
    fn new(dice: Vec<u8>) -> Self {
        Self {
            machine: Machine::default(),
            now: Duration::ZERO,
            coming: BTreeMap::new(),
            sequence: 0,
            live: BTreeMap::new(),
            kept: None,
            marked: None,
            in_ring: false,
            exited: false,
            actions: Vec::new(),
            dice,
        }
    }

    fn roll(&mut self) -> u8 {
        self.dice.pop().unwrap_or(1)
    }

    fn later(&mut self, after: Duration, event: Event) {
        self.sequence += 1;
        self.coming.insert((self.now + after, self.sequence), event);
    }

    fn exit(&mut self, process: ProcessNumber, after: Duration, success: bool) {
        let event = Event::Exited {
            process,
            cause: "test".into(),
            success,
            lines: vec![],
            jitter: Jitter::default(),
        };
        self.later(after, event);
    }

    fn handle(&mut self, event: Event) {
        if let Event::Exited { process, success, .. } = &event {
            let Some(ended) = self.live.remove(process) else {
                return; // It ended before, in another way.
            };
            self.in_ring &= !(*success && ended.leaves && !ended.stops.is_empty());
        }
        if let Event::Ready(process, true) = &event
            && let Some(ready) = self.live.get(process)
        {
            self.in_ring |= !ready.order.manners.data_roles.is_empty() && ready.stops.is_empty();
        }
        let (failed, held) = (self.machine.farewell.failed, self.machine.holds.is_some());
        let actions = self.machine.handle(event, self.now);
        self.actions.extend(actions.iter().cloned());
        for action in actions {
            // One that was never seen to be ready was not known to take anything.
            let is_left = !self.in_ring || failed >= FAREWELLS || !held;
            assert!(action != Action::Mark(None) || is_left, "its place in the ring is still there");
            self.carry_out(action);
        }
    }

    fn carry_out(&mut self, action: Action) {
        assert!(!self.exited, "nothing is done after the exit");
        let roll = self.roll();
        let time = MS * u32::from(roll);
        match action {
            Action::Check(order) | Action::CheckStarted(order) => {
                let outcome = match roll % 8 {
                    _ if order.assignment.revision == revision(BAD) => Outcome::Rejected("bad".into()),
                    7 => Outcome::Failed("no space left".into()),
                    _ => Outcome::Accepted,
                };
                self.later(time, Event::Checked(outcome, Jitter::default()));
            }
            Action::Keep(order) => self.kept = Some(order),
            Action::Mark(order) => self.marked = order,
            Action::Inspect(order, _) => {
                assert!(self.live.is_empty(), "a disk is looked at when nobody writes to it");
                assert!(self.marked.as_ref().is_some_and(|marked| marked.same_process(&order)));
                let left = (roll % 4 == 3).then(|| "1 block not uploaded".to_owned());
                self.later(time, Event::Inspected(left, Jitter::default()));
            }
            Action::Spawn(process, order) => {
                assert!(self.live.is_empty(), "a second process beside {:?}", self.live);
                let is_bad = order.assignment.revision == revision(BAD);
                // But for what took data before it was refused: nobody else can give that away.
                let holds = self.machine.holds.as_ref().is_some_and(|holds| holds.same_process(&order));
                assert!(
                    !is_bad || self.machine.unchecked.is_some() || holds,
                    "what was refused is never started"
                );
                if roll % 8 == 7 {
                    let jitter = Jitter::default();
                    self.handle(Event::SpawnFailed { process, cause: "not found".into(), jitter });
                } else {
                    self.live
                        .insert(process, Process { order, leaves: false, stops: Vec::new(), kill_by: None });
                    self.handle(Event::Spawned(process));
                    if roll % 2 == 1 && !is_bad {
                        self.later(time * 10, Event::Ready(process, true));
                    }
                }
            }
            Action::Leave { process, order, .. } => {
                assert!(order.manners.leaves);
                let live = self.live.get_mut(&process).expect("only live processes are asked to leave");
                assert!(live.stops.is_empty(), "calls come before the signal");
                live.leaves = true;
                let result = if roll.is_multiple_of(3) { Err("refused".into()) } else { Ok(()) };
                self.later(time * 100, Event::Left(process, result));
            }
            Action::Quiesce(process, order) => {
                assert!(order.assignment.quiesces && self.live.contains_key(&process));
                let quiet = Quiet { process: process.to_string(), uploaded: true };
                self.later(time * 10, Event::Quiet(process, quiet));
            }
            Action::Resume(process, order) => {
                assert!(!order.assignment.quiesces && self.live.contains_key(&process));
                self.later(time, Event::Resumed(process));
            }
            Action::Forget(process, order) => {
                assert!(self.live.contains_key(&process));
                self.later(time * 10, Event::Forgotten(process, order.assignment.forgets.clone()));
            }
            Action::Stop(process, _) => {
                let live = self.live.get_mut(&process).expect("only live processes get a signal");
                live.stops.push(self.now);
                live.kill_by = Some(self.now + live.order.manners.kill_delay);
                assert_eq!(live.stops.len(), 1, "the stop signal is sent once");
                if roll % 4 != 3 {
                    self.exit(process, time, !roll.is_multiple_of(5));
                }
            }
            Action::Kill(process) => {
                let live = self.live.get(&process).expect("only live processes get a signal");
                assert_eq!(live.kill_by, Some(self.now), "the kill comes when the kill delay is over");
                self.exit(process, KILL_TIME, false);
            }
            Action::Reload(process, order) => {
                assert!(order.manners.reloads);
                let result = if roll % 4 == 3 { Err("timeout".into()) } else { Ok(()) };
                if result.is_ok() {
                    self.live.get_mut(&process).expect("only live processes reload").order = order;
                }
                self.later(time, Event::Reloaded(process, result));
            }
            Action::Exit => {
                assert!(self.live.is_empty(), "the agent ends after its process");
                self.exited = true;
            }
        }
    }

    /// Lets time pass; everything that falls due happens in order.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        for _ in 0..100_000 {
            let event = self.coming.keys().next().map(|(at, _)| *at);
            let timer = self.machine.deadline();
            assert!(
                timer.is_none_or(|at| at >= self.now || event.is_some_and(|e| e <= self.now)),
                "no past timer"
            );
            match (event, timer) {
                (Some(at), timer) if at <= end && timer.is_none_or(|t| at <= t) => {
                    self.now = self.now.max(at);
                    let (_, event) = self.coming.pop_first().expect("looked at before");
                    self.handle(event);
                }
                (_, Some(at)) if at <= end => {
                    self.now = self.now.max(at);
                    self.handle(Event::Timer);
                }
                _ => {
                    self.now = end;
                    return;
                }
            }
        }
        panic!("the machine never comes to rest");
    }

    /// From now on everything works.
    fn recover(&mut self) {
        self.dice.clear();
        // With a config that is refused nobody becomes ready, but for what took data before it was.
        let works = |process: &Process| {
            let holds = self.machine.holds.as_ref().is_some_and(|holds| holds.same_process(&process.order));
            process.order.assignment.revision != revision(BAD) || holds
        };
        let live: Vec<_> = self.live.iter().filter(|(_, p)| works(p)).map(|(number, _)| *number).collect();
        for process in live {
            self.handle(Event::Ready(process, true));
        }
    }

    fn assign(&mut self, ask: Ask) {
        self.handle(Event::Assigned(order(ask)));
    }

    fn running(&self) -> Option<&Arc<Order>> {
        self.live.values().next().map(|process| &process.order)
    }
}

#[derive(Debug, Clone)]
enum Step {
    Assign { back: bool, revision: u8, data: bool, run: Run },
    Pass(u16),
    Crash,
    Unready,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let run = prop_oneof![4 => Just(Run::Start), 1 => Just(Run::Stop)];
    let step = prop_oneof![
        4 => (any::<bool>(), 0..=BAD, any::<bool>(), run)
            .prop_map(|(back, revision, data, run)| Step::Assign { back, revision, data, run }),
        4 => (0u16..20_000).prop_map(Step::Pass),
        2 => Just(Step::Crash),
        1 => Just(Step::Unready),
    ];
    prop::collection::vec(step, 0..40)
}

fn play(world: &mut World, nature: Nature, steps: &[Step]) -> Option<Ask> {
    let mut newest: Option<Ask> = None;
    for step in steps {
        match step {
            Step::Assign { back, revision, data, run } => {
                let last = newest.map_or(0, |ask| ask.epoch);
                if *back && last > 1 {
                    // An old epoch is as if nothing had come.
                    let old = Ask { epoch: last - 1, revision: *revision, data: *data, run: *run, nature };
                    let (mut with, mut without) = (world.machine.clone(), world.machine.clone());
                    assert_eq!(
                        with.handle(Event::Assigned(order(old)), world.now),
                        without.handle(Event::Timer, world.now)
                    );
                    assert_eq!(with, without);
                    world.assign(old);
                } else {
                    let ask = Ask { epoch: last + 1, revision: *revision, data: *data, run: *run, nature };
                    newest = Some(ask);
                    world.assign(ask);
                }
            }
            Step::Pass(ms) => world.pass(MS * u32::from(*ms)),
            Step::Crash => {
                if let Some(process) = world.live.keys().next().copied() {
                    world.exit(process, Duration::ZERO, false);
                    world.pass(Duration::ZERO);
                }
            }
            Step::Unready => {
                if let Some(process) = world.live.keys().next().copied() {
                    world.handle(Event::Ready(process, false));
                }
            }
        }
    }
    newest
}

fn natures() -> impl Strategy<Value = Nature> {
    prop_oneof![Just(Nature::Checked), Just(Nature::Reloads)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    /// The world's own assertions hold on the way: one process, one stop signal, a kill in time, nothing refused started.
    #[test]
    fn after_quiet_time_what_runs_is_what_the_newest_assignment_asks(
        dice: Vec<u8>, nature in natures(), steps in steps()
    ) {
        let mut world = World::new(dice);
        let newest = play(&mut world, nature, &steps);
        world.recover();
        world.pass(Duration::from_secs(600));
        match newest {
            None => prop_assert_eq!(world.machine.service(), Service::Inactive),
            Some(ask) if ask.run == Run::Stop => {
                prop_assert!(world.live.is_empty() && world.marked.is_none(), "nothing is left on the disk");
                prop_assert!(matches!(world.machine.service(), Service::Stopped | Service::Inactive));
            }
            Some(ask) if ask.revision == BAD => {
                prop_assert!(world.machine.check().is_some_and(|check| check.rejected.is_some()));
                // What the last good assignment asked for runs on; nothing where there is none.
                prop_assert_eq!(world.live.is_empty(), world.machine.accepted.is_none());
            }
            Some(ask) => {
                prop_assert_eq!(world.machine.service(), Service::Running);
                prop_assert!(world.running().is_some_and(|running| running.same_process(&order(ask))));
                prop_assert_eq!(world.machine.epoch(), ask.epoch);
                // What reloads, nginx, never holds data.
                prop_assert!(nature == Nature::Reloads || world.marked.is_some() == ask.data);
                let kept = world.kept.clone().expect("an accepted order is kept");
                prop_assert_eq!(kept.assignment.epoch, ask.epoch);
                prop_assert_eq!(world.machine.problem(), None);
            }
        }
        let deadline = world.machine.deadline();
        prop_assert_eq!(deadline, None, "a machine at rest needs no timer");
    }

    #[test]
    fn a_shutdown_at_any_moment_ends_the_process_without_leaving_calls(
        dice: Vec<u8>, nature in natures(), steps in steps(), notice in 0..2_u64
    ) {
        let mut world = World::new(dice);
        let notice = Duration::from_secs(5 * notice);
        world.machine = Machine::with_notice(notice);
        play(&mut world, nature, &steps);
        world.actions.clear();
        world.handle(Event::Shutdown);
        let calls = world.actions.iter().any(|action| matches!(action, Action::Leave { .. }));
        prop_assert!(!calls);
        world.pass(notice + LEAVE_DELAY + Duration::from_secs(5) + KILL_TIME + INSPECTION);
        prop_assert!(world.exited);
    }

    #[test]
    fn a_stop_ends_within_the_calls_and_the_kill_delay(dice: Vec<u8>, nature in natures(), steps in steps()) {
        let mut world = World::new(dice);
        let epoch = play(&mut world, nature, &steps).map_or(0, |ask| ask.epoch);
        world.assign(Ask { run: Run::Stop, ..start(epoch + 1, 0) });
        // One that has tried before tries again after a wait, and leaves once it is ready.
        world.recover();
        world.pass(backoff::LIMIT * 2 + STAY + LEAVE_DELAY + Duration::from_secs(5) + KILL_TIME);
        prop_assert!(world.live.is_empty());
    }
}

fn is_stop(action: &Action) -> bool {
    matches!(action, Action::Stop(..))
}

/// What kinds of actions they are, by name.
fn kinds(actions: &[Action]) -> Vec<String> {
    actions.iter().filter_map(|action| format!("{action:?}").split('(').next().map(str::to_owned)).collect()
}

#[test]
fn the_old_process_runs_until_the_check_has_passed() {
    let mut world = World::new(vec![]);
    world.assign(start(1, 0));
    world.pass(MS * 2000);
    assert_eq!(world.machine.service(), Service::Running);
    world.actions.clear();
    world.assign(start(2, 1));
    assert!(matches!(world.actions[..], [Action::Check(_)]), "{:?}", world.actions);
    world.pass(MS * 100);
    assert_eq!(kinds(&world.actions), ["Check", "Keep", "Stop", "Spawn"]);
}

/// Where nothing runs, nothing is harmed by a config that turns out bad; and nobody takes it for one that runs.
#[test]
fn the_first_process_does_not_wait_for_a_check() {
    let mut world = World::new(vec![]);
    world.assign(start(1, 0));
    assert_eq!(kinds(&world.actions), ["Spawn"]);
    assert_eq!((world.machine.applied(), &world.kept), (None, &None));
    world.pass(MS * 2000);
    assert_eq!(world.machine.applied().unwrap().revision, revision(0), "it is ready");
    assert_eq!(kinds(&world.actions), ["Spawn", "Keep"]);
    assert_eq!(world.machine.check().unwrap().rejected, None);
    world.pass(CHECK_LATER * 2);
    assert_eq!(kinds(&world.actions), ["Spawn", "Keep"], "no check could say more");

    // One that takes long to become ready is checked meanwhile.
    let mut world = World::new(vec![0]);
    world.assign(start(1, 0));
    world.pass(CHECK_LATER * 2);
    assert_eq!(kinds(&world.actions), ["Spawn", "CheckStarted", "Keep"]);

    // One that ends before it is ready is checked at once.
    let mut world = World::new(vec![0]);
    world.assign(Ask { data: true, ..start(1, BAD) });
    world.exit(1, MS * 50, false);
    world.pass(MS * 60);
    assert_eq!(kinds(&world.actions), ["Mark", "Spawn", "CheckStarted", "Mark"]);
    assert!(world.live.is_empty() && world.kept.is_none() && world.marked.is_none());
    assert_eq!(world.machine.check().unwrap().rejected.as_deref(), Some("bad"));
    assert_eq!(world.machine.applied(), None);
    assert_eq!(world.machine.deadline(), None, "it is not started again");

    // One that runs all the same is ended.
    let mut world = World::new(vec![0]);
    world.assign(Ask { data: true, ..start(1, BAD) });
    world.pass(CHECK_LATER + MS * 2000);
    assert_eq!(kinds(&world.actions), ["Mark", "Spawn", "CheckStarted", "Stop", "Mark"]);
    assert!(world.live.is_empty() && world.kept.is_none() && world.marked.is_none());
}

#[test]
fn a_refused_config_changes_nothing_and_is_reported() {
    let mut world = World::new(vec![]);
    world.assign(start(1, 0));
    world.pass(MS * 2000);
    world.assign(start(2, BAD));
    world.pass(MS * 2000);
    assert!(!world.actions.iter().any(is_stop));
    let check = world.machine.check().unwrap();
    assert_eq!((check.revision.clone(), check.rejected.as_deref()), (revision(BAD), Some("bad")));
    assert_eq!(world.machine.applied().unwrap().revision, revision(0));
    // Back to what runs: no restart either.
    world.assign(start(3, 0));
    world.pass(MS * 2000);
    assert!(!world.actions.iter().any(is_stop));
}

#[test]
fn new_seeds_and_new_shared_data_restart_nothing_but_are_kept_for_the_next_start() {
    let mut world = World::new(vec![]);
    world.assign(start(1, 0));
    world.pass(CHECK_LATER * 2);
    let mut seeded = (*order(start(2, 0))).clone();
    seeded.assignment.seeds = vec!["127.0.0.9:7946".into()];
    world.handle(Event::Assigned(Arc::new(seeded.clone())));
    seeded.cluster.documents.insert(revision(9), "x".into());
    world.handle(Event::Assigned(Arc::new(seeded.clone())));
    assert!(!world.actions.iter().any(is_stop));
    assert_eq!(world.kept.as_deref(), Some(&seeded));
    world.exit(1, Duration::ZERO, false);
    world.pass(MS * 600);
    assert_eq!(world.running().map(|order| (**order).clone()), Some(seeded));
    assert_eq!(world.machine.restarts(), 1);
}

#[test]
fn other_peers_are_another_process_which_the_report_waits_for() {
    let told_of = |epoch, host: &str| {
        let mut order = (*order(start(epoch, 0))).clone();
        order.assignment.peers = BTreeMap::from([(Role::QueryFrontend, host.to_owned())]);
        Arc::new(order)
    };
    let mut world = World::new(vec![]);
    world.assign(start(1, 0));
    world.pass(CHECK_LATER * 2);
    world.actions.clear();
    world.handle(Event::Assigned(told_of(2, "127.0.0.9")));
    assert_eq!((world.machine.applied(), world.machine.epoch()), (None, 2), "it says that it is not done");
    world.pass(MS * 2000);
    assert_eq!(kinds(&world.actions), ["Check", "Keep", "Stop", "Spawn"]);
    assert_eq!(world.running().map(|order| &order.assignment), Some(&told_of(2, "127.0.0.9").assignment));
    assert!(world.machine.is_ready() && world.machine.applied().is_some());
    // The same peers again change nothing.
    world.handle(Event::Assigned(told_of(3, "127.0.0.9")));
    world.pass(MS * 2000);
    assert_eq!(world.actions.iter().filter(|action| is_stop(action)).count(), 1);
}

/// A machine that gives five seconds' notice, with a process that runs `ask` and is ready.
fn serving(ask: Ask) -> Machine {
    let mut machine = Machine::with_notice(Duration::from_secs(5));
    let checked = Event::Checked(Outcome::Accepted, Jitter::default());
    for event in [Event::Assigned(order(ask)), checked, Event::Spawned(1), Event::Ready(1, true)] {
        machine.handle(event, Duration::ZERO);
    }
    assert!(machine.is_ready() && !machine.is_ending(), "{machine:?}");
    machine
}

#[test]
fn what_serves_goes_on_for_a_moment_while_it_says_that_it_ends() {
    let second = Duration::from_secs(1);
    let mut machine = serving(start(1, 1));
    assert_eq!(machine.handle(Event::Shutdown, second), []);
    assert!(machine.is_ready() && machine.is_ending());
    assert_eq!(
        machine.handle(Event::Shutdown, 3 * second),
        [],
        "it is asked once more, and not later for that"
    );
    assert_eq!(machine.deadline(), Some(6 * second));
    let actions = machine.handle(Event::Timer, 6 * second);
    assert!(matches!(actions[..], [Action::Stop(1, _)]), "{actions:?}");
    assert!(!machine.is_ending());

    // One that does not serve has no one to tell.
    let mut machine = serving(start(1, 1));
    machine.handle(Event::Shutdown, second);
    let actions = machine.handle(Event::Ready(1, false), 2 * second);
    assert!(matches!(actions[..], [Action::Stop(1, _)]), "{actions:?}");
}

#[test]
fn a_load_balancer_that_is_told_to_stop_goes_on_for_a_moment_too() {
    let second = Duration::from_secs(1);
    let ask = Ask { nature: Nature::Reloads, ..start(1, 1) };
    let stop = |epoch| Event::Assigned(order(Ask { epoch, run: Run::Stop, ..ask }));
    let mut machine = serving(ask);
    assert!(!machine.handle(stop(2), second).iter().any(is_stop));
    assert!(machine.is_ready() && machine.is_ending());
    machine.handle(Event::Assigned(order(Ask { epoch: 3, ..ask })), 2 * second);
    machine.handle(Event::Checked(Outcome::Accepted, Jitter::default()), 2 * second);
    assert!(!machine.is_ending(), "it is to run on");
    assert!(!machine.handle(stop(4), 10 * second).iter().any(is_stop));
    assert_eq!(machine.handle(Event::Timer, 14 * second), []);
    let actions = machine.handle(Event::Timer, 15 * second);
    assert!(actions.iter().any(is_stop), "{actions:?}");

    // What load balancers send requests to was taken out by the coordinator before it was told to stop.
    let mut machine = serving(start(1, 1));
    let actions = machine.handle(Event::Assigned(order(Ask { run: Run::Stop, ..start(2, 1) })), second);
    assert!(actions.iter().any(is_stop), "{actions:?}");
}

#[test]
fn a_process_that_holds_nothing_any_more_is_killed_soon() {
    let mut machine = Machine::default();
    let slow = Arc::new(Order {
        manners: Manners { kill_delay: Duration::from_secs(1200), ..order(start(1, 1)).manners.clone() },
        ..Order::clone(&order(start(1, 1)))
    });
    let mut at = Duration::ZERO;
    let mut handle = |event, seconds| {
        at += Duration::from_secs(seconds);
        machine.handle(event, at)
    };
    handle(Event::Assigned(slow), 0);
    handle(Event::Spawned(1), 0);
    // One that was not asked to end goes on.
    assert_eq!(handle(Event::Flushed(1), 4).len(), 0);
    let stopped = handle(Event::Shutdown, 1);
    assert!(stopped.iter().any(is_stop), "{stopped:?}");
    assert_eq!(handle(Event::Timer, 60).len(), 0);
    handle(Event::Flushed(1), 1);
    assert_eq!(handle(Event::Timer, 1).len(), 0);
    let killed = handle(Event::Timer, 5);
    assert!(matches!(killed[..], [Action::Kill(1)]), "{killed:?}");
}

/// The answer of an inspection.
fn left(what: Option<&str>) -> Event {
    Event::Inspected(what.map(str::to_owned), Jitter::default())
}

/// Asked to leave while others may still need it.
fn leave(process: ProcessNumber, order: &Arc<Order>) -> Action {
    Action::Leave { process, order: Arc::clone(order), empty: false }
}

fn ended(process: ProcessNumber) -> Event {
    exited(process, true)
}

fn exited(process: ProcessNumber, success: bool) -> Event {
    Event::Exited { process, cause: String::new(), success, lines: vec![], jitter: Jitter::default() }
}

#[test]
fn a_unit_does_not_leave_before_nothing_is_left_on_its_disk() {
    let mut machine = Machine::default();
    let holder = order(Ask { data: true, ..start(1, 0) });
    machine.handle(Event::Assigned(Arc::clone(&holder)), MS);
    machine.handle(Event::Spawned(1), MS);
    let ready = machine.handle(Event::Ready(1, true), MS);
    assert!(ready.contains(&Action::Mark(Some(Arc::clone(&holder)))), "{ready:?}");
    machine.handle(Event::Assigned(order(Ask { data: true, run: Run::Stop, ..start(2, 0) })), MS * 2);
    machine.handle(Event::Left(1, Ok(())), MS * 3);
    // It says that it ended well, and something is left all the same.
    assert_eq!(machine.handle(ended(1), MS * 4), [Action::Inspect(Arc::clone(&holder), Ending::Orderly)]);
    assert_eq!(machine.handle(left(Some("1 block")), MS * 5), []);
    assert_eq!(machine.drain(), Some(&Drain { tries: 1, why: "1 block".to_owned() }));
    assert_eq!((machine.service(), machine.holds_data()), (Service::Stopping, true));
    let again = machine.deadline().unwrap();
    assert_eq!(machine.handle(Event::Timer, again), [Action::Spawn(2, Arc::clone(&holder))]);
    machine.handle(Event::Spawned(2), again);
    assert_eq!(
        machine.handle(Event::Timer, again + OKAY_DELAY),
        [],
        "it takes up what the last one left first"
    );
    assert_eq!(machine.handle(Event::Ready(2, true), again + OKAY_DELAY), []);
    let stayed = again + STAY;
    assert_eq!(machine.deadline(), Some(stayed));
    assert_eq!(machine.handle(Event::Timer, stayed), [leave(2, &holder)]);
    machine.handle(Event::Left(2, Ok(())), stayed);
    machine.handle(ended(2), stayed);
    assert_eq!(machine.handle(left(None), stayed), [Action::Mark(None)]);
    assert_eq!((machine.service(), machine.holds_data(), machine.drain()), (Service::Stopped, false, None));
}

/// A unit that holds something, is ready, and was told to stop.
fn leaving() -> (Machine, Arc<Order>) {
    let mut machine = Machine::default();
    let holder = order(Ask { data: true, ..start(1, 0) });
    machine.handle(Event::Assigned(Arc::clone(&holder)), MS);
    machine.handle(Event::Spawned(1), MS);
    machine.handle(Event::Ready(1, true), MS);
    let told = machine.handle(Event::Assigned(order(Ask { data: true, run: Run::Stop, ..start(2, 0) })), MS);
    assert_eq!(told.last(), Some(&leave(1, &holder)));
    (machine, holder)
}

/// All that it had is in the object store, but nobody has taken it out of the ring.
#[test]
fn a_unit_that_was_killed_while_it_left_is_started_again_to_leave_its_ring() {
    for killed_in_the_calls in [true, false] {
        let (mut machine, holder) = leaving();
        if !killed_in_the_calls {
            machine.handle(Event::Left(1, Ok(())), MS);
        }
        assert_eq!(
            machine.handle(exited(1, false), MS),
            [Action::Inspect(Arc::clone(&holder), Ending::Other)]
        );
        assert_eq!(machine.handle(left(None), MS), [], "it does not count as stopped");
        assert_eq!((machine.service(), machine.holds_data()), (Service::Stopping, true));
        let again = machine.deadline().unwrap();
        assert_eq!(machine.handle(Event::Timer, again), [Action::Spawn(2, Arc::clone(&holder))]);
        machine.handle(Event::Spawned(2), again);
        // It has nothing to upload that it could put off: it is asked as soon as it has its place again, and whatever it answers counts.
        assert_eq!(machine.handle(Event::Ready(2, true), again), [leave(2, &holder)]);
        machine.handle(Event::Left(2, Err("500".to_owned())), again);
        machine.handle(ended(2), again);
        assert_eq!(machine.handle(left(None), again), [Action::Mark(None)]);
        assert_eq!((machine.service(), machine.drain()), (Service::Stopped, None));
    }
}

#[test]
fn who_said_that_it_holds_nothing_any_more_may_be_killed() {
    let (mut machine, _) = leaving();
    machine.handle(Event::Left(1, Ok(())), MS);
    machine.handle(Event::Flushed(1), MS);
    assert_eq!(machine.handle(Event::Timer, MS + EMPTY_DELAY), [Action::Kill(1)]);
    machine.handle(exited(1, false), MS + EMPTY_DELAY);
    assert_eq!(machine.handle(left(None), MS + EMPTY_DELAY), [Action::Mark(None)]);
}

#[test]
fn a_unit_that_never_ends_in_good_order_and_has_nothing_to_lose_counts_as_stopped_in_the_end() {
    // It fails whenever it is asked to end; it ends before it is ready; it cannot be started; it never becomes ready.
    for trouble in 0..4 {
        let (mut machine, _) = leaving();
        machine.handle(Event::Left(1, Ok(())), MS);
        machine.handle(exited(1, false), MS);
        let mut now = MS;
        let mut actions = machine.handle(left(None), now);
        let mut inspections = 1;
        while machine.service() != Service::Stopped {
            let answer = match actions.last() {
                Some(Action::Inspect(..)) => {
                    inspections += 1;
                    left(None)
                }
                Some(Action::Spawn(process, _)) if trouble == 2 => Event::SpawnFailed {
                    process: *process,
                    cause: "not found".into(),
                    jitter: Jitter::default(),
                },
                Some(Action::Spawn(process, _)) => {
                    machine.handle(Event::Spawned(*process), now);
                    match trouble {
                        0 => Event::Ready(*process, true),
                        1 => exited(*process, false),
                        _ => Event::Timer,
                    }
                }
                Some(Action::Leave { process, .. }) => Event::Left(*process, Ok(())),
                Some(Action::Stop(process, _)) => exited(*process, false),
                _ => {
                    now = machine.deadline().expect("it goes on");
                    Event::Timer
                }
            };
            actions = machine.handle(answer, now);
        }
        assert_eq!(inspections, FAREWELLS, "{trouble}");
        assert!(!machine.holds_data() && now < PATIENCE * FAREWELLS, "{trouble}: {now:?}");
    }
}

/// A mere restart leaves on the disk what is in the log, and so does a stop whose calls were refused.
#[test]
fn an_orderly_end_proves_nothing_unless_the_unit_was_asked_to_leave() {
    let holder = order(Ask { data: true, ..start(1, 0) });
    let stop = || Event::Assigned(order(Ask { data: true, run: Run::Stop, ..start(3, 1) }));
    let up = || {
        let mut machine = Machine::default();
        machine.handle(Event::Assigned(Arc::clone(&holder)), MS);
        machine.handle(Event::Spawned(1), MS);
        machine.handle(Event::Ready(1, true), MS);
        machine
    };
    let mut restarts = up();
    restarts.handle(Event::Assigned(order(Ask { data: true, ..start(2, 1) })), MS);
    let told = restarts.handle(Event::Checked(Outcome::Accepted, Jitter::default()), MS);
    assert!(told.contains(&Action::Stop(1, StopSignal::Terminate)), "{told:?}");
    restarts.handle(stop(), MS);
    let mut refused = up();
    assert_eq!(refused.handle(stop(), MS).last(), Some(&leave(1, &holder)));
    refused.handle(Event::Left(1, Err("503".to_owned())), MS);
    for mut machine in [restarts, refused] {
        let inspected = machine.handle(ended(1), MS * 2);
        assert_eq!(inspected, [Action::Inspect(Arc::clone(&holder), Ending::Other)]);
    }
}

#[test]
fn a_unit_that_is_to_quiesce_stays_ready_and_says_once_all_is_uploaded() {
    let ask = |epoch, quiesces| {
        let mut order = (*order(Ask { data: true, ..start(epoch, 0) })).clone();
        order.assignment.quiesces = quiesces;
        Arc::new(order)
    };
    let mut machine = Machine::default();
    machine.handle(Event::Assigned(ask(1, false)), MS);
    machine.handle(Event::Spawned(1), MS);
    // Its ring may remember what another process of it was told.
    let ready = machine.handle(Event::Ready(1, true), MS);
    assert!(ready.contains(&Action::Resume(1, ask(1, false))), "{ready:?}");
    machine.handle(Event::Resumed(1), MS);
    let told = machine.handle(Event::Assigned(ask(2, true)), MS);
    assert_eq!(told, [Action::Keep(ask(2, true)), Action::Quiesce(1, ask(2, true))]);
    assert_eq!((machine.quiet(), machine.is_ready()), (None, true));
    let quiet = |of: &str| Quiet { process: of.to_owned(), uploaded: true };
    machine.handle(Event::Quiet(7, quiet("another")), MS);
    assert_eq!(machine.quiet(), None, "another process proves nothing");
    machine.handle(Event::Quiet(1, quiet("this")), MS);
    assert_eq!(machine.quiet(), Some(&quiet("this")));

    // A mind changed: it takes data again, and an answer that comes late counts for nothing.
    let mut back = machine.clone();
    let told = back.handle(Event::Assigned(ask(3, false)), MS);
    assert_eq!(told.last(), Some(&Action::Resume(1, ask(3, false))));
    back.handle(Event::Quiet(1, quiet("this")), MS);
    assert_eq!(back.quiet(), None);

    // Nobody asks it for anything any more, so it may give up its place before it ends.
    let mut goes = machine.clone();
    let told = goes.handle(Event::Assigned(order(Ask { data: true, run: Run::Stop, ..start(3, 0) })), MS);
    assert!(matches!(told.last(), Some(Action::Leave { process: 1, empty: true, .. })), "{told:?}");

    // Another process begins anew, and the evidence of the former is void.
    machine.handle(ended(1), MS);
    assert_eq!(machine.quiet(), None);
    let again = machine.deadline().unwrap();
    let spawned = machine.handle(Event::Timer, again);
    assert!(matches!(spawned[..], [Action::Spawn(2, _)]), "{spawned:?}");
    machine.handle(Event::Spawned(2), again);
    assert_eq!(machine.handle(Event::Ready(2, true), again), [Action::Quiesce(2, ask(2, true))]);
}

#[test]
fn a_unit_says_who_has_left_the_ring_once_it_knows_the_ring() {
    let gone: BTreeSet<_> = [muster_model::AppName::new("w").unwrap().unit(1)].into();
    let ask = |epoch, forgets: &BTreeSet<_>| {
        let mut order = (*order(Ask { data: true, ..start(epoch, 0) })).clone();
        order.assignment.forgets = forgets.clone();
        Arc::new(order)
    };
    let mut machine = Machine::default();
    machine.handle(Event::Assigned(ask(1, &gone)), MS);
    machine.handle(Event::Spawned(1), MS);
    let is_asked = |actions: &[Action]| actions.iter().any(|action| matches!(action, Action::Forget(..)));
    assert!(!is_asked(&machine.handle(Event::Ready(1, true), MS)), "it may see itself alone");
    machine.handle(Event::Resumed(1), MS);
    while machine.deadline().is_some_and(|at| at < MS + SEES_OTHERS) {
        let at = machine.deadline().unwrap();
        assert!(!is_asked(&machine.handle(Event::Timer, at)), "{at:?}");
        machine.handle(Event::Checked(Outcome::Accepted, Jitter::default()), at);
    }
    let now = machine.deadline().unwrap();
    assert_eq!(machine.handle(Event::Timer, now), [Action::Forget(1, ask(1, &gone))]);
    assert!(machine.forgotten().is_empty() && machine.deadline().is_none());
    machine.handle(Event::Forgotten(1, gone.clone()), now);
    assert_eq!(machine.forgotten(), gone);

    // Asked about nobody any more, it says nothing of anybody.
    let mut other = machine.clone();
    let none = BTreeSet::new();
    let told = other.handle(Event::Assigned(ask(2, &none)), now);
    assert_eq!(told, [Action::Keep(ask(2, &none)), Action::Forget(1, ask(2, &none))]);
    assert!(other.forgotten().is_empty());
    other.handle(Event::Forgotten(1, gone), now);
    assert!(other.forgotten().is_empty(), "an answer that comes late");

    // Another process may be alone for a while.
    machine.handle(ended(1), now);
    assert!(machine.forgotten().is_empty());
}

#[test]
fn a_process_that_is_about_to_leave_is_asked_nothing_of_the_ring_and_nobody_waits_for_that() {
    let mut machine = Machine::default();
    machine.handle(Event::Holds(order(Ask { data: true, ..start(1, 0) })), MS);
    let mut other = (*order(start(2, 0))).clone();
    other.assignment.forgets = [muster_model::AppName::new("w").unwrap().unit(1)].into();
    machine.handle(Event::Assigned(Arc::new(other)), MS);
    machine.handle(Event::Checked(Outcome::Accepted, Jitter::default()), MS);
    machine.handle(left(Some("1 block")), MS);
    let since = machine.deadline().unwrap();
    let spawned = machine.handle(Event::Timer, since);
    assert!(matches!(spawned[..], [Action::Spawn(1, _)]), "{spawned:?}");
    machine.handle(Event::Spawned(1), since);
    machine.handle(Event::Ready(1, true), since);
    for now in [since + OKAY_DELAY, since + SEES_OTHERS] {
        let told = machine.handle(Event::Timer, now);
        assert!(told.iter().all(|action| !matches!(action, Action::Forget(..))), "{told:?}");
        assert_eq!(machine.deadline(), Some(since + STAY), "after {now:?}");
    }
}

/// The pod, or the agent, was made anew while its unit was leaving: what stands beside the data says what is to be done.
#[test]
fn who_finds_a_disk_finishes_what_was_begun() {
    let holder = order(Ask { data: true, ..start(1, 0) });
    let stop = order(Ask { run: Run::Stop, ..start(2, 0) });
    let events = [Event::Restored(Arc::clone(&stop)), Event::Assigned(stop)];
    for (event, what) in events.into_iter().zip([Some("1 block"), None]) {
        let mut machine = Machine::default();
        assert_eq!(machine.handle(Event::Holds(Arc::clone(&holder)), MS), [], "it was told nothing yet");
        let told = machine.handle(event, MS);
        assert_eq!(told.last(), Some(&Action::Inspect(Arc::clone(&holder), Ending::Other)));
        assert_eq!(machine.service(), Service::Stopping);
        // Also where nothing is missing: nobody knows how it ended, and whether it left its ring.
        machine.handle(left(what), MS);
        let again = machine.deadline().unwrap();
        assert_eq!(machine.handle(Event::Timer, again), [Action::Spawn(1, Arc::clone(&holder))]);
    }
    // Told to run on, it keeps what it has.
    let mut machine = Machine::default();
    machine.handle(Event::Holds(Arc::clone(&holder)), MS);
    let started = machine.handle(Event::Assigned(order(Ask { data: true, ..start(3, 1) })), MS);
    assert!(matches!(started[..], [Action::Spawn(..)]), "{started:?}");
    // Told to run something that does not hold it, it gives it away first.
    let mut machine = Machine::default();
    machine.handle(Event::Holds(Arc::clone(&holder)), MS);
    machine.handle(Event::Assigned(order(start(3, 1))), MS);
    let told = machine.handle(Event::Checked(Outcome::Accepted, Jitter::default()), MS);
    assert_eq!(told.last(), Some(&Action::Inspect(holder, Ending::Other)));
}

#[test]
fn calls_are_made_only_when_a_unit_stops_for_good_or_loses_data_roles() {
    let holds = |epoch, revision| Ask { data: true, ..start(epoch, revision) };
    for (next, leaves) in [
        (holds(2, 1), false),
        (Ask { run: Run::Stop, ..holds(2, 0) }, true),
        (start(2, 0), true),
        (start(2, 1), true),
    ] {
        let mut world = World::new(vec![]);
        world.assign(holds(1, 0));
        world.pass(MS * 2000);
        world.assign(next);
        world.pass(MS * 2000);
        let left = world.actions.iter().any(|action| matches!(action, Action::Leave { .. }));
        assert_eq!(left, leaves, "{next:?}");
        assert_eq!(world.actions.iter().filter(|action| is_stop(action)).count(), 1);
    }
}

#[test]
fn a_reload_keeps_the_process_and_a_failed_one_restarts_it() {
    for (fails, spawns) in [(false, 1), (true, 2)] {
        let mut world = World::new(vec![]);
        world.assign(Ask { nature: Nature::Reloads, ..start(1, 0) });
        world.pass(MS * 2000);
        assert!(world.machine.is_ready());
        // Rolls come from the end: the check of the new config, its keeping, the reload.
        world.dice = vec![if fails { 3 } else { 0 }, 0, 0];
        world.assign(Ask { nature: Nature::Reloads, ..start(2, 1) });
        world.pass(MS * 2000);
        assert_eq!(world.machine.applied().unwrap().revision, revision(1));
        let spawned = world.actions.iter().filter(|action| matches!(action, Action::Spawn(..))).count();
        assert_eq!(spawned, spawns);
    }
}

#[test]
fn a_crash_loop_waits_longer_each_time_and_a_calm_process_starts_afresh() {
    let mut world = World::new(vec![]);
    world.assign(Ask { nature: Nature::Plain, ..start(1, 0) });
    let mut waits = Vec::new();
    for _ in 0..8 {
        let process = *world.live.keys().next().unwrap();
        world.exit(process, MS, false);
        world.pass(MS);
        assert_eq!(world.machine.service(), Service::Backoff);
        let wait = world.machine.last_exit().unwrap().retry_in_ms;
        waits.push(wait);
        world.pass(MS * u32::try_from(wait).unwrap());
    }
    assert_eq!(waits, [500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000]);
    assert_eq!(world.machine.restarts(), 8);
    world.pass(CALM_DELAY);
    let process = *world.live.keys().next().unwrap();
    world.exit(process, Duration::ZERO, false);
    world.pass(Duration::ZERO);
    assert_eq!(world.machine.last_exit().unwrap().retry_in_ms, 500);
    assert!(backoff::LIMIT <= CALM_DELAY);
}

#[test]
fn a_process_of_a_former_agent_ends_before_the_restored_one_starts() {
    let mut machine = Machine::default();
    let found = Event::Found { kill_delay: MS * 100, stop_signal: StopSignal::Terminate };
    assert_eq!(machine.handle(found, MS), [Action::Stop(0, StopSignal::Terminate)]);
    assert_eq!(machine.handle(Event::Restored(order(start(4, 0))), MS), []);
    assert_eq!(machine.deadline(), Some(MS * 101));
    assert_eq!(machine.handle(Event::Timer, MS * 101), [Action::Kill(0)]);
    assert_eq!(machine.handle(exited(0, false), MS * 102), [Action::Spawn(1, order(start(4, 0)))]);
    assert_eq!(machine.epoch(), 4);
    assert_eq!(machine.restarts(), 0);
}

#[test]
fn a_process_of_a_former_agent_goes_on_if_it_is_what_is_wanted() {
    let mut machine = Machine::default();
    let ran = order(Ask { data: true, ..start(4, 0) });
    assert_eq!(machine.handle(Event::Holds(Arc::clone(&ran)), MS), []);
    let taken_over = Event::TakenOver { order: Arc::clone(&ran), ready: true };
    assert_eq!(machine.handle(taken_over, MS), [Action::Resume(0, Arc::clone(&ran))]);
    assert_eq!((machine.service(), machine.is_ready(), machine.epoch()), (Service::Running, true, 4));
    assert_eq!(machine.applied().unwrap().revision, revision(0));
    // The same again starts nothing; an end does.
    let again = order(Ask { epoch: 5, data: true, ..start(4, 0) });
    assert_eq!(machine.handle(Event::Assigned(Arc::clone(&again)), MS), [Action::Keep(Arc::clone(&again))]);
    assert_eq!(machine.handle(exited(0, false), MS * 2), []);
    let due = machine.deadline().unwrap();
    assert_eq!(machine.handle(Event::Timer, due), [Action::Spawn(1, again)]);
    assert_eq!(machine.restarts(), 1);
}

#[test]
fn a_process_of_a_former_agent_leaves_like_any_other() {
    let mut machine = Machine::default();
    let ran = order(Ask { data: true, ..start(4, 0) });
    machine.handle(Event::Holds(Arc::clone(&ran)), MS);
    machine.handle(Event::TakenOver { order: Arc::clone(&ran), ready: true }, MS);
    let stop = order(Ask { epoch: 5, data: true, run: Run::Stop, ..start(4, 0) });
    let leave = Action::Leave { process: 0, order: Arc::clone(&ran), empty: false };
    assert_eq!(machine.handle(Event::Assigned(Arc::clone(&stop)), MS), [Action::Keep(stop), leave]);
    assert_eq!(machine.handle(Event::Left(0, Ok(())), MS), [Action::Stop(0, StopSignal::Terminate)]);
}

/// What stands beside the data has no keys. They come with what the agent remembers, and again with every order, be it an old one.
#[test]
fn what_is_held_goes_to_the_object_store_of_the_newest_order() {
    let with_storage = |ask: Ask, bucket: &str| {
        let pairs =
            [("endpoint", "http://s3:9000"), ("bucket", bucket), ("access-key", "a"), ("secret-key", "s")];
        let pairs = pairs.map(|(key, value)| (key.to_owned(), muster_model::Secret::new(value))).into();
        let mut order = (*order(ask)).clone();
        order.cluster.object_storage = muster_model::ObjectStorage::from_secret(&pairs).ok();
        assert!(order.cluster.object_storage.is_some());
        Arc::new(order)
    };
    let bucket = |world: &World| {
        let held = world.machine.holds.as_ref().expect("something is held");
        held.cluster.object_storage.as_ref().map(|storage| storage.bucket.clone())
    };
    let mut world = World::new(vec![]);
    let ran = Ask { data: true, ..start(1, 0) };
    let stop = Ask { epoch: 2, run: Run::Stop, ..ran };
    world.marked = Some(order(ran));
    world.handle(Event::Holds(order(ran)));
    assert_eq!(bucket(&world), None);
    world.handle(Event::Restored(with_storage(stop, "old")));
    assert_eq!(bucket(&world).as_deref(), Some("old"));
    world.handle(Event::Assigned(with_storage(stop, "new")));
    assert_eq!(bucket(&world).as_deref(), Some("new"));
}

/// A unit that was alone when it took data leaves its rings where the others of today hear of it.
#[test]
fn who_is_started_to_leave_looks_for_those_who_are_there_now() {
    let with_seeds = |ask: Ask, seeds: &[&str]| {
        let mut order = (*order(ask)).clone();
        order.assignment.seeds = seeds.iter().map(|seed| (*seed).to_owned()).collect();
        Arc::new(order)
    };
    let seeds =
        |world: &World| world.machine.holds.as_ref().expect("something is held").assignment.seeds.clone();
    let mut world = World::new(vec![]);
    let ran = Ask { data: true, ..start(1, 0) };
    world.marked = Some(with_seeds(ran, &["itself:7946"]));
    world.handle(Event::Holds(with_seeds(ran, &["itself:7946"])));
    let stop = Ask { epoch: 2, run: Run::Stop, ..ran };
    world.handle(Event::Assigned(with_seeds(stop, &["other:7946"])));
    assert_eq!(seeds(&world), ["other:7946"]);
    world.handle(Event::Assigned(with_seeds(stop, &[])));
    assert_eq!(seeds(&world), ["other:7946"], "nobody is there to be told");
}
