//! How long each example takes until everything is active under `muster up`, over the same processes started by hand.
//!
//! Each pair is one start in a fresh model directory, and then one start of all that ran: the same programs with the same arguments in
//! the same directories with the same files, the data and the buckets emptied, everything at once but the S3 server, which the others
//! need. By hand, the end is when each worker's `/ready` answers 200 and each load balancer takes connections.

use std::ffi::OsString;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use hyper::Method;
use muster_local::control::{self, Request, Response};
use muster_model::HTTP_PORT;
use muster_testkit::http::Client;
use muster_testkit::model::{Model, Running, is_active};
use muster_testkit::{Process, directory, s3, wait_until};
use muster_tests::{ACTIVE, documents, model};
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::up::{command, command_line};
use crate::{Figure, milliseconds};

const EXAMPLES: [&str; 8] = [
    "mimir-monolithic",
    "mimir-scalable",
    "mimir-distributed",
    "loki-monolithic",
    "loki-scalable",
    "tempo-monolithic",
    "tempo-distributed",
    "lgtm",
];
const PAIRS: usize = 5;
const BAR: f64 = 1.15;
const OBJECT_STORE: &str = "object-store-0";
/// How long a process that was started by hand may take to stop.
const STOP: Duration = Duration::from_secs(60);
/// How long one request may take.
const ANSWER: Duration = Duration::from_secs(1);

pub(crate) async fn figures() -> anyhow::Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for example in EXAMPLES {
        let (mut ratios, mut with, mut without) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..PAIRS {
            let mut model = model()?;
            let started = Instant::now();
            model.up(Some(&documents::example(example)?))?;
            let status = active(&model).await?;
            let under_muster = started.elapsed();
            let by_hand = ByHand::learn(&model, &status)?;
            model.stop().await?;
            let alone = by_hand.start().await.with_context(|| example)?;
            ratios.push(under_muster.as_secs_f64() / alone.as_secs_f64());
            with.push(under_muster);
            without.push(alone);
        }
        ratios.sort_unstable_by(f64::total_cmp);
        with.sort_unstable();
        without.sort_unstable();
        let median = ratios[PAIRS / 2];
        figures.push(Figure {
            what: format!(
                "{example}, active: {} under muster, {} by hand",
                milliseconds(with[PAIRS / 2]),
                milliseconds(without[PAIRS / 2])
            ),
            measured: format!("{median:.2}"),
            bar: BAR.to_string(),
            holds: median <= BAR,
        });
    }
    Ok(figures)
}

/// Waits until all is active, and returns the status. Asks the model itself: a program that is started for each look would take the
/// processors from what starts.
async fn active(model: &Model) -> anyhow::Result<Value> {
    wait_until("active model", ACTIVE, async || {
        let mut client = control::Client::connect(&model.directory()).await.ok()?;
        let Ok(Response::Status { status }) = client.ask(&Request::Status).await else { return None };
        serde_json::to_value(status).ok().filter(is_active)
    })
    .await
    .with_context(|| model.output())
}

/// A process of the model, and what it needs to be started without Muster.
struct Started {
    unit: String,
    words: Vec<OsString>,
    directory: PathBuf,
    files: Vec<(PathBuf, Vec<u8>)>,
}

/// What runs in a model, learned from its processes.
struct ByHand {
    processes: Vec<Started>,
    data: Vec<PathBuf>,
    ready: Vec<String>,
    balancers: Vec<SocketAddr>,
    store_root: PathBuf,
    credentials: PathBuf,
    store: String,
}

impl ByHand {
    fn learn(model: &Model, status: &Value) -> anyhow::Result<Self> {
        let agents = ["worker", "coordinator"];
        let wanted = |process: &Running| {
            !agents.contains(&process.program.as_str()) && !process.title.starts_with("nginx: worker")
        };
        let running: Vec<Running> = model.processes().into_iter().filter(wanted).collect();
        let (mut processes, mut data) = (Vec::new(), Vec::new());
        for process in &running {
            let unit = process.unit.clone().context("a process of no unit")?;
            data.push(model.directory().join("units").join(&unit).join("data"));
            processes.push(Started::learn(process, unit)?);
        }
        let (mut ready, mut balancers, mut store) = (Vec::new(), Vec::new(), None);
        for (name, application) in status["applications"].as_object().context("no applications")? {
            let charm = application["charm"].as_str().unwrap_or_default();
            for unit in application["units"].as_object().into_iter().flat_map(|units| units.values()) {
                let address = unit["address"].as_str().with_context(|| format!("{name} has no address"))?;
                if charm.contains("worker") {
                    ready.push(format!("http://{address}:{HTTP_PORT}"));
                } else if charm.contains("coordinator") {
                    let port = match name.as_str() {
                        "loki" => 3100,
                        "tempo" => 3200,
                        _ => HTTP_PORT,
                    };
                    balancers.push(SocketAddr::new(address.parse()?, port));
                } else {
                    store = Some(format!("http://{address}:9000"));
                }
            }
        }
        ensure!(!ready.is_empty() && !balancers.is_empty(), "{status:#}");
        Ok(Self {
            processes,
            data,
            ready,
            balancers,
            store_root: model.directory().join("object-store"),
            credentials: model.directory().join("object-store.credentials"),
            store: store.context("no object store")?,
        })
    }

    /// Starts everything and returns how long it took until all was ready.
    async fn start(&self) -> anyhow::Result<Duration> {
        let place = directory::temporary();
        for data in self.data.iter().filter(|data| data.exists()) {
            fs::remove_dir_all(data)?;
            fs::create_dir(data)?;
        }
        // Beside the buckets the server keeps files of its own.
        let names = fs::read_dir(&self.store_root)?.map(|entry| Ok(entry?.file_name()));
        let names = names.collect::<anyhow::Result<Vec<OsString>>>()?.into_iter();
        let buckets: Vec<String> =
            names.filter_map(|name| name.into_string().ok()).filter(|name| !name.starts_with('.')).collect();
        fs::remove_dir_all(&self.store_root)?;
        fs::create_dir(&self.store_root)?;
        for process in &self.processes {
            process.restore()?;
        }

        let started = Instant::now();
        let (stores, others): (Vec<_>, Vec<_>) =
            self.processes.iter().partition(|process| process.unit == OBJECT_STORE);
        let mut running = Vec::new();
        for store in stores {
            running.push(store.start(place.path())?);
        }
        for bucket in &buckets {
            self.make_bucket(bucket).await?;
        }
        for process in others {
            running.push(process.start(place.path())?);
        }
        let last = || running.iter().map(Process::last_output).collect::<Vec<_>>().join("\n");
        for url in &self.ready {
            let mut client = Client::new(url)?;
            let ready = wait_until(url, ACTIVE, async || client.get("/ready", ANSWER).await.ok());
            ready.await.with_context(last)?;
        }
        for balancer in &self.balancers {
            wait_until("the load balancer", ACTIVE, async || {
                tokio::net::TcpStream::connect(balancer).await.ok()
            })
            .await
            .with_context(last)?;
        }
        let took = started.elapsed();
        // What they hold is of no use, and some of Loki and Tempo do not always end by themselves. nginx must end its workers.
        for process in &mut running {
            let is_nginx = Path::new(process.name()).ends_with("nginx");
            process.stop(if is_nginx { Signal::SIGTERM } else { Signal::SIGKILL }, STOP).await?;
        }
        Ok(took)
    }

    async fn make_bucket(&self, bucket: &str) -> anyhow::Result<()> {
        let keys = fs::read_to_string(&self.credentials)?;
        let (access, secret) = keys.trim_end().split_once('\n').context("the credentials are two lines")?;
        wait_until("a bucket", STOP, async || {
            let mut client = s3::Client::new(&self.store, bucket, access, secret).ok()?;
            client.send(Method::PUT, "", &[], &[], Bytes::new()).await.ok()
        })
        .await?;
        Ok(())
    }
}

impl Started {
    fn learn(process: &Running, unit: String) -> anyhow::Result<Self> {
        let directory = fs::read_link(format!("/proc/{}/cwd", process.pid)).context("the process ended")?;
        let mut files = Vec::new();
        // The S3 server works in the agent's own directory and reads nothing there.
        if unit != OBJECT_STORE {
            read_all(&directory, &mut files)?;
        }
        let words = match process.title.strip_prefix("nginx: master process ") {
            // Its title is its words with spaces between them; the directives, which come last, are one word.
            Some(title) => {
                let (words, globals) = title.split_once(" -g ").context("nginx has its directives")?;
                let words = words.split_whitespace().chain(["-g", globals.trim_end()]);
                words.map(OsString::from).collect()
            }
            None => command_line(process)?,
        };
        Ok(Self { unit, words, directory, files })
    }

    /// Puts the files back where they were.
    fn restore(&self) -> anyhow::Result<()> {
        fs::create_dir_all(&self.directory)?;
        for (path, content) in &self.files {
            fs::create_dir_all(path.parent().context("a file is in a directory")?)?;
            fs::write(path, content)?;
        }
        Ok(())
    }

    fn start(&self, logs: &Path) -> anyhow::Result<Process> {
        let mut command = command(&self.words)?;
        let log = logs.join(format!("{}.log", self.unit));
        Ok(Process::spawn(command.current_dir(&self.directory), &log)?)
    }
}

fn read_all(directory: &Path, files: &mut Vec<(PathBuf, Vec<u8>)>) -> anyhow::Result<()> {
    for entry in fs::read_dir(directory).with_context(|| directory.display().to_string())? {
        let (path, kind) = entry.and_then(|entry| Ok((entry.path(), entry.file_type()?)))?;
        if kind.is_dir() {
            read_all(&path, files)?;
        } else if kind.is_file() {
            let content = fs::read(&path)?;
            files.push((path, content));
        }
    }
    Ok(())
}
