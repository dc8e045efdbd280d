//! What a model says of itself while it changes, and what becomes of the disks of units that went.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::ErrorKind;

use anyhow::{Context as _, bail};
use muster_api::{Document, Kind, ModelStatus, UnitView};
use muster_local::control::{Client, Request, Response};
use muster_model::{AppName, Product, WorkloadStatus};
use muster_testkit::model::Model;

use super::scene::Layout;
use crate::documents;

/// One unit, where there is such.
pub(super) fn unit<'a>(status: &'a ModelStatus, name: &str) -> Option<&'a UnitView> {
    let all = status.applications.values().flat_map(|app| &app.units);
    all.into_iter().find_map(|(unit, view)| (unit.to_string() == name).then_some(view))
}

/// The status; nothing while nobody answers.
pub(super) async fn status(model: &Model) -> Option<ModelStatus> {
    match Client::connect(&model.directory()).await.ok()?.ask(&Request::Status).await.ok()? {
        Response::Status { status } => Some(*status),
        _ => None,
    }
}

/// Makes `after` of `before`: all that is new or other in one edit, which switches off what goes for it, and right behind it the removal.
///
/// # Errors
/// It is refused.
pub(super) async fn edit(
    model: &Model,
    before: &Layout,
    after: &Layout,
    coordinator: &str,
) -> anyhow::Result<()> {
    let gone = before.0.iter().filter(|app| after.app(app.name).is_none());
    let mut text = after.documents(before, coordinator);
    let mut requests = Vec::new();
    if !text.is_empty() {
        text.extend(gone.clone().map(|app| documents::worker(app.name, coordinator, app.units, &[])));
        let documents = Document::parse_stream(&text)?;
        requests.push(Request::Apply { documents, create_only: false, edits: None });
    }
    let gone: Vec<AppName> = gone.map(|app| AppName::new(app.name)).collect::<Result<_, _>>()?;
    requests.extend(gone.into_iter().map(|name| Request::Delete { kind: Kind::Worker, name }));
    let mut client = Client::connect(&model.directory()).await?;
    for request in requests {
        match client.ask(&request).await? {
            Response::Done { .. } => {}
            Response::Refused { message } => bail!("refused: {message}"),
            other => bail!("a strange answer to an edit: {other:?}"),
        }
    }
    Ok(())
}

/// What is left until the model is as `layout` asks; empty once it is.
pub(crate) fn unsettled(status: &ModelStatus, product: Product, layout: &Layout) -> Vec<String> {
    let mut left = Vec::new();
    for (name, view) in &status.applications {
        if view.status.status != WorkloadStatus::Active {
            left.push(format!("{name} is {:?}: {}", view.status.status, view.status.message));
        }
        let is_worker = view.charm.contains("-worker-");
        if is_worker && layout.app(name.as_str()).is_none() {
            left.push(format!("{name} is still there"));
        }
    }
    for app in &layout.0 {
        let Some(view) = AppName::new(app.name).ok().and_then(|name| status.applications.get(&name)) else {
            left.push(format!("{} is not there", app.name));
            continue;
        };
        let names: BTreeSet<String> = view.units.keys().map(ToString::to_string).collect();
        if names != app.unit_names().collect() {
            left.push(format!("{} has the units {names:?}", app.name));
        }
        let assigned = app.assigned(product);
        for (name, unit) in &view.units {
            let runs = unit.roles.iter().copied().collect();
            if !unit.ready || !assigned.contains(&runs) {
                left.push(format!("{name} runs {runs}, ready: {}: {}", unit.ready, unit.status.message));
            }
        }
    }
    left
}

/// Wipes the disks of units that are gone, as soon as they are.
#[derive(Default)]
pub(super) struct Wiper {
    seen: BTreeSet<String>,
    /// The units whose disks were wiped.
    pub(super) wiped: BTreeSet<String>,
}

impl Wiper {
    /// Looks once. A unit of which a process still runs is left for the next time.
    ///
    /// # Errors
    /// A disk cannot be wiped.
    pub(super) fn look(&mut self, model: &Model, status: &ModelStatus) -> anyhow::Result<()> {
        let there: BTreeSet<String> =
            status.applications.values().flat_map(|app| app.units.keys().map(ToString::to_string)).collect();
        let gone: Vec<String> = self.seen.difference(&there).cloned().collect();
        self.seen.extend(there);
        if gone.is_empty() {
            return Ok(());
        }
        let running: BTreeSet<_> = model.processes().into_iter().filter_map(|process| process.unit).collect();
        for name in gone.into_iter().filter(|name| !running.contains(&name.replace('/', "-"))) {
            wipe(model, &name)?;
            self.seen.remove(&name);
            self.wiped.insert(name);
        }
        Ok(())
    }
}

/// Wipes a unit's disk.
///
/// # Errors
/// It cannot be wiped.
pub(super) fn wipe(model: &Model, unit: &str) -> anyhow::Result<()> {
    match fs::remove_dir_all(model.unit_directory(unit).join("data")) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("wiping the disk of {unit}"))
        }
        _ => Ok(()),
    }
}

/// How often the process of each unit was started so far, by what its agent has written. Units that are gone count too.
///
/// # Errors
/// The model's directory cannot be read.
pub(super) fn starts(model: &Model) -> anyhow::Result<BTreeMap<String, usize>> {
    let mut starts = BTreeMap::new();
    for entry in fs::read_dir(model.directory().join("units"))? {
        let entry = entry?;
        let label = entry.file_name().to_string_lossy().into_owned();
        let Some((app, number)) = label.rsplit_once('-') else { continue };
        let log = fs::read_to_string(entry.path().join("agent.log")).unwrap_or_default();
        starts.insert(format!("{app}/{number}"), log.matches("workload started").count());
    }
    Ok(starts)
}
