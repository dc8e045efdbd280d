//! What an edit would change in what units share. The model stays as it is.

use std::collections::BTreeMap;

use muster_api::Document;
use muster_model::AppName;
use muster_planner::{Observed, Plan, Preview, Rendition, preview};

use crate::edits;
use crate::gather::{Live, gather};
use crate::state::State;
use crate::up::{UpError, apply_file};

/// Compares the model as it is with what it would be with these documents, by coordinator. Edits a copy, with the checks of a real edit.
pub(crate) fn compare(
    state: &State,
    live: &Live,
    plans: &BTreeMap<AppName, Plan>,
    documents: Vec<Document>,
    from_file: bool,
) -> Result<BTreeMap<AppName, Preview>, UpError> {
    let mut edited = state.clone();
    if from_file {
        apply_file(&mut edited, documents)?;
    } else {
        edits::apply(&mut edited, documents, false)?;
    }
    let before: BTreeMap<AppName, Observed> =
        gather(state, live).into_iter().map(|observed| (observed.name.clone(), observed)).collect();
    let compared = gather(&edited, live).into_iter().map(|after| {
        let published = plans.get(&after.name).and_then(|plan| plan.balancer_cluster.as_ref());
        let published = published.and_then(|cluster| cluster.documents.first_key_value());
        let balancer =
            published.map(|(revision, text)| Rendition { revision: revision.clone(), text: text.clone() });
        let compared = preview(before.get(&after.name), &after, balancer);
        (after.name, compared)
    });
    Ok(compared.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MODEL: &str = "
{apiVersion: muster.dev/v1alpha1, kind: Coordinator, metadata: {name: mimir}, spec: {product: mimir, s3: {secret: s3}}}
---
{apiVersion: muster.dev/v1alpha1, kind: Worker, metadata: {name: worker}, spec: {coordinator: mimir}}
";

    fn documents(text: &str) -> Vec<Document> {
        Document::parse_stream(text).unwrap()
    }

    /// The preview of `mimir` in a model of [`MODEL`].
    fn compared(text: &str, from_file: bool) -> Result<Preview, UpError> {
        let mut state = State::new("m".to_owned(), 20, "id".to_owned());
        apply_file(&mut state, documents(MODEL))?;
        let before = state.clone();
        let compared = compare(&state, &Live::default(), &BTreeMap::new(), documents(text), from_file);
        assert_eq!(state, before);
        Ok(compared?.remove(&AppName::new("mimir").unwrap()).unwrap())
    }

    #[test]
    fn an_edit_is_made_on_a_copy() {
        let asked = MODEL.replace("s3: {secret: s3}", "s3: {secret: s3}, config: {retention-period: 30d}");
        for from_file in [false, true] {
            let compared = compared(&asked, from_file).unwrap();
            assert!(compared.findings.is_empty() && compared.prevented.is_empty(), "{compared:?}");
            assert_eq!(compared.config.before, None, "nothing is published yet");
            let text = compared.config.after.unwrap().text;
            assert!(text.contains("compactor_blocks_retention_period: 30d"), "{text}");
            assert!(compared.balancer.after.unwrap().text.contains("listen"));
        }
    }

    #[test]
    fn what_an_edit_would_be_refused_for_a_preview_is_too() {
        let other_product = MODEL.replace("product: mimir", "product: loki");
        assert!(matches!(compared(&other_product, false), Err(UpError::Edit(_))));
        assert!(matches!(compared(&other_product, true), Err(UpError::Edit(_))));
        let bad = MODEL.replace("s3: {secret: s3}", "s3: {secret: s3}, overrides: {target: all}");
        let bad = compared(&bad, true).unwrap();
        assert_eq!((bad.config.after, bad.prevented.len()), (None, 1));
        assert_eq!(bad.findings, bad.prevented);
    }
}
