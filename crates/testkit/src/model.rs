//! A model under `muster up`, driven as a user would: with the built binaries, from outside.

use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

use crate::{Process, servers, wait_until};

/// How long one verb may take.
const VERB_DEADLINE: Duration = Duration::from_secs(60);
/// How long a whole model may take to stop in order.
pub const STOP_DEADLINE: Duration = Duration::from_secs(120);

/// A model in a temporary directory. Everything of it is ended and removed when the value is dropped.
pub struct Model {
    binaries: PathBuf,
    place: TempDir,
    up: Option<Process>,
    path: Option<String>,
}

/// A process that belongs to a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Running {
    /// Its id.
    pub pid: Pid,
    /// Its program's name: `worker`, `coordinator`, `mimir`, `nginx`, `muster` (the embedded S3 server).
    pub program: String,
    /// The label of the unit that it runs for, for example `mimir-worker-0`.
    pub unit: Option<String>,
    /// When it was started, in the kernel's ticks; tells it from a later process with its id.
    pub started: u64,
    /// Its command line, or what it made of it.
    pub title: String,
    parent: i32,
    group: i32,
}

impl Model {
    /// A model that is not up yet, with the binaries of this directory (`target/debug` or `target/release`).
    #[must_use]
    pub fn new(binaries: &Path) -> Self {
        Self { binaries: binaries.to_owned(), place: crate::directory::temporary(), up: None, path: None }
    }

    /// Uses this `PATH` instead of the caller's.
    pub fn set_path(&mut self, path: &str) {
        self.path = Some(path.to_owned());
    }

    /// The model directory.
    #[must_use]
    pub fn directory(&self) -> PathBuf {
        self.place.path().join("model")
    }

    /// The directory of a unit's agent, for example of `mimir-worker/0`.
    #[must_use]
    pub fn unit_directory(&self, unit: &str) -> PathBuf {
        self.directory().join("units").join(unit.replace('/', "-"))
    }

    /// Starts `muster up` with these documents, or with what the model directory holds. Does not wait.
    pub fn up(&mut self, documents: Option<&str>) -> anyhow::Result<()> {
        ensure!(self.up.is_none(), "the model is up already");
        let mut command = self.command();
        command.arg("up");
        if let Some(documents) = documents {
            let file = self.place.path().join("model.yaml");
            fs::write(&file, documents)?;
            command.arg(file);
        }
        for server in servers::GO_SERVERS {
            command.arg("--bin").arg(server.built().parent().context("a binary is in a directory")?);
        }
        command.arg("--nginx").arg(servers::nginx());
        self.up = Some(Process::spawn(&mut command, &self.place.path().join("up.log"))?);
        Ok(())
    }

    /// The process of `muster up`.
    pub fn up_process(&mut self) -> anyhow::Result<&mut Process> {
        self.up.as_mut().context("the model is not up")
    }

    /// What `muster up` printed.
    #[must_use]
    pub fn output(&self) -> String {
        fs::read_to_string(self.place.path().join("up.log")).unwrap_or_default()
    }

    /// Stops `muster up` as Ctrl-C does and waits until it has ended.
    pub async fn stop(&mut self) -> anyhow::Result<()> {
        let Some(mut up) = self.up.take() else { return Ok(()) };
        let status = up.stop(Signal::SIGINT, STOP_DEADLINE).await?;
        ensure!(status.success(), "muster up ended with {status}: {}", up.last_output());
        Ok(())
    }

    /// Ends `muster up` with SIGKILL; its agents go on.
    pub async fn kill_up(&mut self) -> anyhow::Result<()> {
        let mut up = self.up.take().context("the model is not up")?;
        up.stop(Signal::SIGKILL, VERB_DEADLINE).await?;
        Ok(())
    }

    fn command(&self) -> Command {
        let mut command = Command::new(self.binaries.join("muster"));
        command.arg("--model").arg(self.directory());
        if let Some(path) = &self.path {
            command.env("PATH", path);
        }
        command
    }

    /// Runs one verb and returns what it printed and how it ended.
    pub async fn run(&self, arguments: &[&str]) -> anyhow::Result<Output> {
        let mut command = tokio::process::Command::from(self.command());
        let output = command.args(arguments).kill_on_drop(true).output();
        let output = tokio::time::timeout(VERB_DEADLINE, output).await;
        output
            .with_context(|| format!("muster {arguments:?} takes too long"))?
            .context("failed to run muster")
    }

    /// Runs one verb that must succeed and returns its standard output.
    pub async fn muster(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let output = self.run(arguments).await?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if !output.status.success() {
            bail!("muster {}: {}\n{}", arguments.join(" "), output.status, text(&output.stderr));
        }
        Ok(text(&output.stdout))
    }

    /// `muster status -o json`.
    pub async fn status(&self) -> anyhow::Result<Value> {
        Ok(serde_json::from_str(&self.muster(&["status", "-o", "json"]).await?)?)
    }

    /// Whether `muster up` still runs.
    fn is_up(&self) -> bool {
        let own = self.up.as_ref().map(|up| up.pid().as_raw());
        let stat = own.and_then(|pid| fs::read_to_string(format!("/proc/{pid}/stat")).ok());
        stat.is_some_and(|stat| {
            stat.rsplit_once(") ").is_some_and(|(_, fields)| !fields.starts_with(['Z', 'X']))
        })
    }

    /// Waits until the status satisfies `accept`, and returns it.
    pub async fn wait(
        &self,
        what: &str,
        within: Duration,
        accept: impl Fn(&Value) -> bool,
    ) -> anyhow::Result<Value> {
        let mut last = Value::Null;
        let waited = wait_until(what, within, async || {
            if !self.is_up() {
                return Some(None);
            }
            let status = self.status().await.ok()?;
            last.clone_from(&status);
            accept(&status).then_some(Some(status))
        });
        let waited = waited.await;
        let told = |error: anyhow::Error| {
            error.context(format!("the last status was {}\n{}", summary(&last), self.output()))
        };
        match waited {
            Ok(Some(status)) => Ok(status),
            Ok(None) => Err(told(anyhow::anyhow!("{what}: muster up ended"))),
            Err(error) => Err(told(error)),
        }
    }

    /// Waits until every application is active and every unit that is asked for is ready.
    pub async fn wait_active(&self, within: Duration) -> anyhow::Result<Value> {
        self.wait("active model", within, is_active).await
    }

    /// Waits until an application's status and message are as wanted: `status` exactly, `message` somewhere in it.
    pub async fn wait_status(
        &self,
        app: &str,
        status: &str,
        message: &str,
        within: Duration,
    ) -> anyhow::Result<Value> {
        let what = format!("{app} to be {status}: …{message}…");
        self.wait(&what, within, |model| {
            let app = &model["applications"][app];
            app["status"] == status && app["message"].as_str().is_some_and(|m| m.contains(message))
        })
        .await
    }

    /// The load balancer's URL of a Mimir coordinator.
    pub async fn gateway(&self, coordinator: &str) -> anyhow::Result<String> {
        Ok(self.endpoint(coordinator, "push").await?.trim_end_matches("/api/v1/push").to_owned())
    }

    /// One of the endpoints that the status shows.
    pub async fn endpoint(&self, coordinator: &str, purpose: &str) -> anyhow::Result<String> {
        let status = self.status().await?;
        let endpoints = &status["applications"][coordinator]["endpoints"];
        let endpoint = endpoints[purpose].as_str();
        Ok(endpoint.with_context(|| format!("no endpoint {purpose} in {endpoints}"))?.to_owned())
    }

    /// The processes of this model besides `muster up` and the verbs that run right now: those that name the model's
    /// directory or work in it, and their families.
    #[must_use]
    pub fn processes(&self) -> Vec<Running> {
        let own = i32::try_from(std::process::id()).unwrap_or_default();
        // What the test itself started is no part of the model.
        let all: Vec<_> =
            all_processes(&self.directory()).into_iter().filter(|(p, _)| p.parent != own).collect();
        let (mut found, mut others) = (Vec::new(), Vec::new());
        for (process, belongs) in all {
            if belongs { found.push(process) } else { others.push(process) }
        }
        // nginx' workers name no file; they are known by their parent or their group.
        loop {
            let relative = |process: &Running| {
                let of = |p: &&Running| p.pid.as_raw() == process.parent || p.pid.as_raw() == process.group;
                found.iter().find(of).map(|p: &Running| p.unit.clone())
            };
            let Some((position, unit)) = others.iter().enumerate().find_map(|(i, p)| Some((i, relative(p)?)))
            else {
                return found;
            };
            found.push(Running { unit, ..others.swap_remove(position) });
        }
    }

    /// The processes of this model that run `program` for `unit`: `worker`, `mimir`, `nginx` ….
    #[must_use]
    pub fn processes_of(&self, program: &str, unit: &str) -> Vec<Running> {
        let label = unit.replace('/', "-");
        let mut found = self.processes();
        found.retain(|p| p.program == program && p.unit.as_deref() == Some(label.as_str()));
        found.sort_by_key(|p| (p.started, p.pid));
        found
    }

    /// The one process that runs `program` for `unit`; of nginx the master.
    ///
    /// # Errors
    /// There is none, or more than one.
    pub fn process(&self, program: &str, unit: &str) -> anyhow::Result<Running> {
        let mut found = self.processes_of(program, unit);
        found.retain(|p| !p.title.starts_with("nginx: worker"));
        ensure!(found.len() == 1, "{unit} runs {} processes of {program}: {found:?}", found.len());
        found.pop().with_context(|| format!("{unit} runs no {program}"))
    }

    /// Every workload of the model, without agents: (unit label, program, id), in order.
    #[must_use]
    pub fn workloads(&self) -> Vec<(String, String, Pid)> {
        let agents = ["worker", "coordinator"];
        let of = |p: Running| Some((p.unit?, p.program, p.pid));
        let mut found: Vec<_> = self
            .processes()
            .into_iter()
            .filter(|p| !agents.contains(&p.program.as_str()))
            .filter_map(of)
            .collect();
        found.sort();
        found
    }

    /// What listens on the model's own loopback network, whoever it is.
    ///
    /// # Errors
    /// The model directory has no state yet, or the kernel's table cannot be read.
    pub fn listeners(&self) -> anyhow::Result<Vec<SocketAddr>> {
        let state: Value = serde_json::from_slice(&fs::read(self.directory().join("model.json"))?)?;
        let network = state["network"].as_u64().context("the state names no network")?;
        let table = fs::read_to_string("/proc/net/tcp")?;
        let mut found: Vec<_> = table.lines().skip(1).filter_map(listener).collect();
        found.retain(|a| matches!(a, SocketAddr::V4(a) if a.ip().octets()[..2] == [127, network as u8]));
        Ok(found)
    }
}

impl Drop for Model {
    fn drop(&mut self) {
        drop(self.up.take());
        // Agents and workloads outlive `muster up` by design. Killing an agent first keeps it from starting another
        // workload; a second look finds what was started meanwhile.
        for _ in 0..3 {
            for process in self.processes() {
                let _ = kill(process.pid, Signal::SIGKILL);
            }
        }
    }
}

/// Whether every application is active and every unit that is asked for is ready.
#[must_use]
pub fn is_active(model: &Value) -> bool {
    let Some(applications) = model["applications"].as_object() else { return false };
    !applications.is_empty()
        && applications.values().all(|app| {
            let units = app["units"].as_object().map(|units| units.len() as u64);
            let ready =
                app["units"].as_object().is_some_and(|units| units.values().all(|u| u["ready"] == true));
            app["status"] == "active" && units == app["scale"].as_u64() && ready
        })
}

/// The statuses and messages alone, for messages.
fn summary(model: &Value) -> String {
    let mut lines = BTreeMap::new();
    let say = |value: &Value| format!("{} {}", value["status"], value["message"]);
    for (name, app) in model["applications"].as_object().into_iter().flatten() {
        lines.insert(name.clone(), say(app));
        for (unit, view) in app["units"].as_object().into_iter().flatten() {
            lines.insert(unit.clone(), say(view));
        }
    }
    lines.into_iter().map(|(name, text)| format!("\n  {name}: {text}")).collect()
}

/// All processes that are more than zombies, and whether each names `directory` or works in it.
fn all_processes(directory: &Path) -> Vec<(Running, bool)> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let prefix = directory.to_string_lossy().into_owned();
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
    pids.filter_map(|pid| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name, in parentheses, may hold anything; see proc(5).
        let (head, fields) = stat.rsplit_once(") ")?;
        let fields: Vec<&str> = fields.split(' ').collect();
        if matches!(*fields.first()?, "Z" | "X") {
            return None;
        }
        let command = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let command = String::from_utf8_lossy(&command);
        let place = fs::read_link(format!("/proc/{pid}/cwd")).unwrap_or_default();
        let place = place.to_string_lossy();
        let named = [&*place, &*command].into_iter().find(|text| text.contains(&prefix));
        let units = format!("{prefix}/units/");
        let label = |text: &str| text.split(&units).nth(1)?.split(['/', '\0', ' ']).next().map(str::to_owned);
        let process = Running {
            pid: Pid::from_raw(pid),
            program: head.split_once('(')?.1.to_owned(),
            unit: named.and_then(label),
            started: fields.get(19)?.parse().ok()?,
            title: command.replace('\0', " "),
            parent: fields.get(1)?.parse().ok()?,
            group: fields.get(2)?.parse().ok()?,
        };
        Some((process, named.is_some()))
    })
    .collect()
}

/// A line of `/proc/net/tcp`, if it is of a socket that listens.
fn listener(line: &str) -> Option<SocketAddr> {
    const LISTEN: &str = "0A";
    let mut fields = line.split_whitespace().skip(1);
    let (address, port) = fields.next()?.split_once(':')?;
    let listens = fields.nth(1)? == LISTEN;
    // The address stands there as the kernel keeps it, in the machine's byte order.
    let address = Ipv4Addr::from(u32::from_str_radix(address, 16).ok()?.to_ne_bytes());
    listens.then(|| SocketAddr::from((address, u16::from_str_radix(port, 16).unwrap_or_default())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listeners_are_read_from_the_kernels_table() {
        let line = "  0: 0300147F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 1 1 0";
        assert_eq!(
            listener(line),
            (!cfg!(target_endian = "big")).then(|| "127.20.0.3:8080".parse().unwrap())
        );
        assert_eq!(listener(&line.replace(" 0A ", " 01 ")), None);
        assert_eq!(listener("nonsense"), None);
    }

    #[test]
    fn activity_needs_every_unit() {
        let unit = |ready| serde_json::json!({ "ready": ready });
        let model = |status: &str, scale: u64, ready: bool| {
            let app =
                serde_json::json!({ "status": status, "scale": scale, "units": { "a/0": unit(ready) } });
            serde_json::json!({ "applications": { "a": app } })
        };
        assert!(is_active(&model("active", 1, true)));
        for bad in
            [model("waiting", 1, true), model("active", 2, true), model("active", 1, false), Value::Null]
        {
            assert!(!is_active(&bad), "{bad}");
        }
    }
}
