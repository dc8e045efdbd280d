//! Transitions of Mimir on a cluster with nodes: the same layouts as on one machine, the disks of units that go deleted with their claims,
//! and whoever carries a change out killed in the middle of it.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use muster_api::ModelStatus;
use muster_model::Product;
use muster_testkit::remote_write::Journal;

use super::Site;
use super::node::{address, example, say, try_status};
use crate::traffic::Traffic;
use crate::transition::{Actor, Case, Kill, Layout, Phase, apart, coordinator, monolithic, unsettled};

const NAMESPACE: &str = "default";
const COORDINATOR: &str = "mimir";
/// How long one change may take: several units leave one after the other, each after the wait that Mimir imposes.
const CARRIED_OUT: Duration = Duration::from_secs(420);
/// How often the status is asked for.
const LOOK: Duration = Duration::from_millis(200);

/// One change.
struct Stage {
    what: String,
    after: Layout,
    kill: Option<Kill>,
}

/// What came of changes that were carried out one after the other.
#[derive(Debug)]
pub struct Carried {
    /// How long each took.
    pub stages: Vec<(String, Duration)>,
    /// The record of the writer. All that it has as acknowledged was read back in the end.
    pub journal: Journal,
}

impl Carried {
    /// How many samples were refused twice.
    #[must_use]
    pub fn refused(&self) -> usize {
        self.journal.attempted as usize - self.journal.acknowledged.len()
    }
}

/// From one process kind to three and back, with so many copies of the data, while samples are written. What was acknowledged must be
/// readable in the end.
///
/// # Errors
/// A change is not carried out in time, the moment of a kill never came, or something is lost.
pub async fn there_and_back(site: &Site, copies: u8) -> anyhow::Result<()> {
    let holders = u32::from(copies);
    let one = monolithic(holders);
    let kill = |actor, phase| Some(Kill { actor, phase });
    let stage = |what: &str, after, kill| Stage { what: what.to_owned(), after, kill };
    let stages = vec![
        stage("apart", apart(Product::Mimir, holders), kill(Actor::Up, Phase::Leaving)),
        stage("back", one.clone(), kill(Actor::Agent, Phase::Leaving)),
    ];
    let carried = carry_out(site, copies, one, stages).await?;
    let refused = carried.refused();
    ensure!(copies == 1 || refused == 0, "{refused} samples were refused twice with {copies} copies");
    Ok(())
}

/// The campaign's cases of Mimir with so many copies, one after the other in one deployment.
///
/// # Errors
/// There is none, a change is not carried out in time, the moment of a kill never came, or something is lost.
pub async fn in_a_row(site: &Site, copies: u8, cases: &[Case]) -> anyhow::Result<Carried> {
    let fits = |case: &&Case| case.product == Product::Mimir && case.copies == copies && case.guarded;
    let mut cases = cases.iter().filter(fits).peekable();
    let first = cases.peek().and_then(|case| case.layouts.first()).context("no such case")?.clone();
    let (mut stages, mut now) = (Vec::new(), first.clone());
    for case in cases {
        for (nth, layout) in case.layouts.iter().enumerate().filter(|(nth, after)| *nth > 0 || **after != now)
        {
            let what = if nth == 0 { format!("to the start of {}", case.name()) } else { case.name() };
            let kill = case.kill.filter(|_| nth == 1);
            stages.push(Stage { what, after: layout.clone(), kill });
        }
        now = case.layouts.last().cloned().unwrap_or(now);
    }
    carry_out(site, copies, first, stages).await
}

async fn carry_out(site: &Site, copies: u8, first: Layout, stages: Vec<Stage>) -> anyhow::Result<Carried> {
    let nothing = Layout(Vec::new());
    let kubectl = |arguments: &[&str]| site.cluster.kubectl(arguments).map_err(anyhow::Error::msg);
    kubectl(&["apply", "-f", &example("object-store.yaml")])?;
    // Documents arrive one after the other: in between a role may be nobody's.
    let coordinator = coordinator(Product::Mimir, copies, "  onIncoherent: Hold\n");
    apply(site, &(coordinator + &first.documents(&nothing, COORDINATOR)))?;
    settle(site, &nothing, &first, None).await?;
    let gateway = format!("http://{}", address(site, NAMESPACE, COORDINATOR, 8080).await);
    let traffic = Traffic::through(&gateway, &format!("copies-{copies}")).await?;
    let (mut before, mut took) = (first, Vec::new());
    for Stage { what, after, kill } in stages {
        let started = Instant::now();
        edit(site, &before, &after)?;
        settle(site, &before, &after, kill).await.with_context(|| what.clone())?;
        traffic.flows().await.with_context(|| format!("after {what}"))?;
        say(&format!("{what}: {:.0} s", started.elapsed().as_secs_f64()));
        took.push((what, started.elapsed()));
        before = after;
    }
    let carried = Carried { stages: took, journal: traffic.finish().await? };
    say(&format!(
        "{copies} copies: {} of {} samples refused twice",
        carried.refused(),
        carried.journal.attempted
    ));
    Ok(carried)
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
