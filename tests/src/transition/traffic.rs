//! Who writes and reads while a transition happens, and what they see of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use muster_model::{HTTP_PORT, Product, Role};
use muster_testkit::http::Client;
use muster_testkit::model::Model;
use muster_testkit::prometheus;
use muster_testkit::remote_write::{Journal, Settings, Writer};
use muster_testkit::wait_until;
use tokio::task::JoinHandle;

use super::look;
use crate::logs::Logs;
use crate::traces::{Spans, is_found};

/// How many series or streams there are: with one copy of the data, each is on one unit.
const STREAMS: usize = 3;
/// How often each of them gets something new; of traces, which are read back one by one, every fourth.
const INTERVAL: Duration = Duration::from_millis(60);
/// How long one answer may take.
const ANSWER: Duration = Duration::from_secs(10);
/// How long a reader rests between two reads. A trace is looked for by itself, at all ingesters and in all blocks.
const REST: Duration = Duration::from_millis(200);
/// Answers without something that are closer than this are told of as one gap.
const ONE_GAP: Duration = Duration::from_secs(5);
/// How many traces are looked for at once.
const AT_ONCE: usize = 4;
/// How long it may take until everything flows.
const FLOWS: Duration = Duration::from_secs(60);

/// Numbers by run.
pub(super) type Numbers = BTreeMap<String, BTreeSet<u64>>;

/// The load balancer of one deployment, with what stands behind it.
#[derive(Debug, Clone)]
struct Store {
    product: Product,
    write: String,
    read: String,
}

impl Store {
    async fn of(model: &Model, product: Product) -> anyhow::Result<Self> {
        let name = product.as_str();
        let (write, read) = match product {
            Product::Mimir => {
                let gateway = model.gateway(name).await?;
                (gateway.clone(), gateway)
            }
            Product::Loki => {
                let gateway = model.endpoint(name, "query").await?;
                (gateway.clone(), gateway)
            }
            Product::Tempo => {
                (model.endpoint(name, "otlp-http").await?, model.endpoint(name, "query").await?)
            }
        };
        Ok(Self { product, write, read })
    }

    /// Writes numbered samples, lines or spans; each is sent once more when it was not acknowledged.
    fn writer(&self, run: &str, interval: Duration) -> anyhow::Result<Writer> {
        match self.product {
            Product::Mimir => Writer::start(Settings {
                interval,
                timeout: ANSWER,
                retries: 1,
                ..Settings::new(&self.write, run)
            }),
            Product::Loki => Writer::sending(Logs::new(&self.write, run), interval, 1),
            Product::Tempo => Writer::sending(Spans::new(&self.write, run), interval, 1),
        }
    }

    /// Which of these cannot be read.
    async fn missing(&self, wanted: &Numbers) -> anyhow::Result<Numbers> {
        let mut all = Numbers::new();
        for (run, numbers) in wanted {
            let missing: BTreeSet<u64> = match self.product {
                Product::Mimir => {
                    let mut client = prometheus::Client::new(&self.read);
                    client.timeout = ANSWER;
                    let read = client.read_back(run).await?;
                    numbers.difference(&read).copied().collect()
                }
                Product::Loki => {
                    let read = Logs::new(&self.read, run).numbers().await?;
                    numbers.difference(&read).copied().collect()
                }
                Product::Tempo => {
                    let spans = Spans::new(&self.write, run);
                    let looks = stream::iter(numbers.clone()).map(|number| {
                        let trace = spans.trace(number);
                        async move {
                            let found = is_found(&self.read, trace).await?;
                            anyhow::Ok((!found).then_some(number))
                        }
                    });
                    let looks = looks.buffer_unordered(AT_ONCE);
                    looks.try_filter_map(|missing| async move { Ok(missing) }).try_collect().await?
                }
            };
            if !missing.is_empty() {
                all.insert(run.clone(), missing);
            }
        }
        Ok(all)
    }
}

/// How many numbers there are in all.
pub(super) fn count(numbers: &Numbers) -> usize {
    numbers.values().map(BTreeSet::len).sum()
}

/// What a reader saw that asks all the time for all that was acknowledged before the transition.
#[derive(Debug, Clone, Default)]
pub(super) struct Reads {
    /// Answers with everything.
    pub(super) complete: usize,
    /// Answers without something.
    pub(super) incomplete: usize,
    /// Queries that failed twice.
    pub(super) failed: usize,
    /// The longest time from one complete answer to the next, the reader's rest with it.
    pub(super) longest_gap: Duration,
    /// Why queries failed, and how often, first tries among them.
    pub(super) reasons: BTreeMap<String, usize>,
    /// When answers were not complete.
    pub(super) gaps: Vec<Gap>,
}

/// A time in which answers were not complete, since the reader began.
#[derive(Debug, Clone)]
pub(super) struct Gap {
    first: Duration,
    last: Duration,
    /// How many answers there were.
    answers: usize,
    /// The most that was missing in one of them.
    missing: usize,
}

impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { first, last, answers, missing } = self;
        let (first, last) = (first.as_secs_f64(), last.as_secs_f64());
        write!(
            f,
            "{answers} answers without up to {missing} from {first:.1} to {last:.1} s after the first read"
        )
    }
}

impl Reads {
    /// Notes an answer without `missing`. Those that follow one another closely are one gap.
    fn lacks(&mut self, missing: usize, at: Duration) {
        self.incomplete += 1;
        match self.gaps.last_mut() {
            Some(gap) if at - gap.last < ONE_GAP => {
                (gap.last, gap.answers, gap.missing) = (at, gap.answers + 1, gap.missing.max(missing));
            }
            _ => self.gaps.push(Gap { first: at, last: at, answers: 1, missing }),
        }
    }
}

/// Writers and a reader at work.
pub(super) struct Traffic {
    store: Store,
    before: Numbers,
    writers: Vec<(String, Writer)>,
    stop: Arc<AtomicBool>,
    reader: JoinHandle<Reads>,
}

impl Traffic {
    /// Writes what is to be readable at every moment, sees that it is, and starts to write and to read without end.
    ///
    /// # Errors
    /// Nothing is acknowledged, or it cannot be read.
    pub(super) async fn start(model: &Model, product: Product) -> anyhow::Result<Self> {
        let store = Store::of(model, product).await?;
        // Each trace is a query of its own.
        let each = if product == Product::Tempo { 4 } else { 40 };
        let mut before = Numbers::new();
        for stream in 0..STREAMS {
            let run = format!("before-{stream}");
            let writer = store.writer(&run, Duration::from_millis(10))?;
            writer.progress(each, FLOWS).await?;
            let acknowledged = writer.stop().await?.acknowledged;
            before.insert(run, acknowledged.into_keys().collect());
        }
        let mut last = None;
        let readable = wait_until("what was just written", FLOWS, async || {
            let missing = store.missing(&before).await;
            let complete = matches!(&missing, Ok(missing) if missing.is_empty());
            last = Some(missing);
            complete.then_some(())
        });
        readable.await.with_context(|| format!("the last answer: {last:?}"))?;
        if product == Product::Tempo {
            let in_blocks = async || matches!(in_blocks(model).await, Ok(true)).then_some(());
            wait_until("what was just written to be in blocks", FLOWS, in_blocks).await?;
        }
        let interval = if product == Product::Tempo { INTERVAL * 4 } else { INTERVAL };
        let mut writers = Vec::new();
        for stream in 0..STREAMS {
            let run = format!("during-{stream}");
            writers.push((run.clone(), store.writer(&run, interval)?));
        }
        let stop = Arc::new(AtomicBool::new(false));
        let reader = tokio::spawn(read(store.clone(), before.clone(), Arc::clone(&stop)));
        let traffic = Self { store, before, writers, stop, reader };
        traffic.flows().await?;
        Ok(traffic)
    }

    /// Waits until every writer is acknowledged again.
    ///
    /// # Errors
    /// One is not, in time.
    pub(super) async fn flows(&self) -> anyhow::Result<()> {
        for (run, writer) in &self.writers {
            writer.progress(10, FLOWS).await.with_context(|| run.clone())?;
        }
        Ok(())
    }

    /// Stops both. What was written is looked for later: [`Written::lost`].
    ///
    /// # Errors
    /// A task panicked.
    pub(super) async fn stop(self) -> anyhow::Result<Written> {
        let mut journals = BTreeMap::new();
        for (run, writer) in self.writers {
            journals.insert(run, writer.stop().await?);
        }
        self.stop.store(true, Ordering::Relaxed);
        let reads = self.reader.await.context("the reader failed")?;
        Ok(Written { store: self.store, before: self.before, journals, reads })
    }
}

/// What was written, and what readers saw meanwhile.
pub(super) struct Written {
    store: Store,
    before: Numbers,
    /// The record of each writer by run.
    pub(super) journals: BTreeMap<String, Journal>,
    /// What the reader saw.
    pub(super) reads: Reads,
}

impl Written {
    /// Everything that was acknowledged.
    pub(super) fn acknowledged(&self) -> Numbers {
        let during = self.journals.iter();
        let during =
            during.map(|(run, journal)| (run.clone(), journal.acknowledged.keys().copied().collect()));
        self.before.clone().into_iter().chain(during).collect()
    }

    /// Looks for everything that was acknowledged until all of it was read, anew for `within` at most. What is left is lost. A look goes
    /// on to its end however long it takes: on a slow machine a thousand traces take minutes.
    pub(super) async fn lost(&self, within: Duration) -> Numbers {
        let (mut missing, started) = (self.acknowledged(), Instant::now());
        loop {
            let is_last = started.elapsed() >= within;
            // What was read once is there; traces are asked for one by one.
            if let Ok(left) = self.store.missing(&missing).await {
                missing = left;
            }
            if missing.is_empty() || is_last {
                return missing;
            }
            tokio::time::sleep(REST).await;
        }
    }
}

/// Whether no span is in an ingester's memory alone. Tempo puts spans into a block some seconds after their trace was last added to, and has them
/// nowhere for the moment that it takes. Ingesters that were started together do so together: an answer lacks something then with three
/// copies too, also where nothing changes.
async fn in_blocks(model: &Model) -> anyhow::Result<bool> {
    let status = look::status(model).await.context("nobody answers")?;
    let units = status.applications.values().flat_map(|app| app.units.values());
    let ingests = |role: &Role| matches!(role, Role::All | Role::Ingester);
    let mut counts = Vec::new();
    for unit in units.filter(|unit| unit.roles.iter().any(ingests)) {
        let address = unit.address.as_deref().context("no address")?;
        let page = Client::new(&format!("http://{address}:{HTTP_PORT}"))?.get("/metrics", ANSWER).await?;
        let page = String::from_utf8_lossy(&page).into_owned();
        let lines = page.lines().filter(|line| line.starts_with("tempo_ingester_live_traces{"));
        counts.extend(lines.filter_map(|line| line.rsplit_once(' ')).map(|(_, count)| count == "0"));
    }
    Ok(!counts.is_empty() && counts.into_iter().all(|is_none| is_none))
}

async fn read(store: Store, wanted: Numbers, stop: Arc<AtomicBool>) -> Reads {
    let mut reads = Reads::default();
    let started = Instant::now();
    let mut last_complete = started;
    while !stop.load(Ordering::Relaxed) {
        let mut answer = store.missing(&wanted).await;
        if let Err(error) = &answer {
            *reads.reasons.entry(format!("{error:#}")).or_default() += 1;
            answer = store.missing(&wanted).await;
        }
        match answer {
            Ok(missing) if missing.is_empty() => {
                reads.complete += 1;
                reads.longest_gap = reads.longest_gap.max(last_complete.elapsed());
                last_complete = Instant::now();
            }
            Ok(missing) => reads.lacks(count(&missing), started.elapsed()),
            Err(error) => {
                reads.failed += 1;
                *reads.reasons.entry(format!("again: {error:#}")).or_default() += 1;
            }
        }
        tokio::time::sleep(REST).await;
    }
    reads.longest_gap = reads.longest_gap.max(last_complete.elapsed());
    reads
}
