//! One unit: the agent's real machine, a process that behaves as its product does, and a disk.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use muster_agent::machine::backoff::Jitter;
use muster_agent::machine::{Action, Event, Machine, Manners, Order, Outcome, ProcessNumber, StopSignal};
use muster_agent::workload::{Product as ProductWorkload, Workload};
use muster_model::{Product, Role, RoleSet, RoleTable, UnitName};
use muster_products::Ending;
use muster_relation::{Applied, Assignment, ClusterData, Quiet, Report, Run, Service};

use crate::bug::Bug;
use crate::disk::Disk;
use crate::ground::Ground;

/// How long a check of a config takes.
const CHECK: Duration = Duration::from_millis(800);
/// How long a process takes to become ready.
const READY: Duration = Duration::from_secs(2);
/// How long the calls of a leaving unit take.
const LEAVE: Duration = Duration::from_millis(300);
/// How long a process takes to end that has nothing to upload.
const END: Duration = Duration::from_millis(700);
/// How long an upload takes.
const UPLOAD: Duration = Duration::from_secs(3);
/// How long a slow one takes.
const SLOW_UPLOAD: Duration = Duration::from_secs(90);
/// How soon Loki tries an upload again that failed.
const AGAIN: Duration = Duration::from_secs(5);
/// How soon a process takes its place in the ring again that somebody took away.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// How long an agent waits for a unit to leave the ring by itself that has gone.
const LOOK: Duration = Duration::from_secs(5);
/// How long something takes that is done at once.
const AT_ONCE: Duration = Duration::from_millis(10);
/// How soon an agent is back that has ended.
const AGENT_BACK: Duration = Duration::from_secs(2);

/// How a unit's uploads go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Uploads {
    Work,
    Slow,
    Fail,
}

/// A process that is alive.
#[derive(Debug, Clone)]
pub(crate) struct Process {
    id: u64,
    /// What the agent calls it.
    number: ProcessNumber,
    pub(crate) order: Arc<Order>,
    takes_writes: bool,
    pub(crate) ready: bool,
    /// Whether the next stop signal makes it upload and leave its ring.
    armed: bool,
    pub(crate) stopping: bool,
    /// Whether it was told to take nothing new.
    quiesces: bool,
    /// When all that it took was in the object store, if it took anything.
    quiet: Option<Duration>,
}

/// Something that is about to happen to a unit.
#[derive(Debug, Clone)]
enum Coming {
    ToAgent(Event),
    AgentBack,
    Ready(u64),
    /// A process that takes nothing new tries to upload all.
    Quiet(u64),
    /// The process has tried to upload all.
    Uploaded(u64),
    Ends(u64, bool),
    /// The process takes its place in the ring again, if it has lost it.
    Heartbeat(u64),
    /// The agent has another look at who stands in the ring, and takes away the places of those that have gone.
    Forgets(ProcessNumber, BTreeSet<UnitName>),
}

#[derive(Debug, Clone)]
pub(crate) struct Unit {
    pub(crate) name: UnitName,
    pub(crate) address: String,
    pub(crate) balances: bool,
    /// What the coordinator told it, as the API keeps it.
    pub(crate) assigned: Option<Assignment>,
    /// What the coordinator heard from it last.
    pub(crate) heard: Option<Report>,
    pub(crate) frozen: bool,
    pub(crate) cut: bool,
    pub(crate) uploads: Uploads,
    pub(crate) disk: Disk,
    pub(crate) agent: Option<Machine>,
    pub(crate) process: Option<Process>,
    /// Whether the ring has an entry of it.
    pub(crate) in_ring: bool,
    /// Whether its agent knew when it got there.
    pub(crate) ring_is_noted: bool,
    /// How often a process of it did not end in good order.
    pub(crate) killed: u32,
    /// Whether that entry says that it is on its way out.
    pub(crate) leaving: bool,
    /// Whether that entry says that it takes nothing new.
    pub(crate) read_only: bool,
    /// The order that its agent remembers.
    kept: Option<Arc<Order>>,
    highest_kept: u64,
    /// What stands beside the data.
    marked: Option<Arc<Order>>,
    coming: BTreeMap<(Duration, u64), Coming>,
    sequence: u64,
}

/// Whether a process with these roles takes what clients write, whatever its agent thinks.
fn takes_writes(product: Product, roles: &RoleSet) -> bool {
    let workload = muster_products::workload(product);
    roles.iter().any(|role| role == Role::All || workload.holds_data(role))
}

fn manners(assignment: &Assignment, cluster: &ClusterData, balances: bool) -> Manners {
    if balances {
        return Manners {
            kill_delay: Duration::from_secs(30),
            stop_signal: StopSignal::Quit,
            leaves: false,
            quiesces: false,
            takes_nothing: false,
            shows_ring: false,
            data_roles: RoleSet::new(),
            checked: true,
            reloads: true,
        };
    }
    ProductWorkload { binary: PathBuf::new() }.manners(assignment, cluster)
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let told = self.assigned.as_ref().map(|told| (told.epoch, told.run, told.revision.short()));
        let says = self.report().map(|says| (says.epoch, says.service, says.ready, says.last_error));
        let next = self.coming.values().next();
        write!(f, "{} told {told:?} says {says:?} then {next:?}", self.name)
    }
}

impl Unit {
    pub(crate) fn new(name: UnitName, address: String, balances: bool, now: Duration) -> Self {
        let mut unit = Self {
            name,
            address,
            balances,
            assigned: None,
            heard: None,
            frozen: false,
            cut: false,
            uploads: Uploads::Work,
            disk: Disk::default(),
            agent: None,
            process: None,
            in_ring: false,
            ring_is_noted: false,
            killed: 0,
            leaving: false,
            read_only: false,
            kept: None,
            highest_kept: 0,
            marked: None,
            coming: BTreeMap::new(),
            sequence: 0,
        };
        unit.later(now + LEAVE, Coming::AgentBack);
        unit
    }

    /// When something happens to it next.
    pub(crate) fn due(&self) -> Option<Duration> {
        let timer = self.agent.as_ref().and_then(Machine::deadline);
        self.coming.keys().next().map(|(at, _)| *at).into_iter().chain(timer).min()
    }

    /// Whether nothing is about to happen.
    pub(crate) fn rests(&self) -> bool {
        self.agent.is_some() && self.due().is_none()
    }

    /// What its agent says now.
    pub(crate) fn report(&self) -> Option<Report> {
        let machine = self.agent.as_ref()?;
        Some(machine.report(Report::new(&*self.address, &*self.address, "")))
    }

    /// Whether it has done what it was told and came to rest with it.
    pub(crate) fn has_settled(&self) -> bool {
        let (Some(machine), Some(assigned)) = (&self.agent, &self.assigned) else { return false };
        let Assignment { revision, roles, .. } = assigned;
        let wanted = Applied { revision: revision.clone(), roles: roles.clone() };
        machine.epoch() >= assigned.epoch
            && match assigned.run {
                Run::Start => {
                    let peers = self.process.as_ref().map(|process| &process.order.assignment.peers);
                    machine.is_ready() && machine.applied() == Some(wanted) && peers == Some(&assigned.peers)
                }
                Run::Stop => {
                    self.process.is_none()
                        && matches!(machine.service(), Service::Stopped | Service::Inactive)
                }
            }
    }

    /// The roles that it was told to run, with all their parts.
    pub(crate) fn is_to_run(&self, table: &RoleTable) -> RoleSet {
        let starts = self.assigned.as_ref().filter(|assigned| assigned.run == Run::Start);
        starts.map(|assigned| table.expand(&assigned.roles)).unwrap_or_default()
    }

    /// Whether its agent takes it that something may be on its disk alone.
    pub(crate) fn holds_data(&self) -> bool {
        self.marked.is_some()
    }

    /// Whether clients' data reaches it.
    pub(crate) fn ingests(&self) -> bool {
        self.process.as_ref().is_some_and(|p| p.ready && !p.stopping && p.takes_writes)
    }

    fn later(&mut self, at: Duration, what: Coming) {
        self.sequence += 1;
        self.coming.insert((at, self.sequence), what);
    }

    fn order(&self, assignment: &Assignment, cluster: Option<&ClusterData>, ground: &Ground) -> Arc<Order> {
        let mut cluster = cluster.cloned().unwrap_or_else(|| ClusterData {
            product: ground.product,
            version: *muster_products::supported_versions(ground.product)
                .first()
                .expect("every product has a version"),
            documents: BTreeMap::new(),
            object_storage: None,
            tls: None,
        });
        cluster.documents.retain(|revision, _| *revision == assignment.revision);
        let mut manners = manners(assignment, &cluster, self.balances);
        if ground.has(Bug::StrandsData) {
            manners.data_roles = RoleSet::new();
            manners.leaves = false;
        }
        Arc::new(Order { assignment: assignment.clone(), cluster, manners })
    }

    /// Hands the agent what stands for it in the API, if that is news and it can be reached.
    pub(crate) fn deliver(&mut self, cluster: Option<&ClusterData>, ground: &mut Ground) {
        let (Some(machine), Some(assigned), false) = (&self.agent, &self.assigned, self.cut) else { return };
        if assigned.epoch > machine.epoch() {
            let order = self.order(assigned, cluster, ground);
            self.handle(Event::Assigned(order), ground);
        }
    }

    /// Lets the next thing happen that is due.
    pub(crate) fn happen(&mut self, ground: &mut Ground) {
        let is_due = self.coming.keys().next().is_some_and(|(at, _)| *at <= ground.now);
        let next = if is_due { self.coming.pop_first() } else { None };
        match next {
            None => self.handle(Event::Timer, ground),
            Some((_, Coming::ToAgent(event))) => self.handle(event, ground),
            Some((_, Coming::AgentBack)) => self.agent_back(ground),
            Some((_, Coming::Ready(id))) => self.ready(id, ground),
            Some((_, Coming::Quiet(id))) => self.quiet(id, ground),
            Some((_, Coming::Uploaded(id))) => self.uploaded(id, ground),
            Some((_, Coming::Ends(id, success))) => self.ended(id, success, ground),
            Some((_, Coming::Heartbeat(id))) => self.heartbeat(id),
            Some((_, Coming::Forgets(number, units))) => self.forget(number, units, ground),
        }
    }

    fn agent_back(&mut self, ground: &mut Ground) {
        if self.agent.is_some() {
            return;
        }
        self.agent = Some(Machine::default());
        let goes_on = self.process.as_ref().zip(self.kept.as_ref()).is_some_and(|(process, kept)| {
            let is_to_end = process.stopping || process.armed;
            kept.assignment.run == Run::Start && kept.same_process(&process.order) && !is_to_end
        });
        if let Some(process) = &mut self.process {
            process.number = 0;
            let Manners { kill_delay, stop_signal, .. } = process.order.manners;
            if !goes_on {
                self.handle(Event::Found { kill_delay, stop_signal }, ground);
            }
        }
        if let Some(order) = self.marked.clone() {
            self.handle(Event::Holds(order), ground);
        }
        if let Some(order) = self.kept.clone() {
            let ready = self.process.as_ref().is_some_and(|process| process.ready);
            let event = if goes_on { Event::TakenOver { order, ready } } else { Event::Restored(order) };
            self.handle(event, ground);
            let epoch = self.agent.as_ref().map_or(0, Machine::epoch);
            if epoch < self.highest_kept {
                ground.breaks("monotone epochs", || {
                    format!("{} obeys epoch {epoch} after {}", self.name, self.highest_kept)
                });
            }
        }
    }

    fn ready(&mut self, id: u64, ground: &mut Ground) {
        let Some(process) = self.process.as_mut().filter(|p| p.id == id && !p.stopping) else { return };
        process.ready = true;
        let number = process.number;
        if process.takes_writes {
            (self.in_ring, self.leaving) = (true, false);
            self.ring_is_noted = false;
            if ground.product == Product::Tempo {
                self.disk.cut();
            }
        }
        self.handle(Event::Ready(number, true), ground);
        self.ring_is_noted = self.in_ring && self.agent.as_ref().is_some_and(Machine::holds_data);
    }

    fn heartbeat(&mut self, id: u64) {
        let lives = |p: &Process| p.id == id && p.ready && !p.stopping && p.takes_writes;
        self.in_ring |= self.process.as_ref().is_some_and(lives);
    }

    fn can_upload(&self, ground: &Ground) -> bool {
        ground.store_is_up && self.uploads != Uploads::Fail
    }

    /// Puts what is in the log into a block and uploads what it can, as products do from time to time.
    pub(crate) fn ship(&mut self, ground: &mut Ground) {
        if self.ingests() {
            self.disk.cut();
            if self.can_upload(ground) {
                self.disk.upload(&mut ground.bucket);
            }
        }
    }

    fn quiet(&mut self, id: u64, ground: &mut Ground) {
        let works = self.can_upload(ground);
        let Some(process) = self.process.as_mut().filter(|p| p.id == id && p.quiesces && !p.stopping) else {
            return;
        };
        if !works {
            return self.later(ground.now + AGAIN, Coming::Quiet(id));
        }
        self.disk.cut();
        self.disk.upload(&mut ground.bucket);
        let uploaded = !self.disk.blocks.is_empty();
        process.quiet = uploaded.then_some(ground.now);
        let event = Event::Quiet(process.number, Quiet { process: id.to_string(), uploaded });
        self.handle(event, ground);
    }

    fn forget_no_more(&mut self) {
        self.coming.retain(|_, coming| !matches!(coming, Coming::Forgets(..)));
    }

    fn forget(&mut self, number: ProcessNumber, units: BTreeSet<UnitName>, ground: &mut Ground) {
        if self.process.as_ref().is_some_and(|p| p.number == number && p.ready) {
            if !ground.has(Bug::LeavesPlaces) {
                ground.forgotten.extend(units.iter().cloned());
            }
            self.handle(Event::Forgotten(number, units), ground);
        }
    }

    /// When everybody has found what it uploaded before it was to go.
    pub(crate) fn is_found_at(&self, after: Duration) -> Option<Duration> {
        self.process.as_ref()?.quiet.map(|at| at + after)
    }

    fn uploaded(&mut self, id: u64, ground: &mut Ground) {
        let Some(process) = self.process.as_ref().filter(|p| p.id == id) else { return };
        let (number, roles) = (process.number, process.order.assignment.roles.clone());
        let works = self.can_upload(ground);
        if ground.product == Product::Loki && !works {
            // It waits for the object store as long as it takes.
            return self.later(ground.now + AGAIN, Coming::Uploaded(id));
        }
        self.disk.cut();
        if works {
            self.disk.upload(&mut ground.bucket);
        }
        (self.in_ring, self.read_only) = (false, false);
        if ground.product == Product::Tempo && roles.contains(Role::All) {
            // Its query-frontend waits for ever.
            self.handle(Event::Flushed(number), ground);
        } else {
            self.later(ground.now + AT_ONCE, Coming::Ends(id, true));
        }
    }

    fn ended(&mut self, id: u64, success: bool, ground: &mut Ground) {
        let Some(process) = self.process.take_if(|p| p.id == id) else { return };
        self.killed += u32::from(!success);
        let cause = if success { "exit code 0" } else { "signal 9 (SIGKILL)" }.to_owned();
        // An agent does not learn how a process ended that another one started.
        let success = success && process.number != 0;
        let (lines, jitter) = (Vec::new(), Jitter::default());
        self.handle(Event::Exited { process: process.number, cause, success, lines, jitter }, ground);
    }

    pub(crate) fn kill_process(&mut self, now: Duration) {
        if let Some(process) = &self.process {
            let id = process.id;
            self.later(now, Coming::Ends(id, false));
        }
    }

    pub(crate) fn kill_agent(&mut self, now: Duration) {
        if self.agent.take().is_some() {
            self.coming.retain(|_, coming| !matches!(coming, Coming::ToAgent(_)));
            self.later(now + AGENT_BACK, Coming::AgentBack);
        }
    }

    /// Kills both at once; the agent does not see its process end.
    pub(crate) fn kill(&mut self, now: Duration) {
        self.process = None;
        self.kill_agent(now);
    }

    pub(crate) fn restart(&mut self, ground: &mut Ground) {
        self.handle(Event::Shutdown, ground);
    }

    fn handle(&mut self, event: Event, ground: &mut Ground) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            let Some(machine) = &mut self.agent else { return };
            for action in machine.handle(event, ground.now) {
                events.extend(self.carry_out(action, ground));
            }
        }
    }

    fn carry_out(&mut self, action: Action, ground: &mut Ground) -> Option<Event> {
        let now = ground.now;
        match action {
            Action::Check(order) | Action::CheckStarted(order) => {
                let revision = &order.assignment.revision;
                let outcome = if order.cluster.documents.contains_key(revision) {
                    Outcome::Accepted
                } else {
                    Outcome::Rejected(format!("the coordinator sent no document for revision {revision}"))
                };
                self.later(now + CHECK, Coming::ToAgent(Event::Checked(outcome, Jitter::default())));
            }
            Action::Keep(order) => {
                self.highest_kept = self.highest_kept.max(order.assignment.epoch);
                if !(ground.has(Bug::ObeysTheOld) && self.kept.is_some()) {
                    self.kept = Some(order);
                }
            }
            Action::Mark(order) => self.marked = order,
            Action::Inspect(order, ending) => {
                let left = self.held(&order, ending, ground);
                self.later(now + AT_ONCE, Coming::ToAgent(Event::Inspected(left, Jitter::default())));
            }
            Action::Spawn(process, order) => return Some(self.spawn(process, order, ground)),
            Action::Leave { process, empty, .. } => {
                self.forget_no_more();
                let ready = self.process.as_ref().is_some_and(|p| p.ready);
                let result = if ready { Ok(()) } else { Err("503 Service Unavailable".to_owned()) };
                if let Some(process) = self.process.as_mut().filter(|p| p.ready) {
                    process.armed = true;
                    if empty {
                        let id = process.id;
                        self.in_ring = false;
                        self.later(now + HEARTBEAT, Coming::Heartbeat(id));
                    }
                }
                self.later(now + LEAVE, Coming::ToAgent(Event::Left(process, result)));
            }
            Action::Quiesce(number, order) => {
                if let Some(process) = self.process.as_mut().filter(|p| p.number == number) {
                    let id = process.id;
                    process.quiesces = true;
                    self.read_only = order.manners.takes_nothing;
                    self.later(now + self.upload_time(), Coming::Quiet(id));
                }
            }
            Action::Resume(number, _) => {
                if let Some(process) = self.process.as_mut().filter(|p| p.number == number) {
                    (process.quiesces, process.quiet) = (false, None);
                    self.read_only = false;
                    self.later(now + AT_ONCE, Coming::ToAgent(Event::Resumed(number)));
                }
            }
            Action::Forget(number, order) => {
                self.forget_no_more();
                let units = order.assignment.forgets.clone();
                if !units.is_empty() {
                    self.later(now + LOOK, Coming::Forgets(number, units));
                }
            }
            Action::Stop(..) => self.stop(ground),
            Action::Kill(_) => {
                if let Some(id) = self.process.as_ref().map(|p| p.id) {
                    self.later(now + AT_ONCE, Coming::Ends(id, false));
                }
            }
            Action::Reload(process, order) => {
                if let Some(process) = &mut self.process {
                    process.order = order;
                }
                self.later(now + LEAVE, Coming::ToAgent(Event::Reloaded(process, Ok(()))));
            }
            Action::Exit => self.kill_agent(now),
        }
        None
    }

    /// What the product's own look at the disk finds.
    fn held(&self, order: &Order, ending: Ending, ground: &Ground) -> Option<String> {
        if ground.has(Bug::TrustsTheExit) && ending == Ending::Orderly {
            return None;
        }
        let files = self.disk.files(ground.product);
        let workload = ProductWorkload { binary: PathBuf::new() };
        workload
            .held(&order.assignment, &order.cluster, &files, ending)
            .unwrap_or_else(|error| Some(error.to_string()))
    }

    fn spawn(&mut self, number: ProcessNumber, order: Arc<Order>, ground: &mut Ground) -> Event {
        if self.process.is_some() {
            ground.breaks("one process per disk", || format!("{} starts a second process", self.name));
        }
        let takes_writes = !self.balances && takes_writes(ground.product, &order.assignment.roles);
        if !takes_writes && let Some(write) = ground.only_here(self.disk.writes()) {
            ground.breaks("stranded data", || {
                let roles = &order.assignment.roles;
                format!("{} runs {roles} over a disk that alone has write {write}", self.name)
            });
        }
        if !order.cluster.documents.contains_key(&order.assignment.revision) {
            let cause = "no document".to_owned();
            return Event::SpawnFailed { process: number, cause, jitter: Jitter::default() };
        }
        self.sequence += 1;
        let id = self.sequence;
        self.process = Some(Process {
            id,
            number,
            order,
            takes_writes,
            ready: false,
            armed: false,
            stopping: false,
            quiesces: false,
            quiet: None,
        });
        let ready = if self.balances { LEAVE } else { READY };
        self.later(ground.now + ready, Coming::Ready(id));
        Event::Spawned(number)
    }

    fn upload_time(&self) -> Duration {
        if self.uploads == Uploads::Slow { SLOW_UPLOAD } else { UPLOAD }
    }

    /// The stop signal.
    fn stop(&mut self, ground: &mut Ground) {
        self.forget_no_more();
        let now = ground.now;
        let Some(process) = &mut self.process else { return };
        let id = process.id;
        let uploads = process.takes_writes && (process.armed || ground.product == Product::Tempo);
        if std::mem::replace(&mut process.stopping, true) {
            // A second signal ends it at once.
            return self.later(now + AT_ONCE, Coming::Ends(id, false));
        }
        self.leaving = true;
        if uploads {
            self.later(now + self.upload_time(), Coming::Uploaded(id));
        } else {
            // What is in the log stays there. One that was starting fails.
            let success = process.ready;
            self.later(now + END, Coming::Ends(id, success));
        }
    }
}
