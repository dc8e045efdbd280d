//! Who wrote what at the API server, from its audit log.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use muster_testkit::wait_until;
use serde_json::Value;

/// For how long nothing must be written until a change is taken to be over: statuses come up to a second late.
const QUIET: Duration = Duration::from_millis(2500);
/// How long a change may take until it is over.
const OVER: Duration = Duration::from_secs(120);
const OPERATOR: &str = "system:serviceaccount:muster-system:muster-operator";
/// The administrator: the bench itself, which is also every kubelet and every agent that is played.
const ADMINISTRATOR: &str = "admin";

/// The log of a cluster's API server.
pub(super) struct Audit {
    path: PathBuf,
}

/// A moment in the log: how much of it there was.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Moment(usize);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Writer {
    Operator,
    /// A unit's agent, real or played: it has written a report.
    Agent,
    /// Users and kubelets, all of them played here.
    Other,
}

/// Writes by writer and kind of object, the operator's first.
pub(super) type Writes = BTreeMap<(Writer, String), usize>;

impl Audit {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path }
    }

    pub(super) fn now(&self) -> anyhow::Result<Moment> {
        let length = fs::metadata(&self.path).context("no audit log")?.len();
        Ok(Moment(usize::try_from(length)?))
    }

    /// What was written in a namespace, or in all, since a moment. Left out are Kubernetes' own controllers, and the operator's lease.
    pub(super) fn since(&self, moment: Moment, namespace: Option<&str>) -> anyhow::Result<Writes> {
        self.count(moment, |object| namespace.is_none_or(|namespace| object["namespace"] == namespace))
    }

    /// What was written of one unit's own objects: its Unit, with its status, and its pod.
    pub(super) fn of_unit(&self, moment: Moment, namespace: &str, unit: &str) -> anyhow::Result<Writes> {
        self.count(moment, |object| {
            let own = object["resource"] == "units" || object["resource"] == "pods";
            own && object["namespace"] == namespace && object["name"] == unit
        })
    }

    fn count(&self, moment: Moment, counts: impl Fn(&Value) -> bool) -> anyhow::Result<Writes> {
        let log = fs::read(&self.path).context("no audit log")?;
        let mut writes = Writes::new();
        for line in log[moment.0..].split_inclusive(|byte| *byte == b'\n') {
            // The last line may be under way.
            let Some(line) = line.strip_suffix(b"\n") else { continue };
            let event: Value = serde_json::from_slice(line)?;
            if let Some(write) = write(&event).filter(|_| counts(&event["objectRef"])) {
                *writes.entry(write).or_default() += 1;
            }
        }
        Ok(writes)
    }

    /// Waits until nobody has written anything for a while.
    pub(super) async fn over(&self) -> anyhow::Result<()> {
        self.quiet_for(QUIET).await
    }

    /// Waits until nobody has written anything for so long.
    pub(super) async fn quiet_for(&self, quiet: Duration) -> anyhow::Result<()> {
        let mut last = (self.now()?, Instant::now());
        wait_until("the end of all writes", OVER, async || {
            let since = self.since(last.0, None).ok()?;
            if !since.is_empty() {
                last = (self.now().ok()?, Instant::now());
            }
            (last.1.elapsed() >= quiet).then_some(())
        })
        .await
    }
}

fn write(event: &Value) -> Option<(Writer, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (user, verb) = (text(&event["user"]["username"]), text(&event["verb"]));
    let object = &event["objectRef"];
    let (kind, part) = (text(&object["resource"]), text(&object["subresource"]));
    let writes = ["create", "update", "patch", "delete", "deletecollection"].contains(&verb.as_str());
    let own = user.starts_with("system:serviceaccount:kube-system:");
    if !writes || own || (kind == "leases" && user == OPERATOR) {
        return None;
    }
    let reports = kind == "units" && part == "status";
    let writer = match user.as_str() {
        OPERATOR => Writer::Operator,
        ADMINISTRATOR if !reports => Writer::Other,
        _ => Writer::Agent,
    };
    let kind = if part.is_empty() { kind } else { format!("{kind}/{part}") };
    Some((writer, format!("{verb} {kind}")))
}

/// All writes but those of users and kubelets.
pub(super) fn total(writes: &Writes) -> usize {
    writes.iter().filter(|((writer, _), _)| *writer != Writer::Other).map(|(_, count)| count).sum()
}

/// The writes of units' own objects: their Units, those Units' statuses, and Muster's deletions of their pods.
pub(super) fn of_units(writes: &Writes) -> usize {
    let own = |(writer, what): &(Writer, String)| {
        let kind = what.split(' ').nth(1).unwrap_or_default();
        *writer != Writer::Other && ["units", "units/status", "pods"].contains(&kind)
    };
    writes.iter().filter(|(key, _)| own(key)).map(|(_, count)| count).sum()
}

/// Prints them, a line each.
pub(super) fn list(what: &str, writes: &Writes) {
    anstream::println!("  API writes, {what}:");
    for ((writer, object), count) in writes.iter().filter(|((writer, _), _)| *writer != Writer::Other) {
        let writer = if *writer == Writer::Operator { "operator" } else { "agents" };
        anstream::println!("    {count:>4} × {object} ({writer})");
    }
}
