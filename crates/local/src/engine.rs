//! The loop that carries a model: gather, plan, apply, report; again whenever something happens.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use muster_api::{Document, ModelStatus};
use muster_model::{AppName, Product, Revision, UnitName};
use muster_planner::{Consent, ObjectStore, Observed, Plan, Probe, plan};
use muster_relation::{Assignment, ClusterData, Run, ToAgent};
use muster_s3::{Probed, Probes};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::agents::{AgentCommand, AgentEvent, Agents, agent_log, workload_log};
use crate::control::{Question, Request, Response, Server};
use crate::directory::{ModelDirectory, private_directory, write_private};
use crate::embedded::{self, S3_PORT};
use crate::gather::{Live, gather};
use crate::programs::workload_binary;
use crate::state::{State, UnitRecord};
use crate::up::{Binaries, UpError};
use crate::view::model_status;
use crate::{edits, object_store, preview};

/// How long the first plan waits for the agents of units that exist: without their reports it would take running units for
/// dead ones.
const ADOPTION_DEADLINE: Duration = Duration::from_secs(5);
/// More rounds than any change of a model takes; a plan that still asks for more waits for the next event.
const MOST_ROUNDS: usize = 16;
/// How much of a log is looked at for its last lines, in bytes.
const LOG_TAIL: u64 = 1 << 20;
/// How soon a state that could not be saved is saved again.
const SAVE_AGAIN: SignedDuration = SignedDuration::from_secs(2);

/// A model that is up.
pub(crate) struct Engine {
    directory: ModelDirectory,
    state: State,
    saved: State,
    live: Live,
    plans: BTreeMap<AppName, Plan>,
    binaries: Binaries,
    agents: Agents,
    agent_events: mpsc::UnboundedReceiver<AgentEvent>,
    probes: Probes<AppName>,
    probe_results: mpsc::UnboundedReceiver<Probed<AppName>>,
    questions: mpsc::Receiver<Question>,
    status: watch::Sender<ModelStatus>,
    wake_at: Option<Timestamp>,
    /// Why the state cannot be saved. What runs goes on; nothing new is decided until it can.
    problem: Option<String>,
    /// A unit that no address is left for.
    homeless: Option<UnitName>,
    _server: Server,
}

impl Engine {
    /// Starts the control socket and the agents of all units that exist.
    pub(crate) fn start(
        directory: ModelDirectory,
        state: State,
        binaries: Binaries,
        status: watch::Sender<ModelStatus>,
    ) -> Result<Self, UpError> {
        let failed = |action| move |source: io::Error| UpError::Io { action, source };
        private_directory(&directory.units()).map_err(failed("make the units' directory"))?;
        let (question, questions) = mpsc::channel(16);
        let server =
            Server::start(directory.root(), question).map_err(failed("listen on the control socket"))?;
        let (events, agent_events) = mpsc::unbounded_channel();
        let (results, probe_results) = mpsc::unbounded_channel();
        let mut engine = Self {
            saved: state.clone(),
            directory,
            state,
            live: Live::default(),
            plans: BTreeMap::new(),
            binaries,
            agents: Agents::new(events),
            agent_events,
            probes: Probes::new(results),
            probe_results,
            questions,
            status,
            wake_at: None,
            problem: None,
            homeless: None,
            _server: server,
        };
        engine.prepare_object_store().map_err(failed("prepare the embedded S3 server"))?;
        engine.end_strangers().map_err(failed("look for left units"))?;
        Ok(engine)
    }

    /// Carries the model until `shutdown`, then stops everything in order.
    pub(crate) async fn run(mut self, shutdown: CancellationToken) -> Result<(), UpError> {
        self.agents.ended().await;
        self.sync_agents();
        self.adopt(&shutdown).await;
        self.step();
        while !shutdown.is_cancelled() {
            let wake = self.wake_at.map(|at| {
                let wait = Duration::try_from(at.duration_since(Timestamp::now())).unwrap_or_default();
                Instant::now() + wait
            });
            tokio::select! {
                () = shutdown.cancelled() => break,
                event = self.agent_events.recv() => if let Some(event) = event { self.note(event) },
                probed = self.probe_results.recv() => if let Some(probed) = probed { self.note_probe(probed) },
                question = self.questions.recv() => {
                    if let Some(question) = question {
                        self.answer(question);
                    }
                }
                () = sleep_until(wake.unwrap_or_else(Instant::now)), if wake.is_some() => {}
            }
            // What has come in meanwhile is one occasion to plan, not many.
            while let Ok(event) = self.agent_events.try_recv() {
                self.note(event);
            }
            self.step();
        }
        self.stop().await
    }

    /// Waits until the agents of all units that exist have reported.
    async fn adopt(&mut self, shutdown: &CancellationToken) {
        let deadline = Instant::now() + ADOPTION_DEADLINE;
        let all_told = |live: &Live, state: &State| {
            state
                .units
                .keys()
                .all(|unit| live.connected.contains_key(unit) && live.reports.contains_key(unit))
        };
        while !shutdown.is_cancelled() && !all_told(&self.live, &self.state) {
            match timeout_at(deadline, self.agent_events.recv()).await {
                Ok(Some(event)) => self.note(event),
                Ok(None) | Err(_) => return,
            }
        }
    }

    fn note(&mut self, event: AgentEvent) {
        match event {
            AgentEvent::Connected(unit) => {
                // What the former connection brought may have been true of a former agent.
                self.live.reports.remove(&unit);
                self.live.failures.remove(&unit);
                self.live.connected.insert(unit, true);
            }
            AgentEvent::Failed(unit, problem) => {
                self.live.failures.insert(unit, problem);
            }
            AgentEvent::Report(unit, report) => {
                let store = unit == embedded::unit();
                let came_up = report.ready && self.live.reports.get(&unit).is_none_or(|r| !r.ready);
                self.live.reports.insert(unit, *report);
                if store && came_up {
                    // What failed while the embedded server was away is asked again at once.
                    self.live.probes.retain(|_, (_, probe)| matches!(probe, Probe::Ready { .. }));
                }
            }
            AgentEvent::Lost(unit) => {
                self.live.connected.insert(unit, false);
            }
        }
    }

    fn note_probe(&mut self, probed: Probed<AppName>) {
        self.probes.finished(&probed);
        let Probed { key, revision, probe } = probed;
        self.live.probes.insert(key, (revision, probe));
    }

    /// Plans and carries out until the plans ask for nothing more, or until what they ask cannot be saved.
    fn step(&mut self) {
        self.homeless = None;
        for _ in 0..MOST_ROUNDS {
            let observed = gather(&self.state, &self.live);
            let now = Timestamp::now();
            let plans: BTreeMap<AppName, Plan> =
                observed.iter().map(|observed| (observed.name.clone(), plan(observed, now))).collect();
            for observed in &observed {
                if let Some(plan) = plans.get(&observed.name) {
                    self.carry_out(observed, plan);
                }
            }
            self.drop_gone(&plans);
            self.plans = plans;
            self.start_probes(&observed, now);
            self.wake_at = self.next_probe(&observed);
            if self.state == self.saved && self.problem.is_none() {
                break;
            }
            // Saved before it is done: after a crash nobody runs what the model does not know of.
            if !self.save() {
                break;
            }
            self.sync_agents();
        }
        // What could not be saved is told to nobody.
        if self.problem.is_none() {
            self.tell_agents();
        }
        let status = self.view();
        self.status.send_if_modified(|now| {
            let news = *now != status;
            if news {
                *now = status;
            }
            news
        });
    }

    /// Saves the state, or takes back what was changed since it was last saved. Says whether it is saved.
    fn save(&mut self) -> bool {
        match self.directory.save(&self.state) {
            Ok(()) => {
                self.saved = self.state.clone();
                self.problem = None;
            }
            Err(error) => {
                let cause = std::error::Error::source(&error).map(|e| format!(": {e}")).unwrap_or_default();
                self.problem = Some(format!("{error}{cause}; nothing is changed until it can be written"));
                self.state = self.saved.clone();
                self.wake_at = Timestamp::now().checked_add(SAVE_AGAIN).ok();
            }
        }
        self.problem.is_none()
    }

    fn view(&self) -> ModelStatus {
        let homeless = || {
            let unit = self.homeless.as_ref()?;
            Some(format!("no address is left for {unit}: too many units came and went; start another model"))
        };
        model_status(&self.state, &self.live, &self.plans, self.problem.clone().or_else(homeless))
    }

    /// Writes what a plan decides into the state.
    fn carry_out(&mut self, observed: &Observed, plan: &Plan) {
        let changes = plan.changes(observed);
        edits::temporary_worker(&mut self.state, &changes);
        for unit in &changes.remove {
            self.state.units.remove(unit);
        }
        for unit in &changes.create {
            let Some(address) = self.state.address(unit) else {
                self.homeless = Some(unit.clone());
                continue;
            };
            let Ok(instance) = embedded::random_hex(8) else {
                tracing::error!(%unit, "no random bytes for a new unit");
                continue;
            };
            self.state
                .units
                .insert(unit.clone(), UnitRecord { instance, address, assigned: None, consent: None });
        }
        for (unit, assignment) in changes.assign {
            if let Some(record) = self.state.units.get_mut(&unit) {
                record.assigned = Some(assignment);
            }
        }
        for (worker, planned) in &plan.workers {
            // A worker without units carries nobody's assignments.
            if planned.units.is_empty() {
                self.state.attached.remove(worker);
            } else {
                self.state.attached.insert(worker.clone(), observed.name.clone());
            }
        }
        self.state.carry.insert(observed.name.clone(), plan.carry.clone());
    }

    /// Drops the documents of applications that were being removed and have no units left.
    fn drop_gone(&mut self, plans: &BTreeMap<AppName, Plan>) {
        let units = &self.state.units;
        let mut gone = Vec::new();
        for stored in self.state.documents.iter().filter(|s| s.removing) {
            let Ok(name) = stored.document.name() else { continue };
            let left = match &stored.document {
                Document::Coordinator(_) => plans.get(&name).is_some_and(|plan| !plan.is_gone(&name, &name)),
                _ => units.range(name.unit(0)..=name.unit(u32::MAX)).next().is_some(),
            };
            if !left {
                gone.push((stored.document.kind(), name));
            }
        }
        for (kind, name) in gone {
            self.state
                .documents
                .retain(|s| !(s.document.kind() == kind && s.document.name().as_ref() == Ok(&name)));
            self.state.carry.remove(&name);
            self.state.attached.remove(&name);
            self.state.attached.retain(|_, coordinator| *coordinator != name);
        }
    }

    /// Every unit that exists has an agent, and no other.
    fn sync_agents(&mut self) {
        for unit in self.agents.units() {
            if !self.state.units.contains_key(&unit) {
                self.agents.end(&unit);
                self.live.connected.remove(&unit);
                self.live.reports.remove(&unit);
                self.live.failures.remove(&unit);
            }
        }
        for (unit, record) in &self.state.units {
            if !self.agents.has(unit) {
                let command = self.agent_command(unit, record);
                self.agents.ensure(unit, command);
            }
        }
    }

    fn tell_agents(&self) {
        let nothing = ClusterData {
            product: Product::Mimir,
            version: muster_model::Version { major: 0, minor: 0 },
            documents: BTreeMap::new(),
            object_storage: None,
            tls: None,
        };
        for (unit, record) in &self.state.units {
            let app = unit.application();
            let own = self.plans.get(app).map(|plan| &plan.balancer_cluster);
            let of_coordinator =
                || self.plans.values().find(|plan| plan.workers.contains_key(app)).map(|plan| &plan.cluster);
            let Some(shared) = own.or_else(of_coordinator) else { continue };
            match (&record.assigned, shared) {
                // One that stops may have to take up again what it holds, and is told where that goes.
                (Some(assignment), Some(shared)) => self.agents.tell(unit, update(assignment, shared)),
                // To stop, a unit needs nothing else: not even an object store that is there.
                (Some(assignment), None) if assignment.run == Run::Stop => {
                    self.agents.tell(unit, update(assignment, &nothing));
                }
                _ => {}
            }
        }
        if self.state.object_store.is_some() {
            self.agents.tell(&embedded::unit(), update(&embedded::assignment(), &nothing));
        }
    }

    /// Probes the object stores that were never asked, and those whose last answer has become old.
    fn start_probes(&mut self, observed: &[Observed], now: Timestamp) {
        let store_ready = self.live.reports.get(&embedded::unit()).is_some_and(|report| report.ready);
        let own = self.state.addresses.get(&embedded::unit()).map(|a| format!("{a}:{S3_PORT}"));
        for observed in observed {
            let (ObjectStore::Related { storage, probe }, Some(s3)) =
                (&observed.object_store, &observed.spec.s3)
            else {
                continue;
            };
            let embedded =
                self.state.object_store.is_some() && own.as_ref() == Some(&storage.endpoint.authority);
            let wanted = match probe {
                Probe::Pending => store_ready || !embedded,
                _ => self.plans.get(&observed.name).and_then(|plan| plan.wake_at).is_some_and(|at| at <= now),
            };
            if wanted && let Ok(app) = AppName::new(&s3.secret) {
                self.probes.start(&app, storage);
            }
        }
    }

    /// When an object store is to be probed again. One whose probe is under way announces itself.
    fn next_probe(&self, observed: &[Observed]) -> Option<Timestamp> {
        let waits = |observed: &&Observed| {
            observed
                .spec
                .s3
                .as_ref()
                .is_some_and(|s3| self.probes.running().all(|app| app.as_str() != s3.secret))
        };
        let plans = observed.iter().filter(waits).filter_map(|observed| self.plans.get(&observed.name));
        plans.filter_map(|plan| plan.wake_at).min()
    }

    fn agent_command(&self, unit: &UnitName, record: &UnitRecord) -> AgentCommand {
        let directory = self.directory.unit(unit);
        let log = workload_log(&directory);
        let mut arguments: Vec<OsString> = Vec::new();
        let common = |arguments: &mut Vec<OsString>| {
            for (flag, value) in [
                ("--unit", OsString::from(unit.to_string())),
                ("--instance", record.instance.clone().into()),
                ("--address", record.address.to_string().into()),
                ("--directory", directory.clone().into()),
                ("--log", log.clone().into()),
            ] {
                arguments.extend([OsString::from(flag), value]);
            }
        };
        let program = if *unit == embedded::unit() {
            arguments.push("run-command".into());
            common(&mut arguments);
            arguments.extend(["--ready-path", object_store::HEALTH_PATH, "--port"].map(OsString::from));
            arguments.push(S3_PORT.to_string().into());
            arguments.push("--".into());
            arguments.push(self.binaries.muster.clone().into());
            arguments.extend(["object-store", "--root"].map(OsString::from));
            arguments.push(self.directory.object_store().into());
            arguments.extend(["--listen".into(), OsString::from(format!("{}:{S3_PORT}", record.address))]);
            arguments.extend(["--credentials".into(), OsString::from(self.credentials_file())]);
            &self.binaries.worker
        } else if self.state.coordinators().any(|(name, ..)| name == *unit.application()) {
            arguments.push("proxy".into());
            common(&mut arguments);
            arguments.extend(["--binary".into(), OsString::from(self.binaries.nginx.clone())]);
            &self.binaries.coordinator
        } else {
            arguments.push("run".into());
            common(&mut arguments);
            let product = self.worker_product(unit.application()).unwrap_or(Product::Mimir);
            if let Some(coordinator) = self.state.attached.get(unit.application()) {
                arguments.extend(["--data".into(), data_directory(&directory, coordinator).into()]);
            }
            arguments.extend(["--binary".into(), self.workload_binary(product).into()]);
            &self.binaries.worker
        };
        AgentCommand {
            directory,
            program: program.clone(),
            arguments,
            instance: Some(record.instance.clone()),
        }
    }

    fn coordinator_product(&self, app: &AppName) -> Option<Product> {
        let (_, coordinator, _) = self.state.coordinators().find(|(name, ..)| name == app)?;
        coordinator.spec.product.parse().ok()
    }

    fn worker_product(&self, app: &AppName) -> Option<Product> {
        let (_, worker, _) = self.state.workers().find(|(name, ..)| name == app)?;
        let coordinator =
            self.state.attached.get(app).map(AppName::as_str).or(worker.spec.coordinator.as_deref())?;
        self.coordinator_product(&AppName::new(coordinator).ok()?)
    }

    /// The product's binary, or the bare name where there is none, so that the unit's status says what is missing.
    fn workload_binary(&self, product: Product) -> PathBuf {
        workload_binary(&self.binaries.workloads, product).unwrap_or_else(|| PathBuf::from(product.as_str()))
    }

    fn credentials_file(&self) -> PathBuf {
        self.directory.root().join("object-store.credentials")
    }

    /// The embedded server's unit, its directory and its credentials, where the model has one.
    fn prepare_object_store(&mut self) -> io::Result<()> {
        let Some(store) = self.state.object_store.clone() else { return Ok(()) };
        private_directory(&self.directory.object_store())?;
        let lines = format!("{}\n{}\n", store.access_key.expose(), store.secret_key.expose());
        write_private(&self.credentials_file(), lines.as_bytes())?;
        let unit = embedded::unit();
        if !self.state.units.contains_key(&unit) {
            let address = self.state.address(&unit).ok_or_else(|| io::Error::other("no address is left"))?;
            let record = UnitRecord {
                instance: embedded::random_hex(8)?,
                address,
                assigned: Some(embedded::assignment()),
                consent: None,
            };
            self.state.units.insert(unit, record);
        }
        Ok(())
    }

    /// Ends agents of units that the model does not know: a crash between a removal and its end leaves them.
    fn end_strangers(&mut self) -> io::Result<()> {
        for entry in std::fs::read_dir(self.directory.units())? {
            let path = entry?.path();
            let label = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let known = self.state.units.keys().any(|unit| unit.label() == label);
            let unit = label
                .rsplit_once('-')
                .and_then(|(app, number)| format!("{app}/{number}").parse::<UnitName>().ok());
            if let (false, Some(unit)) = (known, unit)
                && path.join("agent.sock").exists()
            {
                let command = AgentCommand {
                    directory: path,
                    program: PathBuf::new(),
                    arguments: Vec::new(),
                    instance: None,
                };
                self.agents.ensure(&unit, command);
                self.agents.end(&unit);
            }
        }
        Ok(())
    }

    fn answer(&mut self, question: Question) {
        let edited = |result: Result<bool, edits::EditError>| match result {
            Ok(changed) => Response::Done { changed },
            Err(error) => Response::Refused { message: error.to_string() },
        };
        let mut response = match question.request {
            Request::Documents => {
                let mut documents: Vec<_> = self.state.documents.iter().map(|s| s.document.clone()).collect();
                documents.sort_by_key(|d| (d.kind(), d.name().ok()));
                Response::Documents { documents, edits: self.state.edits }
            }
            Request::Apply { edits: Some(edits), .. } if edits != self.state.edits => Response::Stale,
            Request::Apply { documents, create_only, .. } => {
                edited(edits::apply(&mut self.state, documents, create_only))
            }
            Request::Delete { kind, name } => edited(edits::delete(&mut self.state, kind, &name)),
            Request::Preview { documents, from_file, delete, steps } => {
                let edit = preview::Edit { documents, from_file, delete };
                match preview::propose(&self.state, &self.live, &self.plans, edit) {
                    Ok(proposed) => {
                        // The steps of many units take a while, and the model does not wait for them.
                        tokio::task::spawn_blocking(move || {
                            let coordinators = proposed.compare(steps);
                            let _ = question.answer.send(Response::Preview { coordinators });
                        });
                        return;
                    }
                    Err(error) => Response::Refused { message: error.to_string() },
                }
            }
            Request::AbandonData { unit, lost } => match self.consent(&unit, &lost) {
                Ok(()) => Response::Done { changed: true },
                Err(message) => Response::Refused { message },
            },
            Request::Status => {
                let status = Box::new(self.view());
                Response::Status { status }
            }
            Request::Logs { lines } => Response::Logs { units: self.logs(lines) },
        };
        // What was answered is kept: an edit that was accepted survives a crash right after.
        if self.state != self.saved {
            if self.save() {
                self.step();
            } else {
                response = Response::Refused { message: self.problem.clone().unwrap_or_default() };
            }
        }
        // Whoever asked may be gone.
        let _ = question.answer.send(response);
    }

    /// Notes that somebody gives up what is at risk with a unit, if these are the words for it.
    fn consent(&mut self, unit: &UnitName, lost: &str) -> Result<(), String> {
        let app = unit.application();
        let planned = self
            .plans
            .iter()
            .find_map(|(name, plan)| if name == app { Some(&plan.balancers) } else { plan.workers.get(app) });
        let at_risk = planned.and_then(|planned| planned.at_risk.get(&unit.number()));
        let Some(at_risk) = at_risk else { return Err(format!("nothing keeps {unit} from leaving")) };
        if at_risk != lost {
            return Err(format!("something else is at risk with {unit} by now: {at_risk}"));
        }
        let record = self.state.units.get_mut(unit).ok_or_else(|| format!("there is no unit {unit}"))?;
        let order = record.assigned.as_ref().map(|assigned| assigned.epoch);
        tracing::warn!(%unit, lost, "let go without what it could not upload, because somebody said so");
        let instance = Some(record.instance.clone());
        record.consent = Some(Consent::new(instance, order, lost.to_owned(), Timestamp::now()));
        Ok(())
    }

    fn logs(&self, lines: usize) -> Vec<(String, Vec<String>)> {
        let of = |unit: &UnitName| {
            let directory = self.directory.unit(unit);
            let mut all = last_lines(&agent_log(&directory), lines);
            all.extend(last_lines(&workload_log(&directory), lines));
            all.split_off(all.len().saturating_sub(lines))
        };
        self.state.units.keys().map(|unit| (unit.to_string(), of(unit))).collect()
    }

    /// Stops everything: first the load balancers, then the workers, then the embedded S3 server. The workloads keep their
    /// disks and their places in the rings; `up` again goes on with them.
    async fn stop(mut self) -> Result<(), UpError> {
        let store = embedded::unit();
        let balancers: Vec<AppName> = self.state.coordinators().map(|(name, ..)| name).collect();
        let (first, rest): (Vec<_>, Vec<_>) =
            self.agents.units().into_iter().partition(|unit| balancers.contains(unit.application()));
        let (last, second): (Vec<_>, Vec<_>) = rest.into_iter().partition(|unit| *unit == store);
        for group in [first, second, last] {
            for unit in &group {
                self.agents.end(unit);
            }
            self.agents.ended().await;
        }
        Ok(())
    }
}

/// The unit's part of what the cluster shares: only the document that it is to run.
fn update(assignment: &Assignment, shared: &ClusterData) -> ToAgent {
    let wanted = |revision: &Revision| assignment.run == Run::Start && *revision == assignment.revision;
    let documents = shared.documents.iter().filter(|(revision, _)| wanted(revision));
    let cluster = ClusterData {
        product: shared.product,
        version: shared.version,
        documents: documents.map(|(revision, text)| (revision.clone(), text.clone())).collect(),
        object_storage: shared.object_storage.clone(),
        tls: shared.tls.clone(),
    };
    ToAgent::Update { assignment: assignment.clone(), cluster: Box::new(cluster) }
}

/// The disk of a unit as long as it belongs to this coordinator: what one cluster wrote must not reach another one's bucket.
fn data_directory(unit: &Path, coordinator: &AppName) -> PathBuf {
    unit.join("data").join(coordinator.as_str())
}

/// The last lines of a file, as far as its last [`LOG_TAIL`] bytes hold them.
fn last_lines(path: &Path, count: usize) -> Vec<String> {
    let Ok(mut file) = std::fs::File::open(path) else { return Vec::new() };
    let length = file.metadata().map_or(0, |metadata| metadata.len());
    let start = length.saturating_sub(LOG_TAIL);
    if file.seek(SeekFrom::Start(start)).is_err() {
        return Vec::new();
    }
    let mut lines = std::collections::VecDeque::new();
    for line in BufReader::new(file).split(b'\n').map_while(Result::ok) {
        lines.push_back(String::from_utf8_lossy(&line).into_owned());
        if lines.len() > count {
            lines.pop_front();
        }
    }
    lines.into()
}
