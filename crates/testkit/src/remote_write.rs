//! Numbered samples, written without pause through Prometheus remote write, with a record of what was acknowledged.
//!
//! Every sample is one point of the series `probe{run="…"}`: its value is its number, its timestamp is later than that of
//! the number before. Reading the raw points back therefore says of every single acknowledged sample whether it is there.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, ensure};
use hyper::Method;
use hyper::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderName, USER_AGENT};
use prost::Message;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use crate::http::Client;

/// The name of the series that a [`Writer`] writes.
pub const METRIC: &str = "probe";

const TENANT: HeaderName = HeaderName::from_static("x-scope-orgid");
const VERSION: HeaderName = HeaderName::from_static("x-prometheus-remote-write-version");

/// The part of Prometheus' `remote.proto` that a sample needs.
#[derive(Clone, PartialEq, Message)]
struct WriteRequest {
    #[prost(message, repeated, tag = "1")]
    timeseries: Vec<TimeSeries>,
}

#[derive(Clone, PartialEq, Message)]
struct TimeSeries {
    #[prost(message, repeated, tag = "1")]
    labels: Vec<Label>,
    #[prost(message, repeated, tag = "2")]
    samples: Vec<Sample>,
}

#[derive(Clone, PartialEq, Message)]
struct Label {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct Sample {
    #[prost(double, tag = "1")]
    value: f64,
    /// Milliseconds since 1970.
    #[prost(int64, tag = "2")]
    timestamp: i64,
}

/// What and how a [`Writer`] writes.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where to: `http://HOST:PORT`. The path is Mimir's `/api/v1/push`.
    pub base: String,
    /// The `run` label, which tells this writer's samples from all others.
    pub run: String,
    /// The tenant header, if one is to be sent.
    pub tenant: Option<String>,
    /// The time from one sample to the next, if the answers are faster.
    pub interval: Duration,
    /// How long to wait for each answer.
    pub timeout: Duration,
    /// How often to send a sample again that was not acknowledged, at once and with the same timestamp.
    pub retries: u32,
}

impl Settings {
    /// One sample every 10 ms, 5 s for an answer, no second try, no tenant.
    #[must_use]
    pub fn new(base: impl Into<String>, run: impl Into<String>) -> Self {
        Self {
            base: base.into(),
            run: run.into(),
            tenant: None,
            interval: Duration::from_millis(10),
            timeout: Duration::from_secs(5),
            retries: 0,
        }
    }
}

/// What a writer did.
#[derive(Debug, Clone)]
pub struct Journal {
    /// How many samples were sent; their numbers are 0 up to this, exclusive.
    pub attempted: u64,
    /// The samples that were acknowledged, and when.
    pub acknowledged: BTreeMap<u64, Instant>,
    /// The requests that were not acknowledged, second tries among them.
    pub failures: Vec<Failure>,
    /// When the writer started.
    pub started: Instant,
    /// When it stopped.
    pub stopped: Instant,
}

/// One request without acknowledgement. Its sample may be stored or not.
#[derive(Debug, Clone)]
pub struct Failure {
    /// The sample's number.
    pub number: u64,
    /// When it failed.
    pub at: Instant,
    /// Why.
    pub reason: String,
}

impl Journal {
    /// The longest time without an acknowledgement between the first one and the writer's stop; the whole time if there
    /// was none.
    #[must_use]
    pub fn longest_gap(&self) -> Duration {
        self.longest_gap_from().1
    }

    /// The same, with when it began.
    #[must_use]
    pub fn longest_gap_from(&self) -> (Instant, Duration) {
        let mut times = self.acknowledged.values().copied();
        let Some(first) = times.next() else { return (self.started, self.stopped - self.started) };
        let gap = |from: Instant, to: Instant| (from, to.saturating_duration_since(from));
        let mut longest = gap(first, first);
        let mut previous = first;
        for at in times.chain([self.stopped]) {
            let this = gap(previous, at);
            if this.1 > longest.1 {
                longest = this;
            }
            previous = at;
        }
        longest
    }

    /// The acknowledged samples that are not in `read`.
    #[must_use]
    pub fn lost(&self, read: &BTreeSet<u64>) -> BTreeSet<u64> {
        self.acknowledged.keys().copied().filter(|number| !read.contains(number)).collect()
    }
}

/// Who sends what a [`Writer`] writes: samples, or whatever else has numbers.
pub trait Sender: Send + 'static {
    /// Sends what has this number, and returns once it is acknowledged. Called again with the same number where it was not.
    fn send(&mut self, number: u64) -> impl Future<Output = anyhow::Result<()>> + Send;
}

/// Sends samples.
struct Samples {
    settings: Settings,
    client: Client,
    last_timestamp: i64,
    /// The last sample, in case that it is sent again.
    body: Option<(u64, Vec<u8>)>,
}

impl Sender for Samples {
    async fn send(&mut self, number: u64) -> anyhow::Result<()> {
        let body = match self.body.take() {
            Some((of, body)) if of == number => body,
            _ => {
                // The store refuses a sample that is not later than the one before.
                self.last_timestamp = milliseconds_now().max(self.last_timestamp + 1);
                encode(&self.settings.run, number, self.last_timestamp)
            }
        };
        self.body = Some((number, body.clone()));
        push(&mut self.client, &self.settings, body).await
    }
}

/// Writes one sample after the other until it is stopped.
#[derive(Debug)]
pub struct Writer {
    stop: watch::Sender<bool>,
    progress: watch::Receiver<u64>,
    last_failure: watch::Receiver<Option<String>>,
    task: JoinHandle<Journal>,
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Writer {
    /// Starts writing, in a task of the current tokio runtime.
    ///
    /// # Errors
    /// The settings cannot be used.
    pub fn start(settings: Settings) -> anyhow::Result<Self> {
        let client = Client::new(&settings.base)?;
        let (interval, retries) = (settings.interval, settings.retries);
        Self::sending(Samples { settings, client, last_timestamp: 0, body: None }, interval, retries)
    }

    /// The same with what `sender` sends: one each `interval`, up to `retries` times more where it is not acknowledged.
    ///
    /// # Errors
    /// The interval is 0.
    pub fn sending(sender: impl Sender, interval: Duration, retries: u32) -> anyhow::Result<Self> {
        ensure!(!interval.is_zero(), "the interval must be longer than 0");
        let (stop, stopped) = watch::channel(false);
        let (acknowledged, progress) = watch::channel(0);
        let (failure, last_failure) = watch::channel(None);
        let task = tokio::spawn(write(sender, interval, retries, stopped, acknowledged, failure));
        Ok(Self { stop, progress, last_failure, task })
    }

    /// How many samples are acknowledged so far.
    #[must_use]
    pub fn acknowledged(&self) -> u64 {
        *self.progress.borrow()
    }

    /// Waits until `more` further samples are acknowledged.
    ///
    /// # Errors
    /// They are not, within `within`.
    pub async fn progress(&self, more: u64, within: Duration) -> anyhow::Result<()> {
        let mut progress = self.progress.clone();
        let goal = *progress.borrow() + more;
        let reached = tokio::time::timeout(within, progress.wait_for(|count| *count >= goal)).await;
        let reached = reached.with_context(|| {
            let last = self.last_failure.borrow().clone().unwrap_or_else(|| "none".to_owned());
            format!("{more} more samples were not acknowledged within {within:?}; the last failure: {last}")
        })?;
        reached.map(drop).context("the writer ended")
    }

    /// Ends after the request in flight and returns the record.
    ///
    /// # Errors
    /// The writer's task panicked.
    pub async fn stop(mut self) -> anyhow::Result<Journal> {
        self.stop.send_replace(true);
        (&mut self.task).await.context("the writer failed")
    }
}

async fn write(
    mut sender: impl Sender,
    interval: Duration,
    retries: u32,
    mut stopped: watch::Receiver<bool>,
    acknowledged: watch::Sender<u64>,
    last_failure: watch::Sender<Option<String>>,
) -> Journal {
    let started = Instant::now();
    let mut journal = Journal {
        attempted: 0,
        acknowledged: BTreeMap::new(),
        failures: Vec::new(),
        started,
        stopped: started,
    };
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            _ = stopped.wait_for(|stopped| *stopped) => break,
            _ = ticks.tick() => {}
        }
        let number = journal.attempted;
        journal.attempted += 1;
        for _ in 0..=retries {
            match sender.send(number).await {
                Ok(()) => {
                    journal.acknowledged.insert(number, Instant::now());
                    acknowledged.send_modify(|count| *count += 1);
                    break;
                }
                Err(error) => {
                    let reason = format!("{error:#}");
                    last_failure.send_replace(Some(reason.clone()));
                    journal.failures.push(Failure { number, at: Instant::now(), reason });
                }
            }
        }
    }
    journal.stopped = Instant::now();
    journal
}

/// Pushes one sample, now, and returns once it is acknowledged.
///
/// # Errors
/// It is refused.
pub async fn push_one(settings: &Settings, number: u64) -> anyhow::Result<()> {
    let body = encode(&settings.run, number, milliseconds_now());
    push(&mut Client::new(&settings.base)?, settings, body).await
}

async fn push(client: &mut Client, settings: &Settings, body: Vec<u8>) -> anyhow::Result<()> {
    let mut headers = vec![
        (CONTENT_TYPE, "application/x-protobuf"),
        (CONTENT_ENCODING, "snappy"),
        (USER_AGENT, "muster-testkit"),
        (VERSION, "0.1.0"),
    ];
    headers.extend(settings.tenant.as_deref().map(|tenant| (TENANT, tenant)));
    let response = client.send(Method::POST, "/api/v1/push", &headers, body, settings.timeout).await?;
    ensure!(response.status.is_success(), "{}: {}", response.status, response.excerpt());
    Ok(())
}

/// A remote-write body: protobuf in one snappy block.
fn encode(run: &str, number: u64, timestamp: i64) -> Vec<u8> {
    let label = |name: &str, value: &str| Label { name: name.to_owned(), value: value.to_owned() };
    let request = WriteRequest {
        timeseries: vec![TimeSeries {
            // In the order of their names, as the protocol wants.
            labels: vec![label("__name__", METRIC), label("run", run)],
            // Exact up to 2^53.
            samples: vec![Sample { value: number as f64, timestamp }],
        }],
    };
    snap::raw::Encoder::new().compress_vec(&request.encode_to_vec()).expect("a sample is shorter than 4 GiB")
}

fn milliseconds_now() -> i64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_what_the_protocol_says() {
        let bytes = snap::raw::Decoder::new().decompress_vec(&encode("r", 3, 5)).unwrap();
        // Written out by hand from remote.proto and types.proto.
        let expected = [
            &[0x0a, 42][..],
            &[0x0a, 17, 0x0a, 8],
            b"__name__",
            &[0x12, 5],
            b"probe",
            &[0x0a, 8, 0x0a, 3],
            b"run",
            &[0x12, 1],
            b"r",
            &[0x12, 11, 0x09],
            &3f64.to_le_bytes(),
            &[0x10, 5],
        ]
        .concat();
        assert_eq!(bytes, expected);
    }

    #[test]
    fn gaps_and_losses_are_counted() {
        let started = Instant::now();
        let at = |ms| started + Duration::from_millis(ms);
        let mut journal = Journal {
            attempted: 4,
            acknowledged: [(0, at(10)), (1, at(20)), (3, at(70))].into(),
            failures: Vec::new(),
            started,
            stopped: at(80),
        };
        assert_eq!(journal.longest_gap(), Duration::from_millis(50));
        assert_eq!(journal.lost(&[0, 2].into()), [1, 3].into());
        journal.stopped = at(200);
        assert_eq!(journal.longest_gap(), Duration::from_millis(130));
        journal.acknowledged.clear();
        assert_eq!(journal.longest_gap(), Duration::from_millis(200));
    }
}
