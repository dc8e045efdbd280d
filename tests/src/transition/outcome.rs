//! What came of a transition, and whether it holds the bars.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use muster_model::Product;

use super::cases::Case;

/// The longest that no write may be acknowledged while one process becomes many, with three copies.
pub const WRITE_GAP: Duration = Duration::from_secs(2);

/// What was measured.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// What was done.
    pub case: Case,
    /// How long it took from the first edit until all was as asked.
    pub took: Duration,
    /// Writes that were acknowledged.
    pub acknowledged: usize,
    /// Those of them that nobody could read in the end, with the disks of all units that went wiped.
    pub lost: usize,
    /// The longest time without an acknowledgement, of the writer that had the longest.
    pub write_gap: Duration,
    /// Writes that were refused twice.
    pub failed_writes: usize,
    /// All writes, each counted once.
    pub writes: usize,
    /// The longest time from one complete answer to the next.
    pub read_gap: Duration,
    /// Queries that failed twice.
    pub failed_reads: usize,
    /// Answers without something that was acknowledged before the transition.
    pub incomplete_reads: usize,
    /// When those answers came, in words.
    pub read_gaps: Vec<String>,
    /// All queries, each counted once.
    pub reads: usize,
    /// Processes that were started in the place of others.
    pub restarts: usize,
    /// The fewest of these that the edits ask for.
    pub least_restarts: usize,
    /// Starts beyond the least, by unit.
    pub surplus: BTreeMap<String, usize>,
    /// How many disks were wiped.
    pub wiped: usize,
    /// Why writes and queries failed, and how often.
    pub reasons: BTreeMap<String, usize>,
}

impl Outcome {
    /// The head of the table, in Markdown.
    pub const HEAD: &str = "| transition | took | acknowledged | read back | lost | longest write gap | failed writes | longest read gap | \
                            failed, incomplete reads | restarts (least) | misses |\n|---|---|---|---|---|---|---|---|---|---|---|";

    /// The longest time without a complete answer that the product imposes with one copy: the time that it takes until what a unit
    /// uploaded as it went is found in the object store. Loki: 60 s that nobody can change, and `resync_interval` (10 s) and 5 s more.
    /// Tempo: two polls of 15 s and 2 s more. The reader's own rest and answer are 1 s. Mimir can serve all the time.
    fn imposed_gap(&self) -> Duration {
        let wait = match self.case.product {
            Product::Mimir => 0,
            Product::Loki => 75,
            Product::Tempo => 32,
        };
        Duration::from_secs(wait + 1)
    }

    /// What misses its bar, in words; empty where all hold.
    #[must_use]
    pub fn misses(&self) -> Vec<String> {
        let mut misses = Vec::new();
        if !self.case.guarded {
            if self.lost == 0 {
                misses.push("nothing lost without guard".to_owned());
            }
            return misses;
        }
        let mut bar = |holds: bool, what: String| {
            if !holds {
                misses.push(what);
            }
        };
        let replicated = self.case.copies > 1;
        bar(self.lost == 0, format!("{} lost", self.lost));
        bar(!replicated || self.failed_writes == 0, format!("{} failed writes", self.failed_writes));
        bar(!(replicated && self.case.splits()) || self.write_gap <= WRITE_GAP, "write gap".to_owned());
        let complete = self.failed_reads + self.incomplete_reads == 0;
        if replicated || self.case.product == Product::Mimir {
            bar(complete, "reads".to_owned());
        } else {
            bar(self.read_gap <= self.imposed_gap(), "read gap".to_owned());
        }
        bar(self.surplus.is_empty(), format!("restarts of {}", self.surplus_text()));
        misses
    }

    fn surplus_text(&self) -> String {
        let units: Vec<_> = self.surplus.iter().map(|(unit, more)| format!("{unit} +{more}")).collect();
        units.join(", ")
    }

    /// A row of the table.
    #[must_use]
    pub fn row(&self) -> String {
        let misses = self.misses();
        format!(
            "| {} | {:.0} s | {} | {} | {} | {:.1} s | {} of {} | {:.1} s | {}, {} of {} | {} ({}) | {} |",
            self.case.name(),
            self.took.as_secs_f64(),
            self.acknowledged,
            self.acknowledged - self.lost,
            self.lost,
            self.write_gap.as_secs_f64(),
            self.failed_writes,
            self.writes,
            self.read_gap.as_secs_f64(),
            self.failed_reads,
            self.incomplete_reads,
            self.reads,
            self.restarts,
            self.least_restarts,
            if misses.is_empty() { "–".to_owned() } else { misses.join("; ") },
        )
    }

    /// When answers lacked something, and why requests failed, a line each, the most frequent reasons.
    #[must_use]
    pub fn why(&self) -> String {
        let mut reasons: Vec<_> = self.reasons.iter().collect();
        reasons.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        let mut text: String = self.read_gaps.iter().map(|gap| format!("  {gap}\n")).collect();
        for (reason, count) in reasons.into_iter().take(6) {
            let _ = writeln!(text, "  {count} times {}", reason.trim_end());
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transition::named;

    fn outcome(name: &str) -> Outcome {
        let zero = Duration::ZERO;
        Outcome {
            case: named(name).expect("a case of that name"),
            took: zero,
            acknowledged: 10,
            lost: 0,
            write_gap: zero,
            failed_writes: 0,
            writes: 10,
            read_gap: zero,
            failed_reads: 0,
            incomplete_reads: 0,
            read_gaps: Vec::new(),
            reads: 10,
            restarts: 0,
            least_restarts: 0,
            surplus: BTreeMap::new(),
            wiped: 1,
            reasons: BTreeMap::new(),
        }
    }

    #[test]
    fn every_bar_is_missed_by_what_misses_it() {
        let misses = |name: &str, change: fn(&mut Outcome)| {
            let mut outcome = outcome(name);
            assert!(outcome.misses().is_empty(), "{name}");
            change(&mut outcome);
            outcome.misses().len()
        };
        for name in ["mimir-1 monolithic-to-scalable", "loki-3 scale-4-3-4"] {
            assert_eq!(misses(name, |o| o.lost = 1), 1);
            assert_eq!(misses(name, |o| o.surplus = BTreeMap::from([("worker/0".to_owned(), 1)])), 1);
        }
        assert_eq!(misses("mimir-3 monolithic-to-scalable", |o| o.failed_writes = 1), 1);
        assert_eq!(misses("mimir-3 monolithic-to-scalable", |o| o.write_gap = Duration::from_secs(3)), 1);
        assert_eq!(misses("mimir-1 monolithic-to-scalable", |o| o.write_gap = Duration::from_secs(3)), 0);
        assert_eq!(misses("mimir-1 monolithic-to-scalable", |o| o.incomplete_reads = 1), 1);
        assert_eq!(misses("loki-1 monolithic-to-scalable", |o| o.incomplete_reads = 1), 0);
        assert_eq!(misses("loki-1 monolithic-to-scalable", |o| o.read_gap = Duration::from_secs(90)), 1);
    }

    #[test]
    fn without_guard_something_must_be_lost() {
        let mut outcome = outcome("mimir-1 monolithic-to-scalable without-guard");
        assert_eq!(outcome.misses().len(), 1);
        outcome.lost = 1;
        assert!(outcome.misses().is_empty());
    }
}
