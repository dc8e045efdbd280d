//! The channel on Kubernetes: the agent watches one Secret, with what its cluster shares, and its own Unit, with what it is to run.
//! Its reports go into that Unit's status.
//!
//! Neither an API server that is away nor one that refuses keeps the agent from its work: what runs goes on, and both directions are
//! tried again.

mod orders;
mod reports;

use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client};
use muster_api::Unit;
use muster_model::UnitName;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::Ends;

/// The longest wait between two tries.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// The wait after the first failure.
const FIRST_WAIT: Duration = Duration::from_millis(200);

/// Where a unit finds its orders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The namespace of the Secret and the Unit.
    pub namespace: String,
    /// The Secret of the cluster relation.
    pub secret: String,
}

/// What is known of the Unit's status.
#[derive(Debug, Clone, Default, PartialEq)]
struct Seen {
    /// Whether there is a Unit, and it is this pod's.
    is_ours: bool,
    /// The report that it holds.
    report: Option<serde_json::Value>,
}

/// Carries orders and reports until the agent's side of the channel is gone; then the last report is written, if it can be at once.
pub(crate) fn start(place: Place, unit: &UnitName, instance: String, ends: Ends) -> JoinHandle<()> {
    // A StatefulSet's pods, and their Units, are named so.
    let name = format!("{}-{}", unit.application(), unit.number());
    tokio::spawn(async move {
        let client = connect().await;
        let units: Api<Unit> = Api::namespaced(client.clone(), &place.namespace);
        let secrets: Api<Secret> = Api::namespaced(client, &place.namespace);
        let (seen_sender, seen) = watch::channel(Seen::default());
        let orders = orders::Orders::new(name.clone(), instance, ends.updates, seen_sender);
        let writes = reports::write(units.clone(), name, ends.reports, seen);
        tokio::select! {
            () = orders.carry(units, secrets, &place.secret) => {}
            () = writes => {}
        }
    })
}

/// The pod's own identity, or a kubeconfig where there is none.
async fn connect() -> Client {
    let mut failures = 0;
    loop {
        match Client::try_default().await {
            Ok(client) => return client,
            Err(error) => {
                tracing::warn!(%error, "no way to the API server");
                failures += 1;
                sleep(wait(failures)).await;
            }
        }
    }
}

/// The wait after so many failures in a row: doubled each time, and anything from half of it to all of it, so that agents that failed
/// together do not come back together.
fn wait(failures: u32) -> Duration {
    let full =
        FIRST_WAIT.saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1).min(16))).min(LONGEST_WAIT);
    full.mul_f64(0.5 + fastrand::f64() / 2.0)
}

/// [`wait`] as the watches' own.
struct Backoff {
    failures: u32,
}

impl Iterator for Backoff {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        self.failures = self.failures.saturating_add(1);
        Some(wait(self.failures))
    }
}

impl kube::runtime::utils::Backoff for Backoff {
    fn reset(&mut self) {
        self.failures = 0;
    }
}
