//! What becomes of the units that run a revision which is not known to be good.
//!
//! A revision is good once every unit became ready with it. Until then each unit that runs it is on trial: it has the
//! coordinator's `progressDeadlineSeconds` to become ready, and its process may end [`ENDINGS`] times. One that fails goes back to the
//! last good revision. What failed is remembered for as long as the same revision and image are asked for: nobody tries them again.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use muster_model::{Revision, UnitName};
use muster_relation::{Report, Run, Service};
use serde::{Deserialize, Serialize};

use crate::complaint;
use crate::observed::{CarryOver, ObservedUnit};
use crate::rollout::{Member, stays};
use crate::validate::Line;

/// How long a unit may take to become ready where the coordinator does not say: as long as a Kubernetes Deployment's pods.
pub(crate) const DEADLINE_SECONDS: u32 = 600;
/// How often the process of a unit on trial may end by itself. Once may be chance: a port that was not free yet.
const ENDINGS: u32 = 3;

/// What a revision is tried with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terms<'a> {
    /// The revision, if there is one.
    pub(crate) target: Option<&'a Revision>,
    /// The image that was asked for instead of the built-in one.
    pub(crate) image: Option<&'a str>,
    /// How long a unit may take to become ready.
    pub(crate) deadline: SignedDuration,
}

/// One unit that runs a revision which is not known to be good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Trial {
    /// When it was first seen with it.
    since: Timestamp,
    /// How often its process had been started again by then.
    restarts: u32,
    /// Whether it was ready with it at some time.
    was_ready: bool,
}

/// A revision that units could not run with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Failure {
    revision: Revision,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    image: Option<String>,
    /// The units that went back.
    pub(crate) units: BTreeSet<UnitName>,
    /// What the first of them said.
    pub(crate) why: String,
}

/// The units on trial, and what came of others.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Trials {
    pub(crate) running: BTreeMap<UnitName, Trial>,
    pub(crate) failure: Option<Failure>,
}

impl Trials {
    /// Looks at every unit that runs the target.
    pub(crate) fn judge(
        members: &[Member<'_>],
        line: &Line,
        terms: &Terms<'_>,
        carry: &CarryOver,
        now: Timestamp,
    ) -> Self {
        let Some(target) = terms.target.filter(|target| carry.way_back(target).is_some()) else {
            return Self::default();
        };
        let same =
            |failure: &&Failure| failure.revision == *target && failure.image.as_deref() == terms.image;
        let mut trials =
            Self { running: BTreeMap::new(), failure: carry.failure.as_ref().filter(same).cloned() };
        for member in members.iter().filter(|m| stays(m, line)) {
            let Some(report) = tries(member.unit, target) else { continue };
            let begun = carry.trials.get(&member.name).cloned();
            let mut trial =
                begun.unwrap_or(Trial { since: now, restarts: report.restarts, was_ready: false });
            trial.was_ready |= member.unit.is_ready();
            match trial.failed(report, terms.deadline, now) {
                Some(why) => {
                    let failure = trials.failure.get_or_insert_with(|| Failure {
                        revision: target.clone(),
                        image: terms.image.map(str::to_owned),
                        units: BTreeSet::new(),
                        why,
                    });
                    failure.units.insert(member.name.clone());
                }
                None => {
                    trials.running.insert(member.name.clone(), trial);
                }
            }
        }
        trials
    }

    /// When a unit's time is over, if one is yet to become ready.
    pub(crate) fn next_deadline(&self, deadline: SignedDuration) -> Option<Timestamp> {
        let waiting = self.running.values().filter(|trial| !trial.was_ready);
        waiting.filter_map(|trial| trial.since.checked_add(deadline).ok()).min()
    }
}

impl Trial {
    /// Why the unit can't run with the revision, if that is certain by now.
    fn failed(&self, report: &Report, deadline: SignedDuration, now: Timestamp) -> Option<String> {
        let ended = report.service == Service::Backoff;
        if ended && report.restarts.saturating_sub(self.restarts) + 1 >= ENDINGS {
            let exit = report.last_exit.as_ref();
            let cause = exit.map_or("it ends by itself", |exit| exit.cause.as_str());
            let lines = exit.map(|exit| exit.lines.as_slice()).unwrap_or_default();
            return Some(with_lines(format!("it ended {ENDINGS} times: {cause}"), lines));
        }
        if self.was_ready || now.duration_since(self.since) < deadline {
            return None;
        }
        let after = format!("not ready after {deadline:#}");
        let exit = report.last_exit.as_ref().filter(|_| ended);
        Some(match (&report.waiting, exit) {
            (_, Some(exit)) => with_lines(format!("{after}: {}", exit.cause), &exit.lines),
            (Some(waiting), None) => with_lines(format!("{after}: {}", waiting.answer), &waiting.lines),
            (None, None) => after,
        })
    }
}

fn with_lines(said: String, lines: &[String]) -> String {
    match complaint::of(lines) {
        Some(complaint) => format!("{said}; last log lines: {complaint}"),
        None => said,
    }
}

/// What a unit says that runs the target, or tried to.
fn tries<'a>(unit: &'a ObservedUnit, target: &Revision) -> Option<&'a Report> {
    let assigned = unit.assigned.as_ref().filter(|a| a.run == Run::Start && a.revision == *target)?;
    let report = unit.report.as_ref().filter(|r| unit.is_seen() && r.epoch >= assigned.epoch)?;
    let runs = report.applied.as_ref().is_some_and(|applied| applied.revision == *target);
    (runs || report.service == Service::Backoff).then_some(report)
}
