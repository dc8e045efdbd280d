//! The way from what ran to what is asked for, in phases: what is said of it while it lasts.
//!
//! Decides nothing. A transition begins when units are to be made, changed or taken away, and is over when every unit has done its part.
//! Which units do what is taken down at its beginning ([`Transition`]); how far they are is seen from the units each time. A phase is
//! over once each of its units was seen to have done it: one that falls ill later has a status of its own, and no phase is gone back to.

use std::collections::{BTreeMap, BTreeSet};

use muster_api::{TransitionPhase, TransitionStatus, TransitionWork};
use muster_model::{AppName, Finding, Revision, RoleSet, UnitName, WorkloadStatus};
use muster_relation::{Assignment, Run};
use serde::{Deserialize, Serialize};

use crate::forecast::spans;
use crate::gate::Gate;
use crate::observed::{Observed, ObservedUnit};
use crate::parting::Partings;
use crate::plan::wanted_units;
use crate::rollout::{Member, Rollout, Want};
use crate::status::tries_again;
use crate::temporary::Temporary;
use crate::validate::Line;

/// How many units a line names before it counts the rest.
const NAMED: usize = 2;
/// How many spans of units a phase names before it counts the rest: a status is read whole, by people and by every watch.
const SPANS: usize = 12;

use TransitionWork as Work;

/// What was asked for, and which units are to do what for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Transition {
    asked: Asked,
    phases: BTreeMap<Work, Units>,
    /// The present phase. Not kept beyond the process: the units show it.
    #[serde(skip)]
    at: Work,
    #[serde(default, skip_serializing_if = "Edited::is_empty")]
    edited: Edited,
}

/// What is asked for, as far as it makes units do something.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
struct Asked {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    revision: Option<Revision>,
    applications: BTreeMap<AppName, Application>,
}

/// What is asked of one application.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Application {
    units: u32,
    /// None: its units are to stop. A load balancer's have none either.
    #[serde(default, skip_serializing_if = "RoleSet::is_empty")]
    roles: RoleSet,
}

/// What became of units when something else was asked for half-way.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Edited {
    /// Not told before, and not to be changed any more.
    #[serde(default, skip_serializing_if = "Units::is_empty")]
    kept: Units,
    /// Told before, and to be changed once more.
    #[serde(default, skip_serializing_if = "Units::is_empty")]
    goes_on: Units,
}

impl Edited {
    fn is_empty(&self) -> bool {
        self.kept.is_empty() && self.goes_on.is_empty()
    }
}

/// Units by application, those that follow each other as first and last number: hundreds take no more room than one.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
struct Units(BTreeMap<AppName, Vec<(u32, u32)>>);

impl Units {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn contains(&self, name: &UnitName) -> bool {
        let spans = self.0.get(name.application());
        spans.is_some_and(|spans| spans.iter().any(|(first, last)| (*first..=*last).contains(&name.number())))
    }

    fn names(&self) -> impl Iterator<Item = UnitName> + '_ {
        let of = |app: &AppName, (first, last): &(u32, u32)| {
            (*first..=*last).map(|number| app.unit(number)).collect::<Vec<_>>()
        };
        self.0.iter().flat_map(move |(app, spans)| spans.iter().flat_map(move |span| of(app, span)))
    }
}

impl FromIterator<UnitName> for Units {
    fn from_iter<I: IntoIterator<Item = UnitName>>(names: I) -> Self {
        let names: BTreeSet<UnitName> = names.into_iter().collect();
        let mut units: BTreeMap<AppName, Vec<(u32, u32)>> = BTreeMap::new();
        for name in names {
            let spans = units.entry(name.application().clone()).or_default();
            match spans.last_mut() {
                Some((_, last)) if *last + 1 == name.number() => *last = name.number(),
                _ => spans.push((name.number(), name.number())),
            }
        }
        Self(units)
    }
}

/// Which units have what to do.
type Works = BTreeMap<Work, BTreeSet<UnitName>>;

/// What a plan knows when it says how far it is.
pub(crate) struct Scene<'a> {
    observed: &'a Observed,
    line: &'a Line,
    members: BTreeMap<&'a UnitName, &'a Member<'a>>,
    rollout: &'a Rollout,
    assignments: &'a BTreeMap<UnitName, Assignment>,
    replace: &'a BTreeSet<UnitName>,
    /// Units that went, and whose uploads are waited for.
    settling: &'a [UnitName],
    partings: &'a Partings,
    findings: &'a [Finding],
    gate: Gate,
    asked: Asked,
    /// The temporary worker that is to be there.
    temporary: Option<&'a Temporary>,
}

/// What is asked of workers: the roles of their units, or nothing for those that are to stop. Workers that are to stay as they are
/// are not named.
pub(crate) type AskedRoles = BTreeMap<AppName, RoleSet>;

impl<'a> Scene<'a> {
    #[expect(
        clippy::too_many_arguments,
        reason = "each is a result of its own of the one plan that calls this"
    )]
    pub(crate) fn new(
        observed: &'a Observed,
        line: &'a Line,
        members: &'a [Member<'a>],
        rollout: &'a Rollout,
        assignments: &'a BTreeMap<UnitName, Assignment>,
        replace: &'a BTreeSet<UnitName>,
        settling: &'a [UnitName],
        partings: &'a Partings,
        findings: &'a [Finding],
        gate: Gate,
        target: Option<&Revision>,
        roles: &AskedRoles,
        temporary: Option<&'a Temporary>,
    ) -> Self {
        // That one comes for a while is nothing that anybody asks for: it is part of the way.
        let lasting = observed.workers.iter().filter(|(_, worker)| !worker.temporary);
        let workers = lasting.filter_map(|(name, worker)| {
            let roles = if gate == Gate::Stop { RoleSet::new() } else { roles.get(name)?.clone() };
            let units = wanted_units(worker.spec.units, worker.removing || observed.removing).end;
            Some((name.clone(), Application { units, roles }))
        });
        let units = wanted_units(observed.spec.units, observed.removing).end;
        let balancers = (observed.name.clone(), Application { units, roles: RoleSet::new() });
        let asked = Asked { revision: target.cloned(), applications: workers.chain([balancers]).collect() };
        let members = members.iter().map(|member| (&member.name, member)).collect();
        Self {
            observed,
            line,
            members,
            rollout,
            assignments,
            replace,
            settling,
            partings,
            findings,
            gate,
            asked,
            temporary,
        }
    }

    fn unit(&self, name: &UnitName) -> Option<&'a ObservedUnit> {
        let number = name.number();
        if *name.application() == self.observed.name {
            self.observed.balancers.get(&number)
        } else {
            self.observed.workers.get(name.application())?.units.get(&number)
        }
    }

    fn is_balancer(&self, name: &UnitName) -> bool {
        *name.application() == self.observed.name
    }

    /// Whether the unit is of the temporary worker, or of the one that is about to be made.
    fn is_temporary(&self, name: &UnitName) -> bool {
        let app = name.application();
        self.observed.workers.get(app).is_some_and(|worker| worker.temporary)
            || self.temporary.is_some_and(|temporary| temporary.name == *app)
    }

    /// Whether the unit is not asked for any more.
    fn leaves(&self, name: &UnitName) -> bool {
        if self.is_temporary(name) {
            return self.temporary.is_none_or(|temporary| name.number() >= temporary.spec.units);
        }
        let removing = self.observed.removing;
        let wanted = if self.is_balancer(name) {
            wanted_units(self.observed.spec.units, removing)
        } else {
            let worker = self.observed.workers.get(name.application());
            worker.map_or(0..0, |worker| wanted_units(worker.spec.units, worker.removing || removing))
        };
        !wanted.contains(&name.number())
    }

    /// Whether the unit is to stop, for good or for now.
    fn stops(&self, name: &UnitName) -> bool {
        let told = || self.unit(name).is_some_and(|unit| !unit.is_told_to_run());
        match self.members.get(name).map(|member| &member.want) {
            Some(Want::Stop | Want::StopAtOnce) => true,
            Some(Want::Hold) => told(),
            Some(Want::Run(_)) => false,
            None => self.leaves(name) || (self.gate == Gate::Stop && self.is_balancer(name)),
        }
    }

    /// Whether the unit is to do its part later. One that stays as it is because its worker's roles are refused has none.
    fn is_held(&self, name: &UnitName) -> bool {
        let is_kept = || self.members.get(name).is_some_and(|member| member.want == Want::Hold);
        self.gate == Gate::Hold || (self.leaves(name) && is_kept())
    }

    /// Whether the unit is told something new by this plan that changes what it does, or is to be later.
    fn changes(&self, name: &UnitName, unit: &ObservedUnit) -> bool {
        let told = || {
            let next = self.assignments.get(name);
            next.is_some_and(|next| unit.assigned.as_ref().is_none_or(|now| !now.same_process(next)))
        };
        self.rollout.later.contains(name) || self.replace.contains(name) || told()
    }

    /// What every unit has to do, as it stands now.
    fn works(&self) -> Works {
        let mut works = Works::new();
        let mut note = |work: Work, name: UnitName| {
            works.entry(work).or_default().insert(name);
        };
        for (name, asked) in &self.asked.applications {
            let there = if *name == self.observed.name {
                Some(&self.observed.balancers)
            } else {
                self.observed.workers.get(name).map(|worker| &worker.units)
            };
            let is_asked =
                self.gate == Gate::Open && (*name == self.observed.name || !asked.roles.is_empty());
            let missing = (0..asked.units).filter(|number| !there.is_some_and(|t| t.contains_key(number)));
            for number in missing.filter(|_| is_asked) {
                note(Work::MakeReady, name.unit(number));
            }
        }
        let units_of =
            |temporary: &'a Temporary| (0..temporary.spec.units).map(move |n| temporary.name.unit(n));
        for name in self.temporary.into_iter().flat_map(units_of) {
            if self.gate == Gate::Open && self.unit(&name).is_none_or(|unit| !unit.is_told_to_run()) {
                note(Work::MakeReady, name.clone());
            }
            note(Work::Remove, name);
        }
        for number in self.observed.balancers.keys() {
            let name = self.observed.name.unit(*number);
            let Some(unit) = self.unit(&name) else { continue };
            if self.leaves(&name) || (self.stops(&name) && !unit.has_stopped()) {
                note(Work::Remove, name);
            } else if self.gate == Gate::Open && !unit.is_told_to_run() {
                note(Work::MakeReady, name);
            } else if self.replace.contains(&name) {
                note(Work::Restart, name);
            }
        }
        let mut expanded = BTreeMap::<RoleSet, RoleSet>::new();
        let mut expand = |roles: &RoleSet| {
            expanded.entry(roles.clone()).or_insert_with(|| self.line.table.expand(roles)).clone()
        };
        for (name, member) in &self.members {
            let unit = member.unit;
            let name = (*name).clone();
            let leaves = self.leaves(&name);
            if member.temporary {
                // Its end is one piece of work: what it holds goes last, when the others rest.
                if leaves {
                    note(Work::Remove, name);
                }
                continue;
            }
            if leaves {
                note(Work::Remove, name.clone());
            }
            if !self.changes(&name, unit) {
                continue;
            }
            let current = expand(&unit.current_roles());
            let holds = |roles: &RoleSet| roles.iter().any(|role| self.line.workload.holds_data(role));
            match &member.want {
                Want::Stop | Want::StopAtOnce => {
                    if unit.is_told_to_run() && holds(&current) {
                        note(Work::Drain, name.clone());
                    }
                    if !leaves {
                        note(Work::Remove, name);
                    }
                }
                Want::Run(_) if !unit.is_told_to_run() => note(Work::MakeReady, name),
                Want::Run(roles) => {
                    let wanted = expand(roles);
                    if holds(&current.difference(&wanted)) {
                        note(Work::Drain, name.clone());
                        note(Work::Restart, name);
                    } else if current.is_superset(&wanted) {
                        note(Work::Restart, name);
                    } else {
                        note(Work::TakeRoles, name);
                    }
                }
                Want::Hold => note(Work::Restart, name),
            }
        }
        works
    }

    /// Whether the unit has done its part of a phase.
    fn is_done(&self, work: Work, name: &UnitName) -> bool {
        let unit = self.unit(name);
        if work == Work::Remove && self.is_temporary(name) {
            return self.temporary.is_none() && unit.is_none();
        }
        let Some(unit) = unit else { return work != Work::MakeReady || self.leaves(name) };
        // What is to stop by now is not to be ready any more.
        if matches!(work, Work::MakeReady | Work::TakeRoles | Work::Restart) && self.stops(name) {
            return true;
        }
        // It is told nothing any more that would end otherwise.
        let rests = || !self.changes(name, unit) && !self.is_held(name);
        let obeys = || {
            let applied = unit.report.as_ref().and_then(|report| report.applied.as_ref());
            let told = unit.assigned.as_ref();
            unit.obeys() && told.zip(applied).is_some_and(|(told, applied)| told.roles == applied.roles)
        };
        match work {
            Work::MakeReady if self.is_balancer(name) => unit.is_told_to_run() && unit.answers(),
            Work::MakeReady => unit.is_ready(),
            Work::Drain if self.stops(name) => unit.has_stopped(),
            Work::Drain => rests() && obeys(),
            Work::TakeRoles | Work::Restart if self.is_balancer(name) => rests() && unit.answers(),
            Work::TakeRoles | Work::Restart => rests() && unit.obeys() && unit.is_ready(),
            Work::Remove => !self.leaves(name) && (unit.has_stopped() || !self.stops(name)),
        }
    }

    /// Whether nothing is asked of any unit and all have done what they were told: whatever was taken down, it is over.
    fn is_at_rest(&self, works: &Works) -> bool {
        let workers = self.members.values().map(|member| member.unit);
        let mut units = workers.chain(self.observed.balancers.values());
        works.is_empty() && units.all(|unit| unit.is_ready() || unit.has_stopped())
    }

    /// What keeps units from their part, in words.
    fn waits(&self) -> Vec<String> {
        let mut waits = Vec::new();
        if let (Gate::Hold, Some(finding)) = (self.gate, self.obstacle()) {
            waits.push(finding.message.clone());
        }
        if let Some(halt) = &self.rollout.halt {
            waits.push(format!("{}, which halts the rollout", halt.unit));
        }
        let names = |is: &dyn Fn(&Member<'_>) -> bool| {
            self.members.values().filter(|member| is(member)).map(|member| member.name.clone()).collect()
        };
        let unknown: Vec<UnitName> = names(&|member| member.unit.unknown);
        let ready: Vec<UnitName> = names(&|member| {
            let runs = matches!(member.want, Want::Run(_)) && member.unit.is_told_to_run();
            runs && !member.unit.is_ready()
        });
        let stopped: Vec<UnitName> =
            names(&|member| member.unit.assigned.is_some() && self.is_stopping(member.unit));
        let quiesces = |member: &Member<'_>| {
            let next = self.assignments.get(&member.name).or(member.unit.assigned.as_ref());
            next.is_some_and(|told| told.run == Run::Start && told.quiesces)
        };
        let found: Vec<UnitName> = names(&quiesces);
        for (units, what) in [
            (unknown, "to say what they do"),
            (ready, "to be ready"),
            (stopped, "to have stopped"),
            (found, "to upload what they hold, and others to find it"),
        ] {
            if !units.is_empty() {
                waits.push(format!("{} {what}", named(&units)));
            }
        }
        waits.extend(self.parting());
        if !self.settling.is_empty() {
            waits.push(format!("others to find what {} uploaded", named(self.settling)));
        }
        waits
    }

    /// Who is to see that others left the ring.
    fn parting(&self) -> Option<String> {
        let (witness, units) = self.partings.awaited()?;
        Some(format!("{witness} to see that {} left the ring", named(&units)))
    }

    fn is_stopping(&self, unit: &ObservedUnit) -> bool {
        unit.assigned.as_ref().is_some_and(|told| told.run == Run::Stop) && !unit.has_stopped()
    }

    /// Why services may not be changed.
    fn obstacle(&self) -> Option<&Finding> {
        self.findings.iter().find(|finding| finding.status > WorkloadStatus::Active)
    }
}

/// What is under way after this plan, and what is said of it. Nothing before all units were ready for the first time: that is no
/// transition from anything.
pub(crate) fn follow(scene: &Scene<'_>) -> Option<(Transition, TransitionStatus)> {
    let carry = &scene.observed.carry;
    let transition = if scene.gate == Gate::Hold {
        // What is asked for is not known whole, or is not to be done now.
        carry.transition.clone()
    } else if carry.opened {
        let works = scene.works();
        match &carry.transition {
            None => Transition::begin(scene, works),
            Some(_) if scene.is_at_rest(&works) => None,
            Some(before) if before.asked == scene.asked => before.clone().goes_on(scene, works),
            Some(before) => before.turns(scene, works),
        }
    } else {
        None
    }?;
    let status = transition.status(scene);
    Some((transition, status))
}

impl Transition {
    /// Whether units restart with another config and nothing else.
    pub(crate) fn is_mere_rollout(&self) -> bool {
        self.edited.is_empty() && self.phases.keys().eq([&Work::Restart])
    }

    fn begin(scene: &Scene<'_>, works: Works) -> Option<Self> {
        let phases: BTreeMap<Work, Units> =
            works.into_iter().map(|(work, units)| (work, units.into_iter().collect())).collect();
        let begun =
            Self { asked: scene.asked.clone(), phases, at: Work::MakeReady, edited: Edited::default() };
        begun.seen(scene)
    }

    /// With the phase that is the present one now. None: it is over.
    fn seen(mut self, scene: &Scene<'_>) -> Option<Self> {
        let mut left = self.phases.range(self.at..);
        let present = left.find(|(work, units)| units.names().any(|name| !scene.is_done(**work, &name)));
        self.at = *present?.0;
        Some(self)
    }

    /// The same with what could not be known at the beginning, such as units that follow a new leader.
    fn goes_on(mut self, scene: &Scene<'_>, works: Works) -> Option<Self> {
        for (work, units) in works.iter().filter(|(work, _)| **work >= self.at) {
            let known = self.phases.entry(*work).or_default();
            if !units.iter().all(|name| known.contains(name)) {
                *known = known.names().chain(units.iter().cloned()).collect();
            }
        }
        self.seen(scene).or_else(|| Self::begin(scene, works))
    }

    /// Something else is asked for half-way.
    fn turns(&self, scene: &Scene<'_>, mut works: Works) -> Option<Self> {
        let mut kept = BTreeSet::new();
        let mut goes_on = BTreeSet::new();
        for (work, units) in &self.phases {
            for name in units.names() {
                let again = works.values().any(|units| units.contains(&name));
                match (self.was_told(&name, scene), again) {
                    (true, true) => {
                        goes_on.insert(name);
                    }
                    (false, false) => {
                        kept.insert(name);
                    }
                    // It is still doing what is asked of it now as before.
                    (true, false) if !scene.is_done(*work, &name) => {
                        works.entry(*work).or_default().insert(name);
                    }
                    _ => {}
                }
            }
        }
        let edited = Edited { kept: kept.into_iter().collect(), goes_on: goes_on.into_iter().collect() };
        Self::begin(scene, works).map(|begun| Self { edited, ..begun })
    }

    /// Whether the unit was told to do its part before something else was asked for.
    fn was_told(&self, name: &UnitName, scene: &Scene<'_>) -> bool {
        let asked = self.asked.applications.get(name.application());
        let asked = asked.filter(|asked| name.number() < asked.units);
        let unit = scene.unit(name);
        let told = unit.and_then(|unit| unit.assigned.as_ref());
        let stopped = unit.is_none() || told.is_some_and(|told| told.run == Run::Stop);
        match asked {
            None => stopped,
            Some(_) if scene.is_balancer(name) => unit.is_some(),
            Some(asked) if asked.roles.is_empty() => stopped,
            Some(asked) => told.is_some_and(|told| {
                let current = self.asked.revision.as_ref().is_none_or(|revision| told.revision == *revision);
                told.run == Run::Start && told.roles == asked.roles && current
            }),
        }
    }

    fn status(&self, scene: &Scene<'_>) -> TransitionStatus {
        let phases: Vec<TransitionPhase> =
            self.phases.iter().map(|(work, units)| phase(*work, units, self.at, scene)).collect();
        let place = self.phases.keys().filter(|work| **work <= self.at).count();
        let present = self.phases.get(&self.at);
        let left: Vec<UnitName> =
            present.into_iter().flat_map(Units::names).filter(|name| !scene.is_done(self.at, name)).collect();
        let is_told = |name: &&UnitName| {
            let rollout = scene.rollout;
            !rollout.later.contains(*name) || rollout.leaving_balancer.contains(*name)
        };
        let (told, later): (Vec<_>, Vec<_>) = left.iter().partition(|name| is_told(name));
        let stuck = stuck(&told, self.at, scene);
        let mut message = format!("transition {place}/{}: {} ", phases.len(), self.at.verb());
        let waits_for = if scene.gate == Gate::Hold {
            message.push_str(&named(&left));
            let waits = scene.waits();
            waits.first().into_iter().for_each(|first| message.push_str(&format!(" (held: {first})")));
            waits
        } else if told.is_empty() {
            message.push_str(&named(&left));
            let waits = scene.waits();
            if waits.is_empty() {
                message.push_str(" (not begun yet)");
            } else {
                message.push_str(&format!(" (waiting for {})", waits.join(" and for ")));
            }
            waits
        } else {
            message.push_str(&named(&told.into_iter().cloned().collect::<Vec<_>>()));
            if let Some((name, why)) = stuck.first() {
                let whose = if left.len() > 1 { format!("{name}: ") } else { String::new() };
                message.push_str(&format!(" ({whose}{why})"));
            }
            if !later.is_empty() {
                message.push_str(&format!(", {} more to follow", later.len()));
            }
            let keeps = |(name, why): (UnitName, String)| {
                format!(
                    "{name}, which keeps what is not in the object store yet ({why}); it {}",
                    tries_again()
                )
            };
            stuck.into_iter().map(keeps).chain(scene.parting()).collect()
        };
        let edited = self.edited.lines();
        if !edited.is_empty() {
            message.push_str(&format!("; edited half-way, {}", self.edited.short()));
        }
        TransitionStatus {
            message,
            phase: u32::try_from(place).unwrap_or(u32::MAX),
            phases,
            waits_for,
            edited,
        }
    }
}

/// Those of the units that have tried to leave and still hold something, and what.
fn stuck(told: &[&UnitName], work: Work, scene: &Scene<'_>) -> Vec<(UnitName, String)> {
    let drains = matches!(work, Work::Drain | Work::Remove);
    let tried = |name: &&UnitName| {
        let drain = scene.unit(name)?.report.as_ref()?.drain.as_ref()?;
        Some(((*name).clone(), drain.why.clone()))
    };
    told.iter().filter(|_| drains).filter_map(tried).take(SPANS).collect()
}

fn phase(work: Work, units: &Units, at: Work, scene: &Scene<'_>) -> TransitionPhase {
    let names: Vec<UnitName> = units.names().collect();
    let done = names.iter().filter(|name| work < at || scene.is_done(work, name)).count();
    let count = |units: usize| u32::try_from(units).unwrap_or(u32::MAX);
    TransitionPhase { work, units: units.text(), total: count(names.len()), done: count(done) }
}

impl Units {
    fn text(&self) -> String {
        let mut room = SPANS;
        let mut shown = Vec::new();
        for (app, spans) in &self.0 {
            for (first, last) in spans.iter().take(room) {
                shown.extend((*first..=*last).map(|number| app.unit(number)));
            }
            room = room.saturating_sub(spans.len());
        }
        let more = self.names().count() - shown.len();
        let text = spans(shown.iter());
        if more == 0 { text } else { format!("{text} and {more} more") }
    }
}

impl Edited {
    fn lines(&self) -> Vec<String> {
        let said =
            |units: &Units, what: &str| (!units.is_empty()).then(|| format!("{}: {what}", units.text()));
        let kept = said(&self.kept, "taken back, nothing was begun");
        let goes_on = said(&self.goes_on, "rolls forward, something was begun that cannot be undone");
        kept.into_iter().chain(goes_on).collect()
    }

    fn short(&self) -> String {
        let said = |units: &Units, what: &str| {
            (!units.is_empty()).then(|| format!("{} {what}", named(&units.names().collect::<Vec<_>>())))
        };
        let said = [said(&self.kept, "taken back"), said(&self.goes_on, "rolled forward")];
        said.into_iter().flatten().collect::<Vec<_>>().join(", ")
    }
}

/// The first names, and how many more there are.
fn named(units: &[UnitName]) -> String {
    let first: Vec<String> = units.iter().take(NAMED).map(ToString::to_string).collect();
    let more = units.len() - first.len();
    match (more, first.len()) {
        (0, NAMED) => first.join(" and "),
        (0, _) => first.join(", "),
        (more, _) => format!("{} and {more} more", first.join(", ")),
    }
}
