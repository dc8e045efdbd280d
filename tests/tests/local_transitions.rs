//! Transitions on this machine with the real servers, while clients write and read: nothing acknowledged is lost although the disks of
//! units that go are wiped. `cargo xtask bench transitions` runs all of them; here is one of each kind.

use anyhow::{Context as _, ensure};
use muster_tests::transition::{self, Outcome, WRITE_GAP};

async fn run(name: &str) -> anyhow::Result<Outcome> {
    let case = transition::named(name).with_context(|| format!("no transition is called {name:?}"))?;
    let outcome = transition::run(&case).await.with_context(|| name.to_owned())?;
    print(&format!("{}\n{}\n{}", Outcome::HEAD, outcome.row(), outcome.why()));
    Ok(outcome)
}

/// What holds of every transition in order.
fn nothing_lost(outcome: &Outcome) -> anyhow::Result<()> {
    ensure!(outcome.acknowledged > 100 && outcome.reads > 10, "hardly anything happened: {outcome:?}");
    ensure!(outcome.lost == 0, "{} of {} acknowledged writes are lost", outcome.lost, outcome.acknowledged);
    ensure!(outcome.wiped > 0, "no unit went");
    Ok(())
}

fn restarts_are_the_fewest(outcome: &Outcome) -> anyhow::Result<()> {
    ensure!(outcome.surplus.is_empty(), "restarted without need: {:?}", outcome.surplus);
    Ok(())
}

#[tokio::test]
async fn mimir_with_three_copies_splits_without_a_failed_write() -> anyhow::Result<()> {
    let outcome = run("mimir-3 monolithic-to-scalable").await?;
    nothing_lost(&outcome)?;
    restarts_are_the_fewest(&outcome)?;
    ensure!(outcome.failed_writes == 0, "{} writes failed:\n{}", outcome.failed_writes, outcome.why());
    ensure!(outcome.write_gap <= WRITE_GAP, "no write for {:?}", outcome.write_gap);
    Ok(())
}

/// Each has a role that nobody else has: a temporary worker stands in for both, and goes with its disk.
#[tokio::test]
async fn units_of_mimir_trade_their_roles_without_a_gap() -> anyhow::Result<()> {
    let outcome = run("mimir-1 roles-traded").await?;
    nothing_lost(&outcome)?;
    restarts_are_the_fewest(&outcome)?;
    ensure!(outcome.write_gap <= WRITE_GAP, "no write for {:?}:\n{}", outcome.write_gap, outcome.why());
    Ok(())
}

#[tokio::test]
async fn loki_with_one_copy_splits_and_loses_nothing() -> anyhow::Result<()> {
    nothing_lost(&run("loki-1 monolithic-to-scalable").await?)
}

#[tokio::test]
async fn tempo_with_one_copy_splits_and_loses_nothing() -> anyhow::Result<()> {
    nothing_lost(&run("tempo-1 monolithic-to-distributed").await?)
}

#[tokio::test]
async fn a_coordinator_that_is_killed_while_a_unit_leaves_loses_nothing() -> anyhow::Result<()> {
    let outcome = run("mimir-1 monolithic-to-scalable kill-up-leaving").await?;
    nothing_lost(&outcome)?;
    restarts_are_the_fewest(&outcome)
}

/// The same without the guard: if this loses nothing, the others prove nothing.
#[tokio::test]
async fn units_that_do_not_leave_in_order_lose_what_they_hold() -> anyhow::Result<()> {
    let outcome = run("tempo-1 monolithic-to-distributed without-guard").await?;
    ensure!(outcome.lost > 0, "nothing is lost without guard: the campaign is blind");
    Ok(())
}

#[allow(clippy::print_stdout, reason = "figures of a test run belong into its output")]
fn print(line: &str) {
    println!("{line}");
}
