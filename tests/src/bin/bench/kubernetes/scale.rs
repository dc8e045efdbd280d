//! How soon a StatefulSet is patched after `spec.units` was edited.

use std::time::{Duration, Instant};

use k8s_openapi::api::apps::v1::StatefulSet;
use kube::api::{Patch, PatchParams};
use muster_api::Worker;
use muster_tests::kubernetes::Site;
use serde_json::json;

use super::audit::Audit;
use super::bare::{Bare, timed};
use super::deployment::{base, settled};
use super::percentile;
use super::watched::Watched;
use crate::{Figure, milliseconds};

pub(super) const NAMESPACE: &str = "scale";
pub(super) const WORKER: &str = "mimir-read";
const EDITS: u32 = 100;
/// How long nothing was written before an edit: what is edited is at rest.
const REST: Duration = Duration::from_millis(1200);
/// So many units are added one by one, then all but one are taken away again.
const ROUND: u32 = 10;
/// On a machine like that on which the kit was measured, see [`timed`].
const MEDIAN_BAR: Duration = Duration::from_millis(15);
const NINETY_BAR: Duration = Duration::from_millis(30);

pub(super) async fn figures(site: &Site, audit: &Audit, bare: &mut Bare) -> anyhow::Result<Vec<Figure>> {
    site.namespace(NAMESPACE).await;
    site.apply(NAMESPACE, &base()).await;
    settled(site, NAMESPACE, WORKER, 1).await?;
    audit.over().await?;
    let workers = site.api::<Worker>(NAMESPACE);
    let sets = kube::Api::namespaced(site.cluster.client().await, NAMESPACE);
    let mut set = Watched::<StatefulSet>::start(sets, WORKER).await?;
    let (mut times, mut baseline) = (Vec::new(), Vec::new());
    for _ in 0..EDITS / ROUND {
        for units in 2..=ROUND + 1 {
            audit.quiet_for(REST).await?;
            baseline.push(bare.round().await?);
            let patch = Patch::Merge(json!({"spec": {"units": units}}));
            let params = PatchParams::default();
            let started = Instant::now();
            let (written, seen) = tokio::join!(
                workers.patch(WORKER, &params, &patch),
                set.until("patched", |set| {
                    set.spec.as_ref().and_then(|spec| spec.replicas) == i32::try_from(units).ok()
                })
            );
            written?;
            seen?;
            times.push(started.elapsed());
            settled(site, NAMESPACE, WORKER, units).await?;
        }
        site.patch_worker(NAMESPACE, WORKER, json!({"units": 1})).await;
        settled(site, NAMESPACE, WORKER, 1).await?;
    }
    let (median, ninety) = (percentile(&mut times, 50), percentile(&mut times, 90));
    let bare = percentile(&mut baseline, 50);
    anstream::println!(
        "  spec.units edits: {} to {}; two bare writes with their deliveries beside them: p50 {}, p90 {}, least {}",
        milliseconds(times[0]),
        milliseconds(times[times.len() - 1]),
        milliseconds(bare),
        milliseconds(percentile(&mut baseline, 90)),
        milliseconds(baseline[0])
    );
    let figures = [("p50", median, MEDIAN_BAR), ("p90", ninety, NINETY_BAR)].map(|(which, time, bar)| {
        timed(format!("spec.units edit to StatefulSet patched, {which} of {EDITS}"), time, bare, bar)
    });
    Ok(figures.into_iter().flatten().collect())
}
