//! Which unit is changed now: restarts, role changes and leaves within the disruption budget of every role.
//!
//! A unit that does not serve is changed at once: it costs nothing. A unit that serves is changed when
//! - every role that it runs can spare it: of a ring one member at a time, of any other role half of the units;
//! - another unit that is to have a role which it gives up is ready with it, if any is to (units that trade roles cannot all wait for that:
//!   see [`Leeway`] and [`crate::temporary`]);
//! - the revision was accepted by a unit's own binary, or this unit is the one that tries it;
//! - the rollout is not halted by a unit that did not come back;
//! - where it gives up data, everybody finds it in the object store, if its product lets it wait for that: see [`crate::hold`];
//! - it does not take what units write no more that wait so;
//! - the load balancer has taken it out of every upstream.
//!
//! A unit that cannot run with a new revision goes back to the last good one by itself, and nobody else tries the new one: see [`crate::trial`].
//!
//! A unit that cannot be seen is left alone: it may serve. While nobody knows what some unit does, no unit that serves is changed:
//! the unknown one may be away. A unit that must be made anew is changed under the same rules, and of one application only one unit
//! until it came back.

use std::collections::{BTreeMap, BTreeSet};

use muster_model::{AppName, GOSSIP_PORT, Revision, Role, RoleSet, UnitName, host_and_port};
use muster_relation::{Assignment, Run, Service};

use crate::abandon::Abandonments;
use crate::complaint;
use crate::hold::{Hold, Holds};
use crate::observed::{CarryOver, NO_EPOCH, ObservedUnit, Seeds};
use crate::parting::Partings;
use crate::peers::Peers;
use crate::temporary::StandIn;
use crate::trial::{Failure, Trials};
use crate::validate::Line;

/// How many units' addresses are handed out as gossip seeds: enough that one is there, few enough that a new unit does not
/// change everybody's assignment.
const SEEDS: usize = 5;

/// What a unit is to do in the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Want {
    /// Run these roles with the target revision.
    Run(RoleSet),
    /// Stop, when the other units can spare it.
    Stop,
    /// Stop without regard for the others, because all stop.
    StopAtOnce,
    /// Keep whatever it does.
    Hold,
}

/// One unit with what it is to do.
#[derive(Debug)]
pub(crate) struct Member<'a> {
    pub(crate) name: UnitName,
    pub(crate) unit: &'a ObservedUnit,
    pub(crate) want: Want,
    /// Whether the unit is not asked for any more.
    pub(crate) leaves: bool,
    /// Whether it is of the [temporary worker](crate::temporary).
    pub(crate) temporary: bool,
}

impl Member<'_> {
    /// Whether it stands in for others: it does so also while it waits for them to be removed.
    fn stands_in(&self) -> bool {
        self.temporary && self.unit.is_told_to_run() && self.unit.is_ready()
    }

    /// The roles that the unit runs once it is there, where it is told to run or about to be.
    pub(crate) fn comes_with(&self) -> Option<&RoleSet> {
        match (&self.want, &self.unit.assigned) {
            _ if self.unit.absent => None,
            (Want::Run(_) | Want::Hold, Some(assigned)) if assigned.run == Run::Start => {
                Some(&assigned.roles)
            }
            (Want::Run(roles), _) => Some(roles),
            _ => None,
        }
    }
}

/// A unit that keeps others from the target revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Halt {
    pub(crate) unit: UnitName,
    pub(crate) what: Trouble,
    pub(crate) why: String,
}

/// What a unit's trouble with the target revision is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// Its own binary refused the config. It keeps running what it ran.
    Rejected,
    /// It ended with it and is started again.
    Ends,
    /// It could not run with it, and runs this revision again.
    WentBack(Revision),
}

/// Units that are to exist and do not yet.
#[derive(Debug)]
pub(crate) struct Coming {
    pub(crate) roles: RoleSet,
    pub(crate) units: u32,
    /// Whether they are of the temporary worker.
    pub(crate) temporary: bool,
}

/// What is decided.
#[derive(Debug, Default)]
pub(crate) struct Rollout {
    pub(crate) assignments: BTreeMap<UnitName, Assignment>,
    /// Units that go next and are taken out of the load balancer first.
    pub(crate) leaving_balancer: BTreeSet<UnitName>,
    /// Units that are made anew now. Their assignment stays until they are gone.
    pub(crate) replace: BTreeSet<UnitName>,
    pub(crate) halt: Option<Halt>,
    /// Whether a unit's own binary has accepted the target revision.
    pub(crate) accepted: bool,
    /// Whether a unit became ready with the target revision.
    pub(crate) proven: bool,
    /// Whether every unit runs the target revision and is ready.
    pub(crate) complete: bool,
    /// Whether units are moved from a good revision to the target, or wait for one that was.
    pub(crate) under_way: bool,
    /// Whether some unit's process is still to be changed.
    pub(crate) pending: bool,
    /// Those whose process is still to be changed and is not yet.
    pub(crate) later: BTreeSet<UnitName>,
    /// Whether units wait for each other, and a temporary worker is to stand in for them.
    pub(crate) needs_temporary: bool,
    /// Whether a unit leaves a required role without a ready unit, because nothing can stand in for it.
    pub(crate) opens_gap: bool,
}

impl Rollout {
    /// Whether nothing is changed now and no former change is under way.
    fn is_at_rest(&self, members: &[Member<'_>]) -> bool {
        self.halt.is_none()
            && self.leaving_balancer.is_empty()
            && self.replace.is_empty()
            && members.iter().all(|member| self.rests(member))
    }

    fn rests(&self, member: &Member<'_>) -> bool {
        let unit = member.unit;
        let next = self.assignments.get(&member.name);
        let changes =
            next.is_some_and(|next| unit.assigned.as_ref().is_none_or(|now| !now.same_process(next)));
        !changes && if unit.is_told_to_run() { unit.is_ready() } else { unit.has_stopped() }
    }

    /// Whether nothing is left to be done for units other than those of the temporary worker.
    pub(crate) fn others_rest(&self, members: &[Member<'_>], coming: &[Coming]) -> bool {
        let done = |member: &Member<'_>| {
            let name = &member.name;
            let waits = self.later.contains(name)
                || self.leaving_balancer.contains(name)
                || self.replace.contains(name);
            !waits && self.rests(member)
        };
        coming.iter().all(|coming| coming.temporary)
            && members.iter().filter(|member| !member.temporary).all(done)
    }
}

/// Whether the balancer no longer routes to a unit, given the units that it should leave out.
pub(crate) type BalancerLeavesOut<'a> = dyn Fn(&UnitName) -> bool + 'a;

/// How units find one another.
pub(crate) struct Others<'a> {
    pub(crate) seeds: &'a Seeds,
    pub(crate) peers: &'a Peers,
}

/// Where units are to be moved, and what is known of the way.
#[derive(Clone, Copy)]
pub(crate) struct Course<'a> {
    pub(crate) line: &'a Line,
    pub(crate) target: Option<&'a Revision>,
    pub(crate) carry: &'a CarryOver,
    pub(crate) trials: &'a Trials,
    /// Units that are about to give up data.
    pub(crate) holds: &'a Holds,
    /// Whether no unit that stops need keep what it cannot upload.
    pub(crate) gives_up: bool,
    /// Units that need not.
    pub(crate) abandonments: &'a Abandonments,
    /// Units that are about to be taken away.
    pub(crate) partings: &'a Partings,
    /// Whether a temporary worker can be made.
    pub(crate) stand_in: StandIn,
}

/// What a unit may do before another one is ready that is to take a role from it. At most one unit at a time may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Leeway {
    /// Wait.
    None,
    /// Give up what units run that are yet to give it up too.
    Spared,
    /// Leave required roles without a ready unit.
    Gap,
}

/// Decides which units are changed now.
pub(crate) fn rollout(
    members: &[Member<'_>],
    coming: &[Coming],
    course: Course<'_>,
    others: &Others<'_>,
    balancer_leaves_out: &BalancerLeavesOut<'_>,
) -> Rollout {
    let seeds = match others.seeds {
        Seeds::Units => unit_seeds(members),
        Seeds::Name(name) => vec![name.clone()],
    };
    let decide = |leeway| {
        let budget = Budget::of(members, coming, course, leeway);
        decide(members, budget, course, &Told { seeds: &seeds, peers: others.peers }, balancer_leaves_out)
    };
    let result = decide(Leeway::None);
    if !(result.pending && coming.is_empty() && !course.holds.is_under_way() && result.is_at_rest(members)) {
        return result;
    }
    // Units that are to trade their roles would wait for each other for ever.
    let spared = decide(Leeway::Spared);
    if !spared.is_at_rest(members) {
        return spared;
    }
    let gap = decide(Leeway::Gap);
    if gap.is_at_rest(members) {
        return result;
    }
    match course.stand_in {
        StandIn::MayCome => Rollout { needs_temporary: true, ..result },
        StandIn::Later => result,
        StandIn::None => Rollout { opens_gap: true, ..gap },
    }
}

/// What units are told of others.
struct Told<'a> {
    seeds: &'a [String],
    peers: &'a Peers,
}

fn decide(
    members: &[Member<'_>],
    mut budget: Budget<'_>,
    course: Course<'_>,
    told: &Told<'_>,
    balancer_leaves_out: &BalancerLeavesOut<'_>,
) -> Rollout {
    let Course { line, target, carry, .. } = course;
    let halt = target.and_then(|target| halt(members, course, target));
    let accepted = target.is_some_and(|target| is_accepted(members, target, carry));
    let proven = target.is_some_and(|target| is_proven(members, target, carry));
    let mut result = Rollout { halt, accepted, proven, ..Rollout::default() };
    // The first unit to run an unproven revision tries it for all.
    let mut trial_open = proven
        || !members
            .iter()
            .filter(|m| m.unit.is_told_to_run() && !is_one_shot(m, line))
            .any(|m| m.unit.assigned.as_ref().map(|a| &a.revision) == target);
    let mut renewals = Renewals::of(members);
    let all_known = !members.iter().any(|m| m.unit.unknown);

    // Units that already left the load balancer come first: they hold a place in the budget.
    let (gone, rest): (Vec<_>, Vec<_>) =
        members.iter().partition(|m| carry.leaving_balancer.contains(&m.name));
    for member in gone.into_iter().chain(rest) {
        let Some(next) = next_assignment(member, course, told, &result) else { continue };
        let changes = member.unit.assigned.as_ref().is_none_or(|now| !now.same_process(&next));
        let replaces = member.unit.outdated && matches!(member.want, Want::Run(_) | Want::Hold);
        if !changes && !replaces {
            result.assignments.insert(member.name.clone(), next);
            continue;
        }
        let now = member.unit.assigned.as_ref().filter(|now| now.run == Run::Start);
        if let (Some(now), false) = (now, member.unit.can_be_changed() || member.want == Want::StopAtOnce) {
            result.pending = true;
            result.later.insert(member.name.clone());
            result.assignments.insert(member.name.clone(), now.clone());
            continue;
        }
        let serves = member.unit.is_ready() && member.want != Want::StopAtOnce;
        if !serves {
            if replaces {
                result.replace.insert(member.name.clone());
            }
            result.assignments.insert(member.name.clone(), next);
            continue;
        }
        result.pending = true;
        let hold = course.holds.on(&member.name).filter(|_| !next.gives_up);
        if let Some(now) = now
            && (matches!(hold, Some(Hold::Quiesces | Hold::Settles))
                || (hold == Some(Hold::Waits) && budget.leeway == Leeway::None))
        {
            let quiesces = hold == Some(Hold::Quiesces);
            result.later.insert(member.name.clone());
            let next = Assignment { seeds: told.seeds.to_vec(), quiesces, ..now.clone() };
            result.assignments.insert(member.name.clone(), member.unit.tell(next));
            continue;
        }
        let tries = next.run == Run::Start
            && !result.proven
            && member.unit.assigned.as_ref().is_some_and(|a| a.revision != next.revision);
        let may_try = (!tries || trial_open) && (!replaces || renewals.is_open(member));
        let is_free = all_known && result.halt.is_none() && !course.holds.counts_on(&member.name);
        let allowed = is_free && may_try && budget.take(member, &next, line);
        if allowed && tries {
            trial_open = false;
        }
        if allowed && replaces {
            renewals.take(member);
        }
        let goes = allowed && balancer_leaves_out(&member.name);
        if goes && replaces {
            result.replace.insert(member.name.clone());
        }
        if goes && !replaces {
            result.assignments.insert(member.name.clone(), next);
        } else {
            if allowed {
                result.leaving_balancer.insert(member.name.clone());
            }
            if !goes {
                result.later.insert(member.name.clone());
            }
            if let Some(now) = &member.unit.assigned {
                // The process stays as it is; new seeds may reach it all the same.
                let next = Assignment { seeds: told.seeds.to_vec(), ..now.clone() };
                result.assignments.insert(member.name.clone(), member.unit.tell(next));
            }
        }
    }
    result.complete = proven && !result.pending && target.is_some_and(|t| is_complete(members, line, t));
    let moves = !members.is_empty() && target.is_some_and(|target| carry.way_back(target).is_some());
    result.under_way = result.pending || (moves && !result.complete);
    result
}

/// What the unit is to be told in the end, or nothing if it is to be told nothing at all.
fn next_assignment(
    member: &Member<'_>,
    course: Course<'_>,
    told: &Told<'_>,
    rollout: &Rollout,
) -> Option<Assignment> {
    let Course { target, carry, trials, .. } = course;
    if member.unit.unknown {
        return None;
    }
    let now = member.unit.assigned.as_ref();
    let next = match &member.want {
        Want::Hold => return now.cloned(),
        Want::Run(_) if told.peers.waiting.contains(&member.name) => return now.cloned(),
        Want::Run(_) if !member.unit.is_told_to_run() && course.partings.is_being_forgotten(&member.name) => {
            return now.cloned();
        }
        Want::Stop | Want::StopAtOnce => {
            let gives_up = course.gives_up || course.abandonments.given_up(&member.name).is_some();
            return member.unit.tell_to_stop(gives_up, told.seeds);
        }
        Want::Run(roles) => {
            let target = target?;
            let refused = rollout.halt.as_ref().is_some_and(|halt| halt.what == Trouble::Rejected);
            let fresh = !member.unit.is_told_to_run();
            let keeps = |failed: &Failure| {
                !fresh
                    && now.is_some_and(|now| now.revision == *target)
                    && !failed.units.contains(&member.name)
            };
            let revision = match (carry.way_back(target), &trials.failure, now) {
                (Some(good), Some(failed), _) if !keeps(failed) => good.clone(),
                // A unit that starts while the new config is refused starts with the last good one.
                (Some(good), _, _) if refused && fresh => good.clone(),
                (_, _, Some(now)) if refused && !fresh && now.revision != *target && now.roles == *roles => {
                    now.revision.clone()
                }
                _ => target.clone(),
            };
            Assignment {
                epoch: NO_EPOCH,
                revision,
                roles: roles.clone(),
                run: Run::Start,
                gives_up: false,
                quiesces: false,
                forgets: BTreeSet::new(),
                peers: told.peers.of(&member.name),
                seeds: told.seeds.to_vec(),
            }
        }
    };
    Some(member.unit.tell(next))
}

/// The gossip addresses of the first units of the workers. While none of those is there yet that are to stay, the first one that is there is
/// named too, though it is about to go: without it, those who come would not find those who are there.
fn unit_seeds(members: &[Member<'_>]) -> Vec<String> {
    let stays =
        |m: &&Member<'_>| matches!(m.want, Want::Run(_)) || (m.want == Want::Hold && m.unit.is_told_to_run());
    fn place<'a>(m: &'a Member<'_>) -> Option<(u32, &'a AppName, &'a str)> {
        Some((m.name.number(), m.name.application(), m.unit.address.as_deref()?))
    }
    let mut seeds: Vec<_> = members.iter().filter(stays).filter_map(place).collect();
    seeds.sort_unstable();
    seeds.truncate(SEEDS);
    let ready = || members.iter().filter(|m| m.unit.is_ready());
    if !ready().any(|m| stays(&m)) {
        seeds.extend(ready().filter_map(place).min());
    }
    seeds.into_iter().map(|(_, _, address)| host_and_port(address, GOSSIP_PORT)).collect()
}

/// Whether the unit is to run something that is expected to stay.
pub(crate) fn stays(member: &Member<'_>, line: &Line) -> bool {
    matches!(member.want, Want::Run(_)) && !is_one_shot(member, line)
}

/// Whether the unit runs nothing but one-shot tools, which are expected to end.
fn is_one_shot(member: &Member<'_>, line: &Line) -> bool {
    matches!(&member.want, Want::Run(roles) if line.table.uncounted.is_superset(roles))
}

/// What keeps others from the target: the units that could not run with it, or the first unit that was told to and does not come back.
fn halt(members: &[Member<'_>], course: Course<'_>, target: &Revision) -> Option<Halt> {
    let Course { line, carry, trials, .. } = course;
    if let (Some(failure), Some(good)) = (&trials.failure, carry.way_back(target)) {
        let unit = failure.units.first()?.clone();
        return Some(Halt { unit, what: Trouble::WentBack(good.clone()), why: failure.why.clone() });
    }
    members.iter().filter(|m| stays(m, line)).find_map(|member| {
        let assigned =
            member.unit.assigned.as_ref().filter(|a| a.run == Run::Start && a.revision == *target)?;
        let report = member.unit.report.as_ref().filter(|r| r.epoch >= assigned.epoch)?;
        let halt = |what, why: &str| Some(Halt { unit: member.name.clone(), what, why: why.to_owned() });
        if let Some(message) = member.unit.refused() {
            return halt(Trouble::Rejected, message);
        }
        // It may be alive for a moment before it ends again.
        let tries_again = carry.halted.as_ref() == Some(&member.name) && !member.unit.is_ready();
        if report.service == Service::Backoff || tries_again {
            let exit = report.last_exit.as_ref();
            let said = exit.map(|exit| complaint::of(&exit.lines).unwrap_or_else(|| exit.cause.clone()));
            return halt(Trouble::Ends, said.as_deref().unwrap_or("it ends at once"));
        }
        None
    })
}

/// Whether every unit is ready with the target.
fn is_complete(members: &[Member<'_>], line: &Line, target: &Revision) -> bool {
    let done = |unit: &ObservedUnit| {
        unit.is_ready()
            && unit.refused().is_none()
            && unit.assigned.as_ref().is_some_and(|a| a.revision == *target)
    };
    members.iter().filter(|m| stays(m, line)).all(|m| done(m.unit))
}

/// Whether some unit became ready with the target.
fn is_proven(members: &[Member<'_>], target: &Revision, carry: &CarryOver) -> bool {
    let ready_with_it = |unit: &ObservedUnit| {
        let applied = unit.report.as_ref().and_then(|r| r.applied.as_ref());
        unit.is_ready() && applied.is_some_and(|a| a.revision == *target)
    };
    [&carry.good, &carry.proven].into_iter().flatten().any(|known| known == target)
        || members.iter().any(|m| ready_with_it(m.unit))
}

/// Whether some unit's own binary accepted the target.
fn is_accepted(members: &[Member<'_>], target: &Revision, carry: &CarryOver) -> bool {
    carry.good.as_ref() == Some(target)
        || members.iter().filter_map(|m| m.unit.report.as_ref()).any(|report| {
            let checked =
                report.check.as_ref().is_some_and(|c| c.revision == *target && c.rejected.is_none());
            checked || report.applied.as_ref().is_some_and(|a| a.revision == *target)
        })
}

/// Of each application, whether another unit may be made anew: any number once one came back as it should be, else one.
struct Renewals<'a> {
    proven: BTreeSet<&'a AppName>,
    under_way: BTreeSet<&'a AppName>,
}

impl<'a> Renewals<'a> {
    fn of(members: &'a [Member<'a>]) -> Self {
        let anew = || members.iter().filter(|m| !m.unit.outdated && m.unit.is_told_to_run());
        let of = |ready: bool| {
            anew().filter(|m| m.unit.is_ready() == ready).map(|m| m.name.application()).collect()
        };
        Self { proven: of(true), under_way: of(false) }
    }

    fn is_open(&self, member: &Member<'_>) -> bool {
        let application = member.name.application();
        self.proven.contains(application) || !self.under_way.contains(application)
    }

    fn take(&mut self, member: &'a Member<'a>) {
        self.under_way.insert(member.name.application());
    }
}

/// What a unit runs now and goes on to run, both in the product's own terms.
struct Change {
    current: RoleSet,
    kept: RoleSet,
}

impl Change {
    fn gives_up(&self) -> RoleSet {
        self.current.difference(&self.kept)
    }
}

fn count(units: &BTreeMap<Role, u32>, role: Role) -> u32 {
    units.get(&role).copied().unwrap_or(0)
}

/// How many units each role can spare.
struct Budget<'a> {
    /// Units by role that may still be taken away.
    spare: BTreeMap<Role, u32>,
    /// Units by role that are to run it and are ready with it.
    ready: BTreeMap<Role, u32>,
    /// Units by role that are to run it.
    intended: BTreeMap<Role, u32>,
    /// Units by role that are ready with it, whatever they are to run.
    serving: BTreeMap<Role, u32>,
    /// The roles that no deployment can do without.
    required: &'a RoleSet,
    /// The roles that a temporary worker would serve, or does.
    stand_in: RoleSet,
    /// Whether a temporary worker is yet to come, for a unit that gives up data beside a role which nobody else serves.
    awaits_stand_in: bool,
    leeway: Leeway,
}

impl<'a> Budget<'a> {
    fn of(members: &[Member<'_>], coming: &[Coming], course: Course<'a>, leeway: Leeway) -> Self {
        let line = course.line;
        let mut running = BTreeMap::<Role, u32>::new();
        let mut away = BTreeMap::<Role, u32>::new();
        let mut ready = BTreeMap::<Role, u32>::new();
        let mut intended = BTreeMap::<Role, u32>::new();
        let mut serving = BTreeMap::<Role, u32>::new();
        let mut expanded = BTreeMap::<RoleSet, RoleSet>::new();
        let mut expand = |roles: RoleSet| {
            expanded.entry(roles).or_insert_with_key(|roles| line.table.expand(roles)).clone()
        };
        for member in members {
            let current = expand(member.unit.current_roles());
            let wanted = match &member.want {
                Want::Run(roles) => expand(roles.clone()),
                Want::Hold if member.unit.is_told_to_run() => current.clone(),
                _ => RoleSet::new(),
            };
            let stopping = member.unit.assigned.as_ref().is_some_and(|a| a.run == Run::Stop)
                && !member.unit.has_stopped();
            for role in current.iter().filter(|_| member.unit.is_told_to_run() || stopping) {
                *running.entry(role).or_insert(0) += 1;
                if !(member.unit.is_ready() && member.unit.obeys()) {
                    *away.entry(role).or_insert(0) += 1;
                }
            }
            // It gave up a role and is still uploading what it holds of it.
            let drains = member.unit.report.as_ref().is_some_and(|r| r.holds_data && r.applied.is_none());
            let former = line.workload.replicated_role();
            if drains && !current.contains(former) {
                *running.entry(former).or_insert(0) += 1;
                *away.entry(former).or_insert(0) += 1;
            }
            // Nobody leans on a temporary worker that is about to go.
            let stays = !(member.temporary && member.want == Want::Stop);
            for role in current.iter().filter(|_| stays && member.unit.is_ready()) {
                *serving.entry(role).or_insert(0) += 1;
            }
            for role in wanted.iter() {
                // Nobody waits for a temporary worker who need not.
                *intended.entry(role).or_insert(0) += u32::from(!member.temporary);
                if member.unit.is_ready() && current.contains(role) {
                    *ready.entry(role).or_insert(0) += 1;
                }
            }
            if member.stands_in() && member.want == Want::Stop {
                for role in current.iter() {
                    *ready.entry(role).or_insert(0) += 1;
                }
            }
        }
        for Coming { roles, units, .. } in coming.iter().filter(|coming| !coming.temporary) {
            for role in expand(roles.clone()).iter() {
                *intended.entry(role).or_insert(0) += units;
            }
        }
        let spare = running
            .into_iter()
            .map(|(role, units)| {
                let allowed = if line.workload.in_ring(role) { 1 } else { (units / 2).max(1) };
                (role, allowed.saturating_sub(away.get(&role).copied().unwrap_or(0)))
            })
            .collect();
        let is_there = members.iter().any(|m| m.temporary) || coming.iter().any(|coming| coming.temporary);
        let stand_in = if is_there || course.stand_in != StandIn::None {
            // Many units have the same roles.
            let distinct: BTreeSet<RoleSet> = members.iter().map(|m| m.unit.current_roles()).collect();
            let apart = distinct.into_iter().filter(|roles| !roles.contains(Role::All));
            let apart = apart.fold(RoleSet::new(), |all, roles| all.union(&expand(roles)));
            let serves = |role: &Role| line.workload.answers_beside(&apart, *role);
            line.table.expand(&RoleSet::from([Role::All])).iter().filter(serves).collect()
        } else {
            RoleSet::new()
        };
        let required = &line.table.required;
        let mut budget =
            Self { spare, ready, intended, serving, required, stand_in, awaits_stand_in: false, leeway };
        budget.awaits_stand_in = !budget.stand_in.is_empty()
            && members.iter().any(|member| match &member.want {
                Want::Run(roles) if member.unit.is_ready() => {
                    let change =
                        Change { current: expand(member.unit.current_roles()), kept: expand(roles.clone()) };
                    budget.leaves_data_gap(&change, line)
                }
                _ => false,
            });
        budget
    }

    /// Whether a unit that changes so gives up data beside a required role that nobody else serves but a temporary worker would. That
    /// takes as long as the object store does, and what it keeps is nobody's meanwhile.
    fn leaves_data_gap(&self, change: &Change, line: &Line) -> bool {
        change.gives_up().iter().any(|role| line.workload.holds_data(role)) && self.keeps_alone(change)
    }

    /// Whether a unit that changes so keeps a required role that nobody else serves but a temporary worker would.
    fn keeps_alone(&self, change: &Change) -> bool {
        let is_alone = |role: Role| self.required.contains(role) && count(&self.serving, role) <= 1;
        change
            .current
            .iter()
            .any(|role| change.kept.contains(role) && is_alone(role) && self.stand_in.contains(role))
    }

    /// Takes the unit away from every role that it runs, if each can spare it.
    fn take(&mut self, member: &Member<'_>, next: &Assignment, line: &Line) -> bool {
        let change = Change {
            current: line.table.expand(&member.unit.current_roles()),
            kept: if next.run == Run::Start { line.table.expand(&next.roles) } else { RoleSet::new() },
        };
        let spared = change.current.iter().all(|role| count(&self.spare, role) > 0);
        let given_up = change.gives_up();
        let itself = u32::from(member.stands_in());
        let is_taken =
            given_up.iter().all(|role| count(&self.intended, role) == 0 || count(&self.ready, role) > itself);
        // A temporary worker that comes anyway comes before the first unit is away that it can stand in for.
        let leaves_gap = self.leaves_data_gap(&change, line)
            || (self.awaits_stand_in && change.current != change.kept && self.keeps_alone(&change));
        let needs = if is_taken && !leaves_gap {
            Leeway::None
        } else if leaves_gap {
            Leeway::Gap
        } else if given_up.iter().all(|role| !self.required.contains(role) || count(&self.serving, role) > 1)
        {
            Leeway::Spared
        } else {
            Leeway::Gap
        };
        if !spared || needs > self.leeway {
            return false;
        }
        if needs > Leeway::None {
            self.leeway = Leeway::None;
        }
        for role in change.current.iter() {
            for units in [&mut self.spare, &mut self.serving] {
                if let Some(units) = units.get_mut(&role) {
                    *units = units.saturating_sub(1);
                }
            }
            // A unit that restarts with a role is not there for others to lean on meanwhile.
            if (change.kept.contains(role) || member.stands_in())
                && let Some(ready) = self.ready.get_mut(&role)
            {
                *ready = ready.saturating_sub(1);
            }
        }
        true
    }
}
