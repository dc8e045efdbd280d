//! Samples that go through a model's load balancer while a test does things to the model.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use muster_testkit::model::Model;
use muster_testkit::prometheus::Client;
use muster_testkit::remote_write::{Journal, Settings, Writer};
use muster_testkit::wait_until;

/// How long samples may take to flow again after something happened.
const FLOW_DEADLINE: Duration = Duration::from_secs(60);
/// How long an acknowledged sample may take to be readable again. One that left its ingester for the object store is found
/// once the compactor has written the bucket's index (30 s), the store-gateways have read it (15 s), and Mimir's caches of
/// the index in queriers have run out (up to 60 s).
const READABLE_DEADLINE: Duration = Duration::from_secs(150);

/// A writer of numbered samples, and who reads them back.
pub struct Traffic {
    writer: Writer,
    reader: Client,
    run: String,
}

impl Traffic {
    /// Starts to write samples through the load balancer of a model's `mimir`.
    ///
    /// # Errors
    /// The model has no load balancer, or no sample is acknowledged.
    pub async fn start(model: &Model, run: &str) -> anyhow::Result<Self> {
        Self::through(&model.gateway("mimir").await?, run).await
    }

    /// Starts to write a sample every 20 ms to `http://HOST:PORT`; each is sent a second time when it was not acknowledged, as
    /// Prometheus does.
    ///
    /// # Errors
    /// No sample is acknowledged.
    pub async fn through(gateway: &str, run: &str) -> anyhow::Result<Self> {
        let settings = Settings {
            interval: Duration::from_millis(20),
            timeout: Duration::from_secs(10),
            retries: 1,
            ..Settings::new(gateway, run)
        };
        let traffic =
            Self { writer: Writer::start(settings)?, reader: Client::new(gateway), run: run.to_owned() };
        traffic.flows().await?;
        Ok(traffic)
    }

    /// Waits until further samples are acknowledged.
    ///
    /// # Errors
    /// They are not.
    pub async fn is_written(&self) -> anyhow::Result<()> {
        self.writer.progress(25, FLOW_DEADLINE).await
    }

    /// Waits until no further sample is acknowledged, not one in three seconds.
    ///
    /// # Errors
    /// Samples are acknowledged all the time.
    pub async fn is_refused(&self) -> anyhow::Result<()> {
        let mut last = (self.writer.acknowledged(), Instant::now());
        wait_until("an end of acknowledgements", FLOW_DEADLINE, async || {
            let now = self.writer.acknowledged();
            if now != last.0 {
                last = (now, Instant::now());
            }
            (last.1.elapsed() > Duration::from_secs(3)).then_some(())
        })
        .await
    }

    /// Waits until further samples are acknowledged, and until what was written can be queried.
    ///
    /// # Errors
    /// They are not.
    pub async fn flows(&self) -> anyhow::Result<()> {
        self.is_written().await?;
        let mut last = None;
        let read = wait_until("samples in an answer", FLOW_DEADLINE, async || {
            match self.reader.read_back(&self.run).await {
                Ok(read) => {
                    last = Some(format!("{} samples", read.len()));
                    (!read.is_empty()).then_some(())
                }
                Err(error) => {
                    last = Some(format!("{error:#}"));
                    None
                }
            }
        });
        read.await.with_context(|| last.unwrap_or_default())
    }

    /// Stops writing without reading back.
    ///
    /// # Errors
    /// The writer failed.
    pub async fn stop(self) -> anyhow::Result<Written> {
        let Self { writer, reader, run } = self;
        let journal = writer.stop().await?;
        ensure!(!journal.acknowledged.is_empty(), "no sample of {run} was acknowledged");
        Ok(Written { journal, reader, run })
    }

    /// Stops writing and checks that every acknowledged sample is readable.
    ///
    /// # Errors
    /// A sample is lost, or nothing can be read.
    pub async fn finish(self) -> anyhow::Result<Journal> {
        let written = self.stop().await?;
        written.all_readable().await?;
        Ok(written.journal)
    }
}

/// What was written.
pub struct Written {
    /// The record.
    pub journal: Journal,
    reader: Client,
    run: String,
}

impl Written {
    /// Waits until every acknowledged sample is readable, and prints the figures.
    ///
    /// # Errors
    /// A sample is lost, or nothing can be read.
    pub async fn all_readable(&self) -> anyhow::Result<()> {
        let Self { journal, reader, run } = self;
        let started = Instant::now();
        let mut missing: Option<BTreeSet<u64>> = None;
        let mut refusal = None;
        let waited = wait_until("every acknowledged sample", READABLE_DEADLINE, async || {
            match reader.read_back(run).await {
                Ok(read) => {
                    let lost = journal.lost(&read);
                    let complete = lost.is_empty();
                    missing = Some(lost);
                    complete.then_some(())
                }
                Err(error) => {
                    refusal = Some(error);
                    None
                }
            }
        });
        let waited = waited.await;
        let acknowledged = journal.acknowledged.len();
        let lost = missing.as_ref().map_or(acknowledged, BTreeSet::len);
        let (gap_from, gap) = journal.longest_gap_from();
        print(&format!(
            "{run}: {} samples sent, {acknowledged} acknowledged, {} requests failed, {} read back after {:.1} s, {lost} lost, \
             longest write gap {:.1} s, from {:.1} s on",
            journal.attempted,
            journal.failures.len(),
            acknowledged - lost,
            started.elapsed().as_secs_f64(),
            gap.as_secs_f64(),
            (gap_from - journal.started).as_secs_f64(),
        ));
        let mut reasons = BTreeMap::<&str, Vec<f64>>::new();
        for failure in &journal.failures {
            let after = (failure.at - journal.started).as_secs_f64();
            reasons.entry(failure.reason.trim_end()).or_default().push(after);
        }
        for (reason, after) in reasons {
            let (first, last) = (after.first().unwrap_or(&0.0), after.last().unwrap_or(&0.0));
            print(&format!(
                "{run}: {} times, {first:.1} to {last:.1} s after the start: {reason}",
                after.len()
            ));
        }
        if waited.is_ok() {
            return Ok(());
        }
        let missing = missing.context(refusal.map_or_else(String::new, |e| format!("{e:#}")))?;
        bail!("{} acknowledged samples are lost: {}", missing.len(), self.describe(&missing));
    }

    /// The lost samples as runs of numbers, each with when it was acknowledged.
    fn describe(&self, lost: &BTreeSet<u64>) -> String {
        let mut ranges: Vec<(u64, u64)> = Vec::new();
        for number in lost {
            match ranges.last_mut() {
                Some((_, last)) if *last + 1 == *number => *last = *number,
                _ => ranges.push((*number, *number)),
            }
        }
        let when = |number: &u64| {
            let at = self.journal.acknowledged.get(number).map(|at| *at - self.journal.started);
            at.map_or(0.0, |at| at.as_secs_f64())
        };
        let texts: Vec<_> = ranges
            .iter()
            .map(|(a, b)| format!("{a}–{b} (acknowledged {:.2}–{:.2} s after the start)", when(a), when(b)))
            .collect();
        texts.join(", ")
    }
}

#[allow(clippy::print_stdout, reason = "figures of a test run belong into its output")]
fn print(line: &str) {
    println!("{line}");
}
