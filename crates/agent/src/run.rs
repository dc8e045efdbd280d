//! The agent's one loop: events to the machine, the machine's actions to the driver, the outcome into the report.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use muster_model::AGENT_PORT;
use muster_relation::{Assignment, ClusterData, Report, ToAgent};
use muster_telemetry::admin;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout};

use crate::Settings;
use crate::channel::{Ends, kubernetes, socket};
use crate::driver::files::FileError;
use crate::driver::orphan::ProcessRecord;
use crate::driver::sink::Sink;
use crate::driver::{Driver, children, files};
use crate::health::AgentHealth;
use crate::machine::{Action, Event, Machine, Order};
use crate::marker;
use crate::state::{LockError, State};
use crate::workload::Workload;

/// How long the last report may take.
const LAST_REPORT: Duration = Duration::from_secs(1);

/// How long a process on a cluster goes on that serves and is about to end. Within it the coordinator hears of it, the load balancers
/// leave the unit out, and every node knows that a load balancer is none any more; on an idle cluster that takes less than a second.
const NOTICE: Duration = Duration::from_secs(5);

/// Why an agent cannot work at all. Everything else it reports and lives with.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// One of its directories cannot be made.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// There is another agent.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The runtime, a signal handler or a thread cannot be had.
    #[error("failed to set up the agent")]
    SetUp(#[source] io::Error),
    /// The channel's socket cannot be made.
    #[error("failed to listen on the agent's socket in {}", .0.display())]
    Socket(std::path::PathBuf, #[source] io::Error),
}

/// A directory cannot be made.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct DirectoryError(FileError);

/// Runs an agent until it is asked to end by SIGTERM or SIGINT. The process must have no other part that starts or waits
/// for child processes: the agent collects them all.
pub fn run(settings: Settings, workload: impl Workload + 'static) -> Result<(), RunError> {
    let settings = settings.absolute().map_err(RunError::SetUp)?;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(RunError::SetUp)?;
    runtime.block_on(supervise(settings, Arc::new(workload)))
}

async fn supervise(settings: Settings, workload: Arc<dyn Workload>) -> Result<(), RunError> {
    for directory in [&settings.directory, &settings.run_directory] {
        files::make_directory(directory).map_err(DirectoryError)?;
    }
    let state = State::new(&settings.directory);
    let _lock = state.lock()?;
    if let Err(error) = nix::sys::prctl::set_child_subreaper(true) {
        tracing::warn!(%error, "orphans of the workload go to another reaper");
    }
    let mut terminate = signal(SignalKind::terminate()).map_err(RunError::SetUp)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(RunError::SetUp)?;
    let mut child_ended = signal(SignalKind::child()).map_err(RunError::SetUp)?;
    let sink = Sink::start(std::io::stdout()).map_err(RunError::SetUp)?;

    let settings = Arc::new(settings);
    let (event_sender, mut events) = mpsc::unbounded_channel();
    let driver = Driver::new(Arc::clone(&settings), Arc::clone(&workload), event_sender, state.clone(), sink);
    let (health_problem, mut health_problems) = watch::channel(None);
    let mut agent = Agent::new(settings, workload, state, driver);
    // Before anybody is told anything: what is there already is no news.
    agent.resume().await;
    let (update_sender, mut updates) = mpsc::channel(8);
    let ends = Ends { updates: update_sender, reports: agent.reports.subscribe() };
    let channel = match agent.settings.place.clone() {
        Some(place) => kubernetes::start(place, &agent.settings.unit, agent.settings.instance.clone(), ends),
        None => {
            let directory = &agent.settings.directory;
            let listener = socket::listen(directory, socket::NAME);
            let listener = listener.map_err(|error| RunError::Socket(directory.clone(), error))?;
            tokio::spawn(socket::serve(listener, ends))
        }
    };
    let health_address = SocketAddr::new(agent.settings.address, AGENT_PORT);
    let health = AgentHealth { reports: agent.reports.subscribe(), problem: health_problem };
    tokio::spawn(admin::serve(health_address, health));

    while !agent.exit {
        let deadline = agent.machine.deadline();
        let timer = sleep_until(agent.started + deadline.unwrap_or_default());
        tokio::select! {
            Some(event) = events.recv() => agent.handle(event),
            Some(ToAgent::Update { assignment, cluster }) = updates.recv() => agent.assigned(assignment, *cluster),
            () = timer, if deadline.is_some() => agent.handle(Event::Timer),
            _ = child_ended.recv() => children::reap(),
            _ = terminate.recv() => agent.handle(Event::Shutdown),
            _ = interrupt.recv() => agent.handle(Event::Shutdown),
            Ok(()) = health_problems.changed() => {
                let problem = health_problems.borrow_and_update().clone();
                agent.set_problem(Topic::Health, problem);
            }
        }
    }
    tracing::info!("agent ended");
    let Agent { driver, reports, settings, .. } = agent;
    driver.finish();
    // What is true at the end is worth a moment.
    drop(reports);
    if settings.place.is_some() {
        let _ = timeout(LAST_REPORT, channel).await;
    }
    Ok(())
}

/// What the machine does not know of but the report should say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Topic {
    /// The last assignment is not on disk.
    Memory,
    /// What holds data is not noted beside the data.
    Marker,
    /// The health pages are not served.
    Health,
}

struct Agent {
    settings: Arc<Settings>,
    workload: Arc<dyn Workload>,
    state: State,
    driver: Driver,
    machine: Machine,
    started: Instant,
    problems: BTreeMap<Topic, String>,
    reports: watch::Sender<Report>,
    exit: bool,
}

impl Agent {
    fn new(settings: Arc<Settings>, workload: Arc<dyn Workload>, state: State, driver: Driver) -> Self {
        // On one machine, what ends an agent has taken its unit out of the load balancer, or ends that too.
        let notice = if settings.place.is_some() { NOTICE } else { Duration::ZERO };
        let machine = Machine::with_notice(notice);
        let problems = BTreeMap::new();
        let reports = watch::Sender::new(report(&settings, &machine, &problems));
        let started = Instant::now();
        Self { settings, workload, state, driver, machine, started, problems, reports, exit: false }
    }

    /// Goes on where a former agent of this unit stopped.
    async fn resume(&mut self) {
        let marked = marker::read(&self.settings.data_directory, &self.settings.unit);
        let marked = marked.map(|marked| self.order(marked.assignment, marked.cluster));
        let applied = self.state.applied(&self.settings.unit, &self.settings.instance);
        let applied = applied.map(|applied| self.order(applied.assignment, applied.cluster));
        let noted = self.state.process();
        // An order is on disk before a process is started for it.
        let unnoted = || self.state.unnoted_process(&applied.as_ref()?.manners);
        let alive = noted.clone().filter(ProcessRecord::is_alive).or_else(unnoted);
        if let Some(record) = noted.filter(|record| !record.is_alive()) {
            record.kill_rest();
            let _ = self.state.save_process(None);
        }
        let found = alive.as_ref().zip(applied.as_ref());
        let goes_on = found.and_then(|(record, order)| self.driver.goes_on(record, order));
        if let Some(record) = alive {
            let (pid, kill_delay) = (record.pid, Duration::from_millis(record.kill_delay_ms));
            let stop_signal = record.stop_signal();
            // One that is not what is wanted may run what was wanted before, which is what holds data.
            let ran = applied.as_ref().filter(|_| goes_on.is_some()).or(marked.as_ref()).or(applied.as_ref());
            self.driver.watch_orphan(record, ran);
            if goes_on.is_some() {
                tracing::info!(pid, "taking over the workload of a former agent");
            } else {
                tracing::info!(pid, "ending the workload of a former agent");
                self.handle(Event::Found { kill_delay, stop_signal });
            }
        }
        if let Some(order) = marked {
            self.handle(Event::Holds(order));
        }
        match (applied, goes_on) {
            (Some(order), Some(probe)) => {
                let ready = self.driver.watch_ready(probe).await;
                self.handle(Event::TakenOver { order, ready });
            }
            (Some(order), None) => self.handle(Event::Restored(order)),
            (None, _) => {}
        }
    }

    fn order(&self, assignment: Assignment, mut cluster: ClusterData) -> Arc<Order> {
        // The other revisions are for other units; an old one would only be kept for nothing.
        cluster.documents.retain(|revision, _| *revision == assignment.revision);
        let manners = self.workload.manners(&assignment, &cluster);
        Arc::new(Order { assignment, cluster, manners })
    }

    fn assigned(&mut self, assignment: Assignment, cluster: ClusterData) {
        tracing::debug!(epoch = assignment.epoch, revision = %assignment.revision, "assignment received");
        let order = self.order(assignment, cluster);
        self.handle(Event::Assigned(order));
    }

    fn handle(&mut self, event: Event) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            match &event {
                Event::Exited { process, cause, .. } => {
                    tracing::info!(process, cause, "workload ended");
                    self.driver.ended(*process);
                }
                Event::Reloaded(process, Ok(())) => self.driver.reloaded(*process),
                _ => {}
            }
            for action in self.machine.handle(event, self.started.elapsed()) {
                events.extend(self.carry_out(action));
            }
        }
        self.publish();
    }

    fn carry_out(&mut self, action: Action) -> Option<Event> {
        match action {
            Action::Check(order) => self.driver.check(order, true),
            Action::CheckStarted(order) => self.driver.check(order, false),
            Action::Keep(order) => self.keep(&order),
            Action::Spawn(process, order) => return Some(self.driver.spawn(process, &order)),
            Action::Mark(order) => self.mark(order.as_deref()),
            Action::Inspect(order, ending) => self.driver.inspect(&order, ending),
            Action::Leave { process, order, empty } => self.driver.leave(process, &order, empty),
            Action::Quiesce(process, order) => self.driver.quiesce(process, &order),
            Action::Resume(process, order) => self.driver.resume(process, &order),
            Action::Forget(process, order) => self.driver.forget(process, &order),
            Action::Stop(process, signal) => self.driver.stop(process, signal),
            Action::Kill(process) => self.driver.kill(process),
            Action::Reload(process, order) => self.driver.reload(process, &order),
            Action::Exit => self.exit = true,
        }
        None
    }

    fn keep(&mut self, order: &Order) {
        let Settings { unit, instance, .. } = &*self.settings;
        let saved = self.state.save_applied(unit, instance, &order.assignment, &order.cluster);
        let problem = saved.err().map(|error| format!("the assignment is not on disk: {error}"));
        self.set_problem(Topic::Memory, problem);
    }

    fn mark(&mut self, order: Option<&Order>) {
        let Settings { data_directory, unit, .. } = &*self.settings;
        let marked = match order {
            Some(order) => marker::write(data_directory, unit, &order.assignment, &order.cluster),
            None => marker::remove(data_directory),
        };
        let problem = marked.err().map(|error| format!("what holds data is not noted beside it: {error}"));
        self.set_problem(Topic::Marker, problem);
    }

    fn set_problem(&mut self, topic: Topic, problem: Option<String>) {
        match problem {
            Some(problem) => {
                tracing::warn!("{problem}");
                self.problems.insert(topic, problem);
            }
            None => {
                self.problems.remove(&topic);
            }
        }
        self.publish();
    }

    fn publish(&self) {
        let report = report(&self.settings, &self.machine, &self.problems);
        self.reports.send_if_modified(|current| {
            let changed = *current != report;
            *current = report;
            changed
        });
    }
}

fn report(settings: &Settings, machine: &Machine, problems: &BTreeMap<Topic, String>) -> Report {
    let problems: Vec<_> =
        machine.problem().into_iter().chain(problems.values().map(String::as_str)).collect();
    let unit = Report::new(&*settings.instance, settings.address.to_string(), env!("CARGO_PKG_VERSION"));
    Report { last_error: (!problems.is_empty()).then(|| problems.join("; ")), ..machine.report(unit) }
}
