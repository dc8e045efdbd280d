//! Units that do at once, and without fault, what they are told.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use muster_model::{AppName, UnitName};
use muster_relation::{Applied, Check, Quiet, Report, Run, Service};

use super::step::{Obstacle, Until};
use crate::observed::{Observed, ObservedUnit, ObservedWorker};
use crate::plan::{Plan, Published};
use crate::temporary::Temporary;

/// The first address of units that are yet to be made: a range that no host has (RFC 2544).
const FIRST_ADDRESS: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);

/// A unit did what it was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Event {
    pub(super) unit: UnitName,
    pub(super) came_to: Until,
}

/// What would be observed.
#[derive(Debug)]
pub(super) struct Ideal {
    pub(super) observed: Observed,
    next_address: u32,
}

impl Ideal {
    pub(super) fn of(observed: Observed) -> Self {
        Self { observed, next_address: FIRST_ADDRESS.to_bits() }
    }

    /// How many units there are.
    pub(super) fn size(&self) -> usize {
        1 + self.observed.balancers.len()
            + self.observed.workers.values().map(|worker| worker.units.len()).sum::<usize>()
    }

    /// Does what a substrate does with a plan. Says whether the next plan remembers anything new.
    pub(super) fn carry_out(&mut self, plan: &Plan, changes: &Published) -> bool {
        let workers = &mut self.observed.workers;
        workers.retain(|_, worker| !(worker.temporary && worker.removing && worker.units.is_empty()));
        if let Some(Temporary { name, spec }) = changes.deploy.clone() {
            workers.insert(name, ObservedWorker { spec, temporary: true, ..ObservedWorker::default() });
        }
        if let Some(worker) = changes.withdraw.as_ref().and_then(|name| workers.get_mut(name)) {
            worker.removing = true;
        }
        for name in &changes.remove {
            if let Some(units) = self.units_of(name.application()) {
                units.remove(&name.number());
            }
        }
        for name in &changes.create {
            let address = Ipv4Addr::from_bits(self.next_address).to_string();
            self.next_address += 1;
            let made = ObservedUnit { address: Some(address), connected: true, ..ObservedUnit::default() };
            if let Some(units) = self.units_of(name.application()) {
                units.insert(name.number(), made);
            }
        }
        for name in &changes.replace {
            if let Some(unit) = self.unit(name) {
                unit.outdated = false;
                // What carried it is gone and comes back with the same disk.
                unit.report = None;
                (unit.absent, unit.connected, unit.agent_problem) = (true, false, None);
            }
        }
        for (name, assignment) in &changes.assign {
            if let Some(unit) = self.unit(name) {
                unit.assigned = Some(assignment.clone());
            }
        }
        let carried = self.observed.carry != plan.carry;
        self.observed.carry = plan.carry.clone();
        carried
    }

    /// Every unit does what it was told, and says so.
    pub(super) fn take_up(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        let coordinator = self.observed.name.clone();
        let balancers = std::iter::once((&coordinator, &mut self.observed.balancers));
        let workers = self.observed.workers.iter_mut().map(|(name, worker)| (name, &mut worker.units));
        for (app, units) in balancers.chain(workers) {
            for (number, unit) in units {
                let name = app.unit(*number);
                events.extend(take_up(unit, &name).map(|came_to| Event { unit: name, came_to }));
            }
        }
        events
    }

    /// The units whose uploads others are to find.
    pub(super) fn quiet(&self) -> Vec<UnitName> {
        let is_quiet =
            |unit: &ObservedUnit| unit.report.as_ref().is_some_and(|report| report.quiet.is_some());
        self.units().filter(|(_, unit)| is_quiet(unit)).map(|(name, _)| name).collect()
    }

    /// The units that stay as they are, and why.
    pub(super) fn obstacles(&self) -> Vec<Obstacle> {
        self.units().filter_map(|(name, unit)| Some(Obstacle { why: obstacle(unit)?, unit: name })).collect()
    }

    /// Every unit with its name.
    fn units(&self) -> impl Iterator<Item = (UnitName, &ObservedUnit)> {
        let balancers = std::iter::once((&self.observed.name, &self.observed.balancers));
        let workers = self.observed.workers.iter().map(|(name, worker)| (name, &worker.units));
        let units = balancers.chain(workers);
        units.flat_map(|(app, units)| units.iter().map(|(number, unit)| (app.unit(*number), unit)))
    }

    fn units_of(&mut self, app: &AppName) -> Option<&mut BTreeMap<u32, ObservedUnit>> {
        if *app == self.observed.name {
            return Some(&mut self.observed.balancers);
        }
        self.observed.workers.get_mut(app).map(|worker| &mut worker.units)
    }

    fn unit(&mut self, name: &UnitName) -> Option<&mut ObservedUnit> {
        self.units_of(name.application())?.get_mut(&name.number())
    }
}

/// Why a unit cannot be taken to do what it is told. What fails now is not forecast to succeed, unless the unit is told something new.
fn obstacle(unit: &ObservedUnit) -> Option<String> {
    if let Some(problem) = &unit.agent_problem {
        return Some(problem.clone());
    }
    if unit.unknown {
        return Some("nothing is known of it until its agent has reported".to_owned());
    }
    if !unit.connected && !unit.absent {
        return Some("it cannot be seen".to_owned());
    }
    let (assigned, report) = (unit.assigned.as_ref()?, unit.report.as_ref()?);
    // A process that is there goes on with what it does; what was said of it may pass.
    let idle = matches!(report.service, Service::Inactive | Service::Stopped | Service::Backoff);
    if let Some(error) = report.last_error.as_ref().filter(|_| idle && !unit.has_stopped()) {
        return Some(error.clone());
    }
    if let Some(refused) = unit.refused() {
        return Some(format!("it refuses the config: {refused}"));
    }
    let is_news = report.epoch < assigned.epoch;
    match (&report.drain, &report.last_exit) {
        _ if is_news => None,
        (Some(drain), _) => Some(format!("it cannot leave yet: {}", drain.why)),
        (None, exit) if report.service == Service::Backoff => {
            let cause = exit.as_ref().map_or("it ends at once", |exit| exit.cause.as_str());
            Some(format!("its process ends: {cause}"))
        }
        _ => None,
    }
}

/// One unit does what it was told. Says what it came to, if it was not there before.
fn take_up(unit: &mut ObservedUnit, name: &UnitName) -> Option<Until> {
    if obstacle(unit).is_some() {
        return None;
    }
    let assigned = unit.assigned.clone()?;
    if assigned.run == Run::Stop && unit.has_stopped() {
        return None;
    }
    let was_ready = unit.is_ready();
    let reloads = was_ready && unit.report.as_ref().is_none_or(|report| report.epoch < assigned.epoch);
    if was_ready && !reloads {
        return None;
    }
    (unit.connected, unit.absent, unit.left_data) = (true, false, false);
    let address = unit.address.clone().unwrap_or_default();
    let report = unit.report.get_or_insert_with(|| Report::new(name.to_string(), address, ""));
    report.epoch = assigned.epoch;
    (report.waiting, report.drain, report.quiet) = (None, None, None);
    report.forgotten.clear();
    match assigned.run {
        Run::Stop => {
            (report.service, report.ready, report.applied) = (Service::Stopped, false, None);
            report.holds_data = false;
            Some(Until::Stopped)
        }
        Run::Start => {
            (report.service, report.ready) = (Service::Running, true);
            report.forgotten.clone_from(&assigned.forgets);
            report.quiet = assigned.quiesces.then(|| Quiet { process: String::new(), uploaded: true });
            report.check = Some(Check { revision: assigned.revision.clone(), rejected: None });
            report.applied = Some(Applied { revision: assigned.revision, roles: assigned.roles });
            (!was_ready).then_some(Until::Ready)
        }
    }
}
