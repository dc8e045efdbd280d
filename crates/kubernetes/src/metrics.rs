//! What the operator counts, in Prometheus' text format.

use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// The upper bounds of the time that a reconcile takes, in seconds.
const SECONDS: [f64; 8] = [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0];

/// The operator's metrics.
pub(crate) struct Metrics {
    registry: Registry,
    requests: Family<Request, Counter>,
    watch_failures: Family<Watched, Counter>,
    reconciles: Family<Outcome, Counter>,
    duration: Histogram,
    leader: Gauge,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Request {
    verb: &'static str,
    kind: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Watched {
    kind: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    kind: &'static str,
    outcome: &'static str,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut registry = Registry::with_prefix("muster_operator");
        let requests = Family::default();
        registry.register(
            "requests",
            "Requests to the API server, without watches and the lease",
            requests.clone(),
        );
        let watch_failures = Family::default();
        registry.register("watch_failures", "Watches that were interrupted", watch_failures.clone());
        let reconciles = Family::default();
        registry.register("reconciles", "Looks at coordinators and workers", reconciles.clone());
        let duration = Histogram::new(SECONDS);
        registry.register(
            "reconcile_duration_seconds",
            "How long a look takes, with its writes",
            duration.clone(),
        );
        let leader = Gauge::default();
        registry.register("leader", "Whether this process holds the lease", leader.clone());
        Self { registry, requests, watch_failures, reconciles, duration, leader }
    }

    pub(crate) fn request(&self, verb: &'static str, kind: &str) {
        self.requests.get_or_create(&Request { verb, kind: kind.to_owned() }).inc();
    }

    pub(crate) fn watch_failed(&self, kind: &str) {
        self.watch_failures.get_or_create(&Watched { kind: kind.to_owned() }).inc();
    }

    pub(crate) fn reconciled(&self, kind: &'static str, succeeded: bool, took: Duration) {
        let outcome = if succeeded { "succeeded" } else { "failed" };
        self.reconciles.get_or_create(&Outcome { kind, outcome }).inc();
        self.duration.observe(took.as_secs_f64());
    }

    pub(crate) fn lead(&self, leads: bool) {
        self.leader.set(i64::from(leads));
    }

    /// All of them as a page.
    pub(crate) fn page(&self) -> String {
        let mut page = String::new();
        // Writing to a String cannot fail.
        let _ = text::encode(&mut page, &self.registry);
        page
    }
}
