//! Units that are let go although something that they hold is not in the object store: what is at risk, and what a
//! person consented to lose.
//!
//! A unit that cannot finish leaving stays, for as long as it takes. [`Abandonments::judge`] says of each such unit, in one sentence, what
//! would be lost without it. A [`Consent`] quotes that sentence. It is good for that unit, that instance of it, that order and that loss,
//! and becomes an [`Abandonment`], which is remembered and shown also when the unit is gone.

use std::borrow::Cow;
use std::collections::BTreeMap;

use jiff::Timestamp;
use muster_api::Abandoned;
use muster_model::{AppName, UnitName};
use muster_relation::Run;
use serde::{Deserialize, Serialize};

use crate::gate;
use crate::observed::{NO_EPOCH, Observed, ObservedUnit};
use crate::plan::wanted_units;

/// What is at risk with a worker's unit that nobody can see.
const UNSEEN: &str =
    "whatever it holds that is not in the object store, nobody knows how much: the unit cannot be seen";
/// What is at risk with a load balancer's unit that nobody can see.
const UNSEEN_BALANCER: &str = "requests that it may still answer: the unit cannot be seen";
/// What is at risk with a unit that was not told to leave yet, because it could not upload anything.
const HELD: &str = "whatever it has not uploaded yet, nobody knows how much: the object store cannot be used";

/// How many abandonments are remembered.
const REMEMBERED: usize = 20;

/// That a person gives up what a unit holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Consent {
    /// The [instance](ObservedUnit::instance) that is meant: a later unit of the same name is another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// The epoch of what the unit was told last. A unit that was told something else since is asked about anew.
    pub order: u64,
    /// What is given up, in the words that were shown as being at risk.
    pub lost: String,
    /// When it was given.
    pub at: Timestamp,
}

impl Consent {
    /// A consent to lose this with a unit as it is now.
    #[must_use]
    pub fn new(instance: Option<String>, order: Option<u64>, lost: String, at: Timestamp) -> Self {
        Self { instance, order: order.unwrap_or(NO_EPOCH), lost, at }
    }
}

/// A consent that was good when it was first looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Abandonment {
    /// The unit.
    pub unit: UnitName,
    /// Its instance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// What was given up.
    pub lost: String,
    /// When the consent was given.
    pub at: Timestamp,
    /// Whether the unit is still there to be let go. Once it is not, or it may stay, or something else is at risk, a new consent is needed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub in_force: bool,
}

impl Abandonment {
    /// As statuses show it.
    #[must_use]
    pub fn shown(&self) -> Abandoned {
        Abandoned { unit: self.unit.to_string(), lost: self.lost.clone(), at: self.at.to_string() }
    }

    fn is_of(&self, name: &UnitName, consent: &Consent) -> bool {
        self.unit == *name && self.instance == consent.instance && self.at == consent.at
    }
}

/// Who is kept from leaving, and who leaves for all that.
#[derive(Debug, Default)]
pub(crate) struct Abandonments {
    /// What is at risk, by unit that is kept from leaving.
    pub(crate) at_risk: BTreeMap<UnitName, String>,
    /// Everything that is to be remembered, the latest last.
    pub(crate) records: Vec<Abandonment>,
}

impl Abandonments {
    /// Looks at every unit that is to leave. `holds` says whether a unit that runs may hold data that is nowhere else.
    pub(crate) fn judge(observed: &Observed, holds: impl Fn(&ObservedUnit) -> bool) -> Self {
        let can_flush = gate::can_flush(observed);
        let leaving: BTreeMap<UnitName, (&ObservedUnit, Option<Cow<'static, str>>)> = leaving(observed)
            .map(|(app, number, unit)| {
                let balances = *app == observed.name;
                let may_hold = !balances && !can_flush && unit.is_told_to_run() && holds(unit);
                let risk = risk(unit, balances, may_hold).map(|risk| Cow::Owned(risk.to_owned()));
                (app.unit(number), (unit, risk))
            })
            .collect();
        let mut records = observed.carry.abandoned.clone();
        for record in &mut records {
            record.in_force = record.in_force
                && leaving.get(&record.unit).is_some_and(|(unit, risk)| {
                    let told =
                        unit.assigned.as_ref().is_some_and(|told| told.run == Run::Stop && told.gives_up);
                    unit.instance == record.instance && (told || risk.as_deref() == Some(&record.lost))
                });
        }
        for (name, (unit, risk)) in &leaving {
            let Some(consent) = &unit.consent else { continue };
            let is_good = unit.instance == consent.instance
                && unit.assigned.as_ref().map_or(NO_EPOCH, |told| told.epoch) == consent.order
                && risk.as_deref() == Some(&consent.lost);
            if is_good && !records.iter().any(|record| record.is_of(name, consent)) {
                records.push(Abandonment {
                    unit: name.clone(),
                    instance: consent.instance.clone(),
                    lost: consent.lost.clone(),
                    at: consent.at,
                    in_force: true,
                });
            }
        }
        records.drain(..records.len().saturating_sub(REMEMBERED));
        let at_risk =
            leaving.into_iter().filter_map(|(name, (_, risk))| Some((name, risk?.into_owned()))).collect();
        Self { at_risk, records }
    }

    /// What a unit is let go without, if it is.
    pub(crate) fn given_up(&self, unit: &UnitName) -> Option<&str> {
        let record = self.records.iter().rev().find(|record| record.in_force && record.unit == *unit);
        record.map(|record| record.lost.as_str())
    }

    /// What is observed, but that units which nobody can see and which are let go count as gone.
    pub(crate) fn without_the_unseen<'a>(&self, observed: &'a Observed) -> Cow<'a, Observed> {
        let mut observed = Cow::Borrowed(observed);
        for record in self.records.iter().filter(|record| record.in_force) {
            let (app, number) = (record.unit.application(), record.unit.number());
            let unit = |observed: &Observed| {
                let units = match observed.workers.get(app) {
                    Some(worker) => &worker.units,
                    None => &observed.balancers,
                };
                units.get(&number).is_some_and(|unit| !unit.is_seen())
            };
            if !unit(&observed) {
                continue;
            }
            let observed = observed.to_mut();
            let units = match observed.workers.get_mut(app) {
                Some(worker) => &mut worker.units,
                None => &mut observed.balancers,
            };
            if let Some(unit) = units.get_mut(&number) {
                unit.count_as_gone();
            }
        }
        observed
    }

    /// What is at risk with the units of an application, by number.
    pub(crate) fn at_risk_of(&self, app: &AppName) -> BTreeMap<u32, String> {
        let units = self.at_risk.iter().filter(|(unit, _)| unit.application() == app);
        units.map(|(unit, risk)| (unit.number(), risk.clone())).collect()
    }
}

/// The units that are there and are not to be.
fn leaving(observed: &Observed) -> impl Iterator<Item = (&AppName, u32, &ObservedUnit)> {
    let balancers = {
        let wanted = wanted_units(observed.spec.units, observed.removing);
        observed.balancers.range(wanted.end..).map(|(number, unit)| (&observed.name, *number, unit))
    };
    let workers = observed.workers.iter().flat_map(|(name, worker)| {
        let wanted = wanted_units(worker.spec.units, worker.removing || observed.removing);
        worker.units.range(wanted.end..).map(move |(number, unit)| (name, *number, unit))
    });
    balancers.chain(workers)
}

/// What would be lost without a unit that is kept from leaving. Nothing: nothing keeps it, or nothing is known yet.
fn risk(unit: &ObservedUnit, balances: bool, may_hold: bool) -> Option<&str> {
    if unit.has_stopped() || (unit.absent && !unit.left_data) {
        return None;
    }
    if !unit.is_seen() {
        return Some(if balances { UNSEEN_BALANCER } else { UNSEEN });
    }
    let drain = unit.report.as_ref().and_then(|report| report.drain.as_ref());
    match drain {
        Some(drain) if !unit.is_told_to_run() => Some(&drain.why),
        _ => may_hold.then_some(HELD),
    }
}

/// What a person types to let a unit go.
pub(crate) fn command(unit: &UnitName) -> String {
    format!("muster run {unit} {ACTION}")
}

/// The action that lets a unit go.
pub const ACTION: &str = "abandon-data";
