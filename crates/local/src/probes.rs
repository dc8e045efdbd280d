//! Probes of the object stores, one at a time for each S3 application.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use muster_model::{AppName, ObjectStorage, Revision};
use muster_planner::Probe;
use tokio::sync::mpsc;

/// How long an object store may take to answer all of a probe's requests.
const DEADLINE: Duration = Duration::from_secs(5);

/// The result of a probe.
#[derive(Debug)]
pub(crate) struct Probed {
    /// The S3 application.
    pub app: AppName,
    /// The revision of the data that was probed.
    pub revision: Revision,
    /// What was found.
    pub probe: Probe,
}

/// The probes that are under way.
#[derive(Debug)]
pub(crate) struct Probes {
    running: BTreeMap<AppName, Revision>,
    results: mpsc::UnboundedSender<Probed>,
}

impl Probes {
    /// No probes yet. Results go to `results`.
    pub(crate) fn new(results: mpsc::UnboundedSender<Probed>) -> Self {
        Self { running: BTreeMap::new(), results }
    }

    /// Whether a probe of that S3 application is under way.
    pub(crate) fn is_running(&self, app: &str) -> bool {
        self.running.keys().any(|running| running.as_str() == app)
    }

    /// Starts a probe, unless one with the same data is under way.
    pub(crate) fn start(&mut self, app: &AppName, revision: Revision, storage: &ObjectStorage) {
        if self.running.get(app) == Some(&revision) {
            return;
        }
        self.running.insert(app.clone(), revision.clone());
        let (app, storage, results) = (app.clone(), storage.clone(), self.results.clone());
        tokio::spawn(async move {
            let answer = muster_s3::probe(&storage, DEADLINE).await;
            let at = Timestamp::now();
            let probe = match answer {
                Ok(()) => Probe::Ready { at },
                Err(error) => Probe::Failed { at, reason: error.reason(), message: error.to_string() },
            };
            // The engine may have ended meanwhile.
            let _ = results.send(Probed { app, revision, probe });
        });
    }

    /// Notes that a probe has ended.
    pub(crate) fn finished(&mut self, probed: &Probed) {
        if self.running.get(&probed.app) == Some(&probed.revision) {
            self.running.remove(&probed.app);
        }
    }
}
