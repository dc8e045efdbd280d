//! What the statuses of coordinators and workers say, and which changes of them are events.

use std::collections::BTreeMap;

use kube::runtime::events::{Event, EventType};
use muster_api::{
    Abandoned, Condition, ConditionStatus, ConditionType, Coordinator, CoordinatorStatus, Endpoints,
    UnitStatusMessage, Worker, WorkerStatus,
};
use muster_manifests::names::{gateway_address, unit_selector};
use muster_model::{AppName, Reason, Status, WorkloadStatus};
use muster_planner::{Abandonment, CarryOver, Observed, ObservedUnit, Plan, PlannedApplication};
use serde_json::{Map, Value};

/// A coordinator's status after a plan.
pub(crate) fn coordinator_status(
    namespace: &str,
    coordinator: &Coordinator,
    observed: &Observed,
    plan: &Plan,
) -> CoordinatorStatus {
    let scheme = if observed.spec.tls.is_some() { "https" } else { "http" };
    let port = plan.main_port();
    CoordinatorStatus {
        status: plan.status.status.to_string(),
        message: plan.status.message.clone(),
        observed_generation: coordinator.metadata.generation,
        conditions: plan.conditions.clone(),
        coverage: plan.coverage.units.iter().map(|(role, units)| (role.to_string(), *units)).collect(),
        revision: plan.revision.as_ref().map(ToString::to_string),
        rollout: Some(plan.rollout.clone()),
        endpoints: Some(Endpoints {
            gateway: format!("{scheme}://{}:{port}", gateway_address(observed.name.as_str(), namespace)),
        }),
        units: count(observed.balancers.len()),
        selector: Some(unit_selector(&observed.name)),
        unit_statuses: unit_statuses(&plan.balancers),
        abandoned: plan.carry.abandoned.iter().map(Abandonment::shown).collect(),
        carry_over: Some(kept(&plan.carry)),
    }
}

/// What of a carry-over the status keeps: all but the texts, which the cluster Secret has.
fn kept(carry: &CarryOver) -> Map<String, Value> {
    match serde_json::to_value(carry) {
        Ok(Value::Object(mut map)) => {
            map.remove("documents");
            map
        }
        _ => Map::new(),
    }
}

/// A worker's status after a plan of its coordinator.
pub(crate) fn worker_status(
    name: &AppName,
    worker: &Worker,
    units: &BTreeMap<u32, ObservedUnit>,
    planned: &PlannedApplication,
) -> WorkerStatus {
    let ready = units.values().filter(|unit| unit.is_ready()).count();
    WorkerStatus {
        unit_statuses: unit_statuses(planned),
        ..worker_says(name, worker, &planned.status, units.len(), ready)
    }
}

/// The status of a worker that no coordinator decides about.
pub(crate) fn lone_worker_status(
    name: &AppName,
    worker: &Worker,
    units: usize,
    said: &Status,
) -> WorkerStatus {
    worker_says(name, worker, said, units, 0)
}

fn worker_says(name: &AppName, worker: &Worker, said: &Status, units: usize, ready: usize) -> WorkerStatus {
    let available = said.status == WorkloadStatus::Active;
    let roles: Vec<&str> =
        worker.spec.roles.iter().filter(|(_, on)| **on).map(|(role, _)| role.as_str()).collect();
    WorkerStatus {
        status: said.status.to_string(),
        message: said.message.clone(),
        observed_generation: worker.metadata.generation,
        conditions: vec![Condition {
            kind: ConditionType::Available,
            status: if available { ConditionStatus::True } else { ConditionStatus::False },
            reason: if available { Reason::AsExpected } else { Reason::Starting }.as_str().to_owned(),
            message: said.message.clone(),
        }],
        roles: roles.join(","),
        units: count(units),
        ready: count(ready),
        selector: Some(unit_selector(name)),
        unit_statuses: BTreeMap::new(),
    }
}

/// The units that are not simply ready.
fn unit_statuses(planned: &PlannedApplication) -> BTreeMap<String, UnitStatusMessage> {
    let said = planned.unit_statuses.iter().filter(|(_, said)| said.status != WorkloadStatus::Active);
    said.map(|(number, said)| {
        let message = UnitStatusMessage {
            status: said.status.to_string(),
            message: said.message.clone(),
            at_risk: planned.at_risk.get(number).cloned(),
        };
        (number.to_string(), message)
    })
    .collect()
}

fn count(units: usize) -> u32 {
    u32::try_from(units).unwrap_or(u32::MAX)
}

/// Whether a coordinator's status says something that should not wait.
pub(crate) fn is_urgent(now: Option<&CoordinatorStatus>, next: &CoordinatorStatus) -> bool {
    now.is_none_or(|now| {
        is_awaited(&now.status, &next.status)
            || now.carry_over != next.carry_over
            || now.observed_generation != next.observed_generation
    })
}

/// Whether a worker's status says something that should not wait.
pub(crate) fn is_urgent_for_worker(now: Option<&WorkerStatus>, next: &WorkerStatus) -> bool {
    let asked_anew = now.is_some_and(|now| now.observed_generation != next.observed_generation);
    asked_anew || is_awaited(now.map_or("", |now| &now.status), &next.status)
}

/// Whether a status begins to say what people and programs wait for: that all is well, or that it does not become so by itself. What
/// lies between passes, often within a second.
fn is_awaited(now: &str, next: &str) -> bool {
    let passes = [WorkloadStatus::Waiting, WorkloadStatus::Maintenance];
    now != next && !passes.iter().any(|status| status.as_str() == next)
}

/// What of the change from one set of conditions to the next is an event: every condition that turned bad, and the end of the last
/// one that was. Units that start are worth one only where nothing serves meanwhile.
pub(crate) fn events(now: &[Condition], next: &[Condition]) -> Vec<Event> {
    let bad = |condition: &Condition| match condition.kind {
        ConditionType::Degraded => condition.status == ConditionStatus::True,
        _ => condition.status == ConditionStatus::False,
    };
    let said = |condition: &Condition| {
        now.iter().any(|c| c.kind == condition.kind && c.reason == condition.reason && bad(c))
    };
    let passes = |condition: &Condition| {
        condition.kind != ConditionType::Available && condition.reason == Reason::Starting.as_str()
    };
    let mut events: Vec<Event> = next
        .iter()
        .filter(|condition| bad(condition) && !passes(condition) && !said(condition))
        .map(|condition| {
            // A rollout that goes on is what was asked for.
            let expected = condition.reason == Reason::RollingOut.as_str();
            let type_ = if expected { EventType::Normal } else { EventType::Warning };
            event(type_, &condition.reason, format!("{:?}", condition.kind), &condition.message)
        })
        .collect();
    let all_good = |conditions: &[Condition]| !conditions.is_empty() && !conditions.iter().any(bad);
    if all_good(next) && !all_good(now) {
        events.push(event(EventType::Normal, Reason::AsExpected.as_str(), AVAILABLE.to_owned(), "active"));
    }
    events
}

/// The events of units that are let go without what they hold.
pub(crate) fn abandonments(now: &[Abandoned], next: &[Abandoned]) -> Vec<Event> {
    let new = next.iter().filter(|record| !now.contains(record));
    new.map(|record| {
        let note = format!("{} is let go without {}", record.unit, record.lost);
        event(EventType::Warning, "DataAbandoned", "AbandonData".to_owned(), &note)
    })
    .collect()
}

/// The event of a worker that comes to say something bad, or is well again after it did.
pub(crate) fn worker_event(now: Option<&WorkerStatus>, next: &WorkerStatus) -> Option<Event> {
    let bad = |said: &str| {
        [WorkloadStatus::Blocked, WorkloadStatus::Error].into_iter().find(|status| status.as_str() == said)
    };
    let before = now.and_then(|now| bad(&now.status));
    match bad(&next.status) {
        Some(status) if before != Some(status) => {
            Some(bad_status(&Status::new(status, next.message.as_str())))
        }
        None if before.is_some() && next.status == WorkloadStatus::Active.as_str() => {
            Some(event(EventType::Normal, Reason::AsExpected.as_str(), AVAILABLE.to_owned(), "active"))
        }
        _ => None,
    }
}

/// The event of an application that says something bad.
pub(crate) fn bad_status(said: &Status) -> Event {
    let reason = if said.status == WorkloadStatus::Error { "Error" } else { "Blocked" };
    event(EventType::Warning, reason, AVAILABLE.to_owned(), &said.message)
}

/// The action of events about an application as a whole.
const AVAILABLE: &str = "Available";
/// An event's note has at most 1 kB (`events.k8s.io/v1`).
const MAX_NOTE: usize = 1000;

fn event(type_: EventType, reason: &str, action: String, message: &str) -> Event {
    let note: String = message
        .chars()
        .scan(0, |length, c| {
            *length += c.len_utf8();
            (*length <= MAX_NOTE).then_some(c)
        })
        .collect();
    Event {
        type_,
        reason: reason.to_owned(),
        note: (!note.is_empty()).then_some(note),
        action,
        secondary: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starting_units_are_no_event_while_others_serve() {
        use ConditionStatus::{False, True};
        let of = |kind, status, reason: Reason| Condition {
            kind,
            status,
            reason: reason.as_str().to_owned(),
            message: "m".to_owned(),
        };
        let well = [
            of(ConditionType::RolledOut, True, Reason::AsExpected),
            of(ConditionType::Available, True, Reason::AsExpected),
            of(ConditionType::Degraded, False, Reason::AsExpected),
        ];
        let with = |changes: &[Condition]| {
            well.clone().map(|c| changes.iter().find(|change| change.kind == c.kind).cloned().unwrap_or(c))
        };
        let starting = with(&[
            of(ConditionType::RolledOut, False, Reason::Starting),
            of(ConditionType::Degraded, True, Reason::Starting),
        ]);
        let rolling = with(&[of(ConditionType::RolledOut, False, Reason::RollingOut)]);
        let down = with(&[of(ConditionType::Available, False, Reason::Starting)]);
        let halted = with(&[of(ConditionType::RolledOut, False, Reason::RolloutHalted)]);
        let said = |now: &[Condition], next: &[Condition]| {
            let events = events(now, next).into_iter();
            events.map(|event| format!("{:?} {}", event.type_, event.reason)).collect::<Vec<_>>().join(", ")
        };
        assert_eq!(said(&well, &starting), "");
        assert_eq!(said(&well, &rolling), "Normal RollingOut");
        assert_eq!(said(&rolling, &rolling), "");
        assert_eq!(said(&rolling, &halted), "Warning RolloutHalted");
        assert_eq!(said(&well, &down), "Warning Starting");
        assert_eq!(said(&starting, &well), "Normal AsExpected");
        assert_eq!(said(&[], &well), "Normal AsExpected");
    }

    #[test]
    fn what_is_given_up_is_an_event_once() {
        let record = |unit: &str| Abandoned {
            unit: unit.to_owned(),
            lost: "2 blocks".to_owned(),
            at: "2026-01-01T00:00:00Z".to_owned(),
        };
        let (first, second) = (record("w/1"), record("w/2"));
        let both = [first.clone(), second];
        let notes = |now: &[Abandoned]| -> Vec<Option<String>> {
            abandonments(now, &both).into_iter().map(|event| event.note).collect()
        };
        assert_eq!(notes(&[first]), [Some("w/2 is let go without 2 blocks".to_owned())]);
        assert!(notes(&both).is_empty());
    }

    #[test]
    fn a_worker_has_an_event_when_it_turns_bad_and_when_it_is_well_again() {
        let said = |status: &str| WorkerStatus { status: status.to_owned(), ..WorkerStatus::default() };
        for (now, next, reason) in [
            ("active", "blocked", Some("Blocked")),
            ("blocked", "error", Some("Error")),
            ("error", "active", Some("AsExpected")),
            ("error", "error", None),
            ("error", "waiting", None),
            ("waiting", "active", None),
        ] {
            let event = worker_event(Some(&said(now)), &said(next));
            assert_eq!(event.map(|event| event.reason).as_deref(), reason, "{now} {next}");
        }
        assert!(
            worker_event(None, &said("error")).is_some() && worker_event(None, &said("waiting")).is_none()
        );
    }
}
