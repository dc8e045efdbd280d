//! Changes of the model's documents: what `apply` and `delete` do, checked first, all or nothing.

use std::collections::BTreeSet;

use muster_api::{Document, Kind, MAX_UNITS, ObjectStorageReference, Worker};
use muster_model::AppName;
use muster_planner::{Published, Temporary};

use crate::state::{OBJECT_STORE_APP, State, Stored, document_name};

/// Why documents were not written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// The name is not usable.
    #[error("{0}")]
    Name(String),
    /// The name belongs to Muster's own application.
    #[error("the name {OBJECT_STORE_APP:?} belongs to the embedded S3 server; choose another")]
    Reserved,
    /// A document of another kind has that name.
    #[error("{name} already exists as a {kind}; application names are unique in a model, choose another")]
    NameTaken {
        /// The name.
        name: AppName,
        /// What has it.
        kind: Kind,
    },
    /// The same documents name an application twice.
    #[error("{0} is there twice; application names are unique in a model, give one of them another")]
    Twice(AppName),
    /// More units than a model can have.
    #[error("{name}: {asked} units are too many; at most {MAX_UNITS} are possible")]
    TooManyUnits {
        /// The application.
        name: AppName,
        /// How many units were asked for.
        asked: u32,
    },
    /// The document is there and was not to be overwritten.
    #[error("{0} already exists; change it with muster config, scale and integrate, or choose another name")]
    Exists(AppName),
    /// The document is on its way out.
    #[error("{0} is being removed; wait until it is gone: muster status {0}")]
    Removing(AppName),
    /// A field that cannot change was changed.
    #[error("{name}: spec.product is {now:?} and cannot become {asked:?}; deploy another coordinator")]
    Immutable {
        /// The coordinator.
        name: AppName,
        /// Its product.
        now: String,
        /// The product asked for.
        asked: String,
    },
    /// There is nothing of that kind and name.
    #[error("{kind} {name} does not exist; see: muster status")]
    NotFound {
        /// The kind.
        kind: Kind,
        /// The name.
        name: AppName,
    },
}

/// Writes documents: all of them or none. Says whether anything changed.
pub(crate) fn apply(
    state: &mut State,
    documents: Vec<Document>,
    create_only: bool,
) -> Result<bool, EditError> {
    check_names(&documents)?;
    for document in &documents {
        check(state, document, create_only)?;
    }
    let mut changed = false;
    for document in documents {
        changed |= write(state, document, None);
    }
    state.edits += u64::from(changed);
    Ok(changed)
}

/// Writes the documents of a file. A document that the file has not changed since it was last applied leaves the model's own
/// alone, with what the verbs did to it meanwhile.
pub(crate) fn apply_file(state: &mut State, documents: Vec<Document>) -> Result<bool, EditError> {
    let unchanged = |state: &State, document: &Document| {
        state
            .find(document.kind(), document_name(document))
            .is_some_and(|stored| stored.from_file.as_ref() == Some(document))
    };
    check_names(&documents)?;
    for document in documents.iter().filter(|d| !unchanged(state, d)) {
        check(state, document, false)?;
    }
    let mut changed = false;
    for document in documents {
        if !unchanged(state, &document) {
            changed |= write(state, document.clone(), Some(document));
        }
    }
    state.edits += u64::from(changed);
    Ok(changed)
}

fn check_names(documents: &[Document]) -> Result<(), EditError> {
    let mut names = BTreeSet::new();
    for document in documents {
        let name = document.name().map_err(EditError::Name)?;
        if !names.insert(name.clone()) {
            return Err(EditError::Twice(name));
        }
    }
    Ok(())
}

fn check(state: &State, document: &Document, create_only: bool) -> Result<(), EditError> {
    let name = document.name().map_err(EditError::Name)?;
    let asked = match document {
        Document::Coordinator(coordinator) => coordinator.spec.units,
        Document::Worker(worker) => worker.spec.units,
        Document::Secret(_) => 0,
    };
    if asked > MAX_UNITS {
        return Err(EditError::TooManyUnits { name, asked });
    }
    if name.as_str() == OBJECT_STORE_APP {
        return Err(EditError::Reserved);
    }
    let kind = document.kind();
    for stored in &state.documents {
        let other = stored.document.kind();
        if document_name(&stored.document) != name.as_str() {
            continue;
        }
        if other != kind {
            return Err(EditError::NameTaken { name, kind: other });
        }
        if stored.removing {
            return Err(EditError::Removing(name));
        }
        if create_only {
            return Err(EditError::Exists(name));
        }
        if let (Document::Coordinator(now), Document::Coordinator(asked)) = (&stored.document, document)
            && now.spec.product != asked.spec.product
        {
            let (now, asked) = (now.spec.product.clone(), asked.spec.product.clone());
            return Err(EditError::Immutable { name, now, asked });
        }
    }
    Ok(())
}

fn write(state: &mut State, document: Document, from_file: Option<Document>) -> bool {
    match state.find_mut(document.kind(), document_name(&document)) {
        Some(stored) => {
            if from_file.is_some() {
                stored.from_file = from_file;
            }
            let changed = stored.document != document;
            stored.document = document;
            changed
        }
        None => {
            state.documents.push(Stored { document, from_file, removing: false });
            true
        }
    }
}

/// Takes a document away: a Secret at once, an application once its units have stopped. Says whether anything changed.
pub(crate) fn delete(state: &mut State, kind: Kind, name: &AppName) -> Result<bool, EditError> {
    let Some(stored) = state.find_mut(kind, name.as_str()) else {
        return Err(EditError::NotFound { kind, name: name.clone() });
    };
    if kind != Kind::Secret {
        let changed = !std::mem::replace(&mut stored.removing, true);
        state.edits += u64::from(changed);
        return Ok(changed);
    }
    state.documents.retain(|s| !(s.document.kind() == kind && document_name(&s.document) == name.as_str()));
    state.edits += 1;
    Ok(true)
}

/// Writes what a plan changes of the temporary worker's document. That is no edit of anybody's: nobody who edits need look again.
pub(crate) fn temporary_worker(state: &mut State, changes: &Published) {
    if let Some(Temporary { name, spec }) = &changes.deploy {
        let worker = Worker::temporary(name.as_str(), spec.clone());
        write(state, Document::Worker(Box::new(worker)), None);
    }
    let withdrawn = changes.withdraw.as_ref();
    if let Some(stored) = withdrawn.and_then(|name| state.find_mut(Kind::Worker, name.as_str())) {
        stored.removing = true;
    }
}

/// The S3 applications that coordinators of `documents` name and that neither the documents nor the model have.
#[must_use]
pub(crate) fn missing_object_stores(
    state: &State,
    documents: &[Document],
) -> Vec<(AppName, ObjectStorageReference)> {
    let known = |name: &str| {
        state.find(Kind::Secret, name).is_some()
            || documents.iter().any(|d| d.kind() == Kind::Secret && document_name(d) == name)
    };
    documents
        .iter()
        .filter_map(|document| match document {
            Document::Coordinator(coordinator) => {
                let reference = coordinator.spec.s3.clone().filter(|s3| !known(&s3.secret))?;
                Some((document.name().ok()?, reference))
            }
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use muster_api::WorkerSpec;

    use super::*;
    use crate::gather::{Live, gather};

    const MODEL: &str = "
apiVersion: muster.dev/v1alpha1
kind: Coordinator
metadata: {name: mimir}
spec: {product: mimir, s3: {secret: s3}}
---
apiVersion: muster.dev/v1alpha1
kind: Worker
metadata: {name: worker}
spec: {coordinator: mimir}
";

    fn documents(text: &str) -> Vec<Document> {
        Document::parse_stream(text).unwrap()
    }

    fn state() -> State {
        let mut state = State::new("m".to_owned(), 20, "id".to_owned());
        assert!(apply_file(&mut state, documents(MODEL)).unwrap());
        state
    }

    #[test]
    fn a_file_that_did_not_change_leaves_the_verbs_edits_alone() {
        let mut state = state();
        let scaled =
            documents(&MODEL.replace("coordinator: mimir", "coordinator: mimir, units: 3")).remove(1);
        assert!(apply(&mut state, vec![scaled.clone()], false).unwrap());
        assert!(!apply_file(&mut state, documents(MODEL)).unwrap());
        assert_eq!(state.find(Kind::Worker, "worker").unwrap().document, scaled);
        let edited = MODEL.replace("coordinator: mimir", "coordinator: mimir, units: 2");
        assert!(apply_file(&mut state, documents(&edited)).unwrap());
        let Document::Worker(worker) = &state.find(Kind::Worker, "worker").unwrap().document else {
            panic!()
        };
        assert_eq!(worker.spec.units, 2);
    }

    #[test]
    fn refused_edits_change_nothing() {
        let mut state = state();
        let before = state.clone();
        let twin = MODEL
            .replace("kind: Worker", "kind: Coordinator")
            .replace("coordinator: mimir", "product: mimir");
        let other_product = MODEL.replace("product: mimir", "product: loki");
        let reserved = MODEL.replace("name: mimir}", "name: object-store}");
        let many = MODEL.replace("coordinator: mimir", "coordinator: mimir, units: 4000000000");
        let twins = MODEL.replace("name: mimir}", "name: new}").replace("name: worker}", "name: new}");
        for (text, create_only) in [
            (twin.as_str(), false),
            (other_product.as_str(), false),
            (reserved.as_str(), false),
            (many.as_str(), false),
            (twins.as_str(), false),
            (MODEL, true),
        ] {
            assert!(apply(&mut state, documents(text), create_only).is_err(), "{text}");
            assert_eq!(state, before);
            if !create_only {
                assert!(apply_file(&mut state, documents(text)).is_err(), "{text}");
                assert_eq!(state, before);
            }
        }
        assert!(delete(&mut state, Kind::Worker, &AppName::new("nobody").unwrap()).is_err());
    }

    #[test]
    fn removal_marks_applications_and_refuses_edits_meanwhile() {
        let mut state = state();
        let worker = AppName::new("worker").unwrap();
        assert!(delete(&mut state, Kind::Worker, &worker).unwrap());
        assert!(!delete(&mut state, Kind::Worker, &worker).unwrap());
        assert_eq!(apply(&mut state, documents(MODEL), false), Err(EditError::Removing(worker)));
    }

    #[test]
    fn a_temporary_worker_is_told_from_those_of_users() {
        let mut state = state();
        let observed = |state: &State| gather(state, &Live::default()).remove(0);
        let name = AppName::new("mimir-transition").unwrap();
        let spec = WorkerSpec { coordinator: Some("mimir".to_owned()), units: 1, ..WorkerSpec::default() };
        let deploy = Some(Temporary { name: name.clone(), spec: spec.clone() });
        let before = state.edits;
        temporary_worker(&mut state, &Published { deploy, ..Published::default() });
        assert_eq!(state.edits, before);
        let there = observed(&state);
        assert!(there.workers[&name].temporary && !there.temporary_name_taken);
        assert_eq!(there.workers[&name].spec, spec);
        // The file that the model was made from says nothing of it.
        assert!(!apply_file(&mut state, documents(MODEL)).unwrap());
        temporary_worker(&mut state, &Published { withdraw: Some(name.clone()), ..Published::default() });
        assert!(state.find(Kind::Worker, name.as_str()).unwrap().removing);

        let of_users = [
            ("Worker", "coordinator: mimir", false),
            ("Worker", "coordinator: other", true),
            ("Coordinator", "product: loki", true),
        ];
        for (kind, spec, taken) in of_users {
            let mut state = self::state();
            let document = format!(
                "{{apiVersion: muster.dev/v1alpha1, kind: {kind}, metadata: {{name: {name}}}, spec: {{{spec}}}}}"
            );
            assert!(apply(&mut state, documents(&document), true).unwrap());
            let there = observed(&state);
            assert!(there.workers.values().all(|worker| !worker.temporary));
            assert_eq!(there.temporary_name_taken, taken, "{kind} {spec}");
        }
    }

    #[test]
    fn addresses_are_kept_and_never_handed_to_another_unit() {
        let mut state = state();
        let app = AppName::new("worker").unwrap();
        let first = state.address(&app.unit(0)).unwrap();
        let second = state.address(&app.unit(1)).unwrap();
        assert_eq!(first.to_string(), "127.20.0.1");
        assert_ne!(first, second);
        assert_eq!(state.address(&app.unit(0)), Some(first));
        state.last_host = u16::MAX - 1;
        assert_eq!(state.address(&app.unit(2)), None, "a full network hands out nothing");
    }

    #[test]
    fn embedded_stores_stand_in_for_secrets_that_nobody_gave() {
        let state = State::new("m".to_owned(), 20, "id".to_owned());
        let missing = missing_object_stores(&state, &documents(MODEL));
        assert_eq!(
            missing.iter().map(|(c, s)| (c.as_str(), s.secret.as_str())).collect::<Vec<_>>(),
            [("mimir", "s3")]
        );
    }
}
