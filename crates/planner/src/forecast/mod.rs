//! What will be done, step by step, if nothing fails. Decides nothing: it asks [`plan`] again and again, of [`ideal`] units that do at
//! once what they are told, until the plan asks for nothing more. So it cannot disagree with what is done later.
//!
//! `record` takes down what each round does and what clients notice of it, `step` is what comes of it and its words.

mod ideal;
mod record;
mod service;
mod step;

pub(crate) use step::spans;
pub use step::{Act, Data, Forecast, Obstacle, Pace, Service, Step, Until, Wait};

use jiff::Timestamp;
use muster_model::WorkloadStatus;

use crate::observed::Observed;
use crate::plan::plan;
use crate::preview::{Preview, answered};
use crate::validate;
use ideal::Ideal;
use record::Record;

/// How many times the plan is asked, at most.
const MOST_ROUNDS: usize = 5000;
/// The most units that are looked at in all rounds together: what a plan costs grows with the number of its units.
const MOST_LOOKS: usize = 2_000_000;

/// Runs the plan forward from what is observed. The object store is taken to answer.
#[must_use]
pub fn forecast(observed: &Observed) -> Forecast {
    let observed = answered(observed);
    let line = validate::line(&observed, &mut Vec::new()).or_else(|| validate::newest_line(&observed));
    let mut record = Record::of(line);
    let mut ideal = Ideal::of(observed);
    let mut forecast = Forecast::default();
    let mut looks = 0;
    let mut now = Timestamp::UNIX_EPOCH;
    for round in 0..MOST_ROUNDS {
        let plan = plan(&ideal.observed, now);
        if round == 0 {
            let wrong = plan.findings.iter().filter(|finding| finding.status > WorkloadStatus::Active);
            forecast.findings = wrong.cloned().collect();
        }
        forecast.end = plan.status.clone();
        let name = &ideal.observed.name;
        forecast.is_gone = ideal.observed.removing && plan.is_gone(name, name);
        let changes = plan.changes(&ideal.observed);
        record.note_orders(&ideal.observed, &plan, &changes);
        let carried = ideal.carry_out(&plan, &changes);
        let events = ideal.take_up();
        record.note_events(&ideal.observed, &events);
        if changes.is_empty() && !carried && events.is_empty() {
            if let Some(until) = plan.held_until {
                now = until;
                record.note_found(&[ideal.quiet(), plan.settling.clone()].concat());
                continue;
            }
            forecast.comes_to_rest = true;
            break;
        }
        looks += ideal.size();
        if looks > MOST_LOOKS {
            break;
        }
    }
    forecast.obstacles = ideal.obstacles();
    forecast.reloads = record.reloads;
    forecast.steps = record.into_steps();
    forecast
}

/// Whether an edit asks something else of a coordinator than what was asked of it before.
fn is_edited(before: Option<&Observed>, after: &Observed, preview: &Preview) -> bool {
    let Some(before) = before else { return true };
    let workers = |observed: &Observed| {
        let workers = observed.workers.iter();
        workers.map(|(name, w)| (name.clone(), w.spec.clone(), w.removing)).collect::<Vec<_>>()
    };
    before.spec != after.spec
        || before.removing != after.removing
        || workers(before) != workers(after)
        || !preview.findings.is_empty()
        || [&preview.config, &preview.balancer].iter().any(|change| {
            let revision = |of: &Option<crate::Rendition>| of.as_ref().map(|r| r.revision.clone());
            change.after.is_some() && revision(&change.before) != revision(&change.after)
        })
}

impl Preview {
    /// The same with the steps that the edit takes, if it asks anything of this coordinator. Without an edit: with the steps that are left.
    #[must_use]
    pub fn with_forecast(mut self, before: Option<&Observed>, after: &Observed, edits: bool) -> Self {
        if !edits || is_edited(before, after, &self) {
            self.forecast = Some(forecast(after));
        }
        self
    }
}
