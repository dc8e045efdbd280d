//! Units that are about to give up data answer queries until everybody finds it in the object store.
//!
//! What a unit uploads is found a while later only: a unit that goes at once takes it out of sight for as long. So, where its product can
//! ([`Quiesce`]), a unit that is to go first uploads, and takes nothing new where it can; it goes once that is long enough ago. All that
//! are to go do so together, as soon as enough of those that stay are ready to take what clients write. They go one by one afterwards.
//!
//! Where the product's units take data until they end, and there are more copies of it than one, those that go leave time between them:
//! what the one before uploaded as it went is found before the next takes its own copy out of sight.
//!
//! Nobody is held for ever: what keeps a unit from uploading may be that it runs with the old keys, so one that has not come to it when it
//! is to run something else, or after [`PATIENCE`], leaves as a unit does that cannot be held: it goes on until nothing on its disk is
//! missing in the object store, but answers no queries meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use muster_model::{Revision, RoleSet, UnitName};
use muster_relation::{Assignment, Run};
use serde::{Deserialize, Serialize};

use crate::observed::CarryOver;
use crate::rollout::{Coming, Member, Want};
use crate::validate::Line;

/// How long a unit may take to upload what it holds until it is no longer waited for: an agent gives one upload as long.
const PATIENCE: SignedDuration = SignedDuration::from_mins(20);

/// What is remembered of a unit that quiesces.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Held {
    /// What units were moved to when it was told.
    target: Option<Revision>,
    /// When it was told.
    since: Timestamp,
    /// What it came to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    quiet: Option<Uploaded>,
}

/// What one process has uploaded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Uploaded {
    /// The unit's instance and its process: the evidence holds for no other.
    by: (String, String),
    /// When it was first heard of.
    at: Timestamp,
}

/// What is said of a unit that is about to give up data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hold {
    /// Too few of those that stay are ready: it stays as it is.
    Waits,
    /// It quiesces, and stays until this passes.
    Quiesces,
    /// It stays as it is until this passes: what others uploaded as they went is not found yet.
    Settles,
    /// It may go.
    Over,
}

/// Units that went with data a while ago, with the time when they had; none for those that are at it.
pub(crate) type Departed = BTreeMap<UnitName, Option<Timestamp>>;

/// All units that are about to give up data.
#[derive(Debug, Default)]
pub(crate) struct Holds {
    units: BTreeMap<UnitName, Hold>,
    /// Units that stay and take what clients write in place of those that quiesce.
    stayers: BTreeSet<UnitName>,
    /// What is to be remembered.
    pub(crate) held: BTreeMap<UnitName, Held>,
    /// Units that went, and whose uploads others wait for.
    pub(crate) settling: Vec<UnitName>,
    /// When the first of them may go, if nothing happens before.
    pub(crate) until: Option<Timestamp>,
}

impl Holds {
    /// Looks at all units. `target`: what they are moved to.
    pub(crate) fn of(
        members: &[Member<'_>],
        coming: &[Coming],
        line: &Line,
        carry: &CarryOver,
        target: Option<&Revision>,
        now: Timestamp,
    ) -> Self {
        let role = line.workload.replicated_role();
        let keeps = |roles: &RoleSet| line.table.expand(roles).contains(role);
        let leavers: Vec<_> = members.iter().filter(|m| leaves(m, line)).collect();
        if leavers.is_empty() {
            return Self::default();
        }
        let found_after = seconds(line.workload.found_after());
        let stay = |m: &&Member<'_>| match &m.want {
            Want::Run(roles) => keeps(roles),
            Want::Hold => m.unit.is_told_to_run() && keeps(&m.unit.current_roles()),
            Want::Stop | Want::StopAtOnce => false,
        };
        let stayers = members.iter().filter(stay);
        let ready = stayers
            .clone()
            .filter(|m| m.unit.is_ready() && m.unit.obeys() && keeps(&m.unit.current_roles()))
            .filter(|m| m.unit.assigned.as_ref().is_some_and(|told| !told.quiesces))
            .count();
        let to_come: u32 =
            coming.iter().filter(|coming| keeps(&coming.roles)).map(|coming| coming.units).sum();
        let intended = stayers.clone().count() + to_come as usize;
        let copies = usize::from(carry.replication_factor.unwrap_or(1));
        let quiesce = |m: &Member<'_>| line.workload.quiesce(&m.unit.current_roles());
        let takes_nothing =
            |m: &Member<'_>| quiesce(m).is_some_and(|quiesce| quiesce.takes_nothing.is_some());
        let mut holds = Self::default();
        if leavers.iter().any(|m| takes_nothing(m)) {
            holds.stayers = stayers.map(|m| m.name.clone()).collect();
        }
        // With fewer that stay than a write needs nothing is written any more, however long they wait.
        let is_of_use = intended > copies / 2;
        let last = carry.departed.values().flatten().max();
        let settled =
            last.and_then(|last| last.checked_add(found_after).ok()).filter(|settled| *settled > now);
        for member in leavers {
            let quiesces = quiesce(member).is_some() && is_of_use;
            let hold = if quiesces {
                holds.judge(member, found_after, ready >= copies.min(intended), carry, target, now)
            } else {
                Hold::Over
            };
            let hold = match settled.filter(|_| hold == Hold::Over && copies > 1 && !takes_nothing(member)) {
                Some(settled) => {
                    holds.wait_until(settled);
                    let gone = carry.departed.iter().filter(|(_, at)| at.is_some());
                    holds.settling = gone.map(|(name, _)| name.clone()).collect();
                    if quiesces { Hold::Quiesces } else { Hold::Settles }
                }
                None => hold,
            };
            holds.units.insert(member.name.clone(), hold);
        }
        holds
    }

    /// What is said of a unit. `None`: it gives up nothing that it could be held for.
    pub(crate) fn on(&self, unit: &UnitName) -> Option<Hold> {
        self.units.get(unit).copied()
    }

    /// Whether some unit stays until a time that passes.
    pub(crate) fn is_under_way(&self) -> bool {
        self.quiesces() || self.units.values().any(|hold| *hold == Hold::Settles)
    }

    /// Whether some unit quiesces or is about to.
    fn quiesces(&self) -> bool {
        self.units.values().any(|hold| *hold == Hold::Quiesces)
    }

    fn wait_until(&mut self, due: Timestamp) {
        self.until = Some(self.until.map_or(due, |until| until.min(due)));
    }

    /// Whether others count on the unit, because it takes what they do not take any more.
    pub(crate) fn counts_on(&self, unit: &UnitName) -> bool {
        self.quiesces() && self.stayers.contains(unit)
    }

    fn judge(
        &mut self,
        member: &Member<'_>,
        found_after: SignedDuration,
        enough_stay: bool,
        carry: &CarryOver,
        target: Option<&Revision>,
        now: Timestamp,
    ) -> Hold {
        let quiesces = member.unit.assigned.as_ref().is_some_and(|told| told.quiesces);
        if !quiesces && !enough_stay {
            return Hold::Waits;
        }
        let before = carry.held.get(&member.name).filter(|_| quiesces);
        let mut held =
            before.cloned().unwrap_or_else(|| Held { target: target.cloned(), since: now, quiet: None });
        let report = member.unit.report.as_ref().filter(|_| member.unit.obeys());
        let says = report.and_then(|report| Some((report, report.quiet.as_ref()?))).filter(|_| quiesces);
        let due = match says {
            // There is nothing to find.
            Some((_, quiet)) if !quiet.uploaded => Some(now),
            Some((report, quiet)) => {
                let by = (report.instance.clone(), quiet.process.clone());
                let known =
                    held.quiet.take().filter(|known| known.by == by).unwrap_or(Uploaded { by, at: now });
                let found = known.at.checked_add(found_after);
                held.quiet = Some(known);
                found.ok()
            }
            None => {
                // One that is yet to hear of something new, such as another seed, said what holds of its process still.
                held.quiet = held.quiet.take().filter(|_| report.is_none());
                let goes_on = held.target.as_ref() == target;
                if goes_on { held.since.checked_add(PATIENCE).ok() } else { Some(now) }
            }
        };
        let due = due.unwrap_or(Timestamp::MAX);
        self.held.insert(member.name.clone(), held);
        if now >= due {
            return Hold::Over;
        }
        self.wait_until(due);
        Hold::Quiesces
    }
}

fn seconds(duration: Duration) -> SignedDuration {
    SignedDuration::from_secs(i64::try_from(duration.as_secs()).unwrap_or(i64::MAX))
}

/// Whether a unit serves and is to give up data.
fn leaves(member: &Member<'_>, line: &Line) -> bool {
    let kept = match &member.want {
        Want::Run(roles) => line.data_roles(roles),
        Want::Stop => RoleSet::new(),
        Want::StopAtOnce | Want::Hold => return false,
    };
    member.unit.is_ready() && !kept.is_superset(&line.data_roles(&member.unit.current_roles()))
}

/// Which units went with data, after this plan's assignments. A unit is forgotten once everybody finds what it uploaded.
pub(crate) fn departed(
    members: &[Member<'_>],
    assignments: &BTreeMap<UnitName, Assignment>,
    line: &Line,
    before: &Departed,
    now: Timestamp,
) -> Departed {
    let goes = |member: &&Member<'_>| {
        let kept = assignments.get(&member.name).map(|next| match next.run {
            Run::Start => line.data_roles(&next.roles),
            Run::Stop => RoleSet::new(),
        });
        let held = line.data_roles(&member.unit.current_roles());
        !member.unit.has_stopped() && kept.is_some_and(|kept| !kept.is_superset(&held))
    };
    let going: BTreeSet<&UnitName> = members.iter().filter(goes).map(|member| &member.name).collect();
    let found_after = seconds(line.workload.found_after());
    let gone = before.iter().filter(|(name, _)| !going.contains(name));
    let gone = gone.map(|(name, at)| (name.clone(), at.unwrap_or(now)));
    let is_recent = |at: &Timestamp| at.checked_add(found_after).is_ok_and(|found| found > now);
    let recent = gone.filter(|(_, at)| is_recent(at)).map(|(name, at)| (name, Some(at)));
    going.iter().map(|name| ((*name).clone(), None)).chain(recent).collect()
}
