//! [`plan`]: the steps in their order.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use muster_api::{Condition, ReadHold, RolloutStatus, TransitionStatus};
use muster_model::route::Listener;
use muster_model::{
    AppName, Coverage, Finding, HTTP_PORT, Reason, Revision, Role, RoleSet, Status, UnitName, WorkloadStatus,
};
use muster_products::Endpoint;
use muster_relation::{Assignment, ClusterData};

use crate::abandon::Abandonments;
use crate::balancer;
use crate::claims;
use crate::config::{self, Rendered};
use crate::gate::{self, Gate};
use crate::hold::{self, Holds};
use crate::observed::{CarryOver, NO_EPOCH, ObjectStore, Observed, ObservedUnit, ObservedWorker, Probe, Tls};
use crate::parting::Partings;
use crate::peers::Peers;
use crate::remote_write;
use crate::rollout::{Coming, Course, Halt, Member, Others, Rollout, Trouble, Want, rollout};
use crate::status::{self, Progress};
use crate::temporary::{self, Temporary};
use crate::transition::{self, AskedRoles, Scene};
use crate::trial::{DEADLINE_SECONDS, Terms, Trials};
use crate::validate::{self, Declared, Line};

/// How long a good answer of the object store is trusted.
const PROBE_AGAIN: SignedDuration = SignedDuration::from_secs(60);
/// How soon an object store that failed is probed again.
const PROBE_AGAIN_AFTER_FAILURE: SignedDuration = SignedDuration::from_secs(5);

/// What is to be done and said. A function of what was observed: carried out completely, the next plan asks for nothing.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// Everything that a person should know, about all applications.
    pub findings: Vec<Finding>,
    /// The coordinator's status and conditions.
    pub status: Status,
    /// The coordinator's conditions.
    pub conditions: Vec<Condition>,
    /// Which roles are covered.
    pub coverage: Coverage,
    /// The revision that worker units are moved to. Absent until there is one.
    pub revision: Option<Revision>,
    /// How far the worker units are.
    pub rollout: RolloutStatus,
    /// How far they are on the way from what ran to what is asked for. Absent where nothing is under way.
    pub transition: Option<TransitionStatus>,
    /// The load balancer's units.
    pub balancers: PlannedApplication,
    /// Each worker's units.
    pub workers: BTreeMap<AppName, PlannedApplication>,
    /// The temporary worker that is to be there.
    pub temporary: Option<Temporary>,
    /// Units that are to be made anew now: what carries them is deleted and comes back as the application asks. Their disks stay.
    pub replace: BTreeSet<UnitName>,
    /// What every unit, of workers and of the load balancer, is to be told. A unit that is not named is told nothing.
    pub assignments: BTreeMap<UnitName, Assignment>,
    /// What the worker units share. Absent where there is nothing new to share: what was last shared holds, and a unit
    /// that is told to stop needs none of it.
    pub cluster: Option<ClusterData>,
    /// What the load balancer listens on, the main port first.
    pub listeners: Vec<Listener>,
    /// Where clients send data and queries.
    pub endpoints: Vec<Endpoint>,
    /// What the load balancer units share. Absent where they keep what they have.
    pub balancer_cluster: Option<ClusterData>,
    /// What the next plan must be given.
    pub carry: CarryOver,
    /// When to plan again even if nothing happens, and probe the object store before that.
    pub wake_at: Option<Timestamp>,
    /// When the first unit may go that waits until others find what it uploaded.
    pub held_until: Option<Timestamp>,
    /// Units that went, and whose uploads are to be found before the next one goes.
    pub settling: Vec<UnitName>,
}

/// One application's units.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct PlannedApplication {
    /// The application's status.
    pub status: Status,
    /// The units that are to exist: the ones asked for, and those on their way out that have not stopped yet.
    pub units: BTreeSet<u32>,
    /// The status of each unit that exists.
    pub unit_statuses: BTreeMap<u32, Status>,
    /// What would be lost without the units that are kept from leaving.
    pub at_risk: BTreeMap<u32, String>,
}

/// What a plan changes of what is there.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Published {
    /// The temporary worker to make.
    pub deploy: Option<Temporary>,
    /// The temporary worker to remove, as a user removes one.
    pub withdraw: Option<AppName>,
    /// Units to make.
    pub create: BTreeSet<UnitName>,
    /// Units to take away. They have stopped.
    pub remove: BTreeSet<UnitName>,
    /// Units to make anew.
    pub replace: BTreeSet<UnitName>,
    /// Assignments that differ from what the units were last told.
    pub assign: BTreeMap<UnitName, Assignment>,
}

impl Published {
    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let same_workers = self.deploy.is_none() && self.withdraw.is_none();
        let same_units = self.create.is_empty() && self.remove.is_empty() && self.replace.is_empty();
        same_workers && same_units && self.assign.is_empty()
    }
}

impl Plan {
    /// The temporary worker that is to be made now.
    #[must_use]
    pub fn deploys(&self, observed: &Observed) -> Option<&Temporary> {
        self.temporary.as_ref().filter(|_| temporary::present(observed).is_none())
    }

    /// The temporary worker that is to be removed now.
    #[must_use]
    pub fn withdraws(&self, observed: &Observed) -> Option<AppName> {
        temporary::present(observed).filter(|_| self.temporary.is_none()).map(|there| there.name)
    }

    /// What carrying out this plan changes.
    #[must_use]
    pub fn changes(&self, observed: &Observed) -> Published {
        let mut changes = Published {
            deploy: self.deploys(observed).cloned(),
            withdraw: self.withdraws(observed),
            replace: self.replace.clone(),
            ..Published::default()
        };
        let mut compare =
            |app: &AppName, wanted: Option<&PlannedApplication>, there: &BTreeMap<u32, ObservedUnit>| {
                let none = BTreeSet::new();
                let wanted = wanted.map_or(&none, |w| &w.units);
                changes.create.extend(wanted.iter().filter(|n| !there.contains_key(n)).map(|n| app.unit(*n)));
                changes.remove.extend(there.keys().filter(|n| !wanted.contains(n)).map(|n| app.unit(*n)));
                for (number, unit) in there.iter().filter(|(n, _)| wanted.contains(n)) {
                    let name = app.unit(*number);
                    if let Some(next) = news(&self.assignments, &name, unit) {
                        changes.assign.insert(name, next.clone());
                    }
                }
            };
        compare(&observed.name, Some(&self.balancers), &observed.balancers);
        for (name, worker) in &observed.workers {
            compare(name, self.workers.get(name), &worker.units);
        }
        changes
    }

    /// The load balancer's main port.
    #[must_use]
    pub fn main_port(&self) -> u16 {
        self.listeners.first().map_or(HTTP_PORT, |listener| listener.port)
    }

    /// Whether a coordinator or worker that is being removed has no unit left.
    #[must_use]
    pub fn is_gone(&self, app: &AppName, coordinator: &AppName) -> bool {
        if app == coordinator {
            self.balancers.units.is_empty() && self.workers.values().all(|w| w.units.is_empty())
        } else {
            self.workers.get(app).is_none_or(|w| w.units.is_empty())
        }
    }
}

/// The assignment of a unit, if it differs from what the unit was last told.
fn news<'a>(
    assignments: &'a BTreeMap<UnitName, Assignment>,
    name: &UnitName,
    unit: &ObservedUnit,
) -> Option<&'a Assignment> {
    assignments.get(name).filter(|next| unit.assigned.as_ref() != Some(next))
}

/// Decides everything. Never fails: what is wrong is in the plan's findings and statuses.
#[must_use]
pub fn plan(observed: &Observed, now: Timestamp) -> Plan {
    let mut findings = observed.obstacles.clone();
    let line = validate::line(observed, &mut findings)
        .or_else(|| observed.removing.then(|| validate::newest_line(observed)).flatten());
    let Some(line) = line else {
        let abandonments = Abandonments::judge(observed, ObservedUnit::is_told_to_run);
        let observed = abandonments.without_the_unseen(observed);
        return hold_everything(&observed, &abandonments, findings, now);
    };
    let abandonments = Abandonments::judge(observed, |unit| holds_data(unit, &line));
    let observed = &*abandonments.without_the_unseen(observed);
    let checked = validate::options(observed, &line, &mut findings);
    let options = &checked.options;
    let listeners = line.workload.listeners(options);
    let tenant = balancer::tenant(&line, options);
    let declared = validate::workers(observed, &line, &mut findings);
    let coverage = coverage(observed, &line, &declared);
    unit_counts(observed, &mut findings);

    let mut gate = gate::prerequisites(observed, &mut findings);
    let mut coherence = gate::coverage(observed, line.table, &coverage, &mut findings);
    // What units of a worker whose roles are refused still run counts, and some may be yet to say it.
    if coherence == Gate::Stop && units(observed).any(|unit| unit.unknown) {
        coherence = Gate::Hold;
    }
    // Stopping flushes to the object store, which must be there for it.
    if gate == Gate::Open {
        gate = coherence;
    }
    if observed.removing {
        gate = Gate::Stop;
    }

    let keepers = coverage.units.get(&line.workload.replicated_role()).copied().unwrap_or(0);
    let mut carry = observed.carry.clone();
    if checked.good {
        carry.config.clone_from(&observed.spec.config);
    }
    remote_write::check(observed, line.product, &coverage, &mut findings);
    let rendered = match (checked.good, &observed.object_store, remote_write::targets(observed)) {
        (true, ObjectStore::Related { storage, probe: Probe::Ready { .. } }, Some(targets)) => {
            let factor = config::replication_factor(observed, &line, options, keepers, &mut findings);
            if gate == Gate::Open {
                carry.replication_factor = Some(factor);
                carry.store = Some(claims::place(storage));
            }
            Some(config::render(observed, &line, options, storage, factor, &targets))
        }
        _ => None,
    };
    // With a config that cannot be rendered what runs stays, and new units start with what was last published.
    let target = match &rendered {
        Some(rendered) => Some(rendered.revision.clone()),
        None => observed.carry.published.clone().filter(|r| observed.carry.documents.contains_key(r)),
    };
    if target.is_none() && gate == Gate::Open {
        gate = Gate::Hold;
    }

    let members = members(observed, &line, &declared, gate, &abandonments);
    let has_certificate = !matches!(observed.tls, Tls::Invalid(_));
    let publishes = balancer::publishes(observed, &members);
    let before =
        balancer::balancer(observed, &line, &listeners, tenant, &members, &observed.carry.leaving_balancer);
    let settled = publishes && balancer::all_run(observed, &before.revision);
    let alone = alone(&members, &line, &listeners);
    let coming = coming(observed, &declared, gate);
    let peers = Peers::choose(&members, &line, observed.usable_gateway());
    let terms = terms(observed, target.as_ref());
    let trials = Trials::judge(&members, &line, &terms, &observed.carry, now);
    let holds = if observed.spec.transitions.unwrap_or_default().read_hold == ReadHold::Auto {
        Holds::of(&members, &coming, &line, &observed.carry, target.as_ref(), now)
    } else {
        Holds::default()
    };
    let partings = Partings::of(&members, &line);
    let course = Course {
        line: &line,
        target: terms.target,
        carry: &observed.carry,
        trials: &trials,
        holds: &holds,
        gives_up: gate::gives_up(observed),
        abandonments: &abandonments,
        partings: &partings,
        stand_in: temporary::stand_in(observed),
    };
    let rollout =
        rollout(&members, &coming, course, &Others { seeds: &observed.seeds, peers: &peers }, &|unit| {
            alone.contains(unit)
                || (settled && observed.carry.leaving_balancer.contains(unit))
                || observed.balancers.is_empty()
                // What is removed does not wait for a certificate; nginx tries another unit.
                || !has_certificate
        });

    temporary::unavailable(observed, &rollout, &mut findings);
    let temporary = temporary::wanted(observed, &line, &members, &coming, &rollout, gate);

    let mut out = rollout.leaving_balancer.clone();
    out.extend(rollout.replace.iter().cloned());
    out.extend(members.iter().filter(|m| changes_process(m, &rollout)).map(|m| m.name.clone()));
    let balancer = if out == observed.carry.leaving_balancer {
        before
    } else {
        balancer::balancer(observed, &line, &listeners, tenant, &members, &out)
    };

    let mut assignments = rollout.assignments.clone();
    partings.tell(&members, &mut assignments);
    let balancers_wanted = wanted_units(observed.spec.units, observed.removing);
    for (number, unit) in &observed.balancers {
        let wanted = balancers_wanted.contains(number);
        let revision = publishes.then_some(&balancer.revision);
        if let Some(next) = balancer::assignment(unit, wanted, gate, revision) {
            assignments.insert(observed.name.unit(*number), next);
        }
    }
    open_epochs(&mut assignments, now);

    let mut replace = rollout.replace.clone();
    replace.extend(balancer::replace(observed, &balancers_wanted).map(|number| observed.name.unit(number)));

    carry.published = target.clone();
    carry.opened =
        carry.opened || (gate == Gate::Open && !members.is_empty() && balancer::is_complete(&members, &line));
    carry.leaving_balancer = rollout.leaving_balancer.clone();
    let ends = |halt: &&Halt| halt.what == Trouble::Ends;
    carry.halted = rollout.halt.as_ref().filter(ends).map(|halt| halt.unit.clone());
    if rollout.proven {
        carry.proven = target.clone();
    }
    if rollout.complete || (rollout.proven && carry.good.is_none()) {
        carry.good = target.clone();
    }
    let next_deadline = trials.next_deadline(terms.deadline);
    carry.failure = trials.failure;
    carry.trials = trials.running;
    carry.rendered = rendered.clone().or(carry.rendered);
    carry.documents = documents(&observed.carry, rendered.as_ref(), &members, &rollout, &carry);
    carry.abandoned.clone_from(&abandonments.records);
    carry.held = holds.held;
    carry.departed = hold::departed(&members, &assignments, &line, &observed.carry.departed, now);
    let cluster = cluster(observed, &line, &carry);

    let under_way = transition::follow(&Scene::new(
        observed,
        &line,
        &members,
        &rollout,
        &assignments,
        &replace,
        &holds.settling,
        &partings,
        &findings,
        gate,
        target.as_ref(),
        &asked_roles(&declared),
        temporary.as_ref(),
    ));
    let is_mere_rollout = under_way.as_ref().is_some_and(|(transition, _)| transition.is_mere_rollout());
    let (kept, transition) = under_way.unzip();
    carry.transition = kept;

    let mut progress = progress(observed, &line, &declared, &members, &rollout, target.as_ref(), gate);
    progress.transition = transition.as_ref().filter(|_| !(is_mere_rollout && rollout.under_way));
    // A document that it is told right now is yet to be taken up.
    progress.balancers_current &= observed
        .balancers
        .iter()
        .all(|(number, unit)| news(&assignments, &observed.name.unit(*number), unit).is_none());
    let balancers = planned_balancers(observed, &balancers_wanted, gate, &abandonments);
    let conditions = status::conditions(observed, &findings, &coverage, checked.good, &progress);
    let told = Told {
        units: members.iter().map(|m| (&m.name, (&m.want, assignments.get(&m.name)))).collect(),
        abandonments: &abandonments,
        partings: &partings,
    };
    let workers: BTreeMap<AppName, PlannedApplication> = observed
        .workers
        .iter()
        .map(|(name, worker)| (name.clone(), planned_worker(observed, name, worker, &told, gate, &findings)))
        .collect();
    let status = if observed.removing {
        let left = balancers.units.len() + workers.values().map(|w| w.units.len()).sum::<usize>();
        status::removing(observed, left, members.iter().any(|m| m.want == Want::Hold), &findings)
    } else {
        let said = status::of_findings(&observed.name, &findings);
        status::of_coordinator(said, &progress).worse(status::of_balancers(&observed.name, &balancers))
    };
    Plan {
        status,
        conditions,
        rollout: RolloutStatus { updated: progress.updated, total: progress.total },
        transition,
        balancers,
        workers,
        temporary,
        coverage,
        revision: target,
        replace,
        assignments,
        cluster,
        endpoints: line.workload.endpoints(options),
        listeners,
        balancer_cluster: publishes.then_some(balancer.cluster),
        carry,
        wake_at: wake_at(observed, now)
            .into_iter()
            .chain(next_deadline.map(|at| at.max(now)))
            .chain(holds.until)
            .min(),
        held_until: holds.until,
        settling: holds.settling,
        findings,
    }
}

/// What is asked of those workers whose declaration can be followed.
fn asked_roles(declared: &BTreeMap<AppName, Declared>) -> AskedRoles {
    let roles = declared.iter().filter_map(|(name, declared)| match declared {
        Declared::Roles { assigned, .. } => Some((name.clone(), assigned.clone())),
        Declared::Nothing => Some((name.clone(), RoleSet::new())),
        Declared::Rejected => None,
    });
    roles.collect()
}

/// What the target is tried with.
fn terms<'a>(observed: &'a Observed, target: Option<&'a Revision>) -> Terms<'a> {
    let spec = &observed.spec;
    Terms {
        target,
        image: spec.images.as_ref().and_then(|images| images.workload.as_deref()),
        deadline: SignedDuration::from_secs(
            spec.progress_deadline_seconds.unwrap_or(DEADLINE_SECONDS).into(),
        ),
    }
}

/// The plan for a coordinator whose product this build cannot run: everything stays as it is, but for what is to go.
fn hold_everything(
    observed: &Observed,
    abandonments: &Abandonments,
    findings: Vec<Finding>,
    now: Timestamp,
) -> Plan {
    let mut assignments = BTreeMap::new();
    let mut keep = |app: &AppName, units: &BTreeMap<u32, ObservedUnit>, leaves: bool, stops: bool| {
        for (number, unit) in units {
            let name = app.unit(*number);
            let given_up = abandonments.given_up(&name).is_some();
            if stops || given_up {
                let gives_up = given_up || gate::gives_up(observed);
                assignments.extend(unit.tell_to_stop(gives_up, &[]).map(|next| (name, next)));
            }
        }
        let stay = units.iter().filter(|(_, unit)| !(leaves && unit.has_stopped()));
        PlannedApplication {
            units: stay.map(|(n, _)| *n).collect(),
            at_risk: abandonments.at_risk_of(app),
            ..PlannedApplication::default()
        }
    };
    let blocked = Status::new(WorkloadStatus::Waiting, format!("coordinator {} is blocked", observed.name));
    let can_flush = gate::can_flush(observed);
    let balancers = keep(&observed.name, &observed.balancers, observed.removing, observed.removing);
    let workers: BTreeMap<AppName, PlannedApplication> = observed
        .workers
        .iter()
        .map(|(name, worker)| {
            let leaves = worker.removing || observed.removing;
            let planned = keep(name, &worker.units, leaves, leaves && can_flush);
            let status = if leaves {
                status::removing(observed, planned.units.len(), !can_flush, &findings)
            } else {
                blocked.clone()
            };
            (name.clone(), PlannedApplication { status, ..planned })
        })
        .collect();
    open_epochs(&mut assignments, now);
    let newest = validate::newest_line(observed).map(|line| {
        let options = validate::options(observed, &line, &mut Vec::new()).options;
        (line.workload.listeners(&options), line.workload.endpoints(&options))
    });
    let (listeners, endpoints) = newest.unwrap_or_default();
    Plan {
        listeners,
        endpoints,
        status: status::of_findings(&observed.name, &findings),
        findings,
        conditions: Vec::new(),
        coverage: Coverage::default(),
        revision: None,
        rollout: RolloutStatus::default(),
        transition: None,
        balancers,
        workers,
        temporary: temporary::present(observed).filter(|_| !observed.removing),
        replace: BTreeSet::new(),
        assignments,
        cluster: None,
        balancer_cluster: None,
        carry: CarryOver { abandoned: abandonments.records.clone(), ..observed.carry.clone() },
        wake_at: None,
        held_until: None,
        settling: Vec::new(),
    }
}

/// Gives the assignments of units of which nothing is known their first epoch: the present time, so that it is higher than any that
/// an agent may remember from before.
fn open_epochs(assignments: &mut BTreeMap<UnitName, Assignment>, now: Timestamp) {
    let first = u64::try_from(now.as_millisecond()).unwrap_or(0).max(NO_EPOCH + 1);
    for next in assignments.values_mut().filter(|next| next.epoch == NO_EPOCH) {
        next.epoch = first;
    }
}

/// Every unit, of workers and of the load balancer.
fn units(observed: &Observed) -> impl Iterator<Item = &ObservedUnit> {
    observed.balancers.values().chain(observed.workers.values().flat_map(|worker| worker.units.values()))
}

/// The roles of all units that exist and can serve. A worker whose config is rejected counts with what its units still run.
fn coverage(observed: &Observed, line: &Line, declared: &BTreeMap<AppName, Declared>) -> Coverage {
    let mut counts: BTreeMap<RoleSet, u32> = BTreeMap::new();
    for (name, worker) in observed.workers.iter().filter(|(_, worker)| worker.is_asked_for()) {
        match declared.get(name) {
            Some(Declared::Roles { declared, .. }) => {
                *counts.entry(declared.clone()).or_insert(0) += worker.spec.units
            }
            Some(Declared::Rejected) => {
                for unit in worker.units.values().filter(|u| u.is_told_to_run()) {
                    *counts.entry(unit.current_roles()).or_insert(0) += 1;
                }
            }
            Some(Declared::Nothing) | None => {}
        }
    }
    line.table.coverage(counts.iter().map(|(roles, units)| (roles, *units)))
}

/// How many of a worker's units are to serve: none of one without roles, and of a rejected one those that still do.
fn serving_units(declared: Option<&Declared>, worker: &ObservedWorker) -> u32 {
    match declared {
        Some(Declared::Roles { .. }) => worker.spec.units,
        Some(Declared::Rejected) => {
            u32::try_from(worker.units.values().filter(|u| u.is_told_to_run()).count()).unwrap_or(u32::MAX)
        }
        Some(Declared::Nothing) | None => 0,
    }
}

fn unit_counts(observed: &Observed, findings: &mut Vec<Finding>) {
    let mut none = |app: &AppName, what: &str| {
        findings.push(Finding::application(
            app,
            WorkloadStatus::Blocked,
            Reason::NoUnits,
            format!("no {what}; add one: muster scale {app} 1"),
        ));
    };
    if observed.spec.units == 0 && !observed.removing {
        none(&observed.name, "load balancer unit");
    }
    for (name, _) in observed.workers.iter().filter(|(_, w)| w.spec.units == 0 && w.is_asked_for()) {
        none(name, "unit");
    }
}

/// Every worker unit with what it is to do.
pub(crate) fn members<'a>(
    observed: &'a Observed,
    line: &Line,
    declared: &BTreeMap<AppName, Declared>,
    gate: Gate,
    abandonments: &Abandonments,
) -> Vec<Member<'a>> {
    let can_flush = gate::can_flush(observed);
    let mut members = Vec::new();
    for (name, worker) in &observed.workers {
        let removing = worker.removing || observed.removing;
        let wanted = wanted_units(worker.spec.units, removing);
        for (number, unit) in &worker.units {
            let leaves = !wanted.contains(number);
            let unit_name = name.unit(*number);
            let given_up = leaves && abandonments.given_up(&unit_name).is_some();
            let want = match (gate, declared.get(name)) {
                (Gate::Hold, _) if given_up => Want::Stop,
                _ if removing && !can_flush && holds_data(unit, line) && !given_up => Want::Hold,
                (Gate::Stop, _) => Want::StopAtOnce,
                // Nothing depends on what is removed, nor on what was never told to run.
                (Gate::Hold, _) if removing || (leaves && !unit.is_told_to_run()) => Want::Stop,
                (Gate::Hold, _) => Want::Hold,
                (Gate::Open, _) if leaves => Want::Stop,
                (Gate::Open, Some(Declared::Roles { assigned, .. })) => Want::Run(assigned.clone()),
                (Gate::Open, Some(Declared::Nothing)) => Want::Stop,
                (Gate::Open, Some(Declared::Rejected) | None) => Want::Hold,
            };
            members.push(Member { name: unit_name, unit, want, leaves, temporary: worker.temporary });
        }
    }
    members
}

/// Whether a unit that runs may hold data that is nowhere else.
fn holds_data(unit: &ObservedUnit, line: &Line) -> bool {
    unit.is_told_to_run() && !line.data_roles(&unit.current_roles()).is_empty()
}

/// The units that are asked for and not yet made, or not started or given other roles before services may run again.
fn coming(observed: &Observed, declared: &BTreeMap<AppName, Declared>, gate: Gate) -> Vec<Coming> {
    let waits = |unit: &ObservedUnit, roles: &RoleSet| {
        gate == Gate::Hold && !(unit.is_told_to_run() && unit.current_roles() == *roles)
    };
    observed
        .workers
        .iter()
        .filter_map(|(name, worker)| {
            let Some(Declared::Roles { assigned, .. }) = declared.get(name) else { return None };
            let wanted = wanted_units(worker.spec.units, worker.removing || observed.removing);
            let units = wanted
                .filter(|number| worker.units.get(number).is_none_or(|unit| waits(unit, assigned)))
                .count();
            let units = u32::try_from(units).unwrap_or(u32::MAX);
            let temporary = worker.temporary;
            (units > 0).then(|| Coming { roles: assigned.clone(), units, temporary })
        })
        .collect()
}

/// The numbers of the units that an application is to have.
pub(crate) fn wanted_units(units: u32, removing: bool) -> std::ops::Range<u32> {
    0..if removing { 0 } else { units }
}

/// Units that no other ready unit can stand in for: taking them out of the load balancer first would help nobody.
fn alone(members: &[Member<'_>], line: &Line, listeners: &[Listener]) -> BTreeSet<UnitName> {
    let mut ready = BTreeMap::<Role, u32>::new();
    let routed = balancer::routed(listeners);
    let roles = |member: &Member<'_>| -> RoleSet {
        line.table.expand(&member.unit.current_roles()).iter().filter(|role| routed.contains(*role)).collect()
    };
    for member in members.iter().filter(|m| m.unit.is_ready()) {
        for role in roles(member).iter() {
            *ready.entry(role).or_insert(0) += 1;
        }
    }
    members
        .iter()
        .filter(|m| {
            m.unit.is_ready() && roles(m).iter().all(|role| ready.get(&role).is_some_and(|n| *n == 1))
        })
        .map(|m| m.name.clone())
        .collect()
}

fn changes_process(member: &Member<'_>, rollout: &Rollout) -> bool {
    let next = rollout.assignments.get(&member.name);
    match (&member.unit.assigned, next) {
        (Some(now), Some(next)) => !now.same_process(next),
        _ => false,
    }
}

/// The texts of all revisions that an assignment names, the published and the last good one.
fn documents(
    before: &CarryOver,
    rendered: Option<&Rendered>,
    members: &[Member<'_>],
    rollout: &Rollout,
    carry: &CarryOver,
) -> BTreeMap<Revision, String> {
    // What a unit was told last is dropped after it was told something else, not before.
    let told = members.iter().filter_map(|m| m.unit.assigned.as_ref());
    // What an unknown unit was told may be any of them.
    let maybe_told = before.documents.keys().filter(|_| members.iter().any(|m| m.unit.unknown));
    let live: BTreeSet<&Revision> = rollout
        .assignments
        .values()
        .chain(told)
        .map(|a| &a.revision)
        .chain(&carry.published)
        .chain(&carry.good)
        .chain(maybe_told)
        .collect();
    live.into_iter()
        .filter_map(|revision| {
            let text = match rendered {
                Some(rendered) if rendered.revision == *revision => Some(&*rendered.text),
                _ => before.documents.get(revision).map(String::as_str),
            };
            Some((revision.clone(), text?.to_owned()))
        })
        .collect()
}

fn cluster(observed: &Observed, line: &Line, carry: &CarryOver) -> Option<ClusterData> {
    // What no probe has proven reaches no unit: one that runs well would not survive its next restart.
    let ObjectStore::Related { storage, probe: Probe::Ready { .. } } = &observed.object_store else {
        return None;
    };
    Some(ClusterData {
        product: line.product,
        version: line.version,
        documents: carry.documents.clone(),
        object_storage: Some(storage.as_ref().clone()),
        tls: None,
    })
}

fn progress<'a>(
    observed: &Observed,
    line: &Line,
    declared: &BTreeMap<AppName, Declared>,
    members: &[Member<'_>],
    rollout: &'a Rollout,
    target: Option<&'a Revision>,
    gate: Gate,
) -> Progress<'a> {
    let mut covered = RoleSet::new();
    let mut updated = 0;
    for member in members.iter().filter(|m| m.unit.is_ready()) {
        covered.extend(line.table.expand(&member.unit.current_roles()).iter());
        let assigned = member.unit.assigned.as_ref();
        let done = match &member.want {
            Want::Run(roles) => assigned.is_some_and(|a| Some(&a.revision) == target && a.roles == *roles),
            Want::Hold => true,
            Want::Stop | Want::StopAtOnce => false,
        };
        updated += u32::from(done && member.unit.refused().is_none() && !member.temporary);
    }
    let total = observed
        .workers
        .iter()
        .filter(|(_, w)| w.is_asked_for())
        .map(|(name, w)| serving_units(declared.get(name), w))
        .sum();
    let balancers = || observed.balancers.values();
    Progress {
        rollout,
        revision: target.map(Revision::short),
        updated,
        total,
        unready_roles: line.table.required.difference(&covered),
        balancers_ready: observed.spec.units > 0
            && observed.balancers.len() >= observed.spec.units as usize
            && balancers().all(ObservedUnit::answers),
        balancers_current: balancers().all(ObservedUnit::is_ready),
        gate,
        transition: None,
    }
}

/// What was decided of the workers' units.
struct Told<'a> {
    /// For each unit what is wanted of it, and its assignment, if it has one.
    units: BTreeMap<&'a UnitName, (&'a Want, Option<&'a Assignment>)>,
    abandonments: &'a Abandonments,
    partings: &'a Partings,
}

fn planned_worker(
    observed: &Observed,
    name: &AppName,
    worker: &ObservedWorker,
    told: &Told<'_>,
    gate: Gate,
    findings: &[Finding],
) -> PlannedApplication {
    let wanted = wanted_units(worker.spec.units, worker.removing);
    let leaving = worker.removing || observed.removing;
    let mut units: BTreeSet<u32> = wanted.clone().collect();
    if observed.removing && !worker.removing {
        units.retain(|number| worker.units.get(number).is_some_and(|unit| !unit.has_stopped()));
    }
    let mut unit_statuses = BTreeMap::new();
    for (number, unit) in &worker.units {
        let unit_name = name.unit(*number);
        let witness = told.partings.awaits(&unit_name);
        if !wanted.contains(number) && (!unit.has_stopped() || witness.is_some()) {
            units.insert(*number);
        }
        let hold = Want::Hold;
        let (want, next) = told.units.get(&unit_name).copied().unwrap_or((&hold, None));
        let said = match witness {
            Some(witness) => status::parting(witness),
            None => status::of_worker_unit(unit, next, want, gate, &observed.name),
        };
        unit_statuses.insert(*number, status::kept_from_leaving(said, &unit_name, told.abandonments));
    }
    let mut said: Vec<Status> =
        units.iter().filter(|n| wanted.contains(n)).filter_map(|n| unit_statuses.get(n).cloned()).collect();
    let missing = wanted.clone().filter(|n| !worker.units.contains_key(n)).count();
    said.extend(std::iter::repeat_n(Status::new(WorkloadStatus::Waiting, "being made"), missing));
    let status = if leaving {
        let held = units
            .iter()
            .any(|n| told.units.get(&name.unit(*n)).is_some_and(|(want, _)| **want == Want::Hold));
        status::removing(observed, units.len(), held, findings)
    } else {
        status::of_worker(status::of_findings(name, findings), &said, worker.spec.units)
    };
    let status = if worker.temporary { status::of_temporary(status) } else { status };
    PlannedApplication { status, units, unit_statuses, at_risk: told.abandonments.at_risk_of(name) }
}

fn planned_balancers(
    observed: &Observed,
    wanted: &std::ops::Range<u32>,
    gate: Gate,
    abandonments: &Abandonments,
) -> PlannedApplication {
    let mut units: BTreeSet<u32> = wanted.clone().collect();
    let mut unit_statuses = BTreeMap::new();
    for (number, unit) in &observed.balancers {
        if !wanted.contains(number) && !unit.has_stopped() {
            units.insert(*number);
        }
        let said = status::of_balancer_unit(unit, wanted.contains(number), gate);
        let unit_name = observed.name.unit(*number);
        unit_statuses.insert(*number, status::kept_from_leaving(said, &unit_name, abandonments));
    }
    let at_risk = abandonments.at_risk_of(&observed.name);
    PlannedApplication { status: Status::default(), units, unit_statuses, at_risk }
}

fn wake_at(observed: &Observed, now: Timestamp) -> Option<Timestamp> {
    let ObjectStore::Related { probe, .. } = &observed.object_store else { return None };
    let due = match probe {
        Probe::Pending => return None,
        Probe::Ready { at } => at.checked_add(PROBE_AGAIN),
        Probe::Failed { at, .. } => at.checked_add(PROBE_AGAIN_AFTER_FAILURE),
    };
    Some(due.unwrap_or(now).max(now))
}
