//! The agent's decisions, as a pure machine: an event and the time go in, actions come out.
//!
//! ```text
//!            Spawn            1 s                     stop wanted
//!  idle ──► spawning ──► starting ──► running ──► [leaving] ──► terminating ──► killing ──► idle
//!   ▲          │             │           │         calls only      signal,      after the
//!   │          └─────────────┴───────────┤         for good        once         kill delay
//!   └──── timer, new order ─── back-off ◄┘ ended by itself
//! ```
//!
//! States and numbers are those of Pebble's service machine: a start is okay after a second, waits before another start
//! double from 0.5 s to 30 s, and are forgotten once the process has lived for as long as the longest wait.
//! What holds acknowledged data goes only when nothing is left of it: after a unit that is to leave has ended, its disk is looked at, and
//! while something on it is not in the object store the same process is started again and asked to leave again. So it is while no process
//! has ended in good order after it was asked to: one that was killed may have left its place in a ring behind, which nobody else gives up.
//!
//! The machine is level-triggered: after every event it compares what is with what should be and takes the next step.

pub mod backoff;
mod event;
mod order;
mod quieting;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use muster_model::UnitName;
use muster_products::Ending;
use muster_relation::{Applied, Check, Drain, Exit, Quiet, Report, Run, Service, Waiting};

use self::backoff::{Backoff, Jitter};
pub use self::event::{Action, Event, Outcome, ProcessNumber};
pub use self::order::{Manners, Order, StopSignal};
use self::quieting::Quieting;

/// How long a process must live for its start to count as okay. Pebble's number.
pub const OKAY_DELAY: Duration = Duration::from_secs(1);
/// How long a process must live until earlier failures are forgotten.
pub const CALM_DELAY: Duration = backoff::LIMIT;
/// How long the calls of a leaving unit may take together.
pub const LEAVE_DELAY: Duration = Duration::from_secs(15);
/// How long a process that tries again to upload what the last one left is let alone.
pub const STAY: Duration = Drain::AGAIN_AFTER;
/// How long a process that has nothing to upload, and is started to leave its ring, may take to become ready before it is asked to leave as it is.
const PATIENCE: Duration = Duration::from_secs(120);
/// How often a process that has nothing to upload is started to leave its ring in good order, before the unit counts as stopped without that.
pub const FAREWELLS: u32 = 3;
/// How old a process must be that its word on the ring counts: gossip needs some seconds to reach it, and until then it sees itself alone.
const SEES_OTHERS: Duration = Duration::from_secs(10);
/// How long a process that holds nothing any more may take to end.
const EMPTY_DELAY: Duration = Duration::from_secs(5);
/// How long a process that was started where nothing ran may take to become ready without a check of its config: long enough that a
/// start has the machine to itself. One that ends before it is ready is checked at once.
const CHECK_LATER: Duration = Duration::from_secs(5);
/// How long a killed process may take to end before the report says so. Pebble's number.
pub const FAIL_DELAY: Duration = Duration::from_secs(5);

/// The state of one unit's service. `now` is the time since any fixed moment, and never goes back.
#[derive(Debug, Clone, PartialEq)]
pub struct Machine {
    /// The order of the highest epoch seen.
    wanted: Option<Arc<Order>>,
    /// The order that runs or is to run: the last one whose check passed. None while the service is to be stopped.
    accepted: Option<Arc<Order>>,
    /// The order whose check is under way.
    checking: Option<Arc<Order>>,
    /// When the accepted order's check is due, where a process was started without one because nothing ran.
    unchecked: Option<Duration>,
    /// The epoch whose config was refused.
    rejected: Option<u64>,
    /// When a check that could not be carried out is tried again.
    check_again: Option<Duration>,
    /// What ran here last and held data, until all of that is in the object store.
    holds: Option<Arc<Order>>,
    /// The process for which it stands beside the data that there may be some, though its config may still be refused: this agent would
    /// see it become ready, another one would not know.
    noted: Option<ProcessNumber>,
    /// What came of the tries to get it there, if there were any.
    drain: Option<Drain>,
    /// The process that made all its leave calls: its orderly end uploads what it holds, that of another may be a mere restart's.
    left: Option<ProcessNumber>,
    farewell: Farewell,
    phase: Phase,
    /// How long one that serves goes on after others could know that it is about to end.
    notice: Duration,
    shutdown: bool,
    exited: bool,
    started: bool,
    next_process: ProcessNumber,
    start_backoff: Backoff,
    check_backoff: Backoff,
    check: Option<Check>,
    last_exit: Option<Exit>,
    restarts: u32,
    problem: Option<String>,
}

/// What is known of how a unit that is to give up what it holds has left its ring.
#[derive(Debug, Clone, PartialEq, Default)]
struct Farewell {
    /// The process that was asked to leave, whatever it answered: calls may fail that have nothing to do.
    asked: Option<ProcessNumber>,
    /// Whether it was ready then. One that was not may end as at a mere restart, because nobody heard the calls.
    heard: bool,
    /// Whether that process said that it holds nothing any more. From then on it may be killed: it has left.
    flushed: bool,
    /// Whether the last process was asked, and has ended in good order.
    done: bool,
    /// How many processes were to leave and did not end in good order.
    failed: u32,
    /// Whether nothing was missing in the object store when the disk was last looked at.
    empty: bool,
}

#[derive(Debug, Clone, PartialEq)]
enum Phase {
    Idle,
    Spawning {
        process: ProcessNumber,
        order: Arc<Order>,
    },
    Alive(Alive),
    /// The leave calls are under way.
    Leaving {
        process: ProcessNumber,
        order: Arc<Order>,
        until: Duration,
    },
    /// The stop signal was sent.
    Terminating {
        process: ProcessNumber,
        until: Duration,
    },
    /// SIGKILL was sent.
    Killing {
        process: ProcessNumber,
        until: Duration,
    },
    /// The process has ended, and what it left on the disk is looked at.
    Inspecting,
    /// Ended by itself, or could not be started.
    Backoff {
        order: Arc<Order>,
        until: Duration,
    },
}

#[derive(Debug, Clone, PartialEq)]
struct Alive {
    process: ProcessNumber,
    order: Arc<Order>,
    since: Duration,
    okay: bool,
    /// Whether it has lived for as long as one that is to leave is let alone.
    stayed: bool,
    ready: bool,
    waiting: Option<Waiting>,
    /// When it is asked to end, once others can know that it will be.
    ends: Option<Duration>,
    reloading: Option<Arc<Order>>,
    quieting: Quieting,
    forgetting: Forgetting,
}

/// What a process was told of units that have gone.
#[derive(Debug, Clone, PartialEq, Default)]
struct Forgetting {
    /// Whose places it is to give up.
    asked: BTreeSet<UnitName>,
    /// Who has none.
    done: BTreeSet<UnitName>,
}

impl Alive {
    fn new(process: ProcessNumber, order: Arc<Order>, since: Duration) -> Self {
        Self {
            process,
            order,
            since,
            okay: false,
            stayed: false,
            ready: false,
            waiting: None,
            ends: None,
            reloading: None,
            quieting: Quieting::default(),
            forgetting: Forgetting::default(),
        }
    }
}

impl Farewell {
    /// A process was asked to leave.
    fn ask(&mut self, process: ProcessNumber, ready: bool) {
        (self.asked, self.heard, self.flushed, self.done) = (Some(process), ready, false, false);
    }

    /// How long a process that tries once more is let alone.
    fn stay(&self) -> Duration {
        if self.empty { PATIENCE } else { STAY }
    }

    /// Whether a process that tries once more can be asked to leave: it has taken its place again, and taken up what was left.
    fn may_go(&self, ready: bool, stayed: bool) -> bool {
        if self.empty { ready || stayed } else { ready && stayed }
    }
}

impl Default for Machine {
    fn default() -> Self {
        Self {
            wanted: None,
            accepted: None,
            checking: None,
            unchecked: None,
            rejected: None,
            check_again: None,
            holds: None,
            noted: None,
            drain: None,
            left: None,
            farewell: Farewell::default(),
            phase: Phase::Idle,
            notice: Duration::ZERO,
            shutdown: false,
            exited: false,
            started: false,
            next_process: 1,
            start_backoff: Backoff::default(),
            check_backoff: Backoff::default(),
            check: None,
            last_exit: None,
            restarts: 0,
            problem: None,
        }
    }
}

impl Machine {
    /// One whose processes go on for `notice` where they serve and others may not know yet that they are about to end: at a shutdown,
    /// which nobody was asked about, and those that reload, which clients find by themselves, also when they are told to stop.
    #[must_use]
    pub fn with_notice(notice: Duration) -> Self {
        Self { notice, ..Self::default() }
    }

    /// Takes in one event. Total: an event that does not fit the state, such as the readiness of a process that has
    /// ended, changes nothing.
    pub fn handle(&mut self, event: Event, now: Duration) -> Vec<Action> {
        let mut actions = Vec::new();
        if self.exited {
            return actions;
        }
        match event {
            Event::Found { kill_delay, stop_signal } => {
                if self.phase == Phase::Idle && !self.started {
                    self.phase = Phase::Terminating { process: 0, until: now + kill_delay };
                    actions.push(Action::Stop(0, stop_signal));
                }
            }
            Event::Holds(order) => self.holds = Some(order),
            Event::Restored(order) => self.restored(order),
            Event::TakenOver { order, ready } => self.taken_over(order, ready, now),
            Event::Assigned(order) => self.assigned(order, &mut actions),
            Event::Checked(outcome, jitter) => self.checked(outcome, jitter, now, &mut actions),
            Event::Spawned(process) => self.spawned(process, now),
            Event::SpawnFailed { process, cause, jitter } => {
                if let Phase::Spawning { process: p, order } = &self.phase
                    && *p == process
                {
                    let order = Arc::clone(order);
                    self.back_off(order, cause, Vec::new(), jitter, now);
                    self.farewell_failed(&mut actions);
                }
            }
            Event::Exited { process, cause, success, lines, jitter } => {
                let has_left = self.left.take_if(|left| *left == process).is_some();
                let ending = if success && has_left { Ending::Orderly } else { Ending::Other };
                if self.farewell.asked.take_if(|asked| *asked == process).is_some() {
                    let is_told_to_end = !matches!(self.phase, Phase::Leaving { .. });
                    self.farewell.done =
                        is_told_to_end && self.farewell.heard && (success || self.farewell.flushed);
                    self.farewell.failed += u32::from(!self.farewell.done);
                }
                self.process_exited(process, cause, ending, lines, jitter, now, &mut actions);
            }
            Event::Inspected(left, jitter) => self.inspected(left, jitter, now, &mut actions),
            Event::Ready(process, ready) => {
                if let Some(alive) = self.alive_mut(process) {
                    alive.ready = ready;
                    alive.waiting = None;
                    if ready {
                        let order = Arc::clone(&alive.order);
                        self.proven(&order, &mut actions);
                    }
                }
            }
            Event::Waits(process, waiting) => {
                if let Some(alive) = self.alive_mut(process) {
                    alive.waiting = (!alive.ready).then_some(waiting);
                }
            }
            Event::Quiet(process, quiet) => {
                if let Some(alive) = self.alive_mut(process)
                    && alive.quieting == Quieting::Begun
                {
                    alive.quieting = Quieting::Quiet(quiet);
                }
            }
            Event::Resumed(process) => {
                if let Some(alive) = self.alive_mut(process)
                    && alive.quieting == Quieting::Resuming
                {
                    alive.quieting = Quieting::Takes;
                }
            }
            Event::Forgotten(process, units) => {
                if let Some(alive) = self.alive_mut(process) {
                    alive.forgetting.done = &units & &alive.forgetting.asked;
                }
            }
            Event::Flushed(process) => {
                if let Phase::Terminating { process: p, until } = &mut self.phase
                    && *p == process
                {
                    *until = (*until).min(now + EMPTY_DELAY);
                    self.farewell.flushed |= self.farewell.asked == Some(process);
                }
            }
            Event::Left(process, result) => self.left(process, result, now, &mut actions),
            Event::Reloaded(process, result) => self.reloaded(process, result, now, &mut actions),
            Event::Timer => {}
            Event::Shutdown => self.shutdown = true,
        }
        self.pass_time(now, &mut actions);
        self.settle_note(&mut actions);
        self.settle(now, &mut actions);
        actions
    }

    /// When [`Event::Timer`] is due. Absent: the machine waits for other events only.
    #[must_use]
    pub fn deadline(&self) -> Option<Duration> {
        let phase = match &self.phase {
            Phase::Idle | Phase::Spawning { .. } | Phase::Inspecting => None,
            Phase::Alive(alive) if !alive.okay => Some(alive.since + OKAY_DELAY),
            Phase::Alive(alive) => {
                let stays =
                    (!alive.stayed && self.drain.is_some()).then(|| alive.since + self.farewell.stay());
                let forgets = self.accepted.as_ref().and_then(|goal| Self::forgets_at(alive, goal));
                stays.into_iter().chain(forgets).min()
            }
            Phase::Killing { until, .. } => (*until < Duration::MAX).then_some(*until),
            Phase::Leaving { until, .. }
            | Phase::Terminating { until, .. }
            | Phase::Backoff { until, .. } => Some(*until),
        };
        phase.into_iter().chain(self.ends()).chain(self.check_again).chain(self.check_due()).min()
    }

    /// The epoch of the newest order.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.wanted.as_ref().map_or(0, |order| order.assignment.epoch)
    }

    /// The state of the service.
    #[must_use]
    pub fn service(&self) -> Service {
        match &self.phase {
            // It has not done what it was told before nothing is left.
            Phase::Idle | Phase::Spawning { .. } | Phase::Backoff { .. } if self.must_drain() => {
                Service::Stopping
            }
            Phase::Idle if self.started => Service::Stopped,
            Phase::Idle => Service::Inactive,
            Phase::Spawning { .. } => Service::Starting,
            Phase::Alive(alive) if alive.okay || alive.ready => Service::Running,
            Phase::Alive(_) => Service::Starting,
            Phase::Leaving { .. } | Phase::Terminating { .. } | Phase::Killing { .. } | Phase::Inspecting => {
                Service::Stopping
            }
            // Whether it is worth another start, the check is about to say.
            Phase::Backoff { .. } if self.unchecked.is_some() => Service::Starting,
            Phase::Backoff { .. } => Service::Backoff,
        }
    }

    /// What the running process was started with. Absent while none runs, it is ending, its config may still be refused, or it is about
    /// to be told of other peers: nothing else that is said here would tell it from its successor.
    #[must_use]
    pub fn applied(&self) -> Option<Applied> {
        let Phase::Alive(Alive { order, .. }) = &self.phase else { return None };
        let gets_other_peers = |wanted: &Arc<Order>| {
            wanted.assignment.run == Run::Start
                && wanted.same_but_for_peers(order)
                && !wanted.same_process(order)
                && self.rejected != Some(wanted.assignment.epoch)
        };
        if self.unchecked.is_some() || self.wanted.as_ref().is_some_and(gets_other_peers) {
            return None;
        }
        let assignment = &order.assignment;
        Some(Applied { revision: assignment.revision.clone(), roles: assignment.roles.clone() })
    }

    /// Whether the workload said that it is ready.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        matches!(&self.phase, Phase::Alive(Alive { ready: true, .. }))
    }

    /// Whether a process that serves is about to be asked to end.
    #[must_use]
    pub fn is_ending(&self) -> bool {
        self.ends().is_some()
    }

    /// When a process that was given notice is asked to end.
    fn ends(&self) -> Option<Duration> {
        match &self.phase {
            Phase::Alive(alive) => alive.ends,
            _ => None,
        }
    }

    /// What the workload says that has not been ready for long.
    #[must_use]
    pub fn waiting(&self) -> Option<&Waiting> {
        match &self.phase {
            Phase::Alive(alive) => alive.waiting.as_ref(),
            _ => None,
        }
    }

    /// Whether something on the disk may be nowhere else.
    #[must_use]
    pub fn holds_data(&self) -> bool {
        self.holds.is_some()
    }

    /// What keeps the unit from leaving, once it has tried.
    #[must_use]
    pub fn drain(&self) -> Option<&Drain> {
        self.drain.as_ref().filter(|_| self.must_drain())
    }

    /// What the running process has come to that was told to quiesce.
    #[must_use]
    pub fn quiet(&self) -> Option<&Quiet> {
        match &self.phase {
            Phase::Alive(Alive { quieting: Quieting::Quiet(quiet), .. }) => Some(quiet),
            _ => None,
        }
    }

    /// The units, out of those that are asked about, that have no place in the ring that the process sees.
    #[must_use]
    pub fn forgotten(&self) -> BTreeSet<UnitName> {
        match &self.phase {
            Phase::Alive(alive) => alive.forgetting.done.clone(),
            _ => BTreeSet::new(),
        }
    }

    /// The last check that came to a result.
    #[must_use]
    pub fn check(&self) -> Option<&Check> {
        self.check.as_ref()
    }

    /// How the process last ended without being asked to.
    #[must_use]
    pub fn last_exit(&self) -> Option<&Exit> {
        self.last_exit.as_ref()
    }

    /// How often the process was started again after it ended by itself.
    #[must_use]
    pub fn restarts(&self) -> u32 {
        self.restarts
    }

    /// What kept the machine from acting, until it could.
    #[must_use]
    pub fn problem(&self) -> Option<&str> {
        self.problem.as_deref()
    }

    /// What is true of the unit, with what `unit` says of itself.
    #[must_use]
    pub fn report(&self, unit: Report) -> Report {
        Report {
            epoch: self.epoch(),
            applied: self.applied(),
            service: self.service(),
            ready: self.is_ready(),
            ending: self.is_ending(),
            waiting: self.waiting().cloned(),
            check: self.check.clone(),
            holds_data: self.holds_data(),
            drain: self.drain().cloned(),
            quiet: self.quiet().cloned(),
            forgotten: self.forgotten(),
            last_exit: self.last_exit.clone(),
            last_error: self.problem.clone(),
            restarts: self.restarts,
            ..unit
        }
    }

    fn alive_mut(&mut self, process: ProcessNumber) -> Option<&mut Alive> {
        match &mut self.phase {
            Phase::Alive(alive) if alive.process == process => Some(alive),
            _ => None,
        }
    }

    /// Whether something that is held here is to go to the object store, because the unit is told to stop or to run what does not hold it.
    fn must_drain(&self) -> bool {
        let Some(holds) = &self.holds else { return false };
        match (&self.wanted, &self.accepted) {
            (_, Some(accepted)) => !accepted.keeps(holds),
            (Some(wanted), None) => wanted.assignment.run == Run::Stop && !wanted.assignment.gives_up,
            (None, None) => false,
        }
    }

    fn keeps_what_is_held(&self, order: &Order) -> bool {
        self.holds.as_ref().is_none_or(|holds| order.keeps(holds))
    }

    /// What is held goes to the object store that the order names, with the keys of today: what is remembered beside the data has none.
    /// And a process that is started to leave does so where others hear of it: it was perhaps alone when the data came.
    fn renew_held(&mut self, order: &Order) {
        let Some(holds) = &mut self.holds else { return };
        if let Some(storage) = &order.cluster.object_storage
            && holds.cluster.object_storage.as_ref() != Some(storage)
        {
            Arc::make_mut(holds).cluster.object_storage = Some(storage.clone());
        }
        let seeds = &order.assignment.seeds;
        if !seeds.is_empty() && holds.assignment.seeds != *seeds {
            Arc::make_mut(holds).assignment.seeds.clone_from(seeds);
        }
    }

    fn restored(&mut self, order: Arc<Order>) {
        self.renew_held(&order);
        if self.wanted.is_none() {
            self.accepted = (order.assignment.run == Run::Start).then(|| Arc::clone(&order));
            self.wanted = Some(order);
        }
    }

    fn taken_over(&mut self, order: Arc<Order>, ready: bool, now: Duration) {
        let is_first = self.phase == Phase::Idle && !self.started && self.wanted.is_none();
        self.restored(Arc::clone(&order));
        if is_first && order.assignment.run == Run::Start {
            self.started = true;
            // It was accepted, so its start was okay.
            self.phase = Phase::Alive(Alive { okay: true, ready, ..Alive::new(0, order, now) });
        }
    }

    /// The highest epoch wins. The same epoch again may still bring other shared data for the same assignment, such as
    /// new S3 keys: it counts from the next start.
    fn assigned(&mut self, order: Arc<Order>, actions: &mut Vec<Action>) {
        self.renew_held(&order);
        if let Some(wanted) = &self.wanted {
            let newer = order.assignment.epoch > wanted.assignment.epoch;
            let refreshed = order.assignment == wanted.assignment && order.cluster != wanted.cluster;
            if !newer && !refreshed {
                return;
            }
        }
        match order.assignment.run {
            Run::Stop => {
                if self.wanted.as_ref().is_none_or(|wanted| wanted.assignment.run != Run::Stop) {
                    actions.push(Action::Keep(Arc::clone(&order)));
                }
                self.accepted = None;
                self.unchecked = None;
                self.problem = None;
            }
            Run::Start => {
                if let Some(accepted) = &mut self.accepted
                    && accepted.same_process(&order)
                {
                    *accepted = Arc::clone(&order);
                    if self.unchecked.is_none() {
                        actions.push(Action::Keep(Arc::clone(&order)));
                    }
                    self.problem = None;
                }
            }
        }
        self.check_again = None;
        self.check_backoff.reset();
        self.rejected = None;
        self.wanted = Some(order);
    }

    fn checked(&mut self, outcome: Outcome, jitter: Jitter, now: Duration, actions: &mut Vec<Action>) {
        let Some(checked) = self.checking.take() else { return };
        if self.accepted.as_ref().is_some_and(|accepted| accepted.same_process(&checked)) {
            match &outcome {
                // It became ready meanwhile.
                _ if self.unchecked.is_none() => return,
                Outcome::Accepted => {
                    self.start_backoff.reset();
                    return self.proven(&checked, actions);
                }
                Outcome::Rejected(_) => {
                    self.unchecked = None;
                    self.accepted = None;
                }
                Outcome::Failed(_) => {}
            }
        }
        // A newer order may have come meanwhile; the result counts if it asks for the same process.
        let Some(wanted) = self.wanted.clone() else { return };
        if wanted.assignment.run != Run::Start || !wanted.same_process(&checked) {
            return;
        }
        let revision = wanted.assignment.revision.clone();
        match outcome {
            Outcome::Accepted => {
                self.check = Some(Check { revision, rejected: None });
                self.accept(wanted, actions);
            }
            Outcome::Rejected(message) => {
                self.check = Some(Check { revision, rejected: Some(message) });
                self.rejected = Some(wanted.assignment.epoch);
                self.problem = None;
            }
            Outcome::Failed(message) => {
                self.problem = Some(message);
                self.check_again = Some(now + self.check_backoff.next(jitter));
            }
        }
    }

    /// What was started without a check became ready, and no check could say more; or it has passed one.
    fn proven(&mut self, order: &Order, actions: &mut Vec<Action>) {
        let accepted = self.accepted.clone().filter(|accepted| accepted.same_process(order));
        if let (Some(_), Some(accepted)) = (self.unchecked, accepted) {
            self.unchecked = None;
            // Something else may be asked for by now, of which there is more to say.
            if self.wanted.as_ref().is_some_and(|wanted| wanted.same_process(&accepted)) {
                self.check_again = None;
                self.check_backoff.reset();
                self.problem = None;
                self.check = Some(Check { revision: accepted.assignment.revision.clone(), rejected: None });
            }
            self.mark(&accepted, actions);
            actions.push(Action::Keep(accepted));
        }
    }

    fn accept(&mut self, order: Arc<Order>, actions: &mut Vec<Action>) {
        actions.push(Action::Keep(Arc::clone(&order)));
        self.accepted = Some(order);
        self.unchecked = None;
        self.check_again = None;
        self.check_backoff.reset();
        self.start_backoff.reset();
        self.problem = None;
    }

    fn spawned(&mut self, process: ProcessNumber, now: Duration) {
        if let Phase::Spawning { process: p, order } = &self.phase
            && *p == process
        {
            self.phase = Phase::Alive(Alive::new(process, Arc::clone(order), now));
        }
    }

    #[expect(clippy::too_many_arguments, reason = "all that an ending is told with")]
    fn process_exited(
        &mut self,
        process: ProcessNumber,
        cause: String,
        ending: Ending,
        lines: Vec<String>,
        jitter: Jitter,
        now: Duration,
        actions: &mut Vec<Action>,
    ) {
        match &self.phase {
            Phase::Alive(alive) if alive.process == process => {
                if now.saturating_sub(alive.since) >= CALM_DELAY {
                    self.start_backoff.reset();
                }
                self.back_off(Arc::clone(&alive.order), cause, lines, jitter, now);
                self.farewell_failed(actions);
            }
            Phase::Leaving { process: p, .. }
            | Phase::Terminating { process: p, .. }
            | Phase::Killing { process: p, .. }
                if *p == process =>
            {
                self.phase = Phase::Idle;
                if self.must_drain() {
                    self.inspect(ending, actions);
                }
            }
            _ => {}
        }
    }

    /// A process that was to leave was not there for long enough to be asked to. It may have left something all the same.
    fn farewell_failed(&mut self, actions: &mut Vec<Action>) {
        if self.drain.is_some() && self.must_drain() && !self.shutdown {
            self.farewell.failed += 1;
            self.inspect(Ending::Other, actions);
        }
    }

    fn inspect(&mut self, ending: Ending, actions: &mut Vec<Action>) {
        if let Some(holds) = &self.holds {
            actions.push(Action::Inspect(Arc::clone(holds), ending));
            self.phase = Phase::Inspecting;
        }
    }

    fn inspected(&mut self, left: Option<String>, jitter: Jitter, now: Duration, actions: &mut Vec<Action>) {
        if self.phase != Phase::Inspecting {
            return;
        }
        self.phase = Phase::Idle;
        if !self.must_drain() {
            // It is to run on, with what it holds.
            return;
        }
        self.farewell.empty = left.is_none();
        let left = left.or_else(|| {
            let may_be_in_ring = !self.farewell.done && self.farewell.failed < FAREWELLS;
            may_be_in_ring.then(|| "it may have kept its place in a ring".to_owned())
        });
        match (left, self.holds.clone()) {
            (None, _) => {
                self.holds = None;
                self.drain = None;
                actions.push(Action::Mark(None));
            }
            (Some(why), Some(holds)) => {
                let tries = self.drain.as_ref().map_or(0, |drain| drain.tries).saturating_add(1);
                self.drain = Some(Drain { tries, why });
                self.phase = Phase::Backoff { order: holds, until: now + self.start_backoff.next(jitter) };
            }
            (Some(_), None) => {}
        }
    }

    fn back_off(
        &mut self,
        order: Arc<Order>,
        cause: String,
        lines: Vec<String>,
        jitter: Jitter,
        now: Duration,
    ) {
        let wait = self.start_backoff.next(jitter);
        let retry_in_ms = if self.shutdown { 0 } else { u64::try_from(wait.as_millis()).unwrap_or(u64::MAX) };
        self.last_exit = Some(Exit { cause, lines, retry_in_ms });
        self.phase = Phase::Backoff { order, until: now + wait };
    }

    fn left(
        &mut self,
        process: ProcessNumber,
        result: Result<(), String>,
        now: Duration,
        actions: &mut Vec<Action>,
    ) {
        if let Phase::Leaving { process: p, order, .. } = &self.phase
            && *p == process
        {
            let order = Arc::clone(order);
            match result {
                Ok(()) => self.left = Some(process),
                Err(problem) => self.problem = Some(problem),
            }
            self.terminate(process, order, now, actions);
        }
    }

    fn reloaded(
        &mut self,
        process: ProcessNumber,
        result: Result<(), String>,
        now: Duration,
        actions: &mut Vec<Action>,
    ) {
        let Some(alive) = self.alive_mut(process) else { return };
        let Some(order) = alive.reloading.take() else { return };
        match result {
            Ok(()) => alive.order = order,
            // The process is alive and keeps its old config. A fresh process is the one way that always leads to the new one.
            Err(problem) => {
                let old = Arc::clone(&alive.order);
                self.problem = Some(problem);
                self.terminate(process, old, now, actions);
            }
        }
    }

    fn terminate(
        &mut self,
        process: ProcessNumber,
        order: Arc<Order>,
        now: Duration,
        actions: &mut Vec<Action>,
    ) {
        actions.push(Action::Stop(process, order.manners.stop_signal));
        self.phase = Phase::Terminating { process, until: now + order.manners.kill_delay };
    }

    /// What the passing of time alone changes.
    fn pass_time(&mut self, now: Duration, actions: &mut Vec<Action>) {
        if let Phase::Alive(alive) = &mut self.phase {
            alive.stayed |= now >= alive.since + self.farewell.stay();
        }
        match &mut self.phase {
            Phase::Alive(alive) if !alive.okay && now >= alive.since + OKAY_DELAY => {
                alive.okay = true;
                if self.check_again.is_none() {
                    self.problem = None;
                }
            }
            Phase::Leaving { process, order, until } if now >= *until => {
                let (process, order) = (*process, Arc::clone(order));
                self.problem = Some("the calls of a leaving unit did not end in time".to_owned());
                self.terminate(process, order, now, actions);
            }
            Phase::Terminating { process, until } if now >= *until => {
                actions.push(Action::Kill(*process));
                self.phase = Phase::Killing { process: *process, until: now + FAIL_DELAY };
            }
            Phase::Killing { until, .. } if now >= *until => {
                *until = Duration::MAX;
                self.problem = Some("the process does not end after SIGKILL; the kernel holds it".to_owned());
            }
            Phase::Backoff { order, until } if now >= *until => {
                // Only a goal of the same kind is a restart; anything else is started, or not, by `settle`.
                if !self.shutdown
                    && self.accepted.as_ref().is_some_and(|accepted| accepted.same_process(order))
                {
                    self.restarts = self.restarts.saturating_add(1);
                }
                self.phase = Phase::Idle;
            }
            _ => {}
        }
        if self.check_again.is_some_and(|at| now >= at) {
            self.check_again = None;
        }
    }

    /// Takes the next step from what is to what should be.
    fn settle(&mut self, now: Duration, actions: &mut Vec<Action>) {
        if self.shutdown {
            self.settle_shutdown(now, actions);
            return;
        }
        self.settle_check(now, actions);
        if self.must_drain() {
            return self.settle_drain(now, actions);
        }
        self.drain = None;
        // A process that is on its way out was asked all the same.
        self.farewell = Farewell {
            asked: self.farewell.asked,
            heard: self.farewell.heard,
            flushed: self.farewell.flushed,
            ..Farewell::default()
        };
        match (&self.phase, self.accepted.clone()) {
            (Phase::Idle, Some(order)) => self.spawn(order, actions),
            (Phase::Backoff { order: failed, .. }, Some(order)) if !failed.same_process(&order) => {
                self.spawn(order, actions);
            }
            (Phase::Backoff { .. }, None) => self.phase = Phase::Idle,
            (Phase::Alive(alive), goal) => {
                let alive = alive.clone();
                self.settle_alive(&alive, goal, now, actions);
            }
            _ => {}
        }
    }

    /// Takes the note of data away once the process that it is about has ended without having taken any.
    fn settle_note(&mut self, actions: &mut Vec<Action>) {
        let Some(noted) = self.noted else { return };
        if self.holds.is_some() {
            self.noted = None;
        } else if (self.unchecked.is_none() || self.shutdown) && self.process() != Some(noted) {
            actions.push(Action::Mark(None));
            self.noted = None;
        }
    }

    /// The process that is there.
    fn process(&self) -> Option<ProcessNumber> {
        match &self.phase {
            Phase::Alive(alive) => Some(alive.process),
            Phase::Spawning { process, .. }
            | Phase::Leaving { process, .. }
            | Phase::Terminating { process, .. }
            | Phase::Killing { process, .. } => Some(*process),
            Phase::Idle | Phase::Inspecting | Phase::Backoff { .. } => None,
        }
    }

    /// Takes the next step until nothing is held here that is not in the object store, nor a place in a ring.
    fn settle_drain(&mut self, now: Duration, actions: &mut Vec<Action>) {
        match (&self.phase, &self.drain, self.holds.clone()) {
            // Nobody saw how the last process ended.
            (Phase::Idle, None, _) => self.inspect(Ending::Other, actions),
            (Phase::Idle, Some(_), Some(holds)) => self.spawn(holds, actions),
            // One that tries again is asked to leave once it has taken up what the last one left.
            (Phase::Alive(alive), tried, _)
                if tried.is_none() || self.farewell.may_go(alive.ready, alive.stayed) =>
            {
                let alive = alive.clone();
                self.stop_for_good(&alive, now, actions);
            }
            _ => {}
        }
    }

    fn settle_shutdown(&mut self, now: Duration, actions: &mut Vec<Action>) {
        self.check_again = None;
        match &self.phase {
            Phase::Alive(alive) => {
                let (process, order) = (alive.process, Arc::clone(&alive.order));
                if self.was_given_notice(process, now) {
                    self.terminate(process, order, now, actions);
                }
            }
            Phase::Idle | Phase::Backoff { .. } => {
                self.phase = Phase::Idle;
                if !self.exited {
                    self.exited = true;
                    actions.push(Action::Exit);
                }
            }
            _ => {}
        }
    }

    /// Whether a process may be asked to end that others may still count on. The first time it begins to be said that it will be.
    fn was_given_notice(&mut self, process: ProcessNumber, now: Duration) -> bool {
        let notice = self.notice;
        let Some(alive) = self.alive_mut(process) else { return true };
        !alive.ready || now >= *alive.ends.get_or_insert(now + notice)
    }

    /// When the check of what was started without one is due, unless it is under way or nobody asks for that process any more.
    fn check_due(&self) -> Option<Duration> {
        let asked = match (&self.wanted, &self.accepted) {
            (Some(wanted), Some(accepted)) => {
                wanted.assignment.run == Run::Start && wanted.same_process(accepted)
            }
            _ => false,
        };
        self.unchecked
            .filter(|_| asked && !self.shutdown && self.checking.is_none() && self.check_again.is_none())
    }

    fn settle_check(&mut self, now: Duration, actions: &mut Vec<Action>) {
        let Some(wanted) = self.wanted.clone() else { return };
        let known_bad = self.rejected == Some(wanted.assignment.epoch);
        if wanted.assignment.run != Run::Start
            || known_bad
            || self.checking.is_some()
            || self.check_again.is_some()
        {
            return;
        }
        let runs = self.accepted.as_ref().is_some_and(|accepted| accepted.same_process(&wanted));
        if runs && self.unchecked.is_none() {
            return;
        }
        if !wanted.manners.checked {
            self.accept(wanted, actions);
        } else if runs {
            let is_early = self.unchecked.is_some_and(|at| now < at);
            if !is_early || matches!(self.phase, Phase::Backoff { .. }) {
                self.checking = Some(Arc::clone(&wanted));
                actions.push(Action::CheckStarted(wanted));
            }
        } else if self.phase == Phase::Idle && self.accepted.is_none() && self.keeps_what_is_held(&wanted) {
            // Nothing runs that a bad config could take down, and a process that comes up proves more than a check.
            self.accepted = Some(Arc::clone(&wanted));
            self.unchecked = Some(now + CHECK_LATER);
            self.spawn(wanted, actions);
        } else {
            self.checking = Some(Arc::clone(&wanted));
            actions.push(Action::Check(wanted));
        }
    }

    fn settle_alive(
        &mut self,
        alive: &Alive,
        goal: Option<Arc<Order>>,
        now: Duration,
        actions: &mut Vec<Action>,
    ) {
        let Some(goal) = goal else {
            let refused = self.rejected == Some(alive.order.assignment.epoch);
            return if refused {
                // It was started a moment ago, and has nothing to leave.
                self.terminate(alive.process, Arc::clone(&alive.order), now, actions);
            } else if !alive.order.manners.reloads || self.was_given_notice(alive.process, now) {
                self.stop_for_good(alive, now, actions);
            };
        };
        if let Some(alive) = self.alive_mut(alive.process) {
            alive.ends = None;
        }
        if goal.same_process(&alive.order) {
            self.settle_quieting(alive, &goal, actions);
            return self.settle_forgetting(alive, &goal, now, actions);
        }
        if alive.reloading.is_some() {
            return;
        }
        if alive.order.manners.reloads && goal.manners.reloads {
            // A process that is not ready may not have set up its signal handling yet: SIGHUP would kill it.
            if alive.ready {
                if let Some(alive) = self.alive_mut(alive.process) {
                    alive.reloading = Some(Arc::clone(&goal));
                }
                return actions.push(Action::Reload(alive.process, goal));
            }
            if !alive.okay {
                return;
            }
        }
        if goal.keeps(&alive.order) {
            self.terminate(alive.process, Arc::clone(&alive.order), now, actions);
        } else {
            self.stop_for_good(alive, now, actions);
        }
    }

    /// Has the process take data, or not, as it is asked to. Before it is ready it would not hear it.
    fn settle_quieting(&mut self, alive: &Alive, goal: &Arc<Order>, actions: &mut Vec<Action>) {
        let quiesces = goal.assignment.quiesces;
        if !goal.manners.quiesces || !alive.ready || !alive.quieting.is_due(quiesces) {
            return;
        }
        let (action, quieting) = if quiesces {
            (Action::Quiesce(alive.process, Arc::clone(goal)), Quieting::Begun)
        } else {
            (Action::Resume(alive.process, Arc::clone(goal)), Quieting::Resuming)
        };
        actions.push(action);
        if let Some(alive) = self.alive_mut(alive.process) {
            alive.quieting = quieting;
        }
    }

    /// Has units forgotten that have gone, and no others any more.
    fn settle_forgetting(
        &mut self,
        alive: &Alive,
        goal: &Arc<Order>,
        now: Duration,
        actions: &mut Vec<Action>,
    ) {
        if Self::forgets_at(alive, goal).is_none_or(|at| now < at) {
            return;
        }
        actions.push(Action::Forget(alive.process, Arc::clone(goal)));
        if let Some(alive) = self.alive_mut(alive.process) {
            alive.forgetting = Forgetting { asked: goal.assignment.forgets.clone(), done: BTreeSet::new() };
        }
    }

    /// When the process is told whom it is to forget, unless it was told already: once its word on the ring counts. That it is nobody any
    /// more it is told at once.
    fn forgets_at(alive: &Alive, goal: &Order) -> Option<Duration> {
        let asked = &goal.assignment.forgets;
        if *asked == alive.forgetting.asked || !goal.same_process(&alive.order) {
            return None;
        }
        if asked.is_empty() {
            return Some(alive.since);
        }
        (alive.ready && alive.order.manners.shows_ring).then_some(alive.since + SEES_OTHERS)
    }

    fn stop_for_good(&mut self, alive: &Alive, now: Duration, actions: &mut Vec<Action>) {
        let (process, order) = (alive.process, Arc::clone(&alive.order));
        self.farewell.ask(process, alive.ready);
        if order.manners.leaves {
            let empty = order.manners.takes_nothing && matches!(alive.quieting, Quieting::Quiet(_));
            actions.push(Action::Leave { process, order: Arc::clone(&order), empty });
            self.phase = Phase::Leaving { process, order, until: now + LEAVE_DELAY };
        } else {
            self.terminate(process, order, now, actions);
        }
    }

    /// Notes that a process may hold data from now on. One whose config may still be refused has not taken any.
    fn mark(&mut self, order: &Arc<Order>, actions: &mut Vec<Action>) {
        let is_marked = self.holds.as_ref().is_some_and(|holds| holds.same_process(order));
        if !order.manners.data_roles.is_empty() && !is_marked {
            self.holds = Some(Arc::clone(order));
            actions.push(Action::Mark(Some(Arc::clone(order))));
        }
    }

    fn spawn(&mut self, order: Arc<Order>, actions: &mut Vec<Action>) {
        let process = self.next_process;
        self.next_process += 1;
        self.started = true;
        self.farewell.done = false;
        if self.unchecked.is_none() {
            self.mark(&order, actions);
        } else if self.holds.is_none() && !order.manners.data_roles.is_empty() {
            actions.push(Action::Mark(Some(Arc::clone(&order))));
            self.noted = Some(process);
        }
        actions.push(Action::Spawn(process, Arc::clone(&order)));
        self.phase = Phase::Spawning { process, order };
    }
}
