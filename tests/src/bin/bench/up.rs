//! How much later Mimir is active under `muster up` than when it is started by hand, side by side.
//!
//! Each pair is one start of the monolithic example in a fresh model directory, and then one start of the same binary with
//! the arguments and the config that the agent gave it, its data directory emptied, and the same S3 server running already,
//! also emptied.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use hyper::Method;
use muster_model::HTTP_PORT;
use muster_testkit::http::Client;
use muster_testkit::model::{Model, Running};
use muster_testkit::{Process, directory, s3, wait_until};
use muster_tests::{ACTIVE, documents, model};
use nix::sys::signal::Signal;

use crate::{Figure, least_and_median, milliseconds};

const PAIRS: usize = 7;
const BAR: Duration = Duration::from_millis(1500);
const WORKER: &str = "mimir-worker/0";
const OBJECT_STORE: &str = "object-store/0";
/// How long a process that was started by hand may take to stop.
const STOP: Duration = Duration::from_secs(60);
/// How long one request may take.
const ANSWER: Duration = Duration::from_secs(1);

pub(crate) async fn figures() -> anyhow::Result<Vec<Figure>> {
    let (mut with, mut without, mut later) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..PAIRS {
        let mut model = model()?;
        let started = Instant::now();
        model.up(Some(&documents::monolithic()?))?;
        let status = model.wait_active(ACTIVE).await?;
        let under_muster = started.elapsed();
        let address = status["applications"]["mimir-worker"]["units"][WORKER]["address"].as_str();
        let address = address.context("the worker has no address")?;
        let by_hand = ByHand::learn(&model, &format!("http://{address}:{HTTP_PORT}"))?;
        model.stop().await?;
        let alone = by_hand.start().await?;
        anstream::println!(
            "  active after {} under muster, ready after {} by hand",
            milliseconds(under_muster),
            milliseconds(alone)
        );
        with.push(under_muster);
        without.push(alone);
        later.push(under_muster.as_secs_f64() - alone.as_secs_f64());
    }
    later.sort_unstable_by(f64::total_cmp);
    let (least, median, most) = (later[0], later[PAIRS / 2], later[PAIRS - 1]);
    let (with, without) = (least_and_median(with), least_and_median(without));
    Ok(vec![
        told("muster up until active", with),
        told("the same Mimir by hand until ready", without),
        Figure {
            what: format!(
                "muster up, active later than by hand, median of {PAIRS} pairs ({:.0} to {:.0} ms)",
                least * 1000.0,
                most * 1000.0
            ),
            measured: format!("{:.0} ms", median * 1000.0),
            bar: milliseconds(BAR),
            holds: median <= BAR.as_secs_f64(),
        },
    ])
}

/// A figure that the bar is not for.
fn told(what: &str, (least, median): (Duration, Duration)) -> Figure {
    Figure {
        what: format!("{what}, median of {PAIRS} (least {})", milliseconds(least)),
        measured: milliseconds(median),
        bar: "none".to_owned(),
        holds: true,
    }
}

/// What it takes to start the model's Mimir without Muster, learned from the processes that run.
struct ByHand {
    mimir: Vec<OsString>,
    config: Vec<u8>,
    data: PathBuf,
    url: String,
    store: Vec<OsString>,
    store_root: PathBuf,
    credentials: PathBuf,
}

impl ByHand {
    fn learn(model: &Model, url: &str) -> anyhow::Result<Self> {
        let mimir = model.process("mimir", WORKER)?;
        let config = fs::read(format!("/proc/{}/cwd/config.yaml", mimir.pid)).context("no config")?;
        let data = model.unit_directory(WORKER).join("data");
        ensure!(
            String::from_utf8_lossy(&config).contains(&*data.to_string_lossy()),
            "the config does not name {}",
            data.display()
        );
        Ok(Self {
            mimir: command_line(&mimir)?,
            config,
            data,
            url: url.to_owned(),
            store: command_line(&model.process("muster", OBJECT_STORE)?)?,
            store_root: model.directory().join("object-store"),
            credentials: model.directory().join("object-store.credentials"),
        })
    }

    /// Starts everything and returns how long Mimir took until it was ready.
    async fn start(&self) -> anyhow::Result<Duration> {
        let place = directory::temporary();
        let mut store = self.start_store(&place.path().join("store.log")).await?;
        fs::remove_dir_all(&self.data)?;
        fs::create_dir(&self.data)?;
        fs::write(place.path().join("config.yaml"), &self.config)?;

        let started = Instant::now();
        let mut command = command(&self.mimir)?;
        let mut mimir = Process::spawn(command.current_dir(place.path()), &place.path().join("mimir.log"))?;
        let mut client = Client::new(&self.url)?;
        let ready = wait_until("Mimir by hand", ACTIVE, async || client.get("/ready", ANSWER).await.ok());
        ready.await.with_context(|| mimir.last_output())?;
        let took = started.elapsed();

        mimir.stop(Signal::SIGTERM, STOP).await?;
        store.stop(Signal::SIGTERM, STOP).await?;
        Ok(took)
    }

    /// Starts the S3 server with the model's bucket, and nothing in it.
    async fn start_store(&self, log: &Path) -> anyhow::Result<Process> {
        let mut buckets = fs::read_dir(&self.store_root)?;
        let bucket = buckets.next().context("the object store has no bucket")??.file_name();
        let bucket = bucket.into_string().ok().context("a bucket's name is text")?;
        fs::remove_dir_all(&self.store_root)?;
        fs::create_dir(&self.store_root)?;
        let store = Process::spawn(&mut command(&self.store)?, log)?;
        let keys = fs::read_to_string(&self.credentials)?;
        let (access, secret) = keys.trim_end().split_once('\n').context("the credentials are two lines")?;
        let position = self.store.iter().position(|word| word == "--listen").context("no --listen")?;
        let address = self.store.get(position + 1).context("no address")?.to_string_lossy();
        let base = format!("http://{address}");
        wait_until("a bucket", STOP, async || {
            let mut client = s3::Client::new(&base, &bucket, access, secret).ok()?;
            client.send(Method::PUT, "", &[], &[], Bytes::new()).await.ok()
        })
        .await?;
        Ok(store)
    }
}

/// The program and the arguments that a process was started with.
pub(crate) fn command_line(process: &Running) -> anyhow::Result<Vec<OsString>> {
    let line = fs::read(format!("/proc/{}/cmdline", process.pid)).context("the process ended")?;
    let words = line.strip_suffix(b"\0").unwrap_or(&line).split(|byte| *byte == 0);
    Ok(words.map(|word| OsString::from_vec(word.to_vec())).collect())
}

pub(crate) fn command(words: &[OsString]) -> anyhow::Result<Command> {
    let (program, arguments) = words.split_first().context("a command has a program")?;
    let mut command = Command::new(program);
    command.args(arguments);
    Ok(command)
}
