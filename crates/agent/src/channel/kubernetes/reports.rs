//! Reports, written into the Unit's status: what others wait for at once, everything else within seconds, so that one change of the
//! workload is one or two writes.

use std::time::Duration;

use kube::Api;
use kube::api::{Patch, PatchParams};
use muster_api::Unit;
use muster_relation::{Applied, Check, Drain, Report, Service};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};

use super::{Seen, version, wait};

/// The field manager of agents.
const MANAGER: &str = "muster-agent";
/// How long a change that nobody waits for may stay unsaid: longer than most starts take, which are no news of their own then.
const COALESCE: Duration = Duration::from_secs(3);
/// In the long run there is at most one write in this time.
const EACH: Duration = Duration::from_secs(1);
/// How many times [`EACH`] may be used up in advance.
const BURST: u32 = 10;
/// How long a write may take.
const DEADLINE: Duration = Duration::from_secs(10);
/// How long the last report may take when the agent ends.
const LAST_DEADLINE: Duration = Duration::from_millis(800);

/// Writes reports until there will be no more.
pub(super) async fn write(
    units: Api<Unit>,
    name: String,
    mut reports: watch::Receiver<Report>,
    mut seen: watch::Receiver<Seen>,
) {
    let mut writer = Writer::new(units, name);
    loop {
        let report = reports.borrow_and_update().clone();
        writer.note(&seen.borrow_and_update());
        let due = writer.due(&report);
        let ended = tokio::select! {
            changed = reports.changed() => changed.is_err(),
            changed = seen.changed() => changed.is_err(),
            () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                writer.write(&report, DEADLINE).await;
                false
            }
        };
        if ended {
            let report = reports.borrow().clone();
            writer.note(&seen.borrow());
            if writer.lacks(&report) {
                writer.write(&report, LAST_DEADLINE).await;
            }
            return;
        }
    }
}

/// What of a report somebody waits for: the unit is ready or no longer is, it runs something else, it has stopped, or it cannot do
/// what it is told.
#[derive(PartialEq, Default)]
struct Awaited<'a> {
    ready: bool,
    runs: Option<&'a Applied>,
    at_rest: Option<Service>,
    check: Option<&'a Check>,
    drain: Option<&'a Drain>,
    last_error: Option<&'a str>,
}

impl<'a> From<&'a Report> for Awaited<'a> {
    fn from(report: &'a Report) -> Self {
        let at_rest = matches!(report.service, Service::Backoff | Service::Stopped);
        Self {
            ready: report.ready,
            runs: report.applied.as_ref().filter(|_| report.ready),
            at_rest: at_rest.then_some(report.service),
            check: report.check.as_ref(),
            drain: report.drain.as_ref(),
            last_error: report.last_error.as_deref(),
        }
    }
}

struct Writer {
    units: Api<Unit>,
    name: String,
    /// Whether there is a Unit to write to.
    is_ours: bool,
    /// What the Unit's status holds, as far as is known, and since which version of the Unit.
    written: Option<Value>,
    version: Option<u64>,
    /// Since when there is something to say.
    since: Option<Instant>,
    /// When the budget of writes allows the next one.
    affordable: Instant,
    failures: u32,
    retry: Instant,
    warned: bool,
}

impl Writer {
    fn new(units: Api<Unit>, name: String) -> Self {
        let now = Instant::now();
        Self {
            units,
            name,
            is_ours: false,
            written: None,
            version: None,
            since: None,
            affordable: now,
            failures: 0,
            retry: now,
            warned: false,
        }
    }

    /// Takes in what the watch says, unless a write was answered with something newer meanwhile.
    fn note(&mut self, seen: &Seen) {
        self.is_ours = seen.is_ours;
        if seen.version < self.version {
            return;
        }
        self.version = seen.version;
        // Somebody else's hand, or a Unit that was made again.
        if self.written != seen.report {
            self.written.clone_from(&seen.report);
            self.failures = 0;
            self.retry = Instant::now();
        }
    }

    fn lacks(&self, report: &Report) -> bool {
        self.is_ours && self.written.as_ref() != serde_json::to_value(report).ok().as_ref()
    }

    fn is_awaited(&self, report: &Report) -> bool {
        let written = self.written.clone().and_then(|value| serde_json::from_value::<Report>(value).ok());
        // What an earlier pod said is nothing to compare with.
        let written = written.filter(|written| written.instance == report.instance);
        Awaited::from(report) != written.as_ref().map(Awaited::from).unwrap_or_default()
    }

    /// When the report is to be written, if it is.
    fn due(&mut self, report: &Report) -> Option<Instant> {
        if !self.lacks(report) {
            self.since = None;
            return None;
        }
        let since = *self.since.get_or_insert_with(Instant::now);
        let at = if self.is_awaited(report) { since } else { since + COALESCE };
        Some(at.max(self.affordable).max(self.retry))
    }

    async fn write(&mut self, report: &Report, deadline: Duration) {
        self.since = None;
        let now = Instant::now();
        let earliest = now.checked_sub(EACH * (BURST - 1)).unwrap_or(now);
        self.affordable = self.affordable.max(earliest) + EACH;
        // Put, not merged: what the report no longer says must go.
        let patch = json!([{ "op": "add", "path": "/status", "value": { "report": report } }]);
        let patch = serde_json::from_value(patch).expect("this is a JSON patch");
        let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
        let patch = Patch::Json::<()>(patch);
        let answer = timeout(deadline, self.units.patch_status(&self.name, &params, &patch)).await;
        let error = match answer {
            Ok(Ok(unit)) => {
                self.written = serde_json::to_value(report).ok();
                self.version = version(&unit);
                self.failures = 0;
                self.warned = false;
                return;
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no answer in time".to_owned(),
        };
        self.failures = self.failures.saturating_add(1);
        self.retry = Instant::now() + wait(self.failures);
        // Said once for a series of failures.
        if !std::mem::replace(&mut self.warned, true) {
            tracing::warn!(error, "the report was not written; it is tried again");
        }
    }
}
