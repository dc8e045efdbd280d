//! The units' agents: each is started or adopted, told what its unit is to run, listened to, and ended.
//!
//! An agent is a process of its own that outlives `muster up`. One that is there already is adopted by connecting to its
//! socket; its process id is what the kernel says of the socket's other end.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use muster_agent::channel::socket;
use muster_model::UnitName;
use muster_relation::{Frame, MAX_FRAME_LEN, Report, ToAgent, ToCoordinator};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::directory::private_directory;

/// How long an agent may take from its start until it listens.
const LISTEN_DEADLINE: Duration = Duration::from_secs(10);
/// How often a condition of another process that nothing announces is looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(10);
/// The wait before an agent that ended is started again: doubled from the first to the last.
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LAST_WAIT: Duration = Duration::from_secs(5);
/// An agent that lived this long is started again without a wait.
const LIVED_WELL: Duration = Duration::from_secs(10);

/// How a unit's agent is started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AgentCommand {
    /// The unit's directory, in which the agent listens.
    pub directory: PathBuf,
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// The unit's instance: an agent of another one is ended and not adopted. Absent where it does not matter.
    pub instance: Option<String>,
}

/// What happens to agents.
#[derive(Debug)]
pub(crate) enum AgentEvent {
    /// The agent is there and listens.
    Connected(UnitName),
    /// The unit says what is true of it.
    Report(UnitName, Box<Report>),
    /// The agent is not there; it is started again.
    Lost(UnitName),
    /// The agent could not be started, for the reason given; it is tried again.
    Failed(UnitName, String),
}

/// All agents of a model.
pub(crate) struct Agents {
    handles: BTreeMap<UnitName, Handle>,
    /// Agents on their way out, which a new one of the same unit waits for.
    ending: BTreeMap<UnitName, JoinHandle<()>>,
    events: mpsc::UnboundedSender<AgentEvent>,
}

struct Handle {
    update: watch::Sender<Option<ToAgent>>,
    end: CancellationToken,
    task: JoinHandle<()>,
}

impl Agents {
    /// No agents yet. What happens to them goes to `events`.
    pub(crate) fn new(events: mpsc::UnboundedSender<AgentEvent>) -> Self {
        Self { handles: BTreeMap::new(), ending: BTreeMap::new(), events }
    }

    /// Sees to it that the unit has an agent.
    pub(crate) fn ensure(&mut self, unit: &UnitName, command: AgentCommand) {
        if self.handles.contains_key(unit) {
            return;
        }
        let (update, updates) = watch::channel(None);
        let end = CancellationToken::new();
        let keeper = Keeper {
            unit: unit.clone(),
            command,
            updates,
            end: end.clone(),
            events: self.events.clone(),
            child: None,
        };
        let before = self.ending.remove(unit);
        let task = tokio::spawn(async move {
            if let Some(before) = before {
                let _ = before.await;
            }
            keeper.keep().await;
        });
        self.handles.insert(unit.clone(), Handle { update, end, task });
    }

    /// Tells the unit what to run, if that is news.
    pub(crate) fn tell(&self, unit: &UnitName, update: ToAgent) {
        if let Some(handle) = self.handles.get(unit) {
            handle.update.send_if_modified(|now| {
                let news = now.as_ref() != Some(&update);
                if news {
                    *now = Some(update);
                }
                news
            });
        }
    }

    /// Ends the unit's agent, which ends its workload first.
    pub(crate) fn end(&mut self, unit: &UnitName) {
        if let Some(handle) = self.handles.remove(unit) {
            handle.end.cancel();
            self.ending.insert(unit.clone(), handle.task);
        }
    }

    /// Whether the unit has an agent.
    pub(crate) fn has(&self, unit: &UnitName) -> bool {
        self.handles.contains_key(unit)
    }

    /// The units that have an agent.
    pub(crate) fn units(&self) -> Vec<UnitName> {
        self.handles.keys().cloned().collect()
    }

    /// Waits until every agent that was told to end has.
    pub(crate) async fn ended(&mut self) {
        for (_, task) in std::mem::take(&mut self.ending) {
            let _ = task.await;
        }
    }
}

/// Keeps one agent.
struct Keeper {
    unit: UnitName,
    command: AgentCommand,
    updates: watch::Receiver<Option<ToAgent>>,
    end: CancellationToken,
    events: mpsc::UnboundedSender<AgentEvent>,
    child: Option<Child>,
}

impl Keeper {
    async fn keep(mut self) {
        let mut wait = FIRST_WAIT;
        loop {
            let started = Instant::now();
            match self.reach().await {
                Ok(None) => break,
                Ok(Some(stream)) => {
                    let _ = self.events.send(AgentEvent::Connected(self.unit.clone()));
                    let ended = self.converse(stream).await;
                    let _ = self.events.send(AgentEvent::Lost(self.unit.clone()));
                    if ended {
                        break;
                    }
                }
                Err(error) => {
                    tracing::warn!(unit = %self.unit, %error, "failed to start the agent");
                    let _ = self.events.send(AgentEvent::Failed(self.unit.clone(), error.to_string()));
                }
            }
            wait = if started.elapsed() >= LIVED_WELL { FIRST_WAIT } else { (wait * 2).min(LAST_WAIT) };
            tokio::select! {
                () = sleep(wait) => {}
                () = self.end.cancelled() => {}
            }
        }
        if let Some(mut child) = self.child.take() {
            if let Some(id) = child.id() {
                let _ = kill(Pid::from_raw(id.cast_signed()), Signal::SIGTERM);
            }
            let _ = child.wait().await;
        }
    }

    /// Connects to the agent that is there, also when it is only to be ended, or starts one. Nothing where none is there and
    /// none is wanted.
    async fn reach(&mut self) -> io::Result<Option<UnixStream>> {
        if let Ok(stream) = socket::connect(&self.command.directory, socket::NAME).await {
            return Ok(Some(stream));
        }
        if self.end.is_cancelled() {
            return Ok(None);
        }
        if let Some(mut child) = self.child.take() {
            // It no longer listens, so it is about to end or has ended.
            match timeout(LISTEN_DEADLINE, child.wait()).await {
                Ok(status) => tracing::warn!(unit = %self.unit, status = ?status.ok(), "the agent ended"),
                Err(_) => child.start_kill()?,
            }
        }
        private_directory(&self.command.directory)?;
        let mut child = self.spawn()?;
        let deadline = Instant::now() + LISTEN_DEADLINE;
        loop {
            if let Ok(stream) = socket::connect(&self.command.directory, socket::NAME).await {
                self.child = Some(child);
                return Ok(Some(stream));
            }
            if let Some(status) = child.try_wait()? {
                return Err(io::Error::other(format!(
                    "the agent ended at once ({status}); see {}",
                    self.log().display()
                )));
            }
            if Instant::now() >= deadline {
                child.start_kill()?;
                return Err(io::Error::new(io::ErrorKind::TimedOut, "the agent does not listen"));
            }
            sleep(LOOK_AGAIN).await;
        }
    }

    fn log(&self) -> PathBuf {
        agent_log(&self.command.directory)
    }

    fn spawn(&self) -> io::Result<Child> {
        let log = OpenOptions::new().create(true).append(true).open(self.log())?;
        Command::new(&self.command.program)
            .args(&self.command.arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            // A group of its own: Ctrl-C in the terminal of `muster up` must not reach agents.
            .process_group(0)
            .spawn()
            .map_err(|e| io::Error::new(e.kind(), format!("{}: {e}", self.command.program.display())))
    }

    /// Talks with the agent until it is gone. Says whether it was ended on purpose.
    async fn converse(&mut self, stream: UnixStream) -> bool {
        let pid = stream.peer_cred().ok().and_then(|peer| peer.pid()).map(Pid::from_raw);
        let (read, mut write) = stream.into_split();
        let mut read = BufReader::new(read);
        let mut line = Vec::new();
        self.updates.mark_changed();
        let mut ending = false;
        loop {
            tokio::select! {
                // First the order to end, which also closes the channel of updates.
                biased;
                () = self.end.cancelled(), if !ending => {
                    ending = true;
                    if let Some(pid) = pid {
                        let _ = kill(pid, Signal::SIGTERM);
                    }
                }
                changed = self.updates.changed(), if !ending => {
                    if changed.is_err() {
                        return false;
                    }
                    let update = self.updates.borrow_and_update().as_ref().map(ToAgent::to_line);
                    if let Some(update) = update
                        && write.write_all(update.as_bytes()).await.is_err()
                    {
                        break;
                    }
                }
                read = read_line(&mut read, &mut line) => {
                    let message = match read {
                        Ok(true) => std::str::from_utf8(&line).ok().and_then(|text| ToCoordinator::from_line(text).ok()),
                        Ok(false) | Err(_) => break,
                    };
                    line.clear();
                    match message {
                        Some(ToCoordinator::Report(report))
                            if !ending && self.command.instance.as_ref().is_some_and(|i| *i != report.instance) =>
                        {
                            tracing::warn!(unit = %self.unit, "ending the agent of a former unit of this name");
                            if let Some(pid) = pid {
                                let _ = kill(pid, Signal::SIGTERM);
                                self.wait_for_end(pid).await;
                            }
                            return false;
                        }
                        Some(ToCoordinator::Report(report)) => {
                            let _ = self.events.send(AgentEvent::Report(self.unit.clone(), Box::new(report)));
                        }
                        None => tracing::warn!(unit = %self.unit, "the agent sent a line that is no report"),
                    }
                }
            }
        }
        if ending && let Some(pid) = pid {
            self.wait_for_end(pid).await;
        }
        ending
    }

    /// Waits until the agent's process is gone, whether it is a child or was adopted.
    async fn wait_for_end(&mut self, pid: Pid) {
        match self.child.take() {
            Some(mut child) if child.id().is_some_and(|id| id.cast_signed() == pid.as_raw()) => {
                let _ = child.wait().await;
            }
            child => {
                self.child = child;
                while is_alive(pid) {
                    sleep(LOOK_AGAIN).await;
                }
            }
        }
    }
}

/// Whether a process that may be nobody's child here is there and more than a zombie: who adopted it may never reap it.
fn is_alive(pid: Pid) -> bool {
    let state = |stat: String| stat.rsplit_once(") ").map(|(_, fields)| fields.starts_with(['Z', 'X']));
    match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(stat) => state(stat) == Some(false),
        Err(_) => kill(pid, None) != Err(Errno::ESRCH),
    }
}

/// The agent's own log in a unit's directory.
pub(crate) fn agent_log(directory: &Path) -> PathBuf {
    directory.join("agent.log")
}

/// The workload's log in a unit's directory.
pub(crate) fn workload_log(directory: &Path) -> PathBuf {
    directory.join("workload.log")
}

/// Reads on to the end of a line. Can be called again after it was cancelled: what was read stays in `line`.
async fn read_line(read: &mut (impl AsyncBufReadExt + Unpin), line: &mut Vec<u8>) -> io::Result<bool> {
    let room = (MAX_FRAME_LEN + 1).saturating_sub(line.len()) as u64;
    read.take(room).read_until(b'\n', line).await?;
    if line.len() > MAX_FRAME_LEN {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the line is too long"));
    }
    Ok(line.last() == Some(&b'\n'))
}
