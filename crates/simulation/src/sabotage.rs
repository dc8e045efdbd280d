//! The deliberate bugs of the coordinator: what they make of a plan.

use muster_model::{Status, WorkloadStatus};
use muster_planner::{Observed, Plan};
use muster_relation::{Assignment, Run};

use crate::bug::Bug;

pub(crate) fn spoil(plan: &mut Plan, observed: &Observed, bug: Option<Bug>) {
    let Some(bug) = bug else { return };
    if bug == Bug::SaysActive {
        plan.status = Status::new(WorkloadStatus::Active, "");
    }
    let changing = observed
        .workers
        .values()
        .filter(|worker| !worker.temporary)
        .any(|worker| worker.units.values().any(|unit| unit.is_told_to_run() && !unit.is_ready()));
    let count: usize = observed.workers.values().map(|worker| worker.units.len()).sum();
    let mut nth = 0;
    for (name, worker) in &observed.workers {
        for (number, unit) in &worker.units {
            nth += 1;
            let full = name.unit(*number);
            let wanted = !worker.removing && *number < worker.spec.units;
            let Some(assigned) = &unit.assigned else { continue };
            let again = |next: Assignment| Assignment { epoch: assigned.epoch + 1, ..next };
            match bug {
                Bug::RemovesEarly if !wanted && assigned.run == Run::Stop => {
                    if let Some(planned) = plan.workers.get_mut(name) {
                        planned.units.remove(number);
                    }
                }
                Bug::NeverRemoves if !wanted => {
                    if let Some(planned) = plan.workers.get_mut(name) {
                        planned.units.insert(*number);
                    }
                }
                Bug::RestartsAll if assigned.run == Run::Start => {
                    if let Some(target) = plan.revision.clone().filter(|target| *target != assigned.revision)
                    {
                        let next = Assignment { revision: target, ..assigned.clone() };
                        plan.assignments.insert(full, again(next));
                    }
                }
                Bug::GoesEarly if !wanted && unit.report.as_ref().is_some_and(|r| r.quiet.is_some()) => {
                    let stop = Assignment { run: Run::Stop, quiesces: false, ..assigned.clone() };
                    plan.assignments.insert(full, again(stop));
                }
                Bug::BreaksBeforeMake if !wanted && assigned.run == Run::Start => {
                    plan.assignments.insert(full, again(Assignment { run: Run::Stop, ..assigned.clone() }));
                }
                Bug::DismissesEarly if worker.temporary && changing && assigned.run == Run::Start => {
                    plan.temporary = None;
                    plan.assignments.insert(full, again(Assignment { run: Run::Stop, ..assigned.clone() }));
                }
                Bug::ForgetsEpochs => {
                    if let Some(next) = plan.assignments.get_mut(&full).filter(|next| *next != assigned) {
                        next.epoch = 1;
                    }
                }
                Bug::NeverQuiet if nth == 1 => {
                    plan.assignments.insert(full, again(assigned.clone()));
                }
                Bug::SkipsOne if nth == count && unit.is_told_to_run() => {
                    plan.assignments.insert(full, assigned.clone());
                }
                _ => {}
            }
        }
    }
}
