//! How soon an agent has stopped its old process after the roles in a worker's spec were edited.

use std::time::{Duration, Instant};

use kube::Api;
use kube::api::{Patch, PatchParams};
use muster_api::{Unit, Worker};
use muster_model::AppName;
use muster_testkit::wait_until;
use muster_tests::kubernetes::Site;
use muster_tests::kubernetes::doubles::Doubles;
use serde_json::json;

use super::agent::Agent;
use super::audit::{Audit, list, total};
use super::bare::{Bare, beside};
use super::deployment::{SETTLED, base, settled, worker};
use super::percentile;
use crate::{Figure, milliseconds};

const NAMESPACE: &str = "toggle";
const WORKER: &str = "mimir-toggle";
/// How much longer than the bare way a toggle may take.
const BAR: f64 = 3.0;
const WRITES_BAR: f64 = 3.0;
/// No route of the load balancer names these.
const PLAIN: Toggle = Toggle { roles: ["querier", "overrides-exporter"], times: 100 };
/// The load balancer routes to both, and other units have them too: the unit leaves it before its process is stopped.
const ROUTED: Toggle = Toggle { roles: ["query-frontend", "distributor"], times: 20 };

/// From one role to the other and back, so many times.
struct Toggle {
    roles: [&'static str; 2],
    times: usize,
}

/// Leaves the deployment there, and its agent.
pub(super) async fn figures(
    site: &Site,
    doubles: &Doubles,
    audit: &Audit,
    bare: &mut Bare,
) -> anyhow::Result<(Vec<Figure>, Agent)> {
    let (coordinator, name) = (AppName::new("mimir")?, AppName::new(WORKER)?.unit(0));
    doubles.silence(NAMESPACE, &muster_manifests::names::pod_name(&name));
    site.namespace(NAMESPACE).await;
    site.apply(NAMESPACE, &base()).await;
    site.apply(NAMESPACE, &[worker(WORKER, "mimir", 1, PLAIN.roles[0])]).await;
    let agent = Agent::start(site, doubles, NAMESPACE, &coordinator, &name).await?;
    settled(site, NAMESPACE, WORKER, 1).await?;
    audit.over().await?;

    let before = audit.now()?;
    let plain = measure(site, &agent, bare, &PLAIN).await?;
    audit.over().await?;
    let writes = audit.since(before, Some(NAMESPACE))?;
    list(&format!("{} role toggles of one unit with a real agent", PLAIN.times), &writes);
    let per_toggle = |writes: usize| writes as f64 / PLAIN.times as f64;
    let own = per_toggle(total(&audit.of_unit(before, NAMESPACE, &format!("{WORKER}-0"))?));
    let mut figures = plain.figures("role toggled to old process ended", PLAIN.times, Some(BAR));
    figures.push(Figure {
        what: format!(
            "API writes, role toggle of a real unit: of its own objects (all: {:.2})",
            per_toggle(total(&writes))
        ),
        measured: format!("{own:.2}"),
        bar: WRITES_BAR.to_string(),
        holds: own <= WRITES_BAR,
    });
    switch(site, &PLAIN.roles, ROUTED.roles[0]).await?;
    runs(site, ROUTED.roles[0]).await?;
    let routed = measure(site, &agent, bare, &ROUTED).await?;
    figures.extend(routed.figures(
        "the same with a role that leaves the load balancer first",
        ROUTED.times,
        None,
    ));
    Ok((figures, agent))
}

/// Toggles and their baseline, by turns.
struct Times {
    toggles: Vec<Duration>,
    bare: Vec<Duration>,
}

impl Times {
    fn figures(mut self, what: &str, times: usize, bar: Option<f64>) -> Vec<Figure> {
        let median = percentile(&mut self.toggles, 50);
        let bare = percentile(&mut self.bare, 50);
        anstream::println!(
            "  {what}: p50 {}, p90 {}, least {}; bare: p50 {}, p90 {}, least {}",
            milliseconds(median),
            milliseconds(percentile(&mut self.toggles, 90)),
            milliseconds(self.toggles[0]),
            milliseconds(bare),
            milliseconds(percentile(&mut self.bare, 90)),
            milliseconds(self.bare[0])
        );
        let figure = Figure {
            what: format!("{what}, p50 of {times}"),
            measured: milliseconds(median),
            bar: "none".to_owned(),
            holds: true,
        };
        vec![figure, beside(median, bare, bar)]
    }
}

async fn measure(site: &Site, agent: &Agent, bare: &mut Bare, toggle: &Toggle) -> anyhow::Result<Times> {
    let mut times = Times { toggles: Vec::new(), bare: Vec::new() };
    for number in 0..toggle.times {
        times.bare.push(bare.round().await?);
        let [first, second] = toggle.roles;
        let (now, next) = if number % 2 == 0 { (first, second) } else { (second, first) };
        let process = agent.attend().await?;
        let started = Instant::now();
        switch(site, &[now], next).await?;
        process.ended().await?;
        times.toggles.push(started.elapsed());
        runs(site, next).await?;
    }
    Ok(times)
}

/// Waits until the unit runs a role, and its worker says that all is as it should be. Until the unit is stopped, its worker may well say
/// so of the former role.
async fn runs(site: &Site, role: &str) -> anyhow::Result<()> {
    let units: Api<Unit> = site.api(NAMESPACE);
    let role = json!([role]);
    wait_until(&format!("a unit with {role}"), SETTLED, async || {
        let report = units.get(&format!("{WORKER}-0")).await.ok()?.status?.report?;
        (report["ready"] == true && report["applied"]["roles"] == role).then_some(())
    })
    .await?;
    settled(site, NAMESPACE, WORKER, 1).await
}

/// Switches roles off and one on, as `kubectl patch` does.
async fn switch(site: &Site, off: &[&str], on: &str) -> anyhow::Result<()> {
    let mut roles: serde_json::Map<_, _> = off.iter().map(|role| ((*role).to_owned(), json!(null))).collect();
    roles.insert(on.to_owned(), true.into());
    let workers: Api<Worker> = site.api(NAMESPACE);
    let patch = Patch::Merge(json!({"spec": {"roles": roles}}));
    workers.patch(WORKER, &PatchParams::default(), &patch).await?;
    Ok(())
}
