//! What an edit would change in the documents that units share. Decides nothing: it asks [`plan`] and carries nothing out.

use jiff::Timestamp;
use muster_model::{Finding, Reason, Revision, WorkloadStatus};
use serde::{Deserialize, Serialize};

use crate::abandon::Abandonments;
use crate::balancer;
use crate::forecast::Forecast;
use crate::gate::Gate;
use crate::observed::{ObjectStore, Observed, Probe};
use crate::plan::{members, plan};
use crate::validate;

/// A document at a revision. Free of secrets, which only the revision tells apart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rendition {
    /// The revision.
    pub revision: Revision,
    /// The text, with placeholders.
    pub text: String,
}

/// A document as it is published, and as it would be.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Change {
    /// As it is published. Absent where nothing was published yet.
    pub before: Option<Rendition>,
    /// As it would be. Absent where what is published stays.
    pub after: Option<Rendition>,
}

/// What an edit would change of one coordinator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Preview {
    /// What the edit makes wrong: what a person would have to act on or wait for with it, and not without it.
    pub findings: Vec<Finding>,
    /// Why the workload's config cannot be made at all; empty where it can.
    pub prevented: Vec<Finding>,
    /// The workload's shared config.
    pub config: Change,
    /// The load balancer's nginx document, with the units that are there now.
    pub balancer: Change,
    /// The steps that it takes, where they were asked for and it takes any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forecast: Option<Forecast>,
}

impl Preview {
    /// Why the edit is no good: what keeps the config from being made, else the mistakes in what is asked for.
    #[must_use]
    pub fn refusals(&self) -> Vec<&Finding> {
        let mistakes = self.findings.iter().filter(|finding| is_mistake(finding.reason));
        if self.prevented.is_empty() { mistakes.collect() } else { self.prevented.iter().collect() }
    }
}

/// Whether a reason is a mistake in what a coordinator is asked for.
fn is_mistake(reason: Reason) -> bool {
    use Reason::{InvalidOption, OwnedOverride, UnknownOption, UnsupportedProduct};
    matches!(reason, InvalidOption | OwnedOverride | UnknownOption | UnsupportedProduct)
}

/// Whether a reason keeps a coordinator's config from being made.
fn prevents(reason: Reason) -> bool {
    use Reason::{BucketTaken, ObjectStoreInvalid, ObjectStoreMissing};
    is_mistake(reason) || matches!(reason, BucketTaken | ObjectStoreInvalid | ObjectStoreMissing)
}

/// Compares what is published with what would be, were `after` observed instead of `before`. Without an edit both are the same; a
/// coordinator that is not there yet has no `before`. What the load balancer was last given the substrate says.
///
/// The object store is taken to answer: whether a new one does is found out before units are told of it.
#[must_use]
pub fn preview(before: Option<&Observed>, after: &Observed, balancer: Option<Rendition>) -> Preview {
    let is_wrong = |finding: &Finding| finding.status > WorkloadStatus::Active;
    let before = before.map(|observed| plan(&answered(observed), Timestamp::UNIX_EPOCH).findings);
    let after = answered(after);
    let planned = plan(&after, Timestamp::UNIX_EPOCH);
    let wrong: Vec<Finding> = planned.findings.into_iter().filter(is_wrong).collect();
    let before = before.unwrap_or_default();
    let published = after.carry.published.as_ref();
    let rendered = planned.carry.rendered;
    Preview {
        findings: wrong.iter().filter(|finding| !before.contains(finding)).cloned().collect(),
        config: Change {
            before: published.and_then(|revision| {
                let text = after.carry.documents.get(revision)?.clone();
                Some(Rendition { revision: revision.clone(), text })
            }),
            after: rendered.as_ref().map(|rendered| Rendition {
                revision: rendered.revision.clone(),
                text: rendered.text.to_string(),
            }),
        },
        balancer: Change { before: balancer, after: standing_balancer(&after) },
        forecast: None,
        prevented: match rendered {
            Some(_) => Vec::new(),
            None => wrong.into_iter().filter(|finding| prevents(finding.reason)).collect(),
        },
    }
}

/// The same with an object store that answers, and without the config that was rendered last: it is not to be taken for a new one.
pub(crate) fn answered(observed: &Observed) -> Observed {
    let mut observed = observed.clone();
    if let ObjectStore::Related { probe, .. } = &mut observed.object_store {
        *probe = Probe::Ready { at: Timestamp::UNIX_EPOCH };
    }
    observed.carry.rendered = None;
    observed
}

/// The load balancer's document with the units as they stand: a rollout that begins takes one after the other out of it for a while,
/// and that is no change that anybody asks for.
fn standing_balancer(observed: &Observed) -> Option<Rendition> {
    let mut findings = Vec::new();
    let line = validate::line(observed, &mut findings)?;
    let checked = validate::options(observed, &line, &mut findings);
    let declared = validate::workers(observed, &line, &mut findings);
    let members = members(observed, &line, &declared, Gate::Open, &Abandonments::default());
    if !balancer::publishes(observed, &members) {
        return None;
    }
    let listeners = line.workload.listeners(&checked.options);
    let tenant = balancer::tenant(&line, &checked.options);
    let leaving = &observed.carry.leaving_balancer;
    let balancer = balancer::balancer(observed, &line, &listeners, tenant, &members, leaving);
    let text = balancer.cluster.documents.into_values().next()?;
    Some(Rendition { revision: balancer.revision, text })
}
