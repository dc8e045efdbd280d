//! Transitions of Mimir on a cluster with nodes: the same layouts as on one machine, the disks of units that go deleted with their claims,
//! and whoever carries a change out killed in the middle of it.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use muster_api::ModelStatus;
use muster_model::Product;

use super::Site;
use super::node::{address, example, say, try_status};
use crate::traffic::Traffic;
use crate::transition::{Actor, Kill, Layout, Phase, apart, coordinator, monolithic, unsettled};

const NAMESPACE: &str = "default";
const COORDINATOR: &str = "mimir";
/// How long one change may take: several units leave one after the other, each after the wait that Mimir imposes.
const CARRIED_OUT: Duration = Duration::from_secs(420);
/// How often the status is asked for.
const LOOK: Duration = Duration::from_millis(200);

/// From one process kind to three and back, with so many copies of the data, while samples are written. What was acknowledged must be
/// readable in the end.
///
/// # Errors
/// A change is not carried out in time, the moment of a kill never came, or something is lost.
pub async fn there_and_back(site: &Site, copies: u8) -> anyhow::Result<()> {
    let holders = u32::from(copies);
    let (one, many) = (monolithic(holders), apart(Product::Mimir, holders));
    let nothing = Layout(Vec::new());
    let kubectl = |arguments: &[&str]| site.cluster.kubectl(arguments).map_err(anyhow::Error::msg);
    kubectl(&["apply", "-f", &example("object-store.yaml")])?;
    apply(site, &(coordinator(Product::Mimir, copies) + &one.documents(&nothing, COORDINATOR)))?;
    settle(site, &nothing, &one, None).await?;
    let gateway = format!("http://{}", address(site, NAMESPACE, COORDINATOR, 8080).await);
    let traffic = Traffic::through(&gateway, &format!("copies-{copies}")).await?;
    let kill = |actor, phase| Some(Kill { actor, phase });
    let changes = [
        ("apart", &one, &many, kill(Actor::Up, Phase::Leaving)),
        ("back", &many, &one, kill(Actor::Agent, Phase::Leaving)),
    ];
    for (what, before, after, kill) in changes {
        let started = Instant::now();
        edit(site, before, after)?;
        settle(site, before, after, kill).await.with_context(|| what.to_owned())?;
        traffic.flows().await.with_context(|| format!("after {what}"))?;
        say(&format!("{what}: {:.0} s", started.elapsed().as_secs_f64()));
    }
    let journal = traffic.finish().await?;
    let failed = journal.attempted as usize - journal.acknowledged.len();
    say(&format!("{copies} copies: {failed} of {} samples refused twice", journal.attempted));
    ensure!(copies == 1 || failed == 0, "{failed} samples were refused twice with {copies} copies");
    Ok(())
}

fn apply(site: &Site, documents: &str) -> anyhow::Result<()> {
    let file = site.directory.path().join("change.yaml");
    std::fs::write(&file, documents)?;
    let file = file.to_str().context("a path that is no text")?;
    site.cluster.kubectl(&["apply", "-f", file]).map_err(anyhow::Error::msg)?;
    Ok(())
}

/// All that is new or other in one edit, and right behind it what goes.
fn edit(site: &Site, before: &Layout, after: &Layout) -> anyhow::Result<()> {
    let documents = after.documents(before, COORDINATOR);
    if !documents.is_empty() {
        apply(site, &documents)?;
    }
    for gone in before.0.iter().filter(|app| after.app(app.name).is_none()) {
        let delete = ["delete", "worker", gone.name, "--wait=false"];
        site.cluster.kubectl(&delete).map_err(anyhow::Error::msg)?;
    }
    Ok(())
}

/// Waits until the cluster is as `after` asks, deletes the disks of units as they go, and kills on the way.
async fn settle(site: &Site, before: &Layout, after: &Layout, mut kill: Option<Kill>) -> anyhow::Result<()> {
    let gaining = &after.units() - &before.units();
    let mut leaving = &before.units() - &after.units();
    let deadline = Instant::now() + CARRIED_OUT;
    let mut left = vec!["nobody answered".to_owned()];
    while Instant::now() < deadline {
        if let Some(status) = status(site) {
            if let Some((due, unit)) =
                kill.and_then(|kill| Some((kill, kill.due(&status, &gaining, &leaving)?)))
            {
                strike(site, due, &unit)?;
                kill = None;
                continue;
            }
            wipe(site, &status, &mut leaving)?;
            left = unsettled(&status, Product::Mimir, after);
            if left.is_empty() && leaving.is_empty() {
                ensure!(kill.is_none(), "the moment to kill never came");
                return Ok(());
            }
        }
        tokio::time::sleep(LOOK).await;
    }
    bail!("not carried out within {CARRIED_OUT:?}: {}; still there: {leaving:?}", left.join("; "))
}

fn status(site: &Site) -> Option<ModelStatus> {
    let status = tokio::task::block_in_place(|| try_status(site, NAMESPACE))?;
    serde_json::from_value(status).ok()
}

/// Kills every process of a pod at once, as a kill of the agent does, which is the first process there. What the pod belongs to makes it anew.
fn strike(site: &Site, kill: Kill, unit: &str) -> anyhow::Result<()> {
    let at_once = ["--force", "--grace-period=0", "--wait=false"];
    let pod = unit.replace('/', "-");
    let which = match kill.actor {
        Actor::Up => ["-n", "muster-system", "-l", "app.kubernetes.io/name=muster-operator"].to_vec(),
        Actor::Agent => vec!["-n", NAMESPACE, &pod],
    };
    let command = [&["delete", "pod"], &which[..], &at_once].concat();
    say(&site.cluster.kubectl(&command).map_err(anyhow::Error::msg)?);
    Ok(())
}

/// Deletes the disks of those units that are gone.
fn wipe(site: &Site, status: &ModelStatus, leaving: &mut BTreeSet<String>) -> anyhow::Result<()> {
    let units = status.applications.values().flat_map(|app| app.units.keys().map(ToString::to_string));
    let there: BTreeSet<String> = units.collect();
    let gone: Vec<String> = leaving.difference(&there).cloned().collect();
    for unit in gone {
        let claim = format!("data-{}", unit.replace('/', "-"));
        // A claim goes once no pod uses it any more.
        site.cluster.kubectl(&["delete", "pvc", &claim, "--timeout=60s"]).map_err(anyhow::Error::msg)?;
        leaving.remove(&unit);
    }
    Ok(())
}
