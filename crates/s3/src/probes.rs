//! Probes of object stores in the background, one at a time for each.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use muster_model::{ObjectStorage, Revision};
use muster_planner::Probe;
use tokio::sync::mpsc;

/// How long an object store may take to answer all of a probe's requests.
const DEADLINE: Duration = Duration::from_secs(5);

/// The result of a probe.
#[derive(Debug)]
pub struct Probed<K> {
    /// The object store.
    pub key: K,
    /// The revision of the data that was probed.
    pub revision: Revision,
    /// What was found.
    pub probe: Probe,
}

/// The probes that are under way.
#[derive(Debug)]
pub struct Probes<K> {
    running: BTreeMap<K, Revision>,
    results: mpsc::UnboundedSender<Probed<K>>,
}

/// Names exactly this data of an object store, so that a probe of other data is not taken for one of it.
#[must_use]
pub fn store_revision(storage: &ObjectStorage) -> Revision {
    // Text keys only, which JSON can always write.
    let text = serde_json::to_vec(storage).expect("an object store's data has a JSON form");
    Revision::of([text.as_slice()])
}

impl<K: Clone + Ord + Send + 'static> Probes<K> {
    /// No probes yet. Results go to `results`.
    #[must_use]
    pub fn new(results: mpsc::UnboundedSender<Probed<K>>) -> Self {
        Self { running: BTreeMap::new(), results }
    }

    /// The object stores whose probe is under way.
    pub fn running(&self) -> impl Iterator<Item = &K> {
        self.running.keys()
    }

    /// Starts a probe, unless one with the same data is under way. Needs a tokio runtime.
    pub fn start(&mut self, key: &K, storage: &ObjectStorage) {
        let revision = store_revision(storage);
        if self.running.get(key) == Some(&revision) {
            return;
        }
        self.running.insert(key.clone(), revision.clone());
        let (key, storage, results) = (key.clone(), storage.clone(), self.results.clone());
        tokio::spawn(async move {
            let answer = crate::probe(&storage, DEADLINE).await;
            let at = Timestamp::now();
            let probe = match answer {
                Ok(()) => Probe::Ready { at },
                Err(error) => Probe::Failed { at, reason: error.reason(), message: error.to_string() },
            };
            // Nobody may be left to hear it.
            let _ = results.send(Probed { key, revision, probe });
        });
    }

    /// Notes that a probe has ended.
    pub fn finished(&mut self, probed: &Probed<K>) {
        if self.running.get(&probed.key) == Some(&probed.revision) {
            self.running.remove(&probed.key);
        }
    }
}
