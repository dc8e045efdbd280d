//! Carries out what the machine decides: processes, files, probes, calls.

mod check;
pub(crate) mod children;
mod disk;
pub(crate) mod files;
mod http;
mod log;
pub(crate) mod orphan;
mod output;
mod probe;
mod quiesce;
mod reload;
mod ring;
pub(crate) mod sink;

use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use muster_nginx::only_adds_servers;
use muster_relation::{Assignment, ClusterData, Quiet, Run};
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::{sleep, timeout};
use tokio_util::task::AbortOnDropHandle;

pub use self::check::check_config;
use self::children::Ending;
use self::disk::Directory;
use self::log::Log;
use self::orphan::{ProcessRecord, Runs};
use self::output::{LastLines, Tail};
use self::sink::Sink;
use crate::Settings;
use crate::machine::backoff::Jitter;
use crate::machine::{Event, Order, Outcome, ProcessNumber, StopSignal};
use crate::state::State;
use crate::workload::{Call, Launch, Probe, Workload, document};

/// How long output is read after the end of the process that wrote it: a descendant may hold the pipe for ever.
const DRAIN_OUTPUT: Duration = Duration::from_millis(200);
/// How long one call of a leaving unit may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// How often a process that was asked to end is asked whether it holds anything.
const FLUSHED_PERIOD: Duration = Duration::from_millis(500);

/// A jitter that nobody can foresee.
pub(crate) fn jitter() -> Jitter {
    // The standard library's hash keys are random, which spares a crate.
    Jitter::new(RandomState::new().build_hasher().finish())
}

/// Why a program could not be started, in one line that says what to do.
fn start_error(program: &Path, error: &io::Error) -> String {
    let program = program.display();
    match error.kind() {
        io::ErrorKind::NotFound => format!("{program} is not there; install it or give another path"),
        io::ErrorKind::PermissionDenied => format!("{program} may not be executed; make it executable"),
        _ => format!("failed to start {program}: {error}"),
    }
}

/// What to start for an assignment, or why nobody can, in one line.
fn launch(
    workload: &dyn Workload,
    settings: &Settings,
    assignment: &Assignment,
    cluster: &ClusterData,
    directory: &Path,
) -> Result<Launch, String> {
    let launch = workload.launch(settings, assignment, cluster, directory);
    let mut launch = launch.map_err(|error| error.to_string())?;
    // The process gets a working directory of its own; a bare name is still looked up in PATH.
    if launch.program.components().count() > 1
        && let Ok(program) = std::path::absolute(&launch.program)
    {
        launch.program = program;
    }
    Ok(launch)
}

/// The effects of one agent.
#[derive(Debug)]
pub(crate) struct Driver {
    settings: Arc<Settings>,
    workload: Arc<dyn Workload>,
    events: UnboundedSender<Event>,
    state: State,
    sink: Sink,
    running: Option<Running>,
    /// The order whose files are in the directory for checks.
    staged: Option<Arc<Order>>,
}

/// A task that ends when nobody holds it any more.
type Task = AbortOnDropHandle<()>;

fn task(what: impl Future<Output = ()> + Send + 'static) -> Task {
    Task::new(tokio::spawn(what))
}

/// The process that is alive, or was until a moment ago.
#[derive(Debug)]
struct Running {
    number: ProcessNumber,
    process: Process,
    /// What it was started for, or reloaded with last, as far as anybody knows.
    order: Option<Arc<Order>>,
    /// What is noted of it for the next agent, where the kernel tells it from others.
    record: Option<ProcessRecord>,
    /// Has it take data, or not.
    quieting: Option<Task>,
    /// Has it forget who is gone.
    forgetting: Option<Task>,
    /// Tasks that end with the process.
    tasks: Vec<Task>,
}

/// A process that can be sent signals without a risk that another one gets them.
#[derive(Debug, Clone)]
enum Process {
    /// Started by this agent.
    Child(Pid),
    /// Left by a former agent.
    Orphan(ProcessRecord),
}

impl Process {
    fn pid(&self) -> Pid {
        match self {
            Self::Child(pid) => *pid,
            Self::Orphan(record) => Pid::from_raw(record.pid),
        }
    }

    /// Sends it a signal. Whether it was there to be sent one.
    fn signal(&self, signal: Signal) -> bool {
        match self {
            Self::Child(pid) => children::signal(*pid, signal),
            Self::Orphan(record) => record.signal(signal),
        }
    }

    fn signal_group(&self, signal: Signal) {
        match self {
            Self::Child(pid) => {
                children::signal_group(*pid, signal);
            }
            Self::Orphan(record) => record.signal_group(signal),
        }
    }
}

impl Running {
    fn new(number: ProcessNumber, process: Process) -> Self {
        Self {
            number,
            process,
            order: None,
            record: None,
            quieting: None,
            forgetting: None,
            tasks: Vec::new(),
        }
    }

    /// No other process of the unit has this name.
    fn name(&self) -> String {
        self.record.as_ref().map_or_else(|| self.process.pid().to_string(), ProcessRecord::name)
    }
}

impl Driver {
    pub(crate) fn new(
        settings: Arc<Settings>,
        workload: Arc<dyn Workload>,
        events: UnboundedSender<Event>,
        state: State,
        sink: Sink,
    ) -> Self {
        Self { settings, workload, events, state, sink, running: None, staged: None }
    }

    /// Waits until the log is written.
    pub(crate) fn finish(self) {
        self.sink.finish();
    }

    /// What a process is started from.
    fn live(&self) -> PathBuf {
        self.settings.run_directory.join("live")
    }

    /// Where a config is checked.
    fn next(&self) -> PathBuf {
        self.settings.run_directory.join("next")
    }

    fn launch(&self, order: &Order, directory: &Path) -> Result<Launch, String> {
        launch(&*self.workload, &self.settings, &order.assignment, &order.cluster, directory)
    }

    /// How to see whether a process that a former agent left is ready, if it is the one that an order asks for, so that nothing needs to be
    /// started anew. One whose output nobody takes any more would not live on.
    pub(crate) fn goes_on(&self, record: &ProcessRecord, order: &Order) -> Option<Probe> {
        if self.settings.log.is_none() || order.assignment.run != Run::Start {
            return None;
        }
        let launch = self.launch(order, &self.live()).ok()?;
        (record.runs == Some(Runs::new(&launch, order))).then_some(launch.probe)
    }

    /// Takes over a process that a former agent left, as number 0. `order`: what it was started for, as far as anybody knows.
    pub(crate) fn watch_orphan(&mut self, record: ProcessRecord, order: Option<&Arc<Order>>) {
        let (events, orphan, tail) = (self.events.clone(), record.clone(), self.tail_of_orphan());
        let watch = task(async move {
            orphan.ended().await;
            let cause = "an end that nobody saw: a former agent had started it".to_owned();
            let (success, lines) = (false, tail.lines());
            let _ = events.send(Event::Exited { process: 0, cause, success, lines, jitter: jitter() });
        });
        let keeper = self.settings.log.as_deref().map(|path| task(Log::of_orphan(path).keep_small()));
        self.running = Some(Running {
            order: order.cloned(),
            record: Some(record.clone()),
            tasks: [watch].into_iter().chain(keeper).collect(),
            ..Running::new(0, Process::Orphan(record))
        });
    }

    /// Watches whether a process is ready that was taken over to go on. Says whether it is now.
    pub(crate) async fn watch_ready(&mut self, probe: Probe) -> bool {
        let address = self.settings.address;
        let is_ready = probe::is_ready(&probe, address).await;
        let watch = probe::watch(0, probe, address, is_ready, self.tail_of_orphan(), self.events.clone());
        if let Some(running) = &mut self.running {
            running.tasks.push(task(watch));
        }
        is_ready
    }

    fn tail_of_orphan(&self) -> Tail {
        let log = self.settings.log.as_deref().map(Log::of_orphan);
        log.map_or_else(|| Tail::Read(LastLines::default()), Tail::Log)
    }

    /// Checks an order's config. What is wrong with the order itself counts as a refusal. `stages`: the files that are checked are
    /// those that the next process is started with.
    pub(crate) fn check(&mut self, order: Arc<Order>, stages: bool) {
        let directory = self.next();
        let launch = self.launch(&order, &directory);
        self.staged = (stages && launch.is_ok()).then(|| Arc::clone(&order));
        let (events, workload) = (self.events.clone(), Arc::clone(&self.workload));
        tokio::spawn(async move {
            let outcome = match launch {
                Err(message) => Outcome::Rejected(message),
                Ok(launch) => {
                    let message = |stderr: &str| workload.check_message(&order.cluster, stderr);
                    check::check(&launch, &directory, message).await
                }
            };
            let _ = events.send(Event::Checked(outcome, jitter()));
        });
    }

    /// Puts an order's files in place: those that were checked, where there are some.
    fn install(&mut self, order: &Arc<Order>) -> Result<Launch, String> {
        let directory = self.live();
        let launch = self.launch(order, &directory)?;
        let staged = self.staged.take().is_some_and(|staged| staged.same_process(order));
        let installed = if staged {
            files::adopt(&launch, &self.next(), &directory)
        } else {
            files::write(&launch, &directory)
        };
        installed.map_err(|error| error.to_string())?;
        Ok(launch)
    }

    /// Starts a process.
    pub(crate) fn spawn(&mut self, process: ProcessNumber, order: &Arc<Order>) -> Event {
        match self.try_spawn(process, order) {
            Ok(()) => Event::Spawned(process),
            Err(cause) => {
                tracing::warn!(cause, "the workload could not be started");
                Event::SpawnFailed { process, cause, jitter: jitter() }
            }
        }
    }

    fn try_spawn(&mut self, process: ProcessNumber, order: &Arc<Order>) -> Result<(), String> {
        let launch = self.install(order)?;
        let mut command = Command::new(&launch.program);
        command.args(&launch.arguments).current_dir(self.live());
        command.stdin(self.state.stdin()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let log = self.settings.log.as_deref().and_then(|path| direct(&mut command, path));
        let mut started =
            children::start(&mut command).map_err(|error| start_error(&launch.program, &error))?;
        let pid = started.pid;
        let revision = &order.assignment.revision;
        tracing::info!(pid = pid.as_raw(), %revision, roles = %order.assignment.roles, "workload started");
        let record = ProcessRecord::of(pid, order.manners.kill_delay, order.manners.stop_signal);
        let runs = Some(Runs::new(&launch, order));
        let record = record.map(|record| ProcessRecord { runs, ..record });
        note(&self.state, record.as_ref());
        let read = LastLines::default();
        let stdout = started.child.stdout.take().map(OwnedFd::from);
        let stderr = started.child.stderr.take().map(OwnedFd::from);
        let readers: Vec<_> = stdout
            .into_iter()
            .chain(stderr)
            .map(|pipe| tokio::spawn(output::forward(pipe, self.sink.writer(), read.clone())))
            .collect();
        let keeper = log.clone().map(|log| task(log.keep_small()));
        let tail = log.map_or(Tail::Read(read), Tail::Log);
        let watch = probe::watch(
            process,
            launch.probe,
            self.settings.address,
            false,
            tail.clone(),
            self.events.clone(),
        );
        let events = self.events.clone();
        tokio::spawn(async move {
            let ending = started.ended.await;
            children::kill_strangers().await;
            for mut reader in readers {
                if timeout(DRAIN_OUTPUT, &mut reader).await.is_err() {
                    reader.abort();
                }
            }
            let (success, lines) = (matches!(ending, Ok(Ending::Code(0))), tail.lines());
            let cause = ending.map_or_else(|_| "lost".to_owned(), |ending| ending.to_string());
            let _ = events.send(Event::Exited { process, cause, success, lines, jitter: jitter() });
        });
        self.running = Some(Running {
            order: Some(Arc::clone(order)),
            record,
            tasks: [task(watch)].into_iter().chain(keeper).collect(),
            ..Running::new(process, Process::Child(pid))
        });
        Ok(())
    }

    /// Forgets a process that has ended.
    pub(crate) fn ended(&mut self, process: ProcessNumber) {
        if self.running.as_ref().is_some_and(|running| running.number == process) {
            self.running = None;
            if let Err(error) = self.state.save_process(None) {
                tracing::warn!(%error, "a process that has ended is still on disk");
            }
        }
    }

    /// Notes what a process runs now that was reloaded.
    pub(crate) fn reloaded(&mut self, process: ProcessNumber) {
        let state = self.state.clone();
        let Some(Running { order: Some(order), record: Some(record), .. }) = self.running(process) else {
            return;
        };
        if let Some(runs) = record.runs.take() {
            record.runs = Some(runs.with(order));
            note(&state, Some(record));
        }
    }

    fn running(&mut self, process: ProcessNumber) -> Option<&mut Running> {
        self.running.as_mut().filter(|running| running.number == process)
    }

    /// Notes that a process is asked to leave or end: the next agent is not to go on with it.
    fn is_to_end(&mut self, process: ProcessNumber) {
        let state = self.state.clone();
        let record = self.running(process).and_then(|running| running.record.as_mut());
        if let Some(record) = record.filter(|record| record.runs.is_some()) {
            record.runs = None;
            note(&state, Some(record));
        }
    }

    /// Asks a process to end.
    pub(crate) fn stop(&mut self, process: ProcessNumber, signal: StopSignal) {
        let signal = match signal {
            StopSignal::Terminate => Signal::SIGTERM,
            StopSignal::Quit => Signal::SIGQUIT,
        };
        self.is_to_end(process);
        self.signal(process, signal);
        let (events, address) = (self.events.clone(), self.settings.address);
        let workload = Arc::clone(&self.workload);
        let Some(running) = self.running(process) else { return };
        (running.quieting, running.forgetting) = (None, None);
        let ran = running.order.as_deref();
        if let Some(flushed) = ran.and_then(|order| workload.flushed(&order.assignment, &order.cluster)) {
            running.tasks.push(task(async move {
                let at = SocketAddr::new(address, flushed.port);
                loop {
                    let answer = http::request(at, "GET", flushed.page.path, CALL_TIMEOUT).await;
                    let body = answer.map(|(_, body)| body).unwrap_or_default();
                    if flushed.page.is_said(&String::from_utf8_lossy(&body)) {
                        break;
                    }
                    sleep(FLUSHED_PERIOD).await;
                }
                let _ = events.send(Event::Flushed(process));
            }));
        }
    }

    /// Kills a process.
    pub(crate) fn kill(&mut self, process: ProcessNumber) {
        self.signal(process, Signal::SIGKILL);
    }

    fn signal(&mut self, process: ProcessNumber, signal: Signal) {
        let Some(running) = self.running(process) else { return };
        tracing::info!(%signal, "signal to the workload");
        running.process.signal_group(signal);
    }

    /// Makes the calls of a unit that leaves for good. One that is `empty` gives up its place in the ring while it still answers.
    pub(crate) fn leave(&mut self, process: ProcessNumber, order: &Order, empty: bool) {
        self.is_to_end(process);
        let launch = self.launch(order, &self.live());
        let (events, settings) = (self.events.clone(), Arc::clone(&self.settings));
        let task = tokio::spawn(async move {
            let result = match launch {
                Ok(launch) => {
                    let result = call_all(&launch.leave_calls, settings.address).await;
                    if let Some(ring) = launch.ring.filter(|_| empty) {
                        ring::give_place_up(ring, settings.address, &settings.unit.label()).await;
                    }
                    result
                }
                Err(message) => Err(message),
            };
            let _ = events.send(Event::Left(process, result));
        });
        if let Some(running) = self.running(process) {
            // It asks nothing of the ring any more: somebody else may be asked meanwhile.
            running.forgetting = None;
            running.tasks.push(Task::new(task));
        }
    }

    /// Has a process upload what it holds, and take nothing new where it can.
    pub(crate) fn quiesce(&mut self, process: ProcessNumber, order: &Order) {
        let settings = Arc::clone(&self.settings);
        let (events, quiesce) = (self.events.clone(), self.launched(order).and_then(|launch| launch.quiesce));
        if let (Some(quiesce), Some(running)) = (quiesce, self.running(process)) {
            let name = running.name();
            running.quieting = Some(task(async move {
                let uploaded = quiesce::until_quiet(quiesce, &settings).await;
                let _ = events.send(Event::Quiet(process, Quiet { process: name, uploaded }));
            }));
        }
    }

    /// Has a process take data.
    pub(crate) fn resume(&mut self, process: ProcessNumber, order: &Order) {
        let address = self.settings.address;
        let (events, quiesce) = (self.events.clone(), self.launched(order).and_then(|launch| launch.quiesce));
        if let (Some(quiesce), Some(running)) = (quiesce, self.running(process)) {
            running.quieting = Some(task(async move {
                quiesce::until_resumed(quiesce, address).await;
                let _ = events.send(Event::Resumed(process));
            }));
        }
    }

    /// Has a process forget units that have gone, in place of those that it was told of before.
    pub(crate) fn forget(&mut self, process: ProcessNumber, order: &Order) {
        let (events, address) = (self.events.clone(), self.settings.address);
        let units = order.assignment.forgets.clone();
        let ring = self.launched(order).and_then(|launch| launch.ring).filter(|_| !units.is_empty());
        let Some(running) = self.running(process) else { return };
        running.forgetting = ring.map(|ring| {
            task(async move {
                ring::until_forgotten(ring, address, &units).await;
                let _ = events.send(Event::Forgotten(process, units));
            })
        });
    }

    /// What a process was started with that is to be told something.
    fn launched(&self, order: &Order) -> Option<Launch> {
        let launch = self.launch(order, &self.live());
        launch.inspect_err(|problem| tracing::warn!(problem, "the workload cannot be told anything")).ok()
    }

    /// Looks what a process that has ended left on the disk.
    pub(crate) fn inspect(&self, order: &Arc<Order>, ending: muster_products::Ending) {
        let (events, order) = (self.events.clone(), Arc::clone(order));
        let (workload, settings) = (Arc::clone(&self.workload), Arc::clone(&self.settings));
        tokio::task::spawn_blocking(move || {
            let disk = Directory(settings.data_directory.clone());
            let left = workload.held(&order.assignment, &order.cluster, &disk, ending);
            let left = left.unwrap_or_else(|error| Some(format!("its disk cannot be read: {error}")));
            let _ = events.send(Event::Inspected(left, jitter()));
        });
    }

    /// Has a running process take over a new config.
    pub(crate) fn reload(&mut self, process: ProcessNumber, order: &Arc<Order>) {
        let new = order.assignment.revision.clone();
        let installed = self.install(order);
        let (events, address, prefix) = (self.events.clone(), self.settings.address, self.live());
        let Some(running) = self.running(process) else { return };
        let Some(old) = running.order.replace(Arc::clone(order)) else { return };
        let master = running.process.clone();
        let before = document(&old.assignment, &old.cluster);
        let after = document(&order.assignment, &order.cluster);
        let only_adds =
            matches!((before, after), (Ok(before), Ok(after)) if only_adds_servers(before, after));
        running.tasks.push(task(async move {
            let result = match installed {
                Ok(_) => {
                    let revisions = (&old.assignment.revision, &new);
                    reload::reload(&prefix, &master, address, revisions, only_adds).await
                }
                Err(message) => Err(message),
            };
            let _ = events.send(Event::Reloaded(process, result));
        }));
        running.tasks.retain(|task| !task.is_finished());
    }
}

/// Notes for the next agent which process was started, should this one be killed.
fn note(state: &State, record: Option<&ProcessRecord>) {
    if let Err(error) = state.save_process(record) {
        // Only an agent that is killed and started again would miss it.
        tracing::warn!(%error, "the workload's process id is not on disk");
    }
}

/// Has a process write to its log. Where that cannot be opened, its output goes the way that it goes where there is none.
fn direct(command: &mut Command, path: &Path) -> Option<Log> {
    match Log::open(path) {
        Ok((log, [output, errors])) => {
            command.stdout(output).stderr(errors);
            Some(log)
        }
        Err(error) => {
            tracing::warn!(%error, path = %path.display(), "the workload's log cannot be opened");
            None
        }
    }
}

async fn call_all(calls: &[Call], address: std::net::IpAddr) -> Result<(), String> {
    for call in calls {
        let to = SocketAddr::new(address, call.port);
        http::call(to, &call.method, &call.path, CALL_TIMEOUT)
            .await
            .map_err(|problem| format!("the unit stops without {} {}: {problem}", call.method, call.path))?;
    }
    Ok(())
}
