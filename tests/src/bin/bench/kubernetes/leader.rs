//! How soon another operator acts when the one that acts is killed, or ends.

use std::time::{Duration, Instant};

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use muster_testkit::wait_until;
use muster_tests::kubernetes::{Operator, Site};
use serde_json::json;

use super::deployment::settled;
use super::scale::{NAMESPACE, WORKER};
use super::watched::Watched;
use crate::Figure;

const SOON: Duration = Duration::from_secs(30);
const KILLED_BAR: Duration = Duration::from_secs(18);
const ENDED_BAR: Duration = Duration::from_secs(3);
const HAND_OVERS: usize = 3;

/// `leader` leads, and all is at rest. Answers also the operator that leads in the end.
pub(super) async fn figures(site: &Site, mut leader: Operator) -> anyhow::Result<(Vec<Figure>, Operator)> {
    let mut set = Watched::<StatefulSet>::start(site.api(NAMESPACE), WORKER).await?;
    let mut standby = stand_by(site, "standby-0").await?;

    // The worst moment: the lease has just been renewed.
    let leases: Api<Lease> = Api::namespaced(site.client.clone(), "muster-system");
    let mut lease = Watched::start(leases, "muster-operator").await?;
    let now = std::cell::RefCell::new(None);
    let renewed = |lease: &Lease| {
        let time = lease.spec.as_ref().and_then(|spec| spec.renew_time.clone());
        now.borrow_mut().replace(time.clone()).is_some_and(|before| before != time)
    };
    lease.until("renewed", renewed).await?;
    let started = Instant::now();
    leader.kill().await;
    scale(site, &mut set, 2).await?;
    let killed = started.elapsed();

    let mut ended = Duration::ZERO;
    for number in 1..=HAND_OVERS {
        let units = 2 - u32::try_from(number % 2)?;
        settled(site, NAMESPACE, WORKER, 3 - units).await?;
        let next = stand_by(site, &format!("standby-{number}")).await?;
        let started = Instant::now();
        // What is asked for after the old one's end is the next one's to do.
        standby.stop().await;
        scale(site, &mut set, units).await?;
        ended = ended.max(started.elapsed());
        standby = next;
    }
    settled(site, NAMESPACE, WORKER, 1).await?;
    let figure = |what: String, measured: Duration, bar: Duration| Figure {
        what,
        measured: format!("{:.1} s", measured.as_secs_f64()),
        bar: format!("{} s", bar.as_secs()),
        holds: measured <= bar,
    };
    let figures = vec![
        figure("leader killed right after a renewal, next one has acted".to_owned(), killed, KILLED_BAR),
        figure(format!("leader ended, next one has acted, most of {HAND_OVERS}"), ended, ENDED_BAR),
    ];
    Ok((figures, standby))
}

/// An operator that runs and waits for the lease.
async fn stand_by(site: &Site, identity: &str) -> anyhow::Result<Operator> {
    let operator = site.operator(identity);
    let stands_by = async || (operator.metric("muster_operator_leader", "").await == Some(0.0)).then_some(());
    wait_until("an operator that stands by", SOON, stands_by).await?;
    Ok(operator)
}

/// Asks for so many units and waits until an operator has patched the StatefulSet.
async fn scale(site: &Site, set: &mut Watched<StatefulSet>, units: u32) -> anyhow::Result<()> {
    site.patch_worker(NAMESPACE, WORKER, json!({ "units": units })).await;
    let patched =
        |set: &StatefulSet| set.spec.as_ref().and_then(|spec| spec.replicas) == i32::try_from(units).ok();
    set.until("patched", patched).await
}
