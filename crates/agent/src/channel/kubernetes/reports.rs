//! Reports, written into the Unit's status: what others wait for at once, everything else within a second, so that one change of the
//! workload is one or two writes.

use std::time::Duration;

use kube::api::{Patch, PatchParams};
use kube::{Api, Resource};
use muster_api::Unit;
use muster_relation::{Report, Service};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};

use super::{Seen, wait};

/// The field manager of agents.
const MANAGER: &str = "muster-agent";
/// How long a change that nobody waits for may stay unsaid.
const COALESCE: Duration = Duration::from_secs(1);
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
    let mut writer = Writer { units, name, written: None, failures: 0, warned: false };
    let mut not_before = Instant::now();
    let mut since: Option<Instant> = None;
    loop {
        let report = reports.borrow_and_update().clone();
        let there = seen.borrow_and_update().clone();
        // Somebody else's hand, or a Unit that was made again.
        if there.report.is_some() && there.report != writer.written {
            writer.written.clone_from(&there.report);
        }
        let due = if there.is_ours && writer.lacks(&report) {
            let first = *since.get_or_insert_with(Instant::now);
            let at = if writer.is_awaited(&report) { first } else { first + COALESCE };
            Some(at.max(not_before))
        } else {
            since = None;
            None
        };
        let ended = tokio::select! {
            changed = reports.changed() => changed.is_err(),
            changed = seen.changed() => changed.is_err(),
            () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                since = None;
                not_before = Instant::now() + writer.write(&report, DEADLINE).await;
                false
            }
        };
        if ended {
            let report = reports.borrow().clone();
            if seen.borrow().is_ours && writer.lacks(&report) {
                writer.write(&report, LAST_DEADLINE).await;
            }
            return;
        }
    }
}

struct Writer {
    units: Api<Unit>,
    name: String,
    /// What the Unit's status holds, as far as is known.
    written: Option<Value>,
    failures: u32,
    warned: bool,
}

impl Writer {
    fn lacks(&self, report: &Report) -> bool {
        self.written.as_ref() != serde_json::to_value(report).ok().as_ref()
    }

    /// Whether the coordinator waits for what this report says: the unit is ready or no longer is, it runs something else, it has
    /// stopped, or it cannot do what it is told.
    fn is_awaited(&self, report: &Report) -> bool {
        let Some(written) =
            self.written.clone().and_then(|value| serde_json::from_value::<Report>(value).ok())
        else {
            return true;
        };
        let refused = |report: &Report| report.check.as_ref().and_then(|check| check.rejected.clone());
        let at_rest = |report: &Report| match report.service {
            Service::Starting | Service::Running | Service::Stopping => None,
            other => Some((other, report.epoch)),
        };
        written.instance != report.instance
            || written.ready != report.ready
            || (report.ready && written.applied != report.applied)
            || at_rest(&written) != at_rest(report)
            || refused(&written) != refused(report)
            || written.last_error != report.last_error
    }

    /// Writes a report. Answers how long to wait before the next try.
    async fn write(&mut self, report: &Report, deadline: Duration) -> Duration {
        let patch = json!({
            "apiVersion": Unit::api_version(&()),
            "kind": Unit::kind(&()),
            "metadata": { "name": self.name },
            "status": { "report": report },
        });
        // Applied, not merged: what the report no longer says must go.
        let params = PatchParams::apply(MANAGER).force();
        let answer =
            timeout(deadline, self.units.patch_status(&self.name, &params, &Patch::Apply(&patch))).await;
        let error = match answer {
            Ok(Ok(_)) => {
                self.written = serde_json::to_value(report).ok();
                self.failures = 0;
                self.warned = false;
                return Duration::ZERO;
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no answer in time".to_owned(),
        };
        self.failures = self.failures.saturating_add(1);
        // Said once for a series of failures.
        if !std::mem::replace(&mut self.warned, true) {
            tracing::warn!(error, "the report was not written; it is tried again");
        }
        wait(self.failures)
    }
}
