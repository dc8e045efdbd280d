//! The baseline: what a change costs that goes through two objects and two watches with nobody's work in between.

use std::time::{Duration, Instant};

use kube::Api;
use kube::api::{Patch, PatchParams};
use muster_api::Unit;
use muster_tests::kubernetes::Site;
use serde_json::{Value, json};

use super::watched::Watched;
use crate::{Figure, milliseconds};

/// What a [round](Bare::round) takes where the bars were set that are times: two applies with their deliveries, 3.0 ms each (the median
/// of 200 on an idle cluster of the same kit). A bar counts as the multiple of a round that it is there.
const KIT_ROUND: Duration = Duration::from_millis(6);
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

/// A time, and how much longer it is than a round beside it; `bar` is for a machine on which a round takes [`KIT_ROUND`].
pub(super) fn timed(what: String, time: Duration, round: Duration, bar: Duration) -> [Figure; 2] {
    let text = |time: Duration| match time.as_secs() {
        0 => milliseconds(time),
        _ => format!("{:.1} s", time.as_secs_f64()),
    };
    let figure = Figure { what, measured: text(time), bar: "see below".to_owned(), holds: true };
    let rounds = bar.as_secs_f64() / KIT_ROUND.as_secs_f64();
    let ratio = beside(time, round, Some(rounds));
    let bar = format!("{} ({} beside {})", ratio.bar, text(bar), text(KIT_ROUND));
    [figure, Figure { bar, ..ratio }]
}

/// How much longer something takes than a round beside it.
pub(super) fn beside(time: Duration, round: Duration, bar: Option<f64>) -> Figure {
    let ratio = time.as_secs_f64() / round.as_secs_f64();
    Figure {
        what: format!("  divided by two bare writes with their deliveries ({})", milliseconds(round)),
        measured: format!("{ratio:.2}"),
        bar: bar.map_or("none".to_owned(), |bar| bar.to_string()),
        holds: bar.is_none_or(|bar| ratio <= bar),
    }
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
