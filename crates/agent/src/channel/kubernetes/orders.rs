//! From the watched Secret and Unit to what the agent is told.

use std::collections::BTreeMap;
use std::fmt::Debug;

use futures::stream::{self, BoxStream, StreamExt as _};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::Secret;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Resource};
use muster_api::{Unit, secret_values};
use muster_model::{Product, Version};
use muster_relation::{Assignment, ClusterData, Run, ToAgent};
use serde::de::DeserializeOwned;
use tokio::sync::{mpsc, watch};
use tokio::time::sleep;

use super::{Seen, version, wait};

/// What was last seen of both, and what was made of it.
pub(super) struct Orders {
    name: String,
    instance: String,
    assignment: Option<Assignment>,
    cluster: Option<ClusterData>,
    told: Option<ToAgent>,
    /// Whether the Unit came up in the list that is under way.
    listed: bool,
    updates: mpsc::Sender<ToAgent>,
    seen: watch::Sender<Seen>,
}

impl Orders {
    pub(super) fn new(
        name: String,
        instance: String,
        updates: mpsc::Sender<ToAgent>,
        seen: watch::Sender<Seen>,
    ) -> Self {
        Self { name, instance, assignment: None, cluster: None, told: None, listed: false, updates, seen }
    }

    /// Watches for ever, or until the agent no longer listens.
    pub(super) async fn carry(mut self, units: Api<Unit>, secrets: Api<Secret>, secret: &str) {
        let mut units = one(units, &self.name);
        let mut secrets = one(secrets, secret);
        let (mut units_warned, mut secrets_warned) = (false, false);
        loop {
            tokio::select! {
                event = units.next() => match event {
                    Some(Ok(event)) => {
                        units_warned = false;
                        self.note_unit(event);
                    }
                    Some(Err(error)) => warn("Unit", &error, &mut units_warned),
                    None => return,
                },
                event = secrets.next() => match event {
                    Some(Ok(event)) => {
                        secrets_warned = false;
                        self.note_secret(event);
                    }
                    Some(Err(error)) => warn("Secret", &error, &mut secrets_warned),
                    None => return,
                },
            }
            if let Some(update) = self.next_update() {
                self.told = Some(update.clone());
                if self.updates.send(update).await.is_err() {
                    return;
                }
            }
        }
    }

    fn note_unit(&mut self, event: Event<Unit>) {
        match event {
            Event::Apply(unit) => self.note_unit_state(unit),
            Event::InitApply(unit) => {
                self.listed = true;
                self.note_unit_state(unit);
            }
            // What runs goes on: whoever deleted the Unit makes it again, or deletes the pod.
            Event::Delete(_) => self.note_seen(Seen::default()),
            Event::InitDone => {
                if !std::mem::take(&mut self.listed) {
                    self.note_seen(Seen::default());
                }
            }
            Event::Init => {}
        }
    }

    fn note_unit_state(&mut self, unit: Unit) {
        // A Unit that is still about an earlier pod of this name will be about this one, and there is one pod of a name at a time: what
        // the earlier one was told holds. Only its report is not to be overwritten, which the API server would refuse.
        let is_ours = unit.spec.pod_uid.as_deref().is_none_or(|uid| uid == self.instance);
        let version = version(&unit);
        let report = unit.status.and_then(|status| status.report);
        self.note_seen(Seen { is_ours, version, report });
        let Some(assignment) = unit.spec.assignment else { return };
        match serde_json::from_value(assignment) {
            Ok(assignment) => self.assignment = Some(assignment),
            Err(error) => tracing::warn!(%error, "the assignment cannot be read; what runs goes on"),
        }
    }

    fn note_seen(&self, seen: Seen) {
        self.seen.send_if_modified(|before| {
            let news = *before != seen;
            *before = seen;
            news
        });
    }

    fn note_secret(&mut self, event: Event<Secret>) {
        // A Secret that is gone changes nothing either: whoever deleted it makes it again.
        let (Event::Apply(secret) | Event::InitApply(secret)) = event else { return };
        let read =
            secret_values(&secret).and_then(|v| ClusterData::from_entries(&v).map_err(|e| e.to_string()));
        match read {
            Ok(cluster) => self.cluster = Some(cluster),
            Err(error) => {
                tracing::warn!(error, "the cluster relation's Secret cannot be read; what runs goes on")
            }
        }
    }

    /// What the agent is to be told, if it is news. Both objects come by ways of their own: until the Secret holds what the assignment
    /// names, there is nothing to tell.
    fn next_update(&self) -> Option<ToAgent> {
        let assignment = self.assignment.as_ref()?;
        let cluster = match &self.cluster {
            Some(cluster) if cluster.documents.contains_key(&assignment.revision) => cluster.clone(),
            // To stop, a unit needs nothing else.
            known if assignment.run == Run::Stop => known.clone().unwrap_or_else(nothing),
            _ => return None,
        };
        let documents: BTreeMap<_, _> =
            cluster.documents.into_iter().filter(|(revision, _)| *revision == assignment.revision).collect();
        let cluster = Box::new(ClusterData { documents, ..cluster });
        let update = ToAgent::Update { assignment: assignment.clone(), cluster };
        (self.told.as_ref() != Some(&update)).then_some(update)
    }
}

/// Stands for what a cluster shares where that does not matter.
fn nothing() -> ClusterData {
    ClusterData {
        product: Product::Mimir,
        version: Version { major: 0, minor: 0 },
        documents: BTreeMap::new(),
        object_storage: None,
        tls: None,
    }
}

/// What happens to the object of that name. After a failure there is a wait before the next try.
fn one<K>(api: Api<K>, name: &str) -> BoxStream<'static, watcher::Result<Event<K>>>
where
    K: Resource<Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
    let events = watcher(api, config).boxed();
    let tried = stream::unfold((events, 0), async |(mut events, failures)| {
        if failures > 0 {
            sleep(wait(failures)).await;
        }
        loop {
            match events.next().await? {
                // That a list is about to be asked for is no success.
                Ok(Event::Init) => {}
                Ok(event) => return Some((Ok(event), (events, 0))),
                // The server is there, and forgot what happened meanwhile: a new list follows.
                Err(watcher::Error::WatchError(status)) if status.code == 410 => sleep(wait(1)).await,
                Err(error) => return Some((Err(error), (events, failures + 1))),
            }
        }
    });
    tried.boxed()
}

/// Said once for a series of failures.
fn warn(kind: &str, error: &watcher::Error, warned: &mut bool) {
    if !std::mem::replace(warned, true) {
        tracing::warn!(kind, %error, "watch interrupted; what runs goes on, and the watch is tried again");
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::ByteString;
    use muster_api::{UnitSpec, UnitStatus};
    use muster_model::{Revision, RoleSet};
    use serde_json::json;

    use super::*;

    fn revision(text: &str) -> Revision {
        Revision::of([text.as_bytes()])
    }

    fn orders() -> Orders {
        Orders::new("app-0".into(), "uid".into(), mpsc::channel(1).0, watch::channel(Seen::default()).0)
    }

    fn unit(epoch: u64, text: &str, run: Run, uid: &str) -> Event<Unit> {
        let roles = RoleSet::new();
        let assignment = Assignment {
            epoch,
            revision: revision(text),
            roles,
            run,
            gives_up: false,
            quiesces: false,
            forgets: std::collections::BTreeSet::new(),
            peers: std::collections::BTreeMap::new(),
            seeds: vec![],
        };
        let spec = UnitSpec {
            pod_uid: Some(uid.to_owned()),
            assignment: Some(serde_json::to_value(assignment).unwrap()),
            ..UnitSpec::default()
        };
        let mut unit = Unit::new("app-0", spec);
        unit.status = Some(UnitStatus { report: Some(json!({"epoch": 1})) });
        Event::Apply(unit)
    }

    fn secret(texts: &[&str]) -> Event<Secret> {
        let documents = texts.iter().map(|text| (revision(text), (*text).to_owned())).collect();
        let cluster = ClusterData { documents, ..nothing() };
        let data = cluster.to_entries().into_iter();
        Event::Apply(Secret {
            data: Some(data.map(|(name, text)| (name, ByteString(text.expose().into()))).collect()),
            ..Secret::default()
        })
    }

    fn told(orders: &mut Orders) -> Option<(u64, Vec<String>)> {
        let update = orders.next_update()?;
        orders.told = Some(update.clone());
        let ToAgent::Update { assignment, cluster } = update;
        Some((assignment.epoch, cluster.documents.into_values().collect()))
    }

    #[test]
    fn nothing_is_told_before_both_halves_are_there_whichever_comes_first() {
        let mut one = orders();
        one.note_unit(unit(1, "a", Run::Start, "uid"));
        assert_eq!(told(&mut one), None);
        one.note_secret(secret(&["b"]));
        assert_eq!(told(&mut one), None, "the Secret does not hold what the assignment names");
        one.note_secret(secret(&["a", "b"]));
        assert_eq!(told(&mut one), Some((1, vec!["a".to_owned()])));
        assert_eq!(told(&mut one), None, "told once");
        one.note_unit(unit(2, "c", Run::Start, "uid"));
        assert_eq!(told(&mut one), None, "what runs goes on until the Secret has c");
        one.note_secret(secret(&["c"]));
        assert_eq!(told(&mut one), Some((2, vec!["c".to_owned()])));
    }

    #[test]
    fn a_unit_is_stopped_without_a_secret() {
        let mut orders = orders();
        orders.note_unit(unit(3, "a", Run::Stop, "uid"));
        assert_eq!(told(&mut orders), Some((3, vec![])));
    }

    #[test]
    fn orders_of_an_earlier_pod_are_followed_and_its_report_is_left_alone() {
        let mut orders = orders();
        orders.note_secret(secret(&["a"]));
        orders.note_unit(unit(1, "a", Run::Start, "earlier"));
        assert_eq!(told(&mut orders).map(|(epoch, _)| epoch), Some(1));
        assert!(!orders.seen.borrow().is_ours);
        orders.note_unit(unit(1, "a", Run::Start, "uid"));
        assert_eq!(told(&mut orders), None, "it is no news");
        assert!(orders.seen.borrow().is_ours);
        assert_eq!(orders.seen.borrow().report, Some(json!({"epoch": 1})));
    }

    #[test]
    fn what_cannot_be_read_changes_nothing() {
        let mut orders = orders();
        orders.note_secret(secret(&["a"]));
        orders.note_unit(unit(1, "a", Run::Start, "uid"));
        assert!(told(&mut orders).is_some());
        let mut broken =
            Unit::new("app-0", UnitSpec { assignment: Some(json!({"epoch": "x"})), ..UnitSpec::default() });
        broken.spec.pod_uid = Some("uid".to_owned());
        orders.note_unit(Event::Apply(broken));
        orders.note_secret(Event::Apply(Secret::default()));
        orders.note_unit(Event::Delete(Unit::new("app-0", UnitSpec::default())));
        assert_eq!(told(&mut orders), None);
    }
}
