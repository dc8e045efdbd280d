//! The temporary worker: one unit that runs everything, and stands in where units trade roles that nobody else has, or where the only unit
//! of a role gives up data beside it.
//!
//! Units that trade wait for each other: each gives up a role that another is yet to take. A unit that gives up data answers nothing until
//! the object store has it. The plan asks for a temporary worker then, and once that is ready the ordinary budget lets them go one by one.
//! What starts anew on the way with a role that nobody else serves waits for it too, but is no reason for it.
//! When all others are at rest it is removed as any worker is: it uploads what it holds first. It is a worker like others, but what it runs
//! covers nothing: nobody asked for it.
//!
//! Nothing of it is remembered: that it is wanted follows from what is observed.

use muster_api::{Retain, Storage, TemporaryWorker, Worker, WorkerSpec};
use muster_model::{AppName, Finding, Reason, Role, WorkloadStatus};

use crate::gate::Gate;
use crate::observed::{Observed, ObservedWorker};
use crate::rollout::{Coming, Member, Rollout};
use crate::validate::Line;

/// The temporary worker that is to be there.
#[derive(Debug, Clone, PartialEq)]
pub struct Temporary {
    /// Its name.
    pub name: AppName,
    /// What it is made with.
    pub spec: WorkerSpec,
}

impl Temporary {
    /// What a coordinator's temporary worker is called. `None`: the name would be too long.
    #[must_use]
    pub fn name_for(coordinator: &AppName) -> Option<AppName> {
        AppName::new(format!("{coordinator}-transition")).ok()
    }

    /// The one that would be made: on disks and nodes as those have that hold data.
    fn of(observed: &Observed, line: &Line) -> Option<Self> {
        let name = Self::name_for(&observed.name)?;
        let stays = || observed.workers.values().filter(|worker| worker.is_asked_for());
        let holds_data = |worker: &&ObservedWorker| {
            let roles = worker.spec.roles.iter().filter(|(_, on)| **on);
            let roles = roles.filter_map(|(role, _)| role.parse().ok()).collect();
            line.table.expand(&roles).contains(line.workload.replicated_role())
        };
        let like = stays().find(holds_data).or_else(|| stays().next())?;
        let roles = [(Role::All.to_string(), true)].into();
        let coordinator = Some(observed.name.to_string());
        // Nothing is missing in the object store when its unit goes, and nobody comes back to its disk.
        let storage = Storage { retain: Retain::Never, ..like.spec.storage.clone().unwrap_or_default() };
        let spec = WorkerSpec { coordinator, units: 1, roles, storage: Some(storage), ..like.spec.clone() };
        Some(Self { name, spec })
    }

    /// Whether a worker is a coordinator's own temporary one. What merely looks like it is a user's.
    #[must_use]
    pub fn is(worker: &Worker, coordinator: &AppName) -> bool {
        let name = Self::name_for(coordinator);
        worker.is_temporary() && worker.metadata.name.as_deref() == name.as_ref().map(AppName::as_str)
    }
}

/// Whether one can be made for units that wait for each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StandIn {
    /// It can.
    MayCome,
    /// Once the one that was made for others is gone.
    Later,
    /// It cannot, or is there and of no help.
    None,
}

/// Whether one can be made now.
pub(crate) fn stand_in(observed: &Observed) -> StandIn {
    let goes = || observed.workers.values().any(|worker| worker.temporary && worker.removing);
    if !is_allowed(observed) {
        StandIn::None
    } else if goes() {
        StandIn::Later
    } else if is_absent(observed) && obstacle(observed).is_none() {
        StandIn::MayCome
    } else {
        StandIn::None
    }
}

fn is_allowed(observed: &Observed) -> bool {
    let transitions = observed.spec.transitions.unwrap_or_default();
    transitions.temporary_worker == TemporaryWorker::Auto && !observed.removing
}

fn is_absent(observed: &Observed) -> bool {
    !observed.workers.values().any(|worker| worker.temporary)
}

/// Why none can be made.
fn obstacle(observed: &Observed) -> Option<String> {
    let Some(name) = Temporary::name_for(&observed.name) else {
        return Some(format!("the name {}-transition is too long for it", observed.name));
    };
    let is_taken = observed.temporary_name_taken || observed.workers.contains_key(&name);
    is_taken.then(|| format!("{name} is the name of another application"))
}

/// Says that units leave a role without a ready unit, where it is not known from what was asked for.
pub(crate) fn unavailable(observed: &Observed, rollout: &Rollout, findings: &mut Vec<Finding>) {
    if !(rollout.opens_gap && is_allowed(observed) && is_absent(observed)) {
        return;
    }
    if let Some(why) = obstacle(observed) {
        findings.push(Finding::application(
            &observed.name,
            WorkloadStatus::Active,
            Reason::NoTemporaryWorker,
            format!("units leave roles that nobody else has, and no temporary worker can stand in: {why}"),
        ));
    }
}

/// The temporary worker that is to be there, if one is.
pub(crate) fn wanted(
    observed: &Observed,
    line: &Line,
    members: &[Member<'_>],
    coming: &[Coming],
    rollout: &Rollout,
    gate: Gate,
) -> Option<Temporary> {
    if gate == Gate::Stop || !is_allowed(observed) {
        return None;
    }
    if rollout.needs_temporary {
        return Temporary::of(observed, line);
    }
    let is_needed = gate == Gate::Hold || !rollout.others_rest(members, coming);
    present(observed).filter(|_| is_needed)
}

/// The temporary worker that is there and not on its way out.
pub(crate) fn present(observed: &Observed) -> Option<Temporary> {
    let mut there = observed.workers.iter().filter(|(_, worker)| worker.temporary && !worker.removing);
    there.next().map(|(name, worker)| Temporary { name: name.clone(), spec: worker.spec.clone() })
}
