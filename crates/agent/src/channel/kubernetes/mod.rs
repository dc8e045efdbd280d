//! The channel on Kubernetes: the agent watches one Secret, with what its cluster shares, and its own Unit, with what it is to run.
//! Its reports go into that Unit's status.
//!
//! Neither an API server that is away nor one that refuses keeps the agent from its work: what runs goes on, and both directions are
//! tried again.

#[cfg(test)]
mod fake;
mod orders;
mod reports;
#[cfg(test)]
mod tests;

use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client, Config};
use muster_api::Unit;
use muster_model::UnitName;
use muster_relation::Report;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::Ends;

/// The longest wait between two tries.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// The wait after the first failure.
const FIRST_WAIT: Duration = Duration::from_millis(200);
/// How long a connection may be silent while an answer is due. Watches hear from a living API server about once a minute.
const SILENCE: Duration = Duration::from_secs(150);

/// Where a unit finds its orders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The namespace of the Secret and the Unit.
    pub namespace: String,
    /// The Secret of the cluster relation.
    pub secret: String,
}

/// What the watch last said of the Unit.
#[derive(Debug, Clone, Default, PartialEq)]
struct Seen {
    /// Whether there is a Unit, and its status is this pod's to write.
    is_ours: bool,
    /// Grows with every change of the Unit. Absent: there is none, or the API server counts in a way of its own.
    version: Option<u64>,
    /// The report that it holds.
    report: Option<serde_json::Value>,
}

/// The order of a Unit's states.
fn version(unit: &Unit) -> Option<u64> {
    unit.metadata.resource_version.as_ref()?.parse().ok()
}

/// Carries orders and reports until the agent's side of the channel is gone; then the last report is written, if it can be at once.
pub(crate) fn start(place: Place, unit: &UnitName, instance: String, ends: Ends) -> JoinHandle<()> {
    // A StatefulSet's pods, and their Units, are named so.
    let name = format!("{}-{}", unit.application(), unit.number());
    tokio::spawn(async move {
        tokio::select! {
            client = connect() => carry(client, place, name, instance, ends).await,
            () = ended(ends.reports.clone()) => {}
        }
    })
}

async fn carry(client: Client, place: Place, name: String, instance: String, ends: Ends) {
    let units: Api<Unit> = Api::namespaced(client.clone(), &place.namespace);
    let secrets: Api<Secret> = Api::namespaced(client, &place.namespace);
    let (seen_sender, seen) = watch::channel(Seen::default());
    let orders = orders::Orders::new(name.clone(), instance, ends.updates, seen_sender);
    let writes = reports::write(units.clone(), name, ends.reports, seen);
    tokio::select! {
        () = orders.carry(units, secrets, &place.secret) => {}
        () = writes => {}
    }
}

/// Waits until there will be no more reports.
async fn ended(mut reports: watch::Receiver<Report>) {
    while reports.changed().await.is_ok() {}
}

/// The way to the API server, once there is what it takes to know it.
async fn connect() -> Client {
    let mut failures = 0;
    loop {
        match client().await {
            Ok(client) => return client,
            Err(error) => {
                tracing::warn!(%error, "no way to the API server");
                failures += 1;
                sleep(wait(failures)).await;
            }
        }
    }
}

/// The pod's own identity, or a kubeconfig where there is one.
async fn client() -> Result<Client, kube::Error> {
    let mut config = Config::infer().await.map_err(kube::Error::InferConfig)?;
    // Both directions try again by themselves, and wait less long.
    config.default_retry = false;
    config.read_timeout = Some(SILENCE);
    config.reset_reader_on_write = true;
    Client::try_from(config)
}

/// The wait after so many failures in a row: doubled each time, and anything from half of it to all of it, so that agents that failed
/// together do not come back together.
fn wait(failures: u32) -> Duration {
    let full =
        FIRST_WAIT.saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1).min(16))).min(LONGEST_WAIT);
    full.mul_f64(0.5 + fastrand::f64() / 2.0)
}
