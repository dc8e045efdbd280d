//! Kubelets and agents where there is no node: pods that run as soon as they are there, and units that do at once what they are told.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use futures::StreamExt as _;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, Patch, PatchParams};
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Client, ResourceExt as _};
use muster_api::Unit;
use muster_manifests::names::{MANAGED_BY_LABEL, MANAGER, WORKLOAD_CONTAINER};
use muster_relation::{Applied, Assignment, Check, Report, Run, Service};
use serde_json::json;
use tokio::sync::oneshot;
use tokio::time::sleep;

/// How soon what the API server did not take is tried again, and a watch that ended is begun anew.
const AGAIN: Duration = Duration::from_millis(300);

/// How long a pod takes to run.
const START: Duration = Duration::from_millis(300);

/// A namespace and a name.
type Key = (String, String);

/// What is played. It ends with this value.
pub struct Doubles {
    state: Arc<Mutex<State>>,
    /// Dropped, everything that is played ends.
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct State {
    /// The uid and address of every pod.
    pods: BTreeMap<Key, (String, String)>,
    /// Pods whose status was written.
    running: BTreeSet<String>,
    units: BTreeMap<Key, Unit>,
    /// What the agent of each pod, by its uid, last had to say: it outlives the Unit that it is written to.
    said: BTreeMap<String, Report>,
    /// Units that say nothing.
    silent: BTreeSet<Key>,
    /// Units whose binary refuses every config that they do not run yet.
    refusing: BTreeSet<Key>,
    reports: u64,
    next: u32,
}

impl Doubles {
    /// In a thread of its own, so that they go on while a test waits for a program. The thread is in its maker's network.
    pub(super) fn start(kubeconfig: PathBuf) -> Self {
        let state = Arc::new(Mutex::new(State::default()));
        let (end, ended) = oneshot::channel();
        let played = Arc::clone(&state);
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let client = muster_testkit::kubernetes::client(&kubeconfig).await;
                tokio::select! {
                    () = play_kubelets(client.clone(), Arc::clone(&played)) => {}
                    () = play_agents(client, played) => {}
                    _ = ended => {}
                }
            });
        });
        Self { state, end: Some(end), thread: Some(thread) }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        locked(&self.state)
    }

    /// Makes a unit say nothing from now on.
    pub fn silence(&self, namespace: &str, unit: &str) {
        self.state().silent.insert((namespace.to_owned(), unit.to_owned()));
    }

    /// Makes a unit refuse every new config from now on.
    pub fn refuse(&self, namespace: &str, unit: &str) {
        self.state().refusing.insert((namespace.to_owned(), unit.to_owned()));
    }

    /// Lets all units do what they are told again. Those that were silent speak when they are told something next.
    pub fn behave(&self) {
        let mut state = self.state();
        state.silent.clear();
        state.refusing.clear();
    }

    /// How many reports were written so far.
    #[must_use]
    pub fn reports(&self) -> u64 {
        self.state().reports
    }
}

impl Drop for Doubles {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn locked(state: &Mutex<State>) -> std::sync::MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn play_kubelets(client: Client, state: Arc<Mutex<State>>) {
    let ours = watcher::Config::default().labels(&format!("{MANAGED_BY_LABEL}={MANAGER}"));
    let mut events = watcher(Api::<Pod>::all(client.clone()), ours).boxed();
    while let Some(event) = events.next().await {
        match event {
            Ok(Event::Apply(pod) | Event::InitApply(pod)) => run(&client, &state, &pod),
            Ok(Event::Delete(pod)) => {
                let mut state = locked(&state);
                state.said.remove(&pod.uid().unwrap_or_default());
                // Another of its name may be there already.
                if state.pods.get(&key(&pod)).is_some_and(|(uid, _)| Some(uid) == pod.uid().as_ref()) {
                    state.pods.remove(&key(&pod));
                }
            }
            Ok(_) => {}
            Err(_) => sleep(AGAIN).await,
        }
    }
}

/// Makes a pod run, once.
fn run(client: &Client, state: &Arc<Mutex<State>>, pod: &Pod) {
    let (Some(uid), None) = (pod.uid(), &pod.metadata.deletion_timestamp) else { return };
    let key = key(pod);
    let address = {
        let mut state = locked(state);
        if !state.running.insert(uid.clone()) {
            return;
        }
        let there = pod.status.as_ref().and_then(|status| status.pod_ip.clone());
        let address = there.unwrap_or_else(|| {
            state.next += 1;
            Ipv4Addr::from_bits(Ipv4Addr::new(10, 200, 0, 0).to_bits() + state.next).to_string()
        });
        state.pods.insert(key.clone(), (uid.clone(), address.clone()));
        address
    };
    let now = Timestamp::now().to_string();
    let conditions = ["PodScheduled", "Initialized", "ContainersReady", "Ready"];
    let conditions =
        conditions.map(|kind| json!({"type": kind, "status": "True", "lastTransitionTime": now}));
    let status = json!({
        "phase": "Running", "podIP": address, "podIPs": [{"ip": address}], "startTime": now,
        "conditions": conditions,
        "containerStatuses": [{
            "name": WORKLOAD_CONTAINER, "ready": true, "started": true, "restartCount": 0, "image": "none",
            "imageID": "none", "state": {"running": {"startedAt": now}},
        }],
    });
    let (client, state) = (client.clone(), Arc::clone(state));
    tokio::spawn(async move {
        // The least that a node takes: what others decide about a pod that does not run yet is decided by then.
        sleep(START).await;
        let api: Api<Pod> = Api::namespaced(client.clone(), &key.0);
        let patch = Patch::Merge(json!({ "metadata": {"uid": uid}, "status": status }));
        while let Err(error) = api.patch_status(&key.1, &PatchParams::default(), &patch).await {
            if is_final(&error) {
                return;
            }
            sleep(AGAIN).await;
        }
        report(&client, &state, &key);
    });
}

async fn play_agents(client: Client, state: Arc<Mutex<State>>) {
    let mut events = watcher(Api::<Unit>::all(client.clone()), watcher::Config::default()).boxed();
    while let Some(event) = events.next().await {
        match event {
            Ok(Event::Apply(unit) | Event::InitApply(unit)) => {
                let key = key(&unit);
                locked(&state).units.insert(key.clone(), unit);
                report(&client, &state, &key);
            }
            Ok(Event::Delete(unit)) => drop(locked(&state).units.remove(&key(&unit))),
            Ok(_) => {}
            Err(_) => sleep(AGAIN).await,
        }
    }
}

/// Whether the API server understood and refused: the object is gone, or another one by now.
fn is_final(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if (400..500).contains(&status.code) && status.code != 429)
}

/// Writes what a unit's agent has to say, if it is news.
fn report(client: &Client, state: &Arc<Mutex<State>>, key: &Key) {
    let Some(next) = next_report(&mut locked(state), key) else { return };
    let (client, state, key) = (client.clone(), Arc::clone(state), key.clone());
    tokio::spawn(async move {
        let api: Api<Unit> = Api::namespaced(client.clone(), &key.0);
        // As agents do: what is not said any more is not kept.
        let patch = json!([{"op": "add", "path": "/status", "value": {"report": next}}]);
        let patch = Patch::Json::<()>(serde_json::from_value(patch).unwrap());
        match api.patch_status(&key.1, &PatchParams::default(), &patch).await {
            Ok(_) => locked(&state).reports += 1,
            Err(error) if is_final(&error) => {}
            Err(_) => {
                sleep(AGAIN).await;
                report(&client, &state, &key);
            }
        }
    });
}

/// What the agent of a unit has to say now, if its Unit does not say so yet.
fn next_report(state: &mut State, key: &Key) -> Option<Report> {
    let ((uid, address), unit) = (state.pods.get(key)?, state.units.get(key)?);
    if state.silent.contains(key) || unit.spec.pod_uid.as_ref() != Some(uid) {
        return None;
    }
    let next = does(unit, uid, address, state.said.get(uid), state.refusing.contains(key));
    let there = unit.status.as_ref().and_then(|status| status.report.clone());
    let is_there = there.is_some_and(|there| serde_json::to_value(&next).is_ok_and(|next| next == there));
    state.said.insert(uid.clone(), next.clone());
    (!is_there).then_some(next)
}

/// The report of a unit that has done what it was told, if it was told something new.
fn does(unit: &Unit, uid: &str, address: &str, before: Option<&Report>, refuses: bool) -> Report {
    let mut report = before.cloned().unwrap_or_else(|| Report::new(uid, address, "0"));
    let assignment = unit.spec.assignment.clone();
    let assignment: Option<Assignment> = assignment.and_then(|value| serde_json::from_value(value).ok());
    // An agent acts on the highest epoch only.
    let Some(assignment) = assignment.filter(|told| told.epoch >= report.epoch) else { return report };
    let applied = Applied { revision: assignment.revision.clone(), roles: assignment.roles };
    report.epoch = assignment.epoch;
    report.check = None;
    report.forgotten = assignment.forgets;
    match assignment.run {
        Run::Start if refuses && report.applied.as_ref().is_none_or(|a| a.revision != applied.revision) => {
            report.check = Some(Check {
                revision: assignment.revision,
                rejected: Some("field bad_key not found".to_owned()),
            });
            report.ready = report.applied.is_some();
            report.service = if report.ready { Service::Running } else { Service::Inactive };
        }
        Run::Start => {
            report.check = Some(Check { revision: assignment.revision, rejected: None });
            (report.applied, report.service, report.ready) = (Some(applied), Service::Running, true);
        }
        Run::Stop => (report.applied, report.service, report.ready) = (None, Service::Stopped, false),
    }
    report
}

fn key(object: &impl kube::ResourceExt) -> Key {
    (object.namespace().unwrap_or_default(), object.name_any())
}
