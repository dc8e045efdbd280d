//! Transitions with the real servers: writers and readers at work all the time while roles move, units go with their disks, and
//! whoever carries it out is killed. [`run`] does one [`Case`] and returns its [`Outcome`].

mod cases;
mod kill;
mod look;
mod outcome;
mod scene;
mod traffic;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use muster_model::Product;
use muster_testkit::model::Model;
use nix::sys::signal::{Signal, kill as send};

pub use cases::{Case, all, named};
pub use kill::{Actor, Kill, Phase};
pub(crate) use look::unsettled;
pub use outcome::{Outcome, WRITE_GAP};
pub(crate) use scene::coordinator;
pub use scene::{App, Layout, Starts, apart, monolithic, moved, traded};

use look::Wiper;
use traffic::{Traffic, count};

/// Narrows a campaign: only cases whose name has this text in it, or one of several with commas between.
/// `=TEXT`: those that are called so.
pub const SELECTION: &str = "MUSTER_TRANSITIONS";

/// How long a deployment may take to be up, and one edit to be carried out: several units leave one after the other, each after
/// the wait that its product imposes.
const UP: Duration = Duration::from_secs(180);
const CARRIED_OUT: Duration = Duration::from_secs(420);
/// How often the model is looked at.
const LOOK: Duration = Duration::from_millis(50);

/// How long an acknowledged write may take to be readable again once all is as asked: twice the time that the product takes to find in
/// the object store what was just uploaded.
fn readable(product: Product) -> Duration {
    Duration::from_secs(match product {
        // Caches of the index run out after up to 72 s.
        Product::Mimir => 150,
        // The list of index files is read anew after 60 s.
        Product::Loki => 150,
        // Two polls of 15 s.
        Product::Tempo => 64,
    })
}

/// The cases that the environment asks for; all where it asks for none.
#[must_use]
pub fn selected() -> Vec<Case> {
    let wanted = std::env::var(SELECTION).unwrap_or_default();
    all().into_iter().filter(|case| is_selected(&case.name(), &wanted)).collect()
}

fn is_selected(name: &str, wanted: &str) -> bool {
    wanted.split(',').any(|text| text.strip_prefix('=').map_or(name.contains(text), |whole| name == whole))
}

/// Carries out one case in a model of its own.
///
/// # Errors
/// It does not come up, an edit is not carried out in time, or the kill's moment never came. What is lost is no error but in the outcome.
pub async fn run(case: &Case) -> anyhow::Result<Outcome> {
    let coordinator = case.product.as_str();
    let (first, edits) = case.layouts.split_first().context("a case has layouts")?;
    let mut model = crate::model()?;
    let documents = scene::coordinator(case.product, case.copies, "")
        + &first.documents(&Layout(Vec::new()), coordinator);
    model.up(Some(&documents))?;
    let mut wiper = Wiper::default();
    settle(&mut model, case, &Layout(Vec::new()), first, &mut wiper, None, UP).await?;
    let traffic = Traffic::start(&model, case.product).await?;

    let starts_before = look::starts(&model)?;
    let mut least: BTreeMap<String, Starts> = BTreeMap::new();
    let (mut before, started, mut kill) = (first, Instant::now(), case.kill);
    for after in edits {
        if !case.guarded {
            destroy(&model, &before.units().difference(&after.units()).cloned().collect())?;
        }
        for (unit, starts) in after.least_starts(before) {
            let sum = least.entry(unit).or_default();
            *sum = Starts { first: sum.first + starts.first, again: sum.again + starts.again };
        }
        look::edit(&model, before, after, coordinator).await?;
        let killed = settle(&mut model, case, before, after, &mut wiper, kill.take(), CARRIED_OUT).await?;
        if let (Some(Kill { actor: Actor::Agent, .. }), Some(unit)) = (case.kill, killed) {
            // Its next agent starts the process anew.
            least.entry(unit).or_default().again += 1;
        }
        before = after;
    }
    let took = started.elapsed();
    least.extend(case.stand_in().map(|unit| (unit, Starts { first: 1, again: 0 })));
    traffic.flows().await.context("after the transition")?;
    let starts_after = look::starts(&model)?;

    let written = traffic.stop().await?;
    let lost = written.lost(readable(case.product)).await;
    let (acknowledged, reads) = (count(&written.acknowledged()), written.reads.clone());
    let mut outcome = Outcome {
        case: case.clone(),
        took,
        acknowledged,
        lost: count(&lost),
        write_gap: Duration::ZERO,
        failed_writes: 0,
        writes: 0,
        read_gap: reads.longest_gap,
        failed_reads: reads.failed,
        incomplete_reads: reads.incomplete,
        read_gaps: reads.gaps.iter().map(ToString::to_string).collect(),
        reads: reads.complete + reads.incomplete + reads.failed,
        restarts: 0,
        least_restarts: least.values().map(|starts| starts.again).sum(),
        surplus: BTreeMap::new(),
        wiped: wiper.wiped.len(),
        reasons: reads.reasons,
    };
    for journal in written.journals.values() {
        outcome.write_gap = outcome.write_gap.max(journal.longest_gap());
        outcome.failed_writes += journal.attempted as usize - journal.acknowledged.len();
        outcome.writes += journal.attempted as usize;
        for failure in &journal.failures {
            *outcome.reasons.entry(format!("write: {}", failure.reason)).or_default() += 1;
        }
    }
    for (unit, after) in &starts_after {
        let starts = after - starts_before.get(unit).copied().unwrap_or_default();
        let asked = least.get(unit).copied().unwrap_or_default();
        outcome.restarts += starts.saturating_sub(asked.first);
        let more = starts.saturating_sub(asked.first + asked.again);
        if more > 0 {
            outcome.surplus.insert(unit.clone(), more);
        }
    }
    let mut went: BTreeSet<String> =
        case.layouts.windows(2).flat_map(|pair| &pair[0].units() - &pair[1].units()).collect();
    went.extend(case.stand_in());
    ensure!(wiper.wiped == went, "wiped were the disks of {:?}, gone are {went:?}", wiper.wiped);
    model.stop().await?;
    crate::nothing_left(&model)?;
    Ok(outcome)
}

/// Waits until the model is as `after` asks, wipes the disks of units as they go, and kills on the way. Returns the unit that the kill was
/// about.
async fn settle(
    model: &mut Model,
    case: &Case,
    before: &Layout,
    after: &Layout,
    wiper: &mut Wiper,
    mut kill: Option<Kill>,
    within: Duration,
) -> anyhow::Result<Option<String>> {
    let gaining = &after.units() - &before.units();
    let leaving = &before.units() - &after.units();
    let (deadline, mut killed) = (Instant::now() + within, None);
    let mut left = vec!["nobody answered".to_owned()];
    while Instant::now() < deadline {
        if let Some(status) = look::status(model).await {
            wiper.look(model, &status)?;
            if let Some((due, unit)) =
                kill.and_then(|kill| Some((kill, kill.due(&status, &gaining, &leaving)?)))
                && due.carry_out(model, &unit).await?
            {
                (kill, killed) = (None, Some(unit));
                continue;
            }
            left = look::unsettled(&status, case.product, after);
            if left.is_empty() && wiper.wiped.is_superset(&leaving) {
                ensure!(
                    kill.is_none(),
                    "the moment of {} never came",
                    kill.map_or_else(String::new, |k| k.to_string())
                );
                return Ok(killed);
            }
        }
        tokio::time::sleep(LOOK).await;
    }
    bail!("{} is not carried out within {within:?}: {}\n{}", case.name(), left.join("; "), model.output())
}

/// What the guard is there to prevent: units that are to leave end at once, with their disks.
fn destroy(model: &Model, units: &BTreeSet<String>) -> anyhow::Result<()> {
    for unit in units {
        let label = unit.replace('/', "-");
        let mut processes = model.processes();
        processes.retain(|process| process.unit.as_deref() == Some(label.as_str()));
        // The agent first: it would start another process.
        processes.sort_by_key(|process| process.program != "worker");
        for process in processes {
            // One may have ended with the other.
            let _ = send(process.pid, Signal::SIGKILL);
        }
        look::wipe(model, unit)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::is_selected;

    #[test]
    fn cases_are_selected_by_texts_in_their_names() {
        let selected = |wanted: &str| {
            let names = ["mimir-1 role-moves", "mimir-1 role-moves kill-up-left", "loki-3 role-moves"];
            names.map(|name| is_selected(name, wanted))
        };
        assert_eq!(selected(""), [true; 3]);
        assert_eq!(selected("mimir-1"), [true, true, false]);
        assert_eq!(selected("=mimir-1 role-moves,loki"), [true, false, true]);
        assert_eq!(selected("nothing"), [false; 3]);
    }
}
