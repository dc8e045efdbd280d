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
    /// A coordinator that writes metrics, and one that takes them.
    RemoteWrite,
}

/// Which of the two applications of a relation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// The one whose document names the other.
    Holder,
    /// The one that is named.
    Named,
}

impl Endpoint {
    /// What it is called on one of its ends.
    fn at(self, end: End) -> &'static str {
        match (self, end) {
            (Self::Cluster, _) => "cluster",
            (Self::S3, _) => "s3",
            (Self::Certificates, _) => "certificates",
            (Self::RemoteWrite, End::Holder) => "send-remote-write",
            (Self::RemoteWrite, End::Named) => "receive-remote-write",
        }
    }

    /// Whether a person who writes `text` after the colon means this endpoint. The names of Canonical's charms are
    /// understood too: `mimir-cluster`, `s3-credentials`.
    fn is_meant_by(self, end: End, text: &str) -> bool {
        let product_cluster =
            || text.strip_suffix("-cluster").is_some_and(|product| product.parse::<Product>().is_ok());
        text == self.at(end)
            || match self {
                Self::Cluster => product_cluster(),
                Self::S3 => text == "s3-credentials",
                Self::Certificates | Self::RemoteWrite => false,
            }
    }

    /// Whether it takes more than one relation.
    fn takes_many(self) -> bool {
        self == Self::RemoteWrite
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
        let end = if side.app == relation.holder { End::Holder } else { End::Named };
        let wrong = side.endpoint.as_ref().filter(|text| !relation.endpoint.is_meant_by(end, text));
        if let Some(endpoint) = wrong {
            return Err(RelationError::WrongEndpoint {
                app: side.app.clone(),
                endpoint: endpoint.clone(),
                right: relation.endpoint.at(end),
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
        (Nature::Coordinator, Nature::Coordinator) => match (apps.product(one)?, apps.product(other)?) {
            (Product::Tempo, Product::Mimir) => relation(Endpoint::RemoteWrite, one, other),
            (Product::Mimir, Product::Tempo) => relation(Endpoint::RemoteWrite, other, one),
            _ => None,
        },
        _ => None,
    })
}

/// What an application of the model could be related to, as a list for a message.
fn candidates(apps: &Applications, app: &AppName) -> String {
    let fits = |other: &AppName| {
        let relation = between_names(apps, app, other).ok().flatten()?;
        let matches = relation.endpoint != Endpoint::Cluster || relation.products(apps).is_ok();
        let end = if *app == relation.holder { End::Holder } else { End::Named };
        matches.then(|| format!("{other} ({})", relation.endpoint.at(end)))
    };
    let found: Vec<String> = apps.iter().filter_map(|(other, _)| fits(other)).collect();
    if found.is_empty() { "nothing that is in the model".to_owned() } else { found.join(", ") }
}

impl Relation {
    /// Both sides as `app:endpoint`, the holder of the relation first.
    pub(crate) fn sides(&self) -> (String, String) {
        let side = |app: &AppName, end| format!("{app}:{}", self.endpoint.at(end));
        (side(&self.holder, End::Holder), side(&self.named, End::Named))
    }

    /// The document that holds the relation once it is there, or `None` where it is there already.
    pub(crate) fn add(&self, apps: &Applications) -> Result<Option<Document>, RelationError> {
        if self.endpoint == Endpoint::Cluster {
            self.products(apps)?;
        }
        let mut document = apps.get(&self.holder)?.clone();
        let current = related(&document, self.endpoint);
        if current.contains(&self.named.as_str()) {
            return Ok(None);
        }
        if let Some(current) = current.first().filter(|_| !self.endpoint.takes_many()) {
            return Err(RelationError::Occupied {
                holder: self.holder.clone(),
                current: (*current).to_owned(),
            });
        }
        relate(&mut document, self.endpoint, &self.named);
        Ok(Some(document))
    }

    /// The document that held the relation, without it.
    pub(crate) fn remove(&self, apps: &Applications) -> Result<Document, RelationError> {
        let mut document = apps.get(&self.holder)?.clone();
        if !related(&document, self.endpoint).contains(&self.named.as_str()) {
            return Err(RelationError::NotRelated(self.holder.clone(), self.named.clone()));
        }
        separate(&mut document, self.endpoint, &self.named);
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
    let endpoints = [Endpoint::Cluster, Endpoint::S3, Endpoint::Certificates, Endpoint::RemoteWrite];
    let removed_kind = apps.get(app).map(Document::kind).ok();
    apps.iter()
        .filter_map(|(_, document)| {
            let mut changed = document.clone();
            for endpoint in endpoints {
                let names_kind = match endpoint {
                    Endpoint::Cluster | Endpoint::RemoteWrite => muster_api::Kind::Coordinator,
                    Endpoint::S3 | Endpoint::Certificates => muster_api::Kind::Secret,
                };
                if removed_kind == Some(names_kind) {
                    separate(&mut changed, endpoint, app);
                }
            }
            (changed != *document).then_some(changed)
        })
        .collect()
}

/// What the document is related to at that endpoint.
fn related(document: &Document, endpoint: Endpoint) -> Vec<&str> {
    match (document, endpoint) {
        (Document::Worker(worker), Endpoint::Cluster) => {
            worker.spec.coordinator.as_deref().into_iter().collect()
        }
        (Document::Coordinator(c), Endpoint::S3) => c.spec.s3.iter().map(|s3| s3.secret.as_str()).collect(),
        (Document::Coordinator(c), Endpoint::Certificates) => {
            c.spec.tls.iter().map(|tls| tls.secret.as_str()).collect()
        }
        (Document::Coordinator(c), Endpoint::RemoteWrite) => {
            c.spec.remote_write.iter().map(String::as_str).collect()
        }
        _ => Vec::new(),
    }
}

/// Relates the document to `named`, instead of what it is related to where the endpoint takes only one.
fn relate(document: &mut Document, endpoint: Endpoint, named: &AppName) {
    let named = named.to_string();
    match (document, endpoint) {
        (Document::Worker(worker), Endpoint::Cluster) => worker.spec.coordinator = Some(named),
        (Document::Coordinator(c), Endpoint::S3) => {
            c.spec.s3 = Some(ObjectStorageReference { secret: named });
        }
        (Document::Coordinator(c), Endpoint::Certificates) => {
            c.spec.tls = Some(TlsReference { secret: named })
        }
        (Document::Coordinator(c), Endpoint::RemoteWrite) => c.spec.remote_write.push(named),
        _ => {}
    }
}

/// Takes the relation to `named` away, if there is one.
fn separate(document: &mut Document, endpoint: Endpoint, named: &AppName) {
    if !related(document, endpoint).contains(&named.as_str()) {
        return;
    }
    match (document, endpoint) {
        (Document::Worker(worker), Endpoint::Cluster) => worker.spec.coordinator = None,
        (Document::Coordinator(c), Endpoint::S3) => c.spec.s3 = None,
        (Document::Coordinator(c), Endpoint::Certificates) => c.spec.tls = None,
        (Document::Coordinator(c), Endpoint::RemoteWrite) => {
            c.spec.remote_write.retain(|name| name != named.as_str());
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

    const TRACES: &str = "
{apiVersion: muster.dev/v1alpha1, kind: Coordinator, metadata: {name: tempo}, spec: {product: tempo, remoteWrite: [other]}}
---
{apiVersion: muster.dev/v1alpha1, kind: Coordinator, metadata: {name: other}, spec: {product: mimir}}
---
{apiVersion: muster.dev/v1alpha1, kind: Coordinator, metadata: {name: loki}, spec: {product: loki}}
";

    #[test]
    fn metrics_are_written_to_as_many_as_one_likes() {
        let apps = model(TRACES);
        let between = |one: &str, other: &str| between(&apps, &side(one), &side(other));
        let written = |document: Document| match document {
            Document::Coordinator(coordinator) => coordinator.spec.remote_write,
            _ => panic!(),
        };
        for (one, other) in [
            ("tempo", "mimir"),
            ("mimir", "tempo"),
            ("tempo:send-remote-write", "mimir"),
            ("mimir:receive-remote-write", "tempo:send-remote-write"),
        ] {
            let relation = between(one, other).unwrap();
            assert_eq!(written(relation.add(&apps).unwrap().unwrap()), ["other", "mimir"], "{one} {other}");
            assert_eq!(
                relation.sides(),
                ("tempo:send-remote-write".to_owned(), "mimir:receive-remote-write".to_owned())
            );
            assert!(matches!(relation.remove(&apps), Err(RelationError::NotRelated(..))));
        }
        let there = between("tempo", "other").unwrap();
        assert_eq!(there.add(&apps), Ok(None));
        assert!(written(there.remove(&apps).unwrap()).is_empty());
        let gone = without(&apps, &app("other"));
        assert!(
            matches!(&gone[..], [Document::Coordinator(tempo)] if tempo.spec.remote_write.is_empty()),
            "{gone:?}"
        );

        for (one, other, expected) in [
            ("tempo:receive-remote-write", "mimir", "write tempo:send-remote-write"),
            ("tempo", "mimir:send-remote-write", "write mimir:receive-remote-write"),
            ("tempo", "loki", "tempo can be related to mimir (send-remote-write), other (send-remote-write)"),
            (
                "mimir",
                "other",
                "mimir can be related to mimir-read (cluster), s3 (s3), tempo (receive-remote-write)",
            ),
        ] {
            let error = between(one, other).unwrap_err().to_string();
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
