//! What happens to a machine and what it wants done.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use muster_model::UnitName;
use muster_products::Ending;
use muster_relation::{Quiet, Waiting};

use super::backoff::Jitter;
use super::order::{Order, StopSignal};

/// Names one process that a machine asked for. Never used twice by one machine; 0 is a process that a former agent left.
pub type ProcessNumber = u64;

/// Something that happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A process that a former agent started is still alive, and is not what is wanted. Only before anything else.
    Found {
        /// How long it may take to end.
        kill_delay: Duration,
        /// The signal that asks it to end.
        stop_signal: StopSignal,
    },
    /// What ran here last and held data, of which something may be left on the disk. Only before anything else.
    Holds(Arc<Order>),
    /// The last order that a former agent accepted.
    Restored(Arc<Order>),
    /// The same, and the process that was started for it goes on as number 0. Only before anything else but [`Event::Holds`].
    TakenOver {
        /// The order. It says that the service runs.
        order: Arc<Order>,
        /// Whether the workload is ready.
        ready: bool,
    },
    /// The coordinator sent an assignment.
    Assigned(Arc<Order>),
    /// A check that [`Action::Check`] asked for is done.
    Checked(Outcome, Jitter),
    /// A process that [`Action::Spawn`] asked for is there.
    Spawned(ProcessNumber),
    /// It could not be started.
    SpawnFailed {
        /// Which.
        process: ProcessNumber,
        /// Why, in one line.
        cause: String,
        /// For the wait before the next try.
        jitter: Jitter,
    },
    /// A process and everything that it left behind has ended.
    Exited {
        /// Which.
        process: ProcessNumber,
        /// How.
        cause: String,
        /// Whether it said that it ended well.
        success: bool,
        /// What it wrote last, oldest first.
        lines: Vec<String>,
        /// For the wait before the next start.
        jitter: Jitter,
    },
    /// A process became ready, or stopped being so.
    Ready(ProcessNumber, bool),
    /// A process is alive and has not been ready for long.
    Waits(ProcessNumber, Waiting),
    /// A process takes nothing new, and all that it took is in the object store: what [`Action::Quiesce`] asked for.
    Quiet(ProcessNumber, Quiet),
    /// A process takes data: what [`Action::Resume`] asked for.
    Resumed(ProcessNumber),
    /// These units have no place any more in the ring that a process sees: what [`Action::Forget`] asked for.
    Forgotten(ProcessNumber, BTreeSet<UnitName>),
    /// A process that was asked to end holds nothing any more.
    Flushed(ProcessNumber),
    /// The calls that [`Action::Leave`] asked for are done, or could not be done for the reason given.
    Left(ProcessNumber, Result<(), String>),
    /// What [`Action::Inspect`] found on the disk that is not in the object store, in one line. Nothing: all is there.
    Inspected(Option<String>, Jitter),
    /// The reload that [`Action::Reload`] asked for is done, or failed for the reason given.
    Reloaded(ProcessNumber, Result<(), String>),
    /// The time of [`Machine::deadline`](super::Machine::deadline) has come.
    Timer,
    /// The agent itself is to end. The unit does not leave: it comes back with its disk.
    Shutdown,
}

/// The result of an offline check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The binary takes the config.
    Accepted,
    /// The binary refuses it, with this message.
    Rejected(String),
    /// Nobody knows: the check itself could not be carried out.
    Failed(String),
}

/// Something to do. Actions are carried out in the order in which they come.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Check a config while what runs keeps running. Answered by [`Event::Checked`].
    Check(Arc<Order>),
    /// Check the config of a process that was started without a check. Answered by [`Event::Checked`].
    CheckStarted(Arc<Order>),
    /// Remember the order on disk.
    Keep(Arc<Order>),
    /// Remember beside the data what may hold it, before it does; or that nothing does any more.
    Mark(Option<Arc<Order>>),
    /// Look what the process of this order, which has ended, left on the disk that is not in the object store. Answered by
    /// [`Event::Inspected`].
    Inspect(Arc<Order>, Ending),
    /// Start a process. Answered by [`Event::Spawned`] or [`Event::SpawnFailed`], later by [`Event::Exited`].
    Spawn(ProcessNumber, Arc<Order>),
    /// Make the calls of a unit that leaves for good. Answered by [`Event::Left`].
    Leave {
        /// The process that is to leave.
        process: ProcessNumber,
        /// What it was started with.
        order: Arc<Order>,
        /// It takes nothing new, and all that it took is in the object store: nobody needs to ask it for anything.
        empty: bool,
    },
    /// Have a process upload what it holds, take nothing new where it can, and answer queries, until it ends or [`Action::Resume`] comes.
    /// Tried until it is done, and answered by [`Event::Quiet`].
    Quiesce(ProcessNumber, Arc<Order>),
    /// Have a process take data. Tried until it is done or [`Action::Quiesce`] comes, and answered by [`Event::Resumed`].
    Resume(ProcessNumber, Arc<Order>),
    /// See to it that the units which the order's assignment names have no place in the ring that a process sees. Tried until it is done or
    /// another such action comes, and answered by [`Event::Forgotten`].
    Forget(ProcessNumber, Arc<Order>),
    /// Ask a process and its group to end.
    Stop(ProcessNumber, StopSignal),
    /// Kill a process and its group.
    Kill(ProcessNumber),
    /// Have a running process take over a new config. Answered by [`Event::Reloaded`].
    Reload(ProcessNumber, Arc<Order>),
    /// Everything has ended; the agent can too.
    Exit,
}
