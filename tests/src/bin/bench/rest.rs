//! A model with the real Mimir in which nothing changes: what Muster writes, restarts, reloads and costs. Beside it an agent
//! around a stand-in that says nothing: around Mimir, an agent also wakes up for each line of Mimir's log.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use muster_testkit::model::{Model, Running};
use muster_tests::agent::{Unit, start};
use muster_tests::{ACTIVE, monolithic};

use crate::Figure;

/// Mimir's own rings and caches have settled, and the store probe has come round, several times over.
const WINDOW: Duration = Duration::from_secs(30);
/// Resident memory of one worker agent, in kB.
const MEMORY_BAR: u64 = 8 << 10;
/// Wake-ups per second of one worker agent.
const WAKE_BAR: f64 = 1.0;

pub(crate) async fn figures() -> anyhow::Result<Vec<Figure>> {
    let unit = Unit::new();
    let quiet = unit.spawn(unit.mimir(""));
    let mut coordinator = unit.coordinator().await;
    coordinator.send(&start(1)).await;
    coordinator.running(1).await;
    let quiet = quiet.pid().as_raw();

    let model = monolithic().await?;
    model.wait_active(ACTIVE).await?;
    let (before, quiet_before) = (Look::at(&model)?, Agent::of(quiet)?);
    // This is the measurement itself: the length of the window is what is asked for.
    tokio::time::sleep(WINDOW).await;
    let (after, quiet_after) = (Look::at(&model)?, Agent::of(quiet)?);
    // Only what stayed active was at rest.
    model.wait_active(Duration::from_secs(5)).await?;

    let window = WINDOW.as_secs();
    let nothing = |what: &str, count: usize| Figure {
        what: format!("nothing changed for {window} s: {what}"),
        measured: count.to_string(),
        bar: "0".to_owned(),
        holds: count == 0,
    };
    let mut memory = quiet_after.memory;
    let mut wakes = 0.0_f64;
    for (agent, now) in &after.agents {
        let then = before.agents.get(agent).with_context(|| format!("agent {agent} was restarted"))?;
        memory = memory.max(now.memory);
        wakes = wakes.max(now.wakes_since(then));
    }
    let (agents, quiet_wakes) = (after.agents.len(), quiet_after.wakes_since(&quiet_before));
    Ok(vec![
        nothing("files written by Muster", changed(&before.files, &after.files)),
        nothing("processes restarted", changed(&before.others, &after.others)),
        nothing("nginx processes replaced (reloads)", changed(&before.nginx, &after.nginx)),
        Figure {
            what: format!("worker agent at rest, resident memory, most of {}", agents + 1),
            measured: format!("{:.1} MiB", memory as f64 / 1024.0),
            bar: format!("{} MiB", MEMORY_BAR >> 10),
            holds: memory <= MEMORY_BAR,
        },
        Figure {
            what: "worker agent at rest, quiet workload: wake-ups per second".to_owned(),
            measured: format!("{quiet_wakes:.2}"),
            bar: format!("{WAKE_BAR}"),
            holds: quiet_wakes <= WAKE_BAR,
        },
        Figure {
            what: format!("worker agents with Mimir's log and S3: wake-ups per second, most of {agents}"),
            measured: format!("{wakes:.2}"),
            bar: "none".to_owned(),
            holds: true,
        },
    ])
}

/// How many entries are new, gone or different.
fn changed<K: Ord, V: PartialEq>(before: &BTreeMap<K, V>, after: &BTreeMap<K, V>) -> usize {
    let lost = before.iter().filter(|(key, value)| after.get(key) != Some(value)).count();
    lost + after.keys().filter(|key| !before.contains_key(key)).count()
}

/// The state of a model at one moment.
struct Look {
    /// Muster's own files: inode, and the time of the last write.
    files: BTreeMap<PathBuf, (u64, i64, i64)>,
    /// Agents, Mimir and the S3 server, by process id and start.
    others: BTreeMap<(i32, u64), String>,
    /// nginx, master and workers.
    nginx: BTreeMap<(i32, u64), ()>,
    /// The worker agents, by process id.
    agents: BTreeMap<i32, Agent>,
}

struct Agent {
    /// Resident, in kB.
    memory: u64,
    /// How often one of its threads has gone to sleep, which is how often one was woken.
    switches: u64,
}

impl Look {
    fn at(model: &Model) -> anyhow::Result<Self> {
        let mut files = BTreeMap::new();
        collect(&model.directory(), &mut files)?;
        ensure!(files.contains_key(&model.directory().join("model.json")), "the model has no state");
        let id = |p: &Running| (p.pid.as_raw(), p.started);
        let processes = model.processes();
        let (nginx, others): (Vec<_>, Vec<_>) = processes.iter().partition(|p| p.program == "nginx");
        let workers = others.iter().filter(|p| p.program == "worker").map(|p| p.pid.as_raw());
        Ok(Self {
            files,
            others: others.iter().map(|p| (id(p), p.program.clone())).collect(),
            nginx: nginx.iter().map(|p| (id(p), ())).collect(),
            agents: workers.map(|pid| Ok((pid, Agent::of(pid)?))).collect::<anyhow::Result<_>>()?,
        })
    }
}

impl Agent {
    fn wakes_since(&self, before: &Self) -> f64 {
        (self.switches - before.switches) as f64 / WINDOW.as_secs_f64()
    }

    fn of(pid: i32) -> anyhow::Result<Self> {
        let number = |path: &Path, key: &str| {
            let status = fs::read_to_string(path).with_context(|| format!("no {}", path.display()))?;
            let line = status.lines().find_map(|line| line.strip_prefix(key)).context("an unknown kernel")?;
            line.trim().trim_end_matches(" kB").parse::<u64>().context("an unknown kernel")
        };
        let process = PathBuf::from(format!("/proc/{pid}"));
        let mut switches = 0;
        for task in fs::read_dir(process.join("task"))? {
            switches += number(&task?.path().join("status"), "voluntary_ctxt_switches:")?;
        }
        Ok(Self { memory: number(&process.join("status"), "VmRSS:")?, switches })
    }
}

/// Every file that Muster writes. The workloads' disks, the object store's content and the logs are written by others, or
/// are what others say.
fn collect(directory: &Path, files: &mut BTreeMap<PathBuf, (u64, i64, i64)>) -> anyhow::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let (path, name) = (entry.path(), entry.file_name());
        if entry.file_type()?.is_dir() {
            if name != "data" && name != "object-store" {
                collect(&path, files)?;
            }
        } else if !name.to_string_lossy().contains(".log") {
            let metadata = entry.metadata()?;
            files.insert(path, (metadata.ino(), metadata.mtime(), metadata.mtime_nsec()));
        }
    }
    Ok(())
}
