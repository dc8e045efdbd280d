//! What `deploy` makes of a charm.

use std::collections::BTreeMap;

use muster_api::{API_VERSION, Document, S3_SECRET_TYPE};
use muster_model::AppName;
use muster_products::charm::{self, Charm, CharmKind};
use serde_json::json;

use crate::failure::Failure;
use crate::options::{self, OptionError};

/// Why an application cannot be made.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DeployError {
    /// No charm has that name.
    #[error("charm {0:?} is not known; the charms are {known}", known = charm::charms().map(|c| c.name.to_string()).collect::<Vec<_>>().join(", "))]
    UnknownCharm(String),
    /// The charm runs nothing.
    #[error("{0} has no units: it only holds the credentials of an object store; leave -n out")]
    NoUnits(String),
    /// `--secret-key-file` for a charm without a secret key.
    #[error("{0} has no secret key; only s3-integrator takes --secret-key-file")]
    NoSecretKey(String),
    /// The options are wrong.
    #[error(transparent)]
    Options(#[from] OptionError),
}

impl From<DeployError> for Failure {
    fn from(error: DeployError) -> Self {
        match error {
            DeployError::Options(error) => error.into(),
            error => Self::new(error),
        }
    }
}

/// The charm of that name.
pub(crate) fn find(charm: &str) -> Result<&'static Charm, DeployError> {
    charm::charm(charm).ok_or_else(|| DeployError::UnknownCharm(charm.chars().take(80).collect()))
}

/// The document of a new application.
pub(crate) fn document(
    charm: &'static Charm,
    name: &AppName,
    units: u32,
    settings: &BTreeMap<String, String>,
) -> Result<Document, DeployError> {
    let metadata = json!({ "name": name });
    let bare = match charm.kind {
        CharmKind::Coordinator(product) => json!({
            "apiVersion": API_VERSION, "kind": "Coordinator", "metadata": metadata,
            "spec": { "product": product, "units": units },
        }),
        CharmKind::Worker(product) => json!({
            "apiVersion": API_VERSION, "kind": "Worker", "metadata": metadata,
            "spec": { "product": product, "units": units },
        }),
        CharmKind::S3Integrator => {
            if units != 1 {
                return Err(DeployError::NoUnits(charm.name.to_string()));
            }
            json!({ "apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": S3_SECRET_TYPE })
        }
    };
    let bare =
        Document::from_value(bare).expect("the fields are those of the kinds, and the name was checked");
    Ok(options::change(charm, name, &bare, settings, &[])?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::app;

    fn deployed(charm: &str, units: u32, settings: &[(&str, &str)]) -> Result<Document, DeployError> {
        let settings = settings.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        document(find(charm)?, &app("it"), units, &settings)
    }

    #[test]
    fn each_charm_makes_its_kind() {
        let Document::Worker(worker) =
            deployed("mimir-worker-k8s", 2, &[("role-read", "true"), ("role-all", "false")]).unwrap()
        else {
            panic!()
        };
        assert_eq!((worker.spec.product.as_deref(), worker.spec.units), (Some("mimir"), 2));
        assert_eq!(worker.spec.roles, [("all".to_owned(), false), ("read".to_owned(), true)].into());
        let Document::Worker(worker) = deployed("loki-worker-k8s", 1, &[]).unwrap() else { panic!() };
        assert_eq!(worker.spec.roles, [("all".to_owned(), true)].into());
        let Document::Coordinator(coordinator) = deployed("tempo-coordinator-k8s", 3, &[]).unwrap() else {
            panic!()
        };
        assert_eq!((coordinator.spec.product.as_str(), coordinator.spec.units), ("tempo", 3));
        let Document::Secret(secret) =
            deployed("s3-integrator", 1, &[("endpoint", "http://127.0.0.1:9000"), ("create-bucket", "true")])
                .unwrap()
        else {
            panic!()
        };
        assert_eq!(secret.type_.as_deref(), Some(S3_SECRET_TYPE));
        assert_eq!(secret.string_data.unwrap()["create-bucket"], "true");
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let unknown = deployed("mimir", 1, &[]).unwrap_err().to_string();
        assert!(unknown.contains("mimir-coordinator-k8s") && unknown.contains("s3-integrator"), "{unknown}");
        assert!(matches!(deployed("s3-integrator", 2, &[]), Err(DeployError::NoUnits(_))));
        assert!(matches!(
            deployed("mimir-worker-k8s", 1, &[("role-x", "true")]),
            Err(DeployError::Options(_))
        ));
    }
}
