//! What all reconciles of one term of leadership share.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ObjectReference, Secret};
use kube::Resource as _;
use kube::runtime::events::Event;
use muster_model::{Finding, ObjectStorage, Status, UnitName};
use muster_planner::CarryOver;
use muster_s3::{Probes, store_revision};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::backoff::Failures;
use crate::caches::{Caches, Guarded, Wake};
use crate::gather::Probed;
use crate::key::Key;
use crate::metrics::Metrics;
use crate::pace::Pace;
use crate::report::bad_status;
use crate::write::{Kind, Pending, WriteError, Writer};

/// Shared by all reconciles.
pub(crate) struct Context {
    pub(crate) caches: Arc<Caches>,
    pub(crate) writer: Writer,
    pub(crate) wake: Wake,
    pub(crate) metrics: Arc<Metrics>,
    /// Events to record, about which object.
    pub(crate) events: mpsc::Sender<(Event, ObjectReference)>,
    pub(crate) failures: Failures,
    /// The budget of statuses that nobody waits for.
    pub(crate) pace: Pace,
    /// Muster's own image, which pods take the agent from.
    pub(crate) image: String,
    pub(crate) probes: Mutex<Probes<Key>>,
    pub(crate) probed: Mutex<Probed>,
    /// The certificates that coordinators name, as they were last read.
    pub(crate) certificates: Mutex<BTreeMap<Key, Arc<Secret>>>,
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
    /// Until when a new coordinator waits for the first answer of its object store.
    pub(crate) waits_until: Option<Instant>,
    /// Until when what happens is only gathered, as long as nobody asks for anything else.
    pub(crate) rests_until: Option<Instant>,
    /// Units that were to be made.
    pub(crate) awaited: BTreeSet<UnitName>,
    /// The generations of what was asked for at the last look.
    pub(crate) asked: Vec<Option<i64>>,
}

impl Context {
    pub(crate) fn new(
        caches: Arc<Caches>,
        writer: Writer,
        wake: Wake,
        metrics: Arc<Metrics>,
        events: mpsc::Sender<(Event, ObjectReference)>,
        image: String,
        probes: Probes<Key>,
    ) -> Self {
        Self {
            caches,
            writer,
            wake,
            metrics,
            events,
            failures: Failures::default(),
            pace: Pace::new(),
            image,
            probes: Mutex::new(probes),
            probed: Mutex::default(),
            certificates: Mutex::default(),
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

    /// Has events recorded in the background. They are for people: where too many wait already, they are left out.
    pub(crate) fn record(&self, events: impl IntoIterator<Item = Event>, about: &ObjectReference) {
        for event in events {
            if self.events.try_send((event, about.clone())).is_err() {
                tracing::debug!(object = about.name, "event not recorded: too many wait");
            }
        }
    }

    /// Says of an object why nothing is planned for it.
    pub(crate) async fn say<K: Kind>(&self, object: &Guarded<K>, said: &Status) -> Result<(), WriteError> {
        let key = Key::of(object);
        if self.writer.say::<K>(&key, object.meta(), said).await? {
            tracing::warn!(kind = %K::kind(&()), object = %key, "{}", said.message);
            self.record([bad_status(said)], &object.object_ref(&()));
        }
        Ok(())
    }

    /// Forgets what is remembered of objects that are gone.
    pub(crate) fn forget(&self) {
        let coordinators = self.caches.coordinators.state();
        let keys: BTreeSet<Key> = coordinators.iter().map(|object| Key::of(object.as_ref())).collect();
        let named: BTreeSet<Key> = coordinators
            .iter()
            .filter_map(|object| {
                let coordinator = object.0.as_ref().ok()?;
                Some(Key::of(coordinator).sibling(&coordinator.spec.tls.as_ref()?.secret))
            })
            .collect();
        locked(&self.memories).retain(|key, _| keys.contains(key));
        locked(&self.certificates).retain(|secret, _| named.contains(secret));
        locked(&self.probed).retain(|secret, _| self.caches.s3_secrets.get(secret).is_some());
        self.failures.forget(|key| keys.contains(key) || self.caches.workers.get(key).is_some());
        self.writer.forget();
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
