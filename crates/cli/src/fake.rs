//! A model in memory, for tests.

use std::collections::BTreeMap;

use jiff::Timestamp;
use muster_api::{
    ApplicationStatus, Document, FORMAT_VERSION, Kind, ModelStatus, TransitionPhase, TransitionStatus,
    TransitionWork, UnitView,
};
use muster_model::{AppName, Product, Role, Status, UnitName, WorkloadStatus};
use muster_planner::{Observed, Preview, plan, preview};

use crate::applications::Applications;
use crate::check;
use crate::failure::Failure;
use crate::substrate::{Depth, Proposal, Substrate, UnitLog, Write};

/// A coordinator `mimir`, its worker `mimir-read` and its store `s3`.
pub(crate) const MODEL: &str = "
{apiVersion: muster.dev/v1alpha1, kind: Coordinator, metadata: {name: mimir}, spec: {product: mimir, s3: {secret: s3}}}
---
apiVersion: muster.dev/v1alpha1
kind: Worker
metadata: {name: mimir-read}
spec: {product: mimir, coordinator: mimir, roles: {all: false, read: true}}
---
apiVersion: v1
kind: Secret
metadata: {name: s3}
type: muster.dev/s3
stringData: {endpoint: 'http://127.0.0.1:9000', bucket: mimir, access-key: key-id, secret-key: hunter2}
";

pub(crate) fn app(name: &str) -> AppName {
    AppName::new(name).unwrap()
}

/// [`MODEL`] and more documents.
pub(crate) fn documents(more: &str) -> Vec<Document> {
    Document::parse_stream(&format!("{MODEL}---\n{more}")).unwrap()
}

/// [`MODEL`] and more documents, as applications.
pub(crate) fn model(more: &str) -> Applications {
    Applications::new(documents(more))
}

/// A substrate that holds documents and does nothing with them.
#[derive(Debug, Default)]
pub(crate) struct Fake {
    pub(crate) documents: Vec<Document>,
    /// Answers of `status`, the last one for ever.
    pub(crate) statuses: Vec<ModelStatus>,
    pub(crate) logs: Vec<UnitLog>,
    /// Every write, in order.
    pub(crate) writes: Vec<String>,
    pub(crate) left_out: Vec<String>,
    pub(crate) shared: bool,
}

impl Fake {
    pub(crate) fn with_model(more: &str) -> Self {
        Self { documents: documents(more), ..Self::default() }
    }

    pub(crate) fn applications(&self) -> Applications {
        Applications::new(self.documents.clone())
    }

    fn position(&self, kind: Kind, name: &AppName) -> Option<usize> {
        self.documents.iter().position(|d| d.kind() == kind && d.name().as_ref() == Ok(name))
    }
}

impl Substrate for Fake {
    async fn documents(&mut self) -> Result<Vec<Document>, Failure> {
        Ok(self.documents.clone())
    }

    async fn apply(&mut self, documents: Vec<Document>, write: Write) -> Result<bool, Failure> {
        let before = self.documents.clone();
        for document in documents {
            let name = document.name().map_err(Failure::new)?;
            self.writes.push(format!("{write:?} {} {name}", document.kind()));
            match self.position(document.kind(), &name) {
                Some(_) if write == Write::Create => {
                    self.documents = before;
                    return Err(Failure::new(format!("{name} is there already")));
                }
                Some(position) => self.documents[position] = document,
                None => self.documents.push(document),
            }
        }
        Ok(self.documents != before)
    }

    async fn delete(&mut self, kind: Kind, name: &AppName) -> Result<bool, Failure> {
        self.writes.push(format!("Delete {kind} {name}"));
        let position = self.position(kind, name);
        position.map(|position| self.documents.remove(position));
        Ok(position.is_some())
    }

    /// As if the documents had been published, by units that never come.
    async fn preview(
        &mut self,
        proposal: Proposal,
        depth: Depth,
        only: Option<&AppName>,
    ) -> Result<BTreeMap<AppName, Preview>, Failure> {
        let observe = |documents: &[Document]| -> BTreeMap<AppName, Observed> {
            let observed = check::observe(&check::named(documents)).into_iter();
            observed.map(|(observed, _)| (observed.name.clone(), observed)).collect()
        };
        let edits = proposal != Proposal::Nothing;
        let mut edited = self.documents.clone();
        let documents = match proposal {
            Proposal::Nothing => Vec::new(),
            Proposal::Edit(documents) => documents,
            Proposal::Remove(documents, kind, name) => {
                edited.retain(|d| !(d.kind() == kind && d.name().as_ref() == Ok(&name)));
                documents
            }
            Proposal::File(documents) => documents.into_iter().map(|(document, _)| document).collect(),
        };
        for document in documents {
            let name = document.name().map_err(Failure::new)?;
            edited.retain(|d| !(d.kind() == document.kind() && d.name().as_ref() == Ok(&name)));
            edited.push(document);
        }
        let before = observe(&self.documents);
        let mut previews = BTreeMap::new();
        for (name, mut after) in observe(&edited) {
            let mut published = None;
            if let Some(before) = before.get(&name) {
                after.carry = plan(before, Timestamp::UNIX_EPOCH).carry;
                published = preview(None, before, None).balancer.after;
            }
            if only.is_none_or(|only| *only == name) {
                let before = before.get(&name);
                let preview = preview(before, &after, published);
                let preview = match depth {
                    Depth::Documents => preview,
                    Depth::Steps => preview.with_forecast(before, &after, edits),
                };
                previews.insert(name.clone(), preview);
            }
        }
        Ok(previews)
    }

    async fn status(&mut self) -> Result<ModelStatus, Failure> {
        if self.statuses.len() > 1 {
            return Ok(self.statuses.remove(0));
        }
        self.statuses.first().cloned().ok_or_else(|| Failure::new("the test gives no status"))
    }

    async fn logs(&mut self, lines: usize) -> Result<Vec<UnitLog>, Failure> {
        let last = |log: &UnitLog| UnitLog {
            unit: log.unit.clone(),
            lines: log
                .lines
                .as_ref()
                .map(|all| all[all.len().saturating_sub(lines)..].to_vec())
                .map_err(Clone::clone),
        };
        Ok(self.logs.iter().map(last).collect())
    }

    async fn abandon_data(&mut self, unit: &UnitName, lost: &str) -> Result<(), Failure> {
        self.writes.push(format!("Abandon {unit}: {lost}"));
        Ok(())
    }

    fn left_out(&self) -> &[String] {
        &self.left_out
    }

    fn is_shared(&self) -> bool {
        self.shared
    }
}

/// An application's status with `units` active units.
pub(crate) fn application(
    charm: &str,
    status: WorkloadStatus,
    message: &str,
    scale: u32,
) -> ApplicationStatus {
    ApplicationStatus {
        charm: charm.to_owned(),
        product: Some(Product::Mimir),
        status: Status::new(status, message),
        scale,
        roles: Vec::new(),
        relations: BTreeMap::new(),
        remote_write: Vec::new(),
        conditions: Vec::new(),
        coverage: None,
        revision: None,
        rollout: None,
        transition: None,
        endpoints: BTreeMap::new(),
        abandoned: Vec::new(),
        units: BTreeMap::new(),
    }
}

/// One unit's status.
pub(crate) fn unit(status: WorkloadStatus, message: &str, address: &str, roles: &[Role]) -> UnitView {
    UnitView {
        status: Status::new(status, message),
        address: Some(address.to_owned()),
        roles: roles.to_vec(),
        revision: Some("0123456789abcdef".to_owned()),
        ready: status == WorkloadStatus::Active,
        restarts: 0,
        at_risk: None,
    }
}

/// A status of these applications.
pub(crate) fn model_status(
    applications: impl IntoIterator<Item = (&'static str, ApplicationStatus)>,
) -> ModelStatus {
    ModelStatus {
        format_version: FORMAT_VERSION,
        problem: None,
        model: "default".to_owned(),
        context: None,
        substrate: "local".to_owned(),
        applications: applications.into_iter().map(|(name, status)| (app(name), status)).collect(),
    }
}

/// The status of [`MODEL`] while its second read unit starts.
pub(crate) fn starting() -> ModelStatus {
    use WorkloadStatus::{Active, Blocked, Waiting};
    let mut mimir = application(
        "mimir-coordinator-k8s",
        Blocked,
        "missing required roles: alertmanager, compactor, ruler, store-gateway; switch them on: muster config mimir-read role-backend=true",
        1,
    );
    mimir.relations.insert("s3".to_owned(), app("s3"));
    mimir.endpoints.insert("push".to_owned(), "http://127.77.0.2:8080/api/v1/push".to_owned());
    mimir.endpoints.insert("query".to_owned(), "http://127.77.0.2:8080/prometheus".to_owned());
    mimir.units.insert(app("mimir").unit(0), unit(Active, "", "127.77.0.2", &[]));
    let mut read = application("mimir-worker-k8s", Waiting, "1 of 2 units is ready", 3);
    read.relations.insert("cluster".to_owned(), app("mimir"));
    let roles = [Role::Querier, Role::QueryFrontend];
    read.units.insert(app("mimir-read").unit(0), unit(Active, "", "127.77.0.3", &roles));
    read.units.insert(app("mimir-read").unit(10), unit(Waiting, "starting", "127.77.0.4", &roles));
    read.units.insert(app("mimir-read").unit(2), unit(Active, "", "127.77.0.5", &roles));
    let mut s3 = application("s3-integrator", Active, "", 0);
    s3.product = None;
    model_status([("mimir", mimir), ("mimir-read", read), ("s3", s3)])
}

/// The same while units of `mimir-read` go, one of which cannot yet.
pub(crate) fn in_transition() -> ModelStatus {
    let mut status = starting();
    let phase =
        |work, units: &str, total, done| TransitionPhase { work, units: units.to_owned(), total, done };
    let message = "transition 2/3: draining mimir-read/10 (2 blocks), 1 more to follow; edited half-way, mimir-read/2 taken back";
    let why = "mimir-read/10, which keeps what is not in the object store yet (2 blocks)";
    let transition = TransitionStatus {
        message: message.to_owned(),
        phase: 2,
        phases: vec![
            phase(TransitionWork::MakeReady, "mimir-write/0…/2", 3, 3),
            phase(TransitionWork::Drain, "mimir-read/10…/12", 3, 1),
            phase(TransitionWork::Remove, "mimir-read/10…/12", 3, 1),
        ],
        waits_for: vec![why.to_owned()],
        edited: vec!["mimir-read/2: taken back, nothing was begun".to_owned()],
    };
    if let Some(mimir) = status.applications.get_mut(&app("mimir")) {
        mimir.status = Status::new(WorkloadStatus::Maintenance, message);
        mimir.transition = Some(transition);
    }
    status
}
