//! Units that have ended and are about to be taken away, disk and all: another unit is asked first whether the ring still has a place for them.
//!
//! That a unit has stopped and holds nothing is its own agent's word. The ring, as another one sees it, is a second one: who left in good order
//! has no place there. Who has one all the same was killed in a way that nobody could make up for, or was let go without being seen again.
//! Others would wait for it for ever, so its place is given up.
//!
//! Without another unit that runs and sees the ring there is nobody who could wait: then units are taken away at once.

use std::collections::{BTreeMap, BTreeSet};

use muster_model::{RoleSet, UnitName};
use muster_relation::Assignment;

use crate::observed::ObservedUnit;
use crate::rollout::{Member, Want};
use crate::validate::Line;

/// Who is about to be taken away, and who is asked about them.
#[derive(Debug, Default)]
pub(crate) struct Partings {
    witness: Option<UnitName>,
    units: BTreeSet<UnitName>,
    /// Those of them of whom the witness did not say yet that they have no place.
    awaited: BTreeSet<UnitName>,
    /// Units that some other one was told to forget.
    told: BTreeSet<UnitName>,
}

impl Partings {
    /// Looks at all units.
    pub(crate) fn of(members: &[Member<'_>], line: &Line) -> Self {
        let told = members.iter().filter_map(|member| member.unit.assigned.as_ref());
        let told = told.flat_map(|told| &told.forgets).cloned().collect();
        // Whatever it ran last: it may have had a place with other roles before.
        let ran = |unit: &ObservedUnit| unit.assigned.is_some();
        let parts = |m: &&Member<'_>| m.leaves && m.want == Want::Stop && m.unit.has_stopped() && ran(m.unit);
        let units: BTreeSet<UnitName> = members.iter().filter(parts).map(|m| m.name.clone()).collect();
        let witness = (!units.is_empty()).then(|| witness(members, line)).flatten();
        let Some(witness) = witness else { return Self { told, ..Self::default() } };
        let report = witness.unit.report.as_ref().filter(|_| witness.unit.obeys());
        let forgotten = report.map(|report| &report.forgotten);
        let awaited = units.iter().filter(|unit| !forgotten.is_some_and(|gone| gone.contains(unit)));
        Self { witness: Some(witness.name.clone()), awaited: awaited.cloned().collect(), units, told }
    }

    /// Adds to what units are told whom they are to forget.
    pub(crate) fn tell(&self, members: &[Member<'_>], assignments: &mut BTreeMap<UnitName, Assignment>) {
        if self.witness.is_none() && self.told.is_empty() {
            return;
        }
        for member in members {
            let Some(next) = assignments.get_mut(&member.name) else { continue };
            let none = BTreeSet::new();
            let is_witness = self.witness.as_ref() == Some(&member.name);
            let forgets = if is_witness { &self.units } else { &none };
            if next.forgets != *forgets {
                *next = member.unit.tell(Assignment { forgets: forgets.clone(), ..next.clone() });
            }
        }
    }

    /// Whether another unit was told to forget this one: it would give up its place as soon as it has one again.
    pub(crate) fn is_being_forgotten(&self, unit: &UnitName) -> bool {
        self.told.contains(unit)
    }

    /// Who is asked whether the unit still has a place, where that is not known yet.
    pub(crate) fn awaits(&self, unit: &UnitName) -> Option<&UnitName> {
        self.witness.as_ref().filter(|_| self.awaited.contains(unit))
    }

    /// The units that stay until it is known, and who is asked.
    pub(crate) fn awaited(&self) -> Option<(&UnitName, Vec<UnitName>)> {
        let witness = self.witness.as_ref().filter(|_| !self.awaited.is_empty())?;
        Some((witness, self.awaited.iter().cloned().collect()))
    }
}

/// A unit that runs and sees the ring: the one that is asked already if it still does, else one that stays if there is one.
fn witness<'a, 'b>(members: &'a [Member<'b>], line: &Line) -> Option<&'a Member<'b>> {
    let sees = |roles: &RoleSet| line.workload.ring().is_shown_by(&line.table.expand(roles));
    let can = || members.iter().filter(|m| m.unit.is_ready() && sees(&m.unit.current_roles()));
    let is_asked = |m: &&Member<'_>| m.unit.assigned.as_ref().is_some_and(|told| !told.forgets.is_empty());
    let goes = |m: &Member<'_>| m.leaves || matches!(&m.want, Want::Run(roles) if !sees(roles));
    can().find(is_asked).or_else(|| can().min_by_key(|m| (goes(m), m.temporary)))
}
