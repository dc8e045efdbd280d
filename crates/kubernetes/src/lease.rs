//! One operator acts at a time: the holder of a Lease.
//!
//! No clocks are compared. Whoever is not the holder takes the lease over after it has not changed for its whole duration by
//! the observer's own clock; the holder gives up before that if it could not renew. A clean end releases the lease, so that the
//! next one need not wait.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::{Api, PostParams};
use tokio::time::{Instant, sleep, timeout};

/// How long others wait for a holder that is silent. The number of client-go's leader election.
const DURATION: Duration = Duration::from_secs(15);
/// After which silence of the API server the holder gives up: earlier than others may take over.
const RENEW_DEADLINE: Duration = Duration::from_secs(10);
/// How often the holder renews.
const RENEW: Duration = Duration::from_secs(5);
/// How often others look, and how soon a failed renewal is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// A candidate for the lease.
#[derive(Clone)]
pub(crate) struct Election {
    api: Api<Lease>,
    name: String,
    identity: String,
}

/// What was seen of the lease, and since when it has not changed.
#[derive(Debug)]
struct Seen {
    version: Option<String>,
    since: Instant,
}

impl Election {
    /// A candidate with an identity that no other process has.
    pub(crate) fn new(api: Api<Lease>, name: &str, identity: &str) -> Self {
        Self { api, name: name.to_owned(), identity: identity.to_owned() }
    }

    /// Waits until this candidate holds the lease. Answers since when: others count from the write, which was not before.
    pub(crate) async fn win(&self) -> Instant {
        let mut seen: Option<Seen> = None;
        loop {
            let asked = Instant::now();
            match timeout(RENEW, self.try_win(&mut seen)).await {
                Ok(Ok(true)) => return asked,
                Ok(Ok(false)) => {}
                Ok(Err(error)) => tracing::warn!(%error, lease = self.name, "cannot try to get the lease"),
                Err(_) => tracing::warn!(lease = self.name, "the API server does not answer about the lease"),
            }
            sleep(RETRY).await;
        }
    }

    async fn try_win(&self, seen: &mut Option<Seen>) -> kube::Result<bool> {
        let Some(lease) = self.api.get_opt(&self.name).await? else {
            let metadata = ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() };
            let lease = Lease { metadata, spec: Some(self.spec(None)) };
            return conflict_is_no(self.api.create(&PostParams::default(), &lease).await);
        };
        let version = lease.metadata.resource_version.clone();
        let holder = lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_deref()).unwrap_or_default();
        let unchanged = match seen {
            Some(seen) if seen.version == version => seen.since.elapsed(),
            _ => {
                *seen = Some(Seen { version, since: Instant::now() });
                Duration::ZERO
            }
        };
        let duration = lease.spec.as_ref().and_then(|spec| spec.lease_duration_seconds);
        let duration = duration.and_then(|s| u64::try_from(s).ok()).map_or(DURATION, Duration::from_secs);
        if !holder.is_empty() && holder != self.identity && unchanged < duration {
            return Ok(false);
        }
        let spec = self.spec(lease.spec.as_ref());
        let next = Lease { spec: Some(spec), ..lease };
        conflict_is_no(self.api.replace(&self.name, &PostParams::default(), &next).await)
    }

    /// Renews the lease that is held `since`; returns when it is lost.
    pub(crate) async fn keep(&self, since: Instant) {
        let mut renewed = since;
        loop {
            sleep(if renewed.elapsed() < RENEW { RENEW } else { RETRY }).await;
            let left = RENEW_DEADLINE.saturating_sub(renewed.elapsed());
            let asked = Instant::now();
            match timeout(left.max(Duration::from_millis(1)), self.renew()).await {
                Ok(Ok(true)) => renewed = asked,
                Ok(Ok(false)) => {
                    tracing::error!(lease = self.name, "another operator holds the lease");
                    return;
                }
                Ok(Err(error)) => tracing::warn!(%error, lease = self.name, "cannot renew the lease"),
                Err(_) => tracing::warn!(lease = self.name, "the API server does not answer about the lease"),
            }
            if renewed.elapsed() >= RENEW_DEADLINE {
                tracing::error!(lease = self.name, "the lease could not be renewed in time");
                return;
            }
        }
    }

    async fn renew(&self) -> kube::Result<bool> {
        let Some(mut lease) = self.api.get_opt(&self.name).await? else { return Ok(false) };
        let Some(spec) = &mut lease.spec else { return Ok(false) };
        if spec.holder_identity.as_ref() != Some(&self.identity) {
            return Ok(false);
        }
        spec.renew_time = Some(MicroTime(Timestamp::now()));
        // A conflict means that somebody wrote in between; the next look tells whether the lease is lost.
        self.api.replace(&self.name, &PostParams::default(), &lease).await.map(|_| true)
    }

    /// Lets others take over at once. To be called after all work has ended.
    pub(crate) async fn release(&self) {
        let released = timeout(RETRY, async {
            let Some(mut lease) = self.api.get_opt(&self.name).await? else { return Ok(()) };
            match &mut lease.spec {
                Some(spec) if spec.holder_identity.as_ref() == Some(&self.identity) => {
                    spec.holder_identity = Some(String::new());
                }
                _ => return Ok(()),
            }
            self.api.replace(&self.name, &PostParams::default(), &lease).await.map(drop)
        });
        match released.await {
            Ok(Ok(())) => tracing::info!(lease = self.name, "lease released"),
            Ok(Err(error)) => tracing::warn!(%error, lease = self.name, "cannot release the lease"),
            Err(_) => tracing::warn!(lease = self.name, "no time to release the lease"),
        }
    }

    fn spec(&self, before: Option<&LeaseSpec>) -> LeaseSpec {
        let now = MicroTime(Timestamp::now());
        let transitions = before.map_or(0, |spec| spec.lease_transitions.unwrap_or(0).saturating_add(1));
        LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: i32::try_from(DURATION.as_secs()).ok(),
            acquire_time: Some(now.clone()),
            renew_time: Some(now),
            lease_transitions: Some(transitions),
            ..LeaseSpec::default()
        }
    }
}

fn is_conflict(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 409)
}

fn conflict_is_no(result: kube::Result<Lease>) -> kube::Result<bool> {
    match result {
        Ok(_) => Ok(true),
        Err(error) if is_conflict(&error) => Ok(false),
        Err(error) => Err(error),
    }
}
