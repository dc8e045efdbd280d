//! Where a Tempo's metrics-generators write to: the load balancers of Mimir coordinators.

use std::collections::BTreeMap;

use muster_api::{CoordinatorSpec, OptionValue};
use muster_model::{Coverage, Finding, Product, Reason, Role, WorkloadStatus};
use muster_products::RemoteWrite;
use muster_products::charm::{self, MULTI_TENANCY, Options};

use crate::observed::{Observed, Tls};

/// What is behind a name in `spec.remoteWrite`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RemoteWriteTarget {
    /// No coordinator.
    Missing,
    /// A coordinator of another product than Mimir.
    OtherProduct(String),
    /// A Mimir whose load balancer has no unit.
    NoUnit,
    /// A Mimir whose certificate cannot be had, and why not.
    NoCertificate(String),
    /// A Mimir that takes metrics there.
    At(RemoteWrite),
}

impl RemoteWriteTarget {
    /// What a coordinator is to those that want to write metrics to it. `host` is where its load balancer is reached.
    #[must_use]
    pub fn of(name: &str, spec: &CoordinatorSpec, host: Option<&str>, tls: &Tls) -> Self {
        if spec.product != Product::Mimir.as_str() {
            return Self::OtherProduct(spec.product.clone());
        }
        let ca = match tls {
            Tls::Off => None,
            Tls::On(material) => material.ca.clone(),
            Tls::Invalid(problem) => return Self::NoCertificate(problem.clone()),
        };
        let options = options(&spec.config);
        let endpoints = muster_products::workload(Product::Mimir).endpoints(&options);
        let push = endpoints.iter().find(|endpoint| endpoint.purpose == "push");
        let (Some(host), Some(push)) = (host, push) else { return Self::NoUnit };
        Self::At(RemoteWrite {
            name: name.to_owned(),
            url: push.at(host, spec.tls.is_some()),
            ca,
            needs_tenant: options.boolean(MULTI_TENANCY),
        })
    }
}

fn options(config: &BTreeMap<String, OptionValue>) -> Options {
    let given =
        config.iter().map(|(key, value)| (key.clone(), serde_json::to_value(value).unwrap_or_default()));
    charm::coordinator(Product::Mimir).validate(&given.collect()).0
}

/// Where metrics can be written to right now. `None`: that is not known, and what was published before stays.
pub(crate) fn targets(observed: &Observed) -> Option<Vec<RemoteWrite>> {
    let mut found = Vec::new();
    for target in observed.remote_write.values() {
        match target {
            RemoteWriteTarget::At(place) => found.push(place.clone()),
            // Without its authorities nothing could be written, and the next config would be another one again.
            RemoteWriteTarget::NoCertificate(_) if observed.carry.published.is_some() => return None,
            _ => {}
        }
    }
    Some(found)
}

/// Checks the relations, and whether there are metrics-generators without any.
pub(crate) fn check(observed: &Observed, product: Product, coverage: &Coverage, findings: &mut Vec<Finding>) {
    let name = &observed.name;
    if product != Product::Tempo {
        if !observed.remote_write.is_empty() {
            let message = format!("spec.remoteWrite is for Tempo, {product} writes no metrics; remove it");
            let reason = Reason::RemoteWriteUnusable;
            findings.push(Finding::application(name, WorkloadStatus::Blocked, reason, message));
        }
        return;
    }
    for (target, found) in &observed.remote_write {
        let (status, message) = match found {
            RemoteWriteTarget::At(_) => continue,
            RemoteWriteTarget::Missing => (
                WorkloadStatus::Blocked,
                format!(
                    "coordinator {target:?} does not exist, so no metrics are written to it; deploy it: muster deploy \
                     mimir-coordinator-k8s {target}; or remove the relation: muster remove-relation {name}:send-remote-write {target}"
                ),
            ),
            RemoteWriteTarget::OtherProduct(product) => (
                WorkloadStatus::Blocked,
                format!(
                    "{target} runs {product}, and only mimir takes metrics; remove {target} from spec.remoteWrite and relate \
                     another: muster integrate {name}:send-remote-write MIMIR"
                ),
            ),
            RemoteWriteTarget::NoUnit => (
                WorkloadStatus::Active,
                format!(
                    "no metrics are written to {target}, whose load balancer has no unit; add one: muster scale {target} 1"
                ),
            ),
            RemoteWriteTarget::NoCertificate(problem) => (
                WorkloadStatus::Waiting,
                format!("waiting for the certificate of {target}, to which metrics are written: {problem}"),
            ),
        };
        findings.push(Finding::application(name, status, Reason::RemoteWriteUnusable, message));
    }
    let generators = coverage.units.get(&Role::MetricsGenerator).copied().unwrap_or(0);
    if generators > 0 && observed.remote_write.is_empty() && !writes_elsewhere(observed) {
        let message = format!(
            "metrics-generator disabled. Add a relation over send-remote-write: muster integrate {name}:send-remote-write MIMIR"
        );
        let reason = Reason::MetricsGeneratorDisabled;
        findings.push(Finding::application(name, WorkloadStatus::Active, reason, message));
    }
}

/// Whether an override names a place of its own.
fn writes_elsewhere(observed: &Observed) -> bool {
    let generator = observed.spec.overrides.as_ref().and_then(|overrides| overrides.get("metrics_generator"));
    let places = generator.and_then(|generator| generator.pointer("/storage/remote_write"));
    places.is_some_and(|places| places.as_array().is_some_and(|places| !places.is_empty()))
}
