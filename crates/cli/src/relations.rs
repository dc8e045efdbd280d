//! Which applications can be related, and how a relation stands in their documents.

use muster_api::{Document, ObjectStorageReference, TlsReference};
use muster_model::{AppName, Product};

use crate::applications::{ApplicationError, Applications, Nature, nature};
use crate::args::Side;
use crate::failure::Failure;

/// A relation between two applications of a model, whether it is there or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Relation {
    endpoint: Endpoint,
    /// The application whose document names the other.
    holder: AppName,
    /// The application that is named.
    named: AppName,
}

/// What a relation is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Endpoint {
    /// Coordinator and worker.
    Cluster,
    /// Coordinator and object store.
    S3,
    /// Coordinator and certificate.
    Certificates,
}

impl Endpoint {
    fn as_str(self) -> &'static str {
        match self {
            Self::Cluster => "cluster",
            Self::S3 => "s3",
            Self::Certificates => "certificates",
        }
    }

    /// Whether a person who writes `text` after the colon means this endpoint. The names of Canonical's charms are
    /// understood too: `mimir-cluster`, `s3-credentials`.
    fn is_meant_by(self, text: &str) -> bool {
        let product_cluster =
            || text.strip_suffix("-cluster").is_some_and(|product| product.parse::<Product>().is_ok());
        text == self.as_str()
            || match self {
                Self::Cluster => product_cluster(),
                Self::S3 => text == "s3-credentials",
                Self::Certificates => false,
            }
    }
}

/// Why two applications cannot be related, or their relation cannot be taken away.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RelationError {
    /// One of them is not there, or its product is not known.
    #[error(transparent)]
    Application(#[from] ApplicationError),
    /// They have no endpoint in common.
    #[error("{one} and {other} cannot be related: {one} can be related to {one_can}; {other} to {other_can}")]
    Impossible {
        /// One application.
        one: AppName,
        /// The other.
        other: AppName,
        /// What the one could be related to.
        one_can: String,
        /// What the other could be related to.
        other_can: String,
    },
    /// The endpoint is not the one that the two have in common.
    #[error(
        "{app} has no endpoint {endpoint:?} for this relation; write {app}:{right} or leave the endpoint out"
    )]
    WrongEndpoint {
        /// The application.
        app: AppName,
        /// The endpoint that was given.
        endpoint: String,
        /// The endpoint that fits.
        right: &'static str,
    },
    /// A worker of one product and a coordinator of another.
    #[error(
        "{worker} is a {worker_product} worker and {coordinator} a {coordinator_product} coordinator: relate workers to a coordinator of their own product"
    )]
    ProductMismatch {
        /// The worker.
        worker: AppName,
        /// Its product.
        worker_product: Product,
        /// The coordinator.
        coordinator: AppName,
        /// Its product.
        coordinator_product: Product,
    },
    /// The endpoint takes one relation, and has another.
    #[error(
        "{holder} is already related to {current}; take that away first: muster remove-relation {holder} {current}"
    )]
    Occupied {
        /// The application with the endpoint.
        holder: AppName,
        /// What it is related to.
        current: String,
    },
    /// There is no such relation.
    #[error("{0} and {1} are not related")]
    NotRelated(AppName, AppName),
}

impl From<RelationError> for Failure {
    fn from(error: RelationError) -> Self {
        Self::new(error)
    }
}

/// The relation that the two sides can have, in either order.
pub(crate) fn between(apps: &Applications, one: &Side, other: &Side) -> Result<Relation, RelationError> {
    let relation = match between_names(apps, &one.app, &other.app)? {
        Some(relation) => relation,
        None => {
            return Err(RelationError::Impossible {
                one: one.app.clone(),
                other: other.app.clone(),
                one_can: candidates(apps, &one.app),
                other_can: candidates(apps, &other.app),
            });
        }
    };
    for side in [one, other] {
        if let Some(endpoint) = side.endpoint.as_ref().filter(|text| !relation.endpoint.is_meant_by(text)) {
            return Err(RelationError::WrongEndpoint {
                app: side.app.clone(),
                endpoint: endpoint.clone(),
                right: relation.endpoint.as_str(),
            });
        }
    }
    Ok(relation)
}

fn between_names(
    apps: &Applications,
    one: &AppName,
    other: &AppName,
) -> Result<Option<Relation>, ApplicationError> {
    let pair = (nature(apps.get(one)?), nature(apps.get(other)?));
    let relation = |endpoint, holder: &AppName, named: &AppName| {
        Some(Relation { endpoint, holder: holder.clone(), named: named.clone() })
    };
    Ok(match pair {
        (Nature::Coordinator, Nature::Worker) => relation(Endpoint::Cluster, other, one),
        (Nature::Worker, Nature::Coordinator) => relation(Endpoint::Cluster, one, other),
        (Nature::Coordinator, Nature::ObjectStore) => relation(Endpoint::S3, one, other),
        (Nature::ObjectStore, Nature::Coordinator) => relation(Endpoint::S3, other, one),
        (Nature::Coordinator, Nature::Certificate) => relation(Endpoint::Certificates, one, other),
        (Nature::Certificate, Nature::Coordinator) => relation(Endpoint::Certificates, other, one),
        _ => None,
    })
}

/// What an application of the model could be related to, as a list for a message.
fn candidates(apps: &Applications, app: &AppName) -> String {
    let fits = |other: &AppName| {
        let relation = between_names(apps, app, other).ok().flatten()?;
        let matches = relation.endpoint != Endpoint::Cluster || relation.products(apps).is_ok();
        matches.then(|| format!("{other} ({})", relation.endpoint.as_str()))
    };
    let found: Vec<String> = apps.iter().filter_map(|(other, _)| fits(other)).collect();
    if found.is_empty() { "nothing that is in the model".to_owned() } else { found.join(", ") }
}

impl Relation {
    /// Both sides as `app:endpoint`, the holder of the relation first.
    pub(crate) fn sides(&self) -> (String, String) {
        let side = |app: &AppName| format!("{app}:{}", self.endpoint.as_str());
        (side(&self.holder), side(&self.named))
    }

    /// The document that holds the relation once it is there, or `None` where it is there already.
    pub(crate) fn add(&self, apps: &Applications) -> Result<Option<Document>, RelationError> {
        if self.endpoint == Endpoint::Cluster {
            self.products(apps)?;
        }
        let mut document = apps.get(&self.holder)?.clone();
        match current(&document, self.endpoint) {
            Some(current) if current == self.named.as_str() => return Ok(None),
            Some(current) => {
                return Err(RelationError::Occupied {
                    holder: self.holder.clone(),
                    current: current.to_owned(),
                });
            }
            None => set(&mut document, self.endpoint, Some(&self.named)),
        }
        Ok(Some(document))
    }

    /// The document that held the relation, without it.
    pub(crate) fn remove(&self, apps: &Applications) -> Result<Document, RelationError> {
        let mut document = apps.get(&self.holder)?.clone();
        if current(&document, self.endpoint) != Some(self.named.as_str()) {
            return Err(RelationError::NotRelated(self.holder.clone(), self.named.clone()));
        }
        set(&mut document, self.endpoint, None);
        Ok(document)
    }

    /// Whether the worker's charm is for the coordinator's product. A worker that names no product fits any.
    fn products(&self, apps: &Applications) -> Result<(), RelationError> {
        let coordinator_product = apps.product(&self.named)?;
        match apps.get(&self.holder)? {
            Document::Worker(worker) if worker.spec.product.is_some() => {
                let worker_product = apps.product(&self.holder)?;
                if worker_product == coordinator_product {
                    return Ok(());
                }
                Err(RelationError::ProductMismatch {
                    worker: self.holder.clone(),
                    worker_product,
                    coordinator: self.named.clone(),
                    coordinator_product,
                })
            }
            _ => Ok(()),
        }
    }
}

/// The documents that name `app`, without the relations to it: what is left of them once it is removed.
pub(crate) fn without(apps: &Applications, app: &AppName) -> Vec<Document> {
    let endpoints = [Endpoint::Cluster, Endpoint::S3, Endpoint::Certificates];
    let removed_kind = apps.get(app).map(Document::kind).ok();
    apps.iter()
        .filter_map(|(_, document)| {
            let mut changed = document.clone();
            for endpoint in endpoints {
                let names_kind = match endpoint {
                    Endpoint::Cluster => muster_api::Kind::Coordinator,
                    Endpoint::S3 | Endpoint::Certificates => muster_api::Kind::Secret,
                };
                if removed_kind == Some(names_kind) && current(&changed, endpoint) == Some(app.as_str()) {
                    set(&mut changed, endpoint, None);
                }
            }
            (changed != *document).then_some(changed)
        })
        .collect()
}

/// What the document is related to at that endpoint.
fn current(document: &Document, endpoint: Endpoint) -> Option<&str> {
    match (document, endpoint) {
        (Document::Worker(worker), Endpoint::Cluster) => worker.spec.coordinator.as_deref(),
        (Document::Coordinator(c), Endpoint::S3) => c.spec.s3.as_ref().map(|s3| s3.secret.as_str()),
        (Document::Coordinator(c), Endpoint::Certificates) => {
            c.spec.tls.as_ref().map(|tls| tls.secret.as_str())
        }
        _ => None,
    }
}

fn set(document: &mut Document, endpoint: Endpoint, named: Option<&AppName>) {
    let named = named.map(ToString::to_string);
    match (document, endpoint) {
        (Document::Worker(worker), Endpoint::Cluster) => worker.spec.coordinator = named,
        (Document::Coordinator(c), Endpoint::S3) => {
            c.spec.s3 = named.map(|secret| ObjectStorageReference { secret })
        }
        (Document::Coordinator(c), Endpoint::Certificates) => {
            c.spec.tls = named.map(|secret| TlsReference { secret })
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::{app, model};

    const MORE: &str = "
{apiVersion: muster.dev/v1alpha1, kind: Coordinator, metadata: {name: loki}, spec: {product: loki}}
---
{apiVersion: muster.dev/v1alpha1, kind: Worker, metadata: {name: free}, spec: {product: mimir}}
---
{apiVersion: muster.dev/v1alpha1, kind: Worker, metadata: {name: any}, spec: {}}
---
{apiVersion: v1, kind: Secret, metadata: {name: cert}, type: kubernetes.io/tls}
---
{apiVersion: v1, kind: Secret, metadata: {name: other-s3}, type: muster.dev/s3}
";

    fn side(text: &str) -> Side {
        text.parse().unwrap()
    }

    fn integrated(one: &str, other: &str) -> Result<Option<Document>, RelationError> {
        let apps = model(MORE);
        between(&apps, &side(one), &side(other))?.add(&apps)
    }

    #[test]
    fn either_order_gives_the_same_relation() {
        for (one, other, path, value) in [
            ("mimir", "free", "/spec/coordinator", "mimir"),
            ("loki", "any", "/spec/coordinator", "loki"),
            ("loki:s3", "other-s3:s3-credentials", "/spec/s3/secret", "other-s3"),
            ("loki", "cert", "/spec/tls/secret", "cert"),
            ("mimir:mimir-cluster", "free:cluster", "/spec/coordinator", "mimir"),
        ] {
            let document = integrated(one, other).unwrap();
            assert_eq!(document, integrated(other, one).unwrap());
            let json = serde_json::to_value(document.unwrap()).unwrap();
            assert_eq!(json.pointer(path).and_then(|v| v.as_str()), Some(value), "{one} {other}");
        }
        assert_eq!(integrated("mimir", "mimir-read"), Ok(None), "it is there already");
    }

    #[test]
    fn what_does_not_fit_is_refused_with_the_way_out() {
        for (one, other, expected) in [
            (
                "mimir",
                "loki",
                "mimir can be related to any (cluster), cert (certificates), free (cluster), mimir-read (cluster), other-s3 (s3), s3 (s3)",
            ),
            ("free", "s3", "free can be related to mimir (cluster)"),
            ("free", "free", "cannot be related"),
            ("free", "loki", "free is a mimir worker and loki a loki coordinator"),
            ("mimir", "other-s3", "muster remove-relation mimir s3"),
            ("mimir:s3", "free", "mimir:cluster"),
            ("mimir", "nothing", "not in the model"),
        ] {
            let error = integrated(one, other).unwrap_err().to_string();
            assert!(error.contains(expected), "{one} {other}: {error}");
        }
    }

    #[test]
    fn relations_are_taken_away() {
        let apps = model(MORE);
        let relation = between(&apps, &side("mimir"), &side("mimir-read")).unwrap();
        let Document::Worker(worker) = relation.remove(&apps).unwrap() else { panic!() };
        assert_eq!(worker.spec.coordinator, None);
        let relation = between(&apps, &side("mimir"), &side("free")).unwrap();
        assert!(matches!(relation.remove(&apps), Err(RelationError::NotRelated(..))));
    }

    #[test]
    fn a_removed_application_is_named_by_nobody() {
        let apps = model(MORE);
        let names = |app_name| -> Vec<String> {
            without(&apps, &app(app_name)).iter().map(|d| d.name().unwrap().to_string()).collect()
        };
        assert_eq!(names("mimir"), ["mimir-read"]);
        assert_eq!(names("s3"), ["mimir"]);
        assert!(names("mimir-read").is_empty());
    }
}
