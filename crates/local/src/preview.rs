//! What an edit would change in what units share. The model stays as it is.

use std::collections::BTreeMap;

use muster_api::{Document, Kind};
use muster_model::AppName;
use muster_planner::{Observed, Plan, Preview, Rendition, preview};

use crate::edits;
use crate::gather::{Live, gather};
use crate::state::State;
use crate::up::{UpError, apply_file};

/// An edit that is looked at.
#[derive(Debug, Clone, Default)]
pub(crate) struct Edit {
    /// The documents that would be written.
    pub documents: Vec<Document>,
    /// Whether they come from a file.
    pub from_file: bool,
    /// What would be taken away after that.
    pub delete: Option<(Kind, AppName)>,
}

/// The coordinators as they are and as they would be. To [`compare`](Self::compare) them may take a while, and needs nothing else.
pub(crate) struct Proposed {
    before: BTreeMap<AppName, Observed>,
    /// Each with the load balancer's document that was published last.
    after: Vec<(Observed, Option<Rendition>)>,
    edits: bool,
}

/// Makes the edit on a copy, with the checks of a real edit.
pub(crate) fn propose(
    state: &State,
    live: &Live,
    plans: &BTreeMap<AppName, Plan>,
    edit: Edit,
) -> Result<Proposed, UpError> {
    let mut edited = state.clone();
    let edits = !edit.documents.is_empty() || edit.delete.is_some();
    if edit.from_file {
        apply_file(&mut edited, edit.documents)?;
    } else {
        edits::apply(&mut edited, edit.documents, false)?;
    }
    if let Some((kind, name)) = edit.delete {
        edits::delete(&mut edited, kind, &name)?;
    }
    let before: BTreeMap<AppName, Observed> =
        gather(state, live).into_iter().map(|observed| (observed.name.clone(), observed)).collect();
    let after = gather(&edited, live).into_iter().map(|after| {
        let published = plans.get(&after.name).and_then(|plan| plan.balancer_cluster.as_ref());
        let published = published.and_then(|cluster| cluster.documents.first_key_value());
        let balancer =
            published.map(|(revision, text)| Rendition { revision: revision.clone(), text: text.clone() });
        (after, balancer)
    });
    Ok(Proposed { after: after.collect(), before, edits })
}

impl Proposed {
    /// What the edit changes, by coordinator, and with which `steps`.
    pub(crate) fn compare(self, steps: bool) -> BTreeMap<AppName, Preview> {
        let compared = self.after.into_iter().map(|(after, balancer)| {
            let before = self.before.get(&after.name);
            let compared = preview(before, &after, balancer);
            let compared = if steps { compared.with_forecast(before, &after, self.edits) } else { compared };
            (after.name, compared)
        });
        compared.collect()
    }
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
        let edit = Edit { documents: documents(text), from_file, delete: None };
        let proposed = propose(&state, &Live::default(), &BTreeMap::new(), edit);
        assert_eq!(state, before);
        Ok(proposed?.compare(false).remove(&AppName::new("mimir").unwrap()).unwrap())
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
    fn a_removal_is_made_on_a_copy_and_its_steps_are_told() {
        let mut state = State::new("m".to_owned(), 20, "id".to_owned());
        apply_file(&mut state, documents(MODEL)).unwrap();
        let mimir = AppName::new("mimir").unwrap();
        let of = |edit: Edit| {
            let proposed = propose(&state, &Live::default(), &BTreeMap::new(), edit);
            proposed.map(|proposed| proposed.compare(true).remove(&mimir).unwrap().forecast.unwrap())
        };
        // Nothing was made yet.
        assert_eq!(of(Edit::default()).unwrap().steps.len(), 2);
        let removed = |name: &str| Edit {
            delete: Some((Kind::Coordinator, AppName::new(name).unwrap())),
            ..Edit::default()
        };
        let gone = of(removed("mimir")).unwrap();
        assert!(gone.is_gone && gone.steps.is_empty(), "{gone:?}");
        assert!(of(removed("nobody")).is_err());
        assert!(!state.coordinators().any(|(.., removing)| removing));
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
