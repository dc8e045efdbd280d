//! What each round does, unit by unit, and what clients notice of it.

use std::collections::{BTreeMap, BTreeSet};

use muster_model::{AppName, Role, RoleSet, UnitName};
use muster_relation::{Assignment, Run};

use super::ideal::Event;
use super::service::{Path, Served};
use super::step::{Act, Data, Service, Step, Until, Wait};
use crate::observed::{Observed, ObservedUnit};
use crate::plan::{Plan, Published};
use crate::validate::Line;

/// What one unit does from its first act to its last, without anything else in between.
#[derive(Debug)]
struct Journey {
    unit: UnitName,
    begins: usize,
    acts: Vec<Act>,
    waits_for: Vec<Wait>,
    /// The roles that it had and gets.
    roles: RoleSet,
    writes: Service,
    reads: Service,
    data: Data,
}

/// What units came to in one round, each with its roles.
type Happened = Vec<(Event, RoleSet)>;

/// A path that is not served for a while.
#[derive(Debug)]
struct Gap {
    lacks: RoleSet,
    journeys: Vec<usize>,
}

pub(super) struct Record {
    line: Option<Line>,
    round: usize,
    journeys: Vec<Journey>,
    /// The last journey of each unit.
    last: BTreeMap<UnitName, usize>,
    /// The units that do something in this round.
    busy: BTreeSet<UnitName>,
    /// The last round in which workers' units came to something.
    happened: Happened,
    gaps: BTreeMap<Path, Gap>,
    /// How many copies of fresh data there are.
    factor: u8,
    /// Units whose uploads everybody finds before they go.
    found: BTreeSet<UnitName>,
    /// Units that take nothing new because they are about to go.
    takes_nothing: BTreeSet<UnitName>,
    /// How many units have uploaded what they held and left.
    drained: usize,
    pub(super) reloads: usize,
    /// The load balancers that reload at the very beginning.
    first_reloads: Vec<UnitName>,
}

impl Record {
    pub(super) fn of(line: Option<Line>) -> Self {
        Self {
            line,
            round: 0,
            journeys: Vec::new(),
            last: BTreeMap::new(),
            busy: BTreeSet::new(),
            happened: Vec::new(),
            gaps: BTreeMap::new(),
            factor: 1,
            found: BTreeSet::new(),
            takes_nothing: BTreeSet::new(),
            drained: 0,
            reloads: 0,
            first_reloads: Vec::new(),
        }
    }

    /// Notes what a plan asks for, before it is carried out.
    pub(super) fn note_orders(&mut self, observed: &Observed, plan: &Plan, changes: &Published) {
        self.busy.clear();
        self.factor = plan.carry.replication_factor.unwrap_or(1);
        let mut away = BTreeMap::new();
        for name in plan.carry.leaving_balancer.difference(&observed.carry.leaving_balancer) {
            self.act(name, Act::LeaveBalancer, self.roles_of(observed, name));
        }
        for name in &changes.create {
            self.act(name, Act::Make, RoleSet::new());
        }
        for name in &changes.replace {
            let journey = self.act(name, Act::Renew, self.roles_of(observed, name));
            away.insert(name.clone(), journey);
        }
        let mut reloads = Vec::new();
        for (name, next) in &changes.assign {
            let Some(unit) = unit_of(observed, name) else { continue };
            if *name.application() == observed.name && reloads_only(unit, next) {
                self.busy.insert(name.clone());
                reloads.push(name.clone());
            } else if let Some(act) = self.act_of(unit, next, *name.application() == observed.name) {
                let quiesces = matches!(act, Act::Quiesce { .. });
                if act == (Act::Quiesce { takes_nothing: true }) {
                    self.takes_nothing.insert(name.clone());
                }
                let stays = matches!(act, Act::Start { .. } | Act::Quiesce { .. } | Act::Resume);
                let roles = self.roles_of(observed, name).union(&self.expand(&next.roles));
                let gives_up = next.gives_up;
                let journey = self.act(name, act, roles);
                if !stays {
                    away.insert(name.clone(), journey);
                }
                if !stays || quiesces {
                    self.note_data(observed, name, journey, gives_up);
                }
            }
        }
        for name in &changes.remove {
            self.act(name, Act::Remove, self.roles_of(observed, name));
        }
        self.reloads += usize::from(!reloads.is_empty());
        if self.round == 0 {
            self.first_reloads = reloads;
        }
        self.note_gaps(observed, &away);
    }

    /// Notes what units came to.
    pub(super) fn note_events(&mut self, observed: &Observed, events: &[Event]) {
        for event in
            events.iter().filter(|event| !self.busy.contains(&event.unit)).cloned().collect::<Vec<_>>()
        {
            let act = if event.came_to == Until::Ready { Act::ComeUp } else { Act::End };
            self.act(&event.unit, act, self.roles_of(observed, &event.unit));
        }
        if self.round == 0 && self.journeys.is_empty() {
            for name in std::mem::take(&mut self.first_reloads) {
                self.act(&name, Act::Reload, RoleSet::new());
            }
        }
        let workers = events.iter().filter(|event| *event.unit.application() != observed.name);
        let happened: Happened =
            workers.map(|event| (event.clone(), self.roles_of_last(&event.unit))).collect();
        self.close_gaps(observed, &happened);
        if !happened.is_empty() {
            self.happened = happened;
        }
        self.round += 1;
    }

    /// Notes that everybody finds what these uploaded.
    pub(super) fn note_found(&mut self, units: &[UnitName]) {
        let event = |unit: &UnitName| Event { unit: unit.clone(), came_to: Until::Found };
        self.happened = units.iter().map(|unit| (event(unit), self.roles_of_last(unit))).collect();
        // What takes data until it ends has more to upload then.
        let is_all = |unit: &&UnitName| self.takes_nothing.contains(*unit);
        self.found.extend(units.iter().filter(is_all).cloned());
        self.round += 1;
    }

    /// The roles of what the unit did last.
    fn roles_of_last(&self, unit: &UnitName) -> RoleSet {
        let journey = self.last.get(unit).and_then(|place| self.journeys.get(*place));
        journey.map(|journey| journey.roles.clone()).unwrap_or_default()
    }

    /// Adds an act to what the unit does, or begins with it. Gives the place of its journey.
    fn act(&mut self, name: &UnitName, act: Act, roles: RoleSet) -> usize {
        self.busy.insert(name.clone());
        let round = self.round;
        if let Some(place) = self.last.get(name).copied()
            && let Some(journey) = self.journeys.get(place)
            && let Some(last) = journey.acts.last()
            && (goes_on(last, &act) || (*last == Act::LeaveBalancer && act == Act::LeaveBalancer))
        {
            // What is made and not started at once waits for more than that it is made.
            let waits = (act != Act::LeaveBalancer && *last == Act::Make && round > journey.begins + 1)
                .then(|| self.waits(&roles));
            if let Some(journey) = self.journeys.get_mut(place) {
                journey.roles = journey.roles.union(&roles);
                if journey.acts.last() != Some(&act) {
                    journey.acts.push(act);
                }
                if let Some(waits) = waits {
                    (journey.waits_for, journey.begins) = (waits, round);
                }
            }
            return place;
        }
        let waits_for = self.waits(&roles);
        self.journeys.push(Journey {
            unit: name.clone(),
            begins: round,
            acts: vec![act],
            waits_for,
            roles,
            writes: Service::None,
            reads: Service::None,
            data: Data::None,
        });
        let place = self.journeys.len() - 1;
        self.last.insert(name.clone(), place);
        place
    }

    /// What something with these roles waits for that begins now: what units of its roles came to last, or else any.
    fn waits(&self, roles: &RoleSet) -> Vec<Wait> {
        let shares = |of: &RoleSet| of.iter().any(|role| roles.contains(role));
        let any = self.happened.iter().any(|(_, of)| shares(of));
        let awaited = |until| {
            let happened = self.happened.iter();
            let happened = happened.filter(|(event, of)| event.came_to == until && (!any || shares(of)));
            let units: Vec<UnitName> = happened.map(|(event, _)| event.unit.clone()).collect();
            (!units.is_empty()).then_some(Wait { units, until })
        };
        [Until::Ready, Until::Stopped, Until::Found].into_iter().filter_map(awaited).collect()
    }

    /// What an assignment makes of a unit's process, if anything.
    fn act_of(&self, unit: &ObservedUnit, next: &Assignment, is_balancer: bool) -> Option<Act> {
        let now = unit.assigned.as_ref().filter(|now| now.run == Run::Start);
        let current = self.expand(&unit.current_roles());
        match (now, next.run) {
            (None, Run::Start) => Some(Act::Start { roles: self.named(&next.roles) }),
            (_, Run::Stop) => {
                let told = unit.assigned.as_ref().is_some_and(|now| now.same_process(next));
                (!told).then(|| Act::Stop { drains: !is_balancer && self.holds_data(&current) })
            }
            (Some(now), Run::Start) if now.same_process(next) => match (now.quiesces, next.quiesces) {
                (false, true) => Some(Act::Quiesce { takes_nothing: self.can_take_nothing(unit) }),
                (true, false) => Some(Act::Resume),
                _ => None,
            },
            (Some(now), Run::Start) => {
                let given_up = current.difference(&self.expand(&next.roles));
                let roles = self.named(&next.roles);
                Some(if self.holds_data(&given_up) {
                    Act::GiveUp { roles }
                } else {
                    let new_roles = now.roles != next.roles;
                    Act::Restart { roles, new_roles, new_config: now.revision != next.revision }
                })
            }
        }
    }

    fn note_data(&mut self, observed: &Observed, name: &UnitName, place: usize, gives_up: bool) {
        let holds = self.holds_data(&self.roles_of(observed, name));
        let Some(journey) = self.journeys.get_mut(place).filter(|_| holds) else { return };
        journey.data = match journey.acts.last() {
            Some(Act::GiveUp { .. } | Act::Stop { .. }) if gives_up => Data::GivenUp,
            // It went before.
            Some(Act::GiveUp { .. } | Act::Stop { drains: true }) if self.found.contains(name) => Data::None,
            Some(Act::Quiesce { .. } | Act::GiveUp { .. } | Act::Stop { drains: true }) => Data::Uploaded,
            _ => Data::Stays,
        };
    }

    /// Notes what clients notice while these units are away.
    fn note_gaps(&mut self, observed: &Observed, away: &BTreeMap<UnitName, usize>) {
        let Some(line) = self.line.as_ref().filter(|_| !away.is_empty()) else { return };
        let before = Served::by(observed, line, |_| false);
        let during = Served::by(observed, line, |name| away.contains_key(name));
        let replicated = line.workload.replicated_role();
        for path in Path::ALL {
            let (None, Some(lacks)) =
                (before.lacks(path, line, self.factor), during.lacks(path, line, self.factor))
            else {
                continue;
            };
            let breaks = |name: &UnitName| {
                *name.application() == observed.name
                    || roles(observed, name, line).iter().any(|role| lacks.contains(role))
            };
            let journeys: Vec<usize> =
                away.iter().filter(|(name, _)| breaks(name)).map(|(_, place)| *place).collect();
            for place in &journeys {
                let fails = Service::Fails { until: Vec::new(), ends: false };
                if let Some(journey) = self.journeys.get_mut(*place) {
                    *journey.on(path) = fails;
                }
            }
            self.gaps.insert(path, Gap { lacks, journeys });
        }
        let others = during.count(replicated) > 0;
        for (name, place) in away {
            if !roles(observed, name, line).contains(replicated) || self.found.contains(name) {
                continue;
            }
            let Some(journey) = self.journeys.get_mut(*place) else { continue };
            let noticed = if journey.data == Data::Uploaded {
                self.drained += 1;
                // As many as may be missing at a time: others have copies of what they held.
                if self.drained > usize::from(self.factor.saturating_sub(1) / 2) {
                    Service::Late
                } else {
                    Service::None
                }
            } else if self.factor == 1 && others {
                Service::Short
            } else {
                Service::None
            };
            if noticed.rank() > journey.reads.rank() {
                journey.reads = noticed;
            }
        }
    }

    /// Notes which paths are served again.
    fn close_gaps(&mut self, observed: &Observed, happened: &Happened) {
        let Some(line) = self.line.as_ref().filter(|_| !self.gaps.is_empty()) else { return };
        let now = Served::by(observed, line, |_| false);
        let closed: Vec<Path> =
            self.gaps.keys().copied().filter(|path| now.lacks(*path, line, self.factor).is_none()).collect();
        for path in closed {
            let Some(gap) = self.gaps.remove(&path) else { continue };
            let helps = |(event, _): &&(Event, RoleSet)| {
                event.came_to == Until::Ready
                    && roles(observed, &event.unit, line).iter().any(|role| gap.lacks.contains(role))
            };
            let until: BTreeSet<UnitName> =
                happened.iter().filter(helps).map(|(event, _)| event.unit.clone()).collect();
            let own: BTreeSet<UnitName> = gap
                .journeys
                .iter()
                .filter_map(|place| Some(self.journeys.get(*place)?.unit.clone()))
                .collect();
            let until: Vec<UnitName> =
                if until.is_subset(&own) { Vec::new() } else { until.into_iter().collect() };
            for place in gap.journeys {
                if let Some(journey) = self.journeys.get_mut(place) {
                    *journey.on(path) = Service::Fails { until: until.clone(), ends: true };
                }
            }
        }
    }

    /// The steps: what many units do is one, as long as none of them waits for a step after it.
    pub(super) fn into_steps(mut self) -> Vec<Step> {
        self.journeys.sort_by_key(|journey| journey.begins);
        let mut groups: Vec<Group> = Vec::new();
        // In which group each unit was last.
        let mut places: BTreeMap<UnitName, usize> = BTreeMap::new();
        // The last group of each kind.
        let mut kinds: BTreeMap<Kind, usize> = BTreeMap::new();
        for journey in self.journeys {
            let kind = Kind {
                app: journey.unit.application().clone(),
                acts: journey.acts.clone(),
                ranks: (journey.writes.rank(), journey.reads.rank()),
                data: journey.data,
            };
            let awaited = journey.waits_for.iter().flat_map(|wait| &wait.units);
            let after = awaited.filter_map(|unit| places.get(unit)).max().copied().unwrap_or(0);
            let place =
                kinds.get(&kind).copied().filter(|place| *place >= after).filter(|place| {
                    groups.get(*place).is_some_and(|group| !group.units.contains(&journey.unit))
                });
            let place = place.unwrap_or_else(|| {
                groups.push(Group::default());
                groups.len() - 1
            });
            kinds.insert(kind, place);
            places.insert(journey.unit.clone(), place);
            if let Some(group) = groups.get_mut(place) {
                group.add(journey);
            }
        }
        groups.into_iter().filter_map(|group| group.step).collect()
    }

    fn roles_of(&self, observed: &Observed, name: &UnitName) -> RoleSet {
        self.line.as_ref().map(|line| roles(observed, name, line)).unwrap_or_default()
    }

    fn expand(&self, roles: &RoleSet) -> RoleSet {
        self.line.as_ref().map_or_else(|| roles.clone(), |line| line.table.expand(roles))
    }

    fn can_take_nothing(&self, unit: &ObservedUnit) -> bool {
        let quiesce = self.line.as_ref().and_then(|line| line.workload.quiesce(&unit.current_roles()));
        quiesce.is_some_and(|quiesce| quiesce.takes_nothing.is_some())
    }

    fn holds_data(&self, roles: &RoleSet) -> bool {
        self.line.as_ref().is_some_and(|line| roles.iter().any(|role| line.workload.holds_data(role)))
    }

    /// Roles as people switch them on: a meta role where all that it stands for is there.
    fn named(&self, roles: &RoleSet) -> Vec<String> {
        let mut left = roles.clone();
        let mut named = Vec::new();
        let metas = self.line.iter().flat_map(|line| &line.table.meta);
        let mut metas: Vec<_> = metas.filter(|(meta, _)| **meta != Role::All).collect();
        metas.sort_by_key(|(_, parts)| std::cmp::Reverse(parts.len()));
        for (meta, parts) in metas {
            if !parts.is_empty() && left.is_superset(parts) {
                left = left.difference(parts);
                named.push(meta.to_string());
            }
        }
        named.extend(left.iter().map(|role| role.to_string()));
        named.sort_unstable();
        named
    }
}

/// What makes journeys of several units the same step.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Kind {
    app: AppName,
    acts: Vec<Act>,
    ranks: (u8, u8),
    data: Data,
}

/// A step that grows.
#[derive(Debug, Default)]
struct Group {
    step: Option<Step>,
    units: BTreeSet<UnitName>,
    /// When the last wave began.
    last: usize,
}

impl Group {
    fn add(&mut self, journey: Journey) {
        self.units.insert(journey.unit.clone());
        let first =
            self.step.as_ref().is_none_or(|step| step.waves.len() == 1 && self.last == journey.begins);
        let step = self.step.get_or_insert_with(|| Step {
            acts: journey.acts,
            waves: Vec::new(),
            waits_for: Vec::new(),
            writes: journey.writes.clone(),
            reads: journey.reads.clone(),
            data: journey.data,
        });
        match step.waves.last_mut() {
            Some(wave) if self.last == journey.begins => wave.push(journey.unit),
            _ => step.waves.push(vec![journey.unit]),
        }
        self.last = journey.begins;
        if first {
            for wait in journey.waits_for {
                match step.waits_for.iter_mut().find(|other| other.until == wait.until) {
                    Some(other) => {
                        let more: Vec<_> =
                            wait.units.into_iter().filter(|unit| !other.units.contains(unit)).collect();
                        other.units.extend(more);
                    }
                    None => step.waits_for.push(wait),
                }
            }
        }
        widen(&mut step.writes, &journey.writes);
        widen(&mut step.reads, &journey.reads);
    }
}

/// Adds the units that end a gap.
fn widen(service: &mut Service, other: &Service) {
    if let (Service::Fails { until, ends }, Service::Fails { until: more, ends: also }) = (service, other) {
        let more: Vec<_> = more.iter().filter(|unit| !until.contains(unit)).cloned().collect();
        until.extend(more);
        *ends &= also;
    }
}

impl Journey {
    fn on(&mut self, path: Path) -> &mut Service {
        match path {
            Path::Writes => &mut self.writes,
            Path::Reads => &mut self.reads,
        }
    }
}

/// Whether one act of a unit belongs to the same step as the one before.
fn goes_on(before: &Act, act: &Act) -> bool {
    match before {
        Act::Make => matches!(act, Act::Start { .. }),
        Act::LeaveBalancer => {
            matches!(act, Act::Restart { .. } | Act::GiveUp { .. } | Act::Stop { .. } | Act::Renew)
        }
        Act::Stop { .. } | Act::End => *act == Act::Remove,
        _ => false,
    }
}

/// Whether a load balancer goes on with another document.
fn reloads_only(unit: &ObservedUnit, next: &Assignment) -> bool {
    unit.is_told_to_run() && next.run == Run::Start
}

fn unit_of<'a>(observed: &'a Observed, name: &UnitName) -> Option<&'a ObservedUnit> {
    let units = if *name.application() == observed.name {
        &observed.balancers
    } else {
        &observed.workers.get(name.application())?.units
    };
    units.get(&name.number())
}

fn roles(observed: &Observed, name: &UnitName, line: &Line) -> RoleSet {
    unit_of(observed, name).map(|unit| line.table.expand(&unit.current_roles())).unwrap_or_default()
}
