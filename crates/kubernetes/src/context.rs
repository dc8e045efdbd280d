//! What all reconciles of one term of leadership share.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use kube::runtime::events::Recorder;
use muster_model::{Finding, ObjectStorage};
use muster_planner::CarryOver;
use muster_s3::{Probes, store_revision};
use tokio::time::Instant;

use crate::backoff::Failures;
use crate::caches::{Caches, Wake};
use crate::gather::Probed;
use crate::key::Key;
use crate::metrics::Metrics;
use crate::write::{Pending, Writer};

/// Shared by all reconciles.
pub(crate) struct Context {
    pub(crate) caches: Arc<Caches>,
    pub(crate) writer: Writer,
    pub(crate) wake: Wake,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) recorder: Recorder,
    pub(crate) failures: Failures,
    /// Muster's own image, which pods take the agent from.
    pub(crate) image: String,
    pub(crate) probes: Mutex<Probes<Key>>,
    pub(crate) probed: Mutex<Probed>,
    memories: Mutex<BTreeMap<Key, Memory>>,
}

/// What is remembered of one coordinator or worker from one look at it to the next. Nothing of it is needed: an operator that
/// starts anew works it out again.
#[derive(Default)]
pub(crate) struct Memory {
    /// Writes that the caches have not taken in yet.
    pub(crate) pending: Vec<Pending>,
    /// The last plan's carry-over.
    pub(crate) carry: Option<CarryOver>,
    /// What could not be written, by object.
    pub(crate) obstacles: BTreeMap<String, Finding>,
    /// When a status was last written.
    pub(crate) reported: Option<Instant>,
}

impl Context {
    pub(crate) fn new(
        caches: Arc<Caches>,
        writer: Writer,
        wake: Wake,
        metrics: Arc<Metrics>,
        recorder: Recorder,
        image: String,
        probes: Probes<Key>,
    ) -> Self {
        Self {
            caches,
            writer,
            wake,
            metrics,
            recorder,
            failures: Failures::default(),
            image,
            probes: Mutex::new(probes),
            probed: Mutex::default(),
            memories: Mutex::default(),
        }
    }

    /// Takes the memory of an object, which is looked at once at a time.
    pub(crate) fn recall(&self, key: &Key) -> Memory {
        locked(&self.memories).remove(key).unwrap_or_default()
    }

    pub(crate) fn remember(&self, key: &Key, memory: Memory) {
        locked(&self.memories).insert(key.clone(), memory);
    }

    /// Starts a probe of an object store that was never asked, or whose last answer is older than `due` says.
    pub(crate) fn probe(&self, store: &(Key, ObjectStorage), due: Option<Timestamp>) {
        let (secret, storage) = store;
        let revision = store_revision(storage);
        let known = locked(&self.probed).get(secret).is_some_and(|(probed, _)| *probed == revision);
        let is_due = due.is_some_and(|due| due <= Timestamp::now());
        if !known || is_due {
            locked(&self.probes).start(secret, storage);
        }
    }
}

/// The content of a lock. What a panic left is as good as what it found: every value is whole after every statement.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
