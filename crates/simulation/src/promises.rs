//! What every plan must keep to, worked out once more from what was observed.

use std::collections::{BTreeMap, BTreeSet};

use muster_api::WorkerSpec;
use muster_model::{RoleSet, RoleTable, UnitName, WorkloadStatus};
use muster_planner::{Observed, ObservedUnit, Plan, Published};
use muster_products::Workload;
use muster_relation::{Assignment, Run};

use crate::ground::Ground;

/// What a product's roles are.
pub(crate) struct Terms {
    pub(crate) table: &'static RoleTable,
    pub(crate) workload: &'static dyn Workload,
}

fn units(observed: &Observed) -> impl Iterator<Item = (UnitName, &ObservedUnit)> {
    let workers = observed.workers.iter();
    workers.flat_map(|(name, worker)| worker.units.iter().map(|(number, unit)| (name.unit(*number), unit)))
}

fn find<'a>(observed: &'a Observed, name: &UnitName) -> Option<&'a ObservedUnit> {
    observed.workers.get(name.application())?.units.get(&name.number())
}

/// The roles that the workers which stay declare, each with all its parts. One whose roles are refused counts with what it runs.
fn declared(terms: &Terms, observed: &Observed) -> BTreeMap<UnitName, RoleSet> {
    let mut declared = BTreeMap::new();
    for (name, worker) in observed.workers.iter().filter(|(_, w)| !w.removing && !w.temporary) {
        if is_refused(terms, &worker.spec) {
            let running = worker.units.iter().filter(|(_, unit)| unit.is_told_to_run());
            let roles = |unit: &ObservedUnit| terms.table.expand(&unit.current_roles());
            declared.extend(running.map(|(number, unit)| (name.unit(*number), roles(unit))));
            continue;
        }
        let on = worker.spec.roles.iter().filter(|(_, on)| **on);
        let roles: RoleSet = on.filter_map(|(role, _)| role.parse().ok()).collect();
        for number in 0..worker.spec.units {
            declared.insert(name.unit(number), terms.table.expand(&roles));
        }
    }
    declared
}

/// Whether these roles are refused: their worker counts with what it runs then.
pub(crate) fn is_refused(terms: &Terms, spec: &WorkerSpec) -> bool {
    let on = spec.roles.iter().filter(|(_, on)| **on);
    let roles: RoleSet = on.filter_map(|(role, _)| role.parse().ok()).collect();
    (terms.table.exclusive && roles.len() > 1) || terms.workload.assign_roles(&roles, false).is_err()
}

fn is_coherent(terms: &Terms, observed: &Observed) -> bool {
    let roles: RoleSet = declared(terms, observed).values().flat_map(RoleSet::iter).collect();
    roles.is_superset(&terms.table.required)
}

/// Whether all units are to stop, whatever they serve. Whether roles are refused may depend on other workers: there the plan's word counts.
pub(crate) fn stops_all(terms: &Terms, observed: &Observed, plan: &Plan) -> bool {
    let refused = observed.workers.values().any(|worker| is_refused(terms, &worker.spec));
    !is_coherent(terms, observed) || (refused && !plan.coverage.is_coherent())
}

/// A unit that stays, serves and sees the ring.
pub(crate) fn sees_ring(
    terms: &Terms,
    observed: &Observed,
    leaving: &BTreeSet<UnitName>,
) -> Option<UnitName> {
    let declared = declared(terms, observed);
    let stays = |name: &UnitName| declared.contains_key(name) && !leaving.contains(name);
    let sees = |unit: &ObservedUnit| {
        let roles = runs(unit.assigned.as_ref(), terms);
        unit.is_ready() && terms.workload.ring().is_shown_by(&roles)
    };
    units(observed).find(|(name, unit)| stays(name) && sees(unit)).map(|(name, _)| name)
}

/// Whether what the unit is told takes away a process that serves.
pub(crate) fn takes(observed: &Observed, name: &UnitName, next: &Assignment) -> bool {
    find(observed, name).is_some_and(|unit| {
        unit.is_ready() && unit.assigned.as_ref().is_some_and(|now| !now.same_process(next))
    })
}

/// Whether what the unit is told takes away data that it said it had uploaded, while enough others take what clients write.
pub(crate) fn is_held(
    terms: &Terms,
    observed: &Observed,
    name: &UnitName,
    next: &Assignment,
    copies: usize,
) -> bool {
    let Some(unit) = find(observed, name) else { return false };
    let says = unit.report.as_ref().and_then(|report| report.quiet.as_ref());
    let role = terms.workload.replicated_role();
    let gives_up =
        runs(unit.assigned.as_ref(), terms).contains(role) && !runs(Some(next), terms).contains(role);
    let declared = declared(terms, observed);
    // Units of a worker with refused roles go on, but for those that are not asked for any more.
    let is_asked_for = |unit: &UnitName| {
        observed.workers.get(unit.application()).is_some_and(|worker| unit.number() < worker.spec.units)
    };
    let stays = |other: &UnitName| other != name && is_asked_for(other);
    let stay = declared.iter().filter(|(other, roles)| stays(other) && roles.contains(role)).count();
    gives_up && says.is_some_and(|quiet| quiet.uploaded) && stay > copies / 2
}

fn runs(assigned: Option<&Assignment>, terms: &Terms) -> RoleSet {
    let starts = assigned.filter(|assigned| assigned.run == Run::Start);
    starts.map(|assigned| terms.table.expand(&assigned.roles)).unwrap_or_default()
}

/// Checks a plan.
pub(crate) fn of_plan(
    terms: &Terms,
    observed: &Observed,
    plan: &Plan,
    changes: &Published,
    ground: &mut Ground,
) {
    honest(terms, observed, plan, ground);
    let mut workers = observed.workers.values().filter(|worker| !worker.removing);
    if is_coherent(terms, observed) && !workers.any(|worker| is_refused(terms, &worker.spec)) {
        coherent(terms, observed, changes, ground);
    }
}

/// Active says that every required role has a unit that said that it is ready with it.
fn honest(terms: &Terms, observed: &Observed, plan: &Plan, ground: &mut Ground) {
    if plan.status.status != WorkloadStatus::Active {
        return;
    }
    if let Some(transition) = &plan.transition {
        ground.breaks("honest status", || format!("it is active, and {:?}", transition.message));
    }
    let ready: RoleSet = units(observed)
        .filter(|(_, unit)| unit.answers())
        .filter_map(|(_, unit)| unit.report.as_ref()?.applied.as_ref())
        .flat_map(|applied| terms.table.expand(&applied.roles).iter().collect::<Vec<_>>())
        .collect();
    let missing = terms.table.required.difference(&ready);
    if !missing.is_empty() {
        ground.breaks("honest status", || {
            format!("the status is {:?}, and no unit is ready with {missing}", plan.status.to_string())
        });
    }
}

/// No role loses its last unit while another one, which is yet to come up, is to have it.
fn coherent(terms: &Terms, observed: &Observed, changes: &Published, ground: &mut Ground) {
    let after = |name: &UnitName, unit: &ObservedUnit| {
        if changes.remove.contains(name) {
            return RoleSet::new();
        }
        runs(changes.assign.get(name).or(unit.assigned.as_ref()), terms)
    };
    let kept: RoleSet =
        units(observed).flat_map(|(name, unit)| after(&name, unit).iter().collect::<Vec<_>>()).collect();
    let declared = declared(terms, observed);
    for role in terms.table.required.iter().filter(|role| !kept.contains(*role)) {
        let had = units(observed)
            .find(|(_, unit)| unit.is_ready() && runs(unit.assigned.as_ref(), terms).contains(role));
        let Some((last, _)) = had else { continue };
        // Also units that trade their roles: a temporary worker stands in for them.
        let mut takers = declared.iter().filter(|(name, roles)| roles.contains(role) && **name != last);
        let has = |unit: &ObservedUnit| unit.is_ready() && runs(unit.assigned.as_ref(), terms).contains(role);
        let waits = takers.find(|(name, _)| !find(observed, name).is_some_and(has));
        if let Some((taker, _)) = waits {
            ground.breaks("coherence", || {
                format!("{last} gives up {role} before {taker}, which is to have it, is ready")
            });
        }
    }
}
