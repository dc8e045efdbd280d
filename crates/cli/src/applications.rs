//! The applications of a model: its documents, seen with Juju's eyes.

use muster_api::{Coordinator, Document, S3_SECRET_TYPE, Worker};
use muster_model::{AppName, Product};
use muster_products::charm::{self, Charm};

use crate::failure::Failure;

/// The type of a Secret that holds a server certificate.
pub(crate) const TLS_SECRET_TYPE: &str = "kubernetes.io/tls";

/// All applications of a model, by name.
#[derive(Debug, Clone, Default)]
pub(crate) struct Applications {
    documents: Vec<(AppName, Document)>,
}

/// What an application is: a document's kind, and of Secrets also the type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Nature {
    /// A coordinator.
    Coordinator,
    /// A worker.
    Worker,
    /// A Secret of type `muster.dev/s3`.
    ObjectStore,
    /// A Secret of type `kubernetes.io/tls`.
    Certificate,
    /// A Secret of a type that Muster does nothing with.
    OtherSecret,
}

/// Why a charm cannot be told.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ApplicationError {
    /// No application has that name.
    #[error("application {name} is not in the model{}", listed(.known))]
    Unknown {
        /// The name that was asked for.
        name: AppName,
        /// The names that are there.
        known: Vec<AppName>,
    },
    /// The document names a product that this build does not know.
    #[error("{app}: {problem}")]
    Product {
        /// The application.
        app: AppName,
        /// What is wrong with its product.
        problem: muster_model::UnknownProduct,
    },
    /// A worker that neither names its product nor a coordinator from which it follows.
    #[error(
        "worker {0} does not say for which product it is: integrate it with a coordinator, or write spec.product"
    )]
    NoProduct(AppName),
    /// A Secret without a charm.
    #[error("{0} is a Secret without options: only Secrets of type {S3_SECRET_TYPE} have them")]
    NoCharm(AppName),
}

fn listed(known: &[AppName]) -> String {
    if known.is_empty() {
        "; it is empty: add one with muster deploy".to_owned()
    } else {
        format!("; it has {}", known.iter().map(AppName::as_str).collect::<Vec<_>>().join(", "))
    }
}

impl From<ApplicationError> for Failure {
    fn from(error: ApplicationError) -> Self {
        Self::new(error)
    }
}

impl Applications {
    /// Takes a model's documents. A document without a usable name is left out: the substrate took it in some other
    /// way than by verbs, and no verb can name it.
    pub(crate) fn new(documents: Vec<Document>) -> Self {
        let named = documents.into_iter().filter_map(|document| Some((document.name().ok()?, document)));
        let mut documents: Vec<_> = named.collect();
        // Kinds order as coordinator, worker, secret: where a Secret has an application's name, the application wins.
        documents.sort_by(|(a, one), (b, other)| (a, one.kind()).cmp(&(b, other.kind())));
        Self { documents }
    }

    /// All documents by name.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&AppName, &Document)> {
        self.documents.iter().map(|(name, document)| (name, document))
    }

    /// The application of that name.
    pub(crate) fn get(&self, name: &AppName) -> Result<&Document, ApplicationError> {
        self.iter().find(|(other, _)| *other == name).map(|(_, document)| document).ok_or_else(|| {
            let known = self.iter().map(|(name, _)| name.clone()).collect();
            ApplicationError::Unknown { name: name.clone(), known }
        })
    }

    /// The product of a coordinator or worker; a worker that names none has its coordinator's.
    pub(crate) fn product(&self, name: &AppName) -> Result<Product, ApplicationError> {
        let parse = |app: &AppName, product: &str| {
            product.parse().map_err(|problem| ApplicationError::Product { app: app.clone(), problem })
        };
        match self.get(name)? {
            Document::Coordinator(coordinator) => parse(name, &coordinator.spec.product),
            Document::Worker(worker) => match &worker.spec.product {
                Some(product) => parse(name, product),
                None => self
                    .coordinator_of(worker)
                    .ok_or_else(|| ApplicationError::NoProduct(name.clone()))
                    .and_then(|(coordinator, document)| parse(coordinator, &document.spec.product)),
            },
            Document::Secret(_) => Err(ApplicationError::NoCharm(name.clone())),
        }
    }

    /// The coordinator that a worker names, if it is there.
    fn coordinator_of(&self, worker: &Worker) -> Option<(&AppName, &Coordinator)> {
        let wanted = worker.spec.coordinator.as_deref()?;
        self.iter().find_map(|(name, document)| match document {
            Document::Coordinator(coordinator) if name.as_str() == wanted => {
                Some((name, coordinator.as_ref()))
            }
            _ => None,
        })
    }

    /// The charm that the application was made from.
    pub(crate) fn charm(&self, name: &AppName) -> Result<&'static Charm, ApplicationError> {
        Ok(match nature(self.get(name)?) {
            Nature::Coordinator => charm::coordinator(self.product(name)?),
            Nature::Worker => charm::worker(self.product(name)?),
            Nature::ObjectStore => charm::s3_integrator(),
            Nature::Certificate | Nature::OtherSecret => {
                return Err(ApplicationError::NoCharm(name.clone()));
            }
        })
    }
}

/// What a document stands for.
pub(crate) fn nature(document: &Document) -> Nature {
    match document {
        Document::Coordinator(_) => Nature::Coordinator,
        Document::Worker(_) => Nature::Worker,
        Document::Secret(secret) => match secret.type_.as_deref() {
            Some(S3_SECRET_TYPE) => Nature::ObjectStore,
            Some(TLS_SECRET_TYPE) => Nature::Certificate,
            _ => Nature::OtherSecret,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::{app, model};

    #[test]
    fn a_worker_without_product_has_its_coordinator_s() {
        let apps = model(
            "{apiVersion: muster.dev/v1alpha1, kind: Worker, metadata: {name: lone}, spec: {}}\n---\n\
             {apiVersion: muster.dev/v1alpha1, kind: Worker, metadata: {name: other}, spec: {coordinator: mimir}}",
        );
        assert_eq!(apps.product(&app("other")), Ok(Product::Mimir));
        assert_eq!(apps.product(&app("lone")), Err(ApplicationError::NoProduct(app("lone"))));
        assert_eq!(apps.charm(&app("s3")).unwrap().name, "s3-integrator");
    }

    #[test]
    fn unknown_names_are_answered_with_the_known_ones() {
        let message = model("").get(&app("mimri")).unwrap_err().to_string();
        assert!(message.contains("mimir, mimir-read, s3"), "{message}");
        let message = Applications::default().get(&app("x")).unwrap_err().to_string();
        assert!(message.contains("muster deploy"), "{message}");
    }
}
