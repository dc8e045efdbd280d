//! What Muster writes for a change of a deployment with 50 units and more, and what the operator weighs with it.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use muster_testkit::{Process, binaries, http, wait_until};
use muster_tests::kubernetes::{Operator, Site, s3_secret};
use serde_json::{Value, json};

use super::audit::{Audit, Writes, list, of_units, total};
use super::deployment::{SETTLED, base, settled, worker};
use super::{mebibytes, status};
use crate::Figure;

pub(super) const NAMESPACE: &str = "many";
const WORKER: &str = "mimir-many";
const UNITS: u32 = 50;
/// With the base's three units, a hundred.
const MANY: u32 = 97;
const ADDRESS: &str = "10.77.0.1:9001";
const WRITES_BAR: usize = 3;
const MEMORY_BAR: f64 = 30.0;
const SOON: Duration = Duration::from_secs(30);

/// An S3 server of the deployment's own, whose keys can change.
struct Store<'a> {
    directory: &'a Path,
    process: Option<Process>,
}

impl Store<'_> {
    async fn serve(&mut self, secret_key: &str) -> anyhow::Result<()> {
        self.process = None;
        let keys = self.directory.join("many-keys");
        fs::write(&keys, format!("AK\n{secret_key}"))?;
        let mut command = Command::new(binaries::path("object-store"));
        command.arg(self.directory.join("many-objects")).arg(ADDRESS).arg(&keys);
        self.process = Some(Process::spawn(&mut command, &self.directory.join("many-store.log"))?);
        let mut client = http::Client::new(&format!("http://{ADDRESS}"))?;
        let healthy = async || client.get(muster_local::object_store::HEALTH_PATH, SOON).await.ok();
        wait_until("the S3 server", SOON, healthy).await.map(drop)
    }
}

fn secret(key: &str) -> Value {
    let mut secret = s3_secret("s3", NAMESPACE);
    secret["stringData"]["endpoint"] = format!("http://{ADDRESS}").into();
    secret["stringData"]["access-key"] = "AK".into();
    secret["stringData"]["secret-key"] = key.into();
    secret
}

pub(super) async fn figures(
    site: &Site,
    audit: &Audit,
    operator: &mut Operator,
) -> anyhow::Result<Vec<Figure>> {
    let mut store = Store { directory: site.directory.path(), process: None };
    store.serve("first-key").await?;
    site.namespace(NAMESPACE).await;
    site.apply(NAMESPACE, &[secret("first-key")]).await;
    site.apply(NAMESPACE, &base()).await;
    site.apply(NAMESPACE, &[worker(WORKER, "mimir", UNITS, "read")]).await;
    settled(site, NAMESPACE, WORKER, UNITS).await?;
    audit.over().await?;
    let mut figures = Vec::new();

    let before = audit.now()?;
    site.patch_worker(NAMESPACE, WORKER, json!({ "units": UNITS + 1 })).await;
    settled(site, NAMESPACE, WORKER, UNITS + 1).await?;
    audit.over().await?;
    let writes = audit.since(before, Some(NAMESPACE))?;
    list(&format!("one unit joins {UNITS}"), &writes);
    let own = total(&audit.of_unit(before, NAMESPACE, &format!("{WORKER}-{UNITS}"))?);
    figures.push(Figure {
        what: format!("API writes, one unit joins {UNITS}: of its own objects (all: {})", total(&writes)),
        measured: own.to_string(),
        bar: WRITES_BAR.to_string(),
        holds: own <= WRITES_BAR,
    });

    let before = audit.now()?;
    store.serve("second-key").await?;
    site.apply(NAMESPACE, &[secret("second-key")]).await;
    // The units are moved one after the other at first, and none is before the new keys were tried: the worker may look settled.
    let told = async || audit.since(before, Some(NAMESPACE)).ok().filter(|w| of_units(w) > UNITS as usize);
    wait_until("units with new keys", SETTLED, told).await?;
    settled(site, NAMESPACE, WORKER, UNITS + 1).await?;
    audit.over().await?;
    figures.push(each("S3 rotation", UNITS + 4, &audit.since(before, Some(NAMESPACE))?));

    let before = audit.now()?;
    let roles = json!({"roles": {"read": false, "distributor": true}});
    site.patch_worker(NAMESPACE, WORKER, roles).await;
    settled(site, NAMESPACE, WORKER, UNITS + 1).await?;
    audit.over().await?;
    figures.push(each("role toggle", UNITS + 1, &audit.since(before, Some(NAMESPACE))?));

    let before = audit.now()?;
    site.patch_worker(NAMESPACE, WORKER, json!({ "units": MANY })).await;
    settled(site, NAMESPACE, WORKER, MANY).await?;
    audit.over().await?;
    figures.push(each("join", MANY - UNITS - 1, &audit.since(before, Some(NAMESPACE))?));

    let lived = operator.resident();
    operator.restart().await;
    operator.wait_leads(SOON).await;
    audit.over().await?;
    let memory = mebibytes(lived.max(operator.resident()));
    let program = status(operator.process().pid().as_raw(), "RssFile")?;
    anstream::println!(
        "  operator with 100 units: {:.1} MiB after all this, {:.1} MiB after a new start, {:.1} MiB of it the program itself",
        mebibytes(lived),
        mebibytes(operator.resident()),
        mebibytes(program)
    );
    figures.push(Figure {
        what: "operator with one deployment of 100 units, resident memory".to_owned(),
        measured: format!("{memory:.1} MiB"),
        bar: format!("{MEMORY_BAR} MiB"),
        holds: memory <= MEMORY_BAR,
    });
    Ok(figures)
}

/// A change of so many units.
fn each(what: &str, units: u32, writes: &Writes) -> Figure {
    list(&format!("{what} of {units} units"), writes);
    let all = total(writes);
    let per_unit = all as f64 / f64::from(units);
    Figure {
        what: format!("API writes, {what} of {units} units: per unit (all: {all})"),
        measured: format!("{per_unit:.2}"),
        bar: WRITES_BAR.to_string(),
        holds: per_unit <= WRITES_BAR as f64,
    }
}
