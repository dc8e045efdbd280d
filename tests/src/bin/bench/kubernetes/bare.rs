//! The baseline: what a change costs that goes through two objects and two watches with nobody's work in between.

use std::time::{Duration, Instant};

use kube::Api;
use kube::api::{Patch, PatchParams};
use muster_api::Unit;
use muster_tests::kubernetes::Site;
use serde_json::{Value, json};

use super::watched::Watched;
use crate::{Figure, milliseconds};

/// What a round takes on the machine on which the cluster's kit was measured, where an apply and its delivery take 3.0 ms. A bar that is a
/// time is taken to be for that one, and held to as so many rounds: machines differ by more than what the bar is about.
const REFERENCE: Duration = Duration::from_millis(6);
const NAMESPACE: &str = "bare";
const EDIT: &str = "edit";
const ORDER: &str = "order";

/// A bare kube-rs client for each of the three that take part: a user, an operator and an agent.
pub(super) struct Bare {
    user: Api<Unit>,
    operator: Api<Unit>,
    edits: Watched<Unit>,
    orders: Watched<Unit>,
    round: u64,
}

impl Bare {
    pub(super) async fn start(site: &Site) -> anyhow::Result<Self> {
        site.namespace(NAMESPACE).await;
        // Without Muster's label the operator does not see them.
        site.apply(NAMESPACE, &[object(EDIT, 0), object(ORDER, 0)]).await;
        let (user, operator, agent) =
            (site.cluster.client().await, site.cluster.client().await, site.cluster.client().await);
        let operator = Api::namespaced(operator, NAMESPACE);
        let edits = Watched::start(operator.clone(), EDIT).await?;
        let orders = Watched::start(Api::namespaced(agent, NAMESPACE), ORDER).await?;
        Ok(Self { user: Api::namespaced(user, NAMESPACE), operator, edits, orders, round: 0 })
    }

    /// One write, its delivery to a watch, another write, its delivery to a watch.
    pub(super) async fn round(&mut self) -> anyhow::Result<Duration> {
        self.round += 1;
        let round = self.round;
        let is = |unit: &Unit| epoch(unit) == Some(round);
        let started = Instant::now();
        // As a user edits a spec.
        let edit = Patch::Merge(json!({ "spec": object(EDIT, round)["spec"] }));
        let params = PatchParams::default();
        let (written, seen) =
            tokio::join!(self.user.patch(EDIT, &params, &edit), self.edits.until("edited", is));
        written?;
        seen?;
        // As the operator tells a unit what to run.
        let order = Patch::Apply(object(ORDER, round));
        let params = PatchParams::apply("bare").force();
        let (written, seen) =
            tokio::join!(self.operator.patch(ORDER, &params, &order), self.orders.until("ordered", is));
        written?;
        seen?;
        Ok(started.elapsed())
    }
}

/// A time as it is, and by how much it exceeds a round beside it.
pub(super) fn beside(what: String, time: Duration, round: Duration, bar: Option<f64>) -> [Figure; 2] {
    let ratio = time.as_secs_f64() / round.as_secs_f64();
    let measured = if time < Duration::from_secs(1) {
        milliseconds(time)
    } else {
        format!("{:.1} s", time.as_secs_f64())
    };
    [
        Figure { what, measured, bar: "none".to_owned(), holds: true },
        Figure {
            what: format!("  divided by two bare writes with their deliveries ({})", milliseconds(round)),
            measured: format!("{ratio:.2}"),
            bar: bar.map_or("none".to_owned(), |bar| bar.to_string()),
            holds: bar.is_none_or(|bar| ratio <= bar),
        },
    ]
}

/// A bar that is a time, in rounds.
pub(super) fn rounds(bar: Duration) -> f64 {
    bar.as_secs_f64() / REFERENCE.as_secs_f64()
}

fn epoch(unit: &Unit) -> Option<u64> {
    unit.spec.assignment.as_ref()?["epoch"].as_u64()
}

fn object(name: &str, round: u64) -> Value {
    let assignment = json!({
        "epoch": round, "revision": "0123456789abcdef0123456789abcdef", "roles": ["querier"], "run": "start",
        "seeds": ["dns+mimir-gossip.bare.svc:7946"],
    });
    json!({
        "apiVersion": "muster.dev/v1alpha1", "kind": "Unit", "metadata": {"name": name},
        "spec": {"application": "bare", "coordinator": "bare", "podUID": "none", "assignment": assignment},
    })
}
