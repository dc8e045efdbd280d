//! A model on a cluster: the coordinators, workers and Secrets of one namespace, reached through the API server.
//!
//! [`connect`] finds the cluster, [`documents`] turns objects into documents and edits into patches, [`view`] puts
//! what the operator and the agents report into the words of `muster status`, [`refusal`] says what the API server
//! refused. Here are the requests.

mod connect;
mod documents;
mod proxy;
mod refusal;
#[cfg(test)]
mod tests;
mod view;

use std::collections::BTreeMap;
use std::future::Future;
use std::time::Duration;

use futures::future::join_all;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::api::{
    Api, ApiResource, DeleteParams, DynamicObject, ListParams, LogParams, Patch, PatchParams, PostParams,
};
use kube::{Client, Resource, ResourceExt as _};
use muster_api::{Coordinator, Document, Kind, ModelStatus, S3_SECRET_TYPE, Unit, Worker};
use muster_kubernetes::PreviewError;
use muster_local::EditError;
use muster_manifests::names::{
    APPLICATION_LABEL, CONSENT_ANNOTATIONS, MANAGED_BY_LABEL, MANAGER, WORKLOAD_CONTAINER, pod_name,
    unit_number,
};
use muster_model::{AppName, UnitName};
use muster_planner::{Consent, Preview};
use serde_json::json;
use tokio::time::timeout;

use crate::applications::TLS_SECRET_TYPE;
use crate::failure::Failure;
use crate::substrate::{Depth, Proposal, Substrate, UnitLog, Write};

pub(crate) use connect::is_cluster_known;
use documents::{Found, patch};
use refusal::Refusal;
use view::Seen;

/// How long one request may take.
const DEADLINE: Duration = Duration::from_secs(10);
/// How long it may take to read all that a preview depends on: several requests, of which one brings all pods of a namespace.
const PREVIEW_DEADLINE: Duration = Duration::from_secs(30);
/// How many logs are read at the same time.
const LOGS_AT_ONCE: usize = 8;
/// The field manager of the verbs' writes. The operator's is another: it owns no spec.
const FIELD_MANAGER: &str = "muster-cli";

/// The namespace of a cluster.
pub(crate) struct Kubernetes {
    client: Client,
    namespace: String,
    /// The kubeconfig context, unless this is a pod's own cluster.
    context: Option<String>,
    /// The API server's URL, for messages.
    server: String,
    /// The documents as they were read last, against which edits are made.
    read: BTreeMap<(Kind, AppName), Document>,
    /// What the last reading left out.
    left_out: Vec<String>,
}

impl Kubernetes {
    fn new(client: Client, namespace: String, context: Option<String>, server: String) -> Self {
        Self { client, namespace, context, server, read: BTreeMap::new(), left_out: Vec::new() }
    }

    /// Waits for one request.
    async fn ask<T>(&self, request: impl Future<Output = kube::Result<T>>) -> Result<T, Refusal> {
        match timeout(DEADLINE, request).await {
            Ok(answer) => answer.map_err(Refusal::from),
            Err(_) => Err(Refusal::Silent),
        }
    }

    /// A refusal in words.
    fn failure(&self, refusal: Refusal) -> Failure {
        refusal.failure(&self.server, &self.namespace)
    }

    fn objects(&self, kind: Kind) -> Api<DynamicObject> {
        let resource = match kind {
            Kind::Coordinator => ApiResource::erase::<Coordinator>(&()),
            Kind::Worker => ApiResource::erase::<Worker>(&()),
            Kind::Secret => ApiResource::erase::<Secret>(&()),
        };
        Api::namespaced_with(self.client.clone(), &self.namespace, &resource)
    }

    async fn applications(&self, kind: Kind) -> Result<Vec<Found>, Refusal> {
        let api = self.objects(kind);
        let listed = self.ask(api.list(&ListParams::default())).await?;
        Ok(listed.items.into_iter().filter_map(|object| Found::new(kind, object)).collect())
    }

    /// The Secrets of one type, or nothing where they may not be read.
    async fn secrets(&self, kind: &str) -> Result<Option<Vec<Secret>>, Refusal> {
        let api: Api<Secret> = Api::namespaced(self.client.clone(), &self.namespace);
        match self.ask(api.list(&ListParams::default().fields(&format!("type={kind}")))).await {
            Ok(listed) => Ok(Some(listed.items)),
            Err(refusal) if refusal.is_forbidden() => Ok(None),
            Err(refusal) => Err(refusal),
        }
    }

    async fn units(&self) -> Result<Vec<DynamicObject>, Refusal> {
        let units = ApiResource::erase::<Unit>(&());
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), &self.namespace, &units);
        Ok(self.ask(api.list(&ListParams::default())).await?.items)
    }

    fn secrets_hidden(&self) -> String {
        format!(
            "Secrets of namespace {} may not be read with these credentials: object stores and certificates are left out",
            self.namespace
        )
    }

    /// One write, or a trial of it. Answers what is there after it.
    async fn write(&self, edit: &Edit, trial: bool) -> Result<DynamicObject, Failure> {
        let api = self.objects(edit.document.kind());
        let field_manager = Some(FIELD_MANAGER.to_owned());
        let written = match &edit.patch {
            None => {
                let params = PostParams { dry_run: trial, field_manager };
                let object = documents::object(&edit.document)?;
                self.ask(api.create(&params, &object)).await
            }
            Some(patch) => {
                let params = PatchParams { dry_run: trial, field_manager, ..PatchParams::default() };
                self.ask(api.patch(edit.name.as_str(), &params, &Patch::Merge(patch))).await
            }
        };
        written.map_err(|refusal| match refusal {
            refusal if refusal.is_already_exists() => Failure::new(EditError::Exists(edit.name.clone())),
            // Somebody else edited or deleted it.
            refusal if refusal.is_conflict() || refusal.is_object_gone() => Failure::Stale,
            refusal => self.failure(refusal),
        })
    }

    /// Remembers what was written, so that the verb's own edit is no reason to refuse its next one.
    fn remember(&mut self, edit: &Edit, written: DynamicObject) {
        let mut document = edit.document.clone();
        documents::metadata_mut(&mut document).resource_version = written.metadata.resource_version;
        self.read.insert((document.kind(), edit.name.clone()), document);
    }

    async fn log(&self, pod: &str, lines: usize) -> Result<Result<Vec<String>, String>, Failure> {
        let api: Api<Pod> = Api::namespaced(self.client.clone(), &self.namespace);
        let params = LogParams {
            container: Some(WORKLOAD_CONTAINER.to_owned()),
            tail_lines: Some(i64::try_from(lines).unwrap_or(i64::MAX)),
            ..LogParams::default()
        };
        match self.ask(api.logs(pod, &params)).await {
            Ok(text) => Ok(Ok(text.lines().map(str::to_owned).collect())),
            Err(refusal) if refusal.is_denied() => Err(self.failure(refusal)),
            // The container does not run yet, its pod is gone, or its node does not answer.
            Err(Refusal::Server(status)) => Ok(Err(status.message)),
            Err(refusal) => Err(self.failure(refusal)),
        }
    }
}

/// One document that is to be written.
struct Edit {
    name: AppName,
    document: Document,
    /// What to change of what is there; `None` makes it.
    patch: Option<serde_json::Value>,
}

/// Documents as the API server takes them.
fn values(documents: Vec<Document>) -> Result<Vec<serde_json::Value>, Failure> {
    documents.into_iter().map(|document| serde_json::to_value(document).map_err(Failure::new)).collect()
}

fn names(edits: &[Edit]) -> String {
    edits.iter().map(|edit| edit.name.as_str()).collect::<Vec<_>>().join(", ")
}

impl Substrate for Kubernetes {
    async fn documents(&mut self) -> Result<Vec<Document>, Failure> {
        let (coordinators, workers, stores, certificates) = tokio::try_join!(
            self.applications(Kind::Coordinator),
            self.applications(Kind::Worker),
            self.secrets(S3_SECRET_TYPE),
            self.secrets(TLS_SECRET_TYPE),
        )
        .map_err(|refusal| self.failure(refusal))?;
        self.left_out.clear();
        if stores.is_none() || certificates.is_none() {
            self.left_out.push(self.secrets_hidden());
        }
        let mut read = Vec::new();
        for found in coordinators.into_iter().chain(workers) {
            match found.document {
                Ok(document) => read.push(document),
                Err(problem) => self.left_out.push(format!("{} {}: {problem}", found.kind, found.name)),
            }
        }
        let secrets = stores.into_iter().chain(certificates).flatten();
        read.extend(secrets.map(documents::of_secret));
        self.read = read
            .iter()
            .filter_map(|document| Some(((document.kind(), document.name().ok()?), document.clone())))
            .collect();
        Ok(read)
    }

    async fn apply(&mut self, documents: Vec<Document>, write: Write) -> Result<bool, Failure> {
        let mut edits = Vec::new();
        for document in documents {
            let name = document.name().map_err(Failure::new)?;
            let before = match write {
                Write::Create => None,
                Write::Replace => self.read.get(&(document.kind(), name.clone())),
            };
            let Some(before) = before else {
                edits.push(Edit { name, document, patch: None });
                continue;
            };
            if documents::metadata(before).deletion_timestamp.is_some() {
                return Err(Failure::new(EditError::Removing(name)));
            }
            if let Some(patch) = patch(before, &document)? {
                edits.push(Edit { name, document, patch: Some(patch) });
            }
        }
        // One write is all or nothing by itself. Of several, all are tried before the first is made.
        if edits.len() > 1 {
            for edit in &edits {
                self.write(edit, true).await?;
            }
        }
        for (before, edit) in edits.iter().enumerate() {
            let written = self.write(edit, false).await.map_err(|failure| match edits.get(..before) {
                None | Some([]) => failure,
                Some(made) => failure.hint(format!("changed before that: {}", names(made))),
            })?;
            self.remember(edit, written);
        }
        Ok(!edits.is_empty())
    }

    async fn delete(&mut self, kind: Kind, name: &AppName) -> Result<bool, Failure> {
        let read = self.read.get(&(kind, name.clone()));
        let going = read.is_some_and(|document| documents::metadata(document).deletion_timestamp.is_some());
        let api = self.objects(kind);
        match self.ask(api.delete(name.as_str(), &DeleteParams::background())).await {
            Ok(_) => Ok(!going),
            Err(refusal) if refusal.is_object_gone() => Ok(false),
            Err(refusal) => Err(self.failure(refusal)),
        }
    }

    async fn preview(
        &mut self,
        proposal: Proposal,
        depth: Depth,
        only: Option<&AppName>,
    ) -> Result<BTreeMap<AppName, Preview>, Failure> {
        let proposal = match proposal {
            Proposal::Nothing => muster_kubernetes::Proposal::Replace(Vec::new()),
            Proposal::Edit(documents) => muster_kubernetes::Proposal::Replace(values(documents)?),
            Proposal::Remove(documents, kind, name) => {
                let removed = (kind.to_string(), name.to_string());
                muster_kubernetes::Proposal::Remove(values(documents)?, removed)
            }
            Proposal::File(documents) => muster_kubernetes::Proposal::Apply(
                documents.into_iter().map(|(_, written)| written).collect(),
            ),
        };
        let look =
            muster_kubernetes::preview(&self.client, &self.namespace, &proposal, depth == Depth::Steps, only);
        match timeout(PREVIEW_DEADLINE, look).await {
            Ok(Ok(previews)) => Ok(previews),
            Ok(Err(PreviewError::Refused(message))) => Err(Failure::new(message)),
            Ok(Err(PreviewError::Request(error))) => Err(match Refusal::from(error) {
                // The API server names the right that is missing.
                Refusal::Server(status) if status.code == refusal::FORBIDDEN => {
                    Failure::new(format!("the API server refuses: {}", status.message)).hint(format!(
                        "a preview reads the coordinators, workers, units, pods and statefulsets of namespace {}, and the Secrets of \
                         the coordinator: its object store's, its certificate's, its -cluster and its -balancer",
                        self.namespace
                    ))
                }
                refusal => self.failure(refusal),
            }),
            Err(_) => Err(self.failure(Refusal::Silent)),
        }
    }

    async fn status(&mut self) -> Result<ModelStatus, Failure> {
        let (coordinators, workers, stores, units) = tokio::try_join!(
            self.applications(Kind::Coordinator),
            self.applications(Kind::Worker),
            self.secrets(S3_SECRET_TYPE),
            self.units(),
        )
        .map_err(|refusal| self.failure(refusal))?;
        let problem = stores.is_none().then(|| self.secrets_hidden());
        let seen = Seen { coordinators, workers, stores: stores.unwrap_or_default(), units };
        Ok(ModelStatus {
            context: self.context.clone(),
            problem,
            ..view::model_status(&self.namespace, &seen)
        })
    }

    async fn logs(&mut self, lines: usize) -> Result<Vec<UnitLog>, Failure> {
        let api: Api<Pod> = Api::namespaced(self.client.clone(), &self.namespace);
        let ours = ListParams::default().labels(&format!("{MANAGED_BY_LABEL}={MANAGER}"));
        let pods = self.ask(api.list(&ours)).await.map_err(|refusal| self.failure(refusal))?;
        let mut units: Vec<(UnitName, String)> = pods.iter().filter_map(unit_of).collect();
        units.sort();
        let mut logs = Vec::new();
        for some in units.chunks(LOGS_AT_ONCE) {
            let read = join_all(some.iter().map(|(_, pod)| self.log(pod, lines))).await;
            for ((unit, _), lines) in some.iter().zip(read) {
                logs.push(UnitLog { unit: unit.to_string(), lines: lines? });
            }
        }
        Ok(logs)
    }

    /// Notes the consent beside what the unit belongs to: whoever may edit a worker may write that, and nobody needs a right on Units.
    async fn abandon_data(&mut self, unit: &UnitName, lost: &str) -> Result<(), Failure> {
        let units = ApiResource::erase::<Unit>(&());
        let units: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), &self.namespace, &units);
        let there = self.ask(units.get(&pod_name(unit))).await.map_err(|refusal| self.failure(refusal))?;
        let spec = &there.data["spec"];
        let consent = Consent::new(
            spec["podUID"].as_str().map(str::to_owned),
            spec["assignment"]["epoch"].as_u64(),
            lost.to_owned(),
            Timestamp::now(),
        );
        let consent = serde_json::to_string(&consent).map_err(Failure::new)?;
        let name = unit.application().as_str();
        let kind = if spec["coordinator"].as_str() == Some(name) { Kind::Coordinator } else { Kind::Worker };
        let annotation = format!("{CONSENT_ANNOTATIONS}{}", unit.number());
        let patch = json!({ "metadata": { "annotations": { annotation: consent } } });
        let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        let api = self.objects(kind);
        let written = self.ask(api.patch(name, &params, &Patch::Merge(&patch))).await;
        written.map(drop).map_err(|refusal| self.failure(refusal))
    }

    fn pace(&self) -> Duration {
        Duration::from_secs(1)
    }

    fn left_out(&self) -> &[String] {
        &self.left_out
    }

    fn is_shared(&self) -> bool {
        true
    }
}

/// The unit that a pod is, and the pod's name.
fn unit_of(pod: &Pod) -> Option<(UnitName, String)> {
    let application = AppName::new(pod.meta().labels.as_ref()?.get(APPLICATION_LABEL)?.as_str()).ok()?;
    let name = pod.name_any();
    Some((application.unit(unit_number(&application, &name)?), name))
}
