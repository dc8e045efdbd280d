//! What a coordinator tells the workers of one application.

use std::collections::{BTreeMap, BTreeSet};

use muster_model::{Product, Secret};
use serde::{Deserialize, Serialize};

use super::databag::{Databag, DatabagError, optional, put, put_some, required};

const WORKER_CONFIG: &str = "worker_config";
const LOKI_ENDPOINTS: &str = "loki_endpoints";
const CHARM_TRACING_RECEIVERS: &str = "charm_tracing_receivers";
const WORKLOAD_TRACING_RECEIVERS: &str = "workload_tracing_receivers";
const REMOTE_WRITE_ENDPOINTS: &str = "remote_write_endpoints";
const WORKER_PORTS: &str = "worker_ports";
const CA_CERT: &str = "ca_cert";
const SERVER_CERT: &str = "server_cert";
const PRIVKEY_SECRET_ID: &str = "privkey_secret_id";
const S3_TLS_CA_CHAIN: &str = "s3_tls_ca_chain";
const WORKER_LABELS: &str = "worker_labels";

const TEXT: &str = "a text in double quotes";
const URLS: &str = "an object whose values are texts, for example {\"otlp_http\": \"http://host:4318\"}";
const ENDPOINTS: &str =
    "a list of objects with a text each, for example [{\"url\": \"http://host/api/v1/push\"}]";
const PORTS: &str = "a list of port numbers, for example [8080, 9095]";
const LABELS: &str =
    "an object whose values are texts, for example {\"app.kubernetes.io/part-of\": \"mimir\"}";

/// The application databag of a coordinator; its leader writes one for each worker application. It does so once all
/// units of that application have written theirs, and leaves it as it is while one of them has not.
///
/// Absent and empty are two things: a coordinator that has no Loki to name writes an empty map, one that never names
/// any writes nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CoordinatorApplication {
    /// The workload's whole config, YAML. Equal for every worker application. S3 keys stand in it in clear text.
    pub worker_config: Secret,
    /// Where to push logs: URL by the name of the Loki unit.
    pub loki_endpoints: Option<BTreeMap<String, String>>,
    /// Where a charm sends its own traces: URL by protocol (`otlp_http`).
    pub charm_tracing_receivers: Option<BTreeMap<String, String>>,
    /// Where a workload sends its own traces: URL by protocol (`otlp_http`, `jaeger_thrift_http`).
    pub workload_tracing_receivers: Option<BTreeMap<String, String>>,
    /// Where to push metrics. Only Tempo's coordinator writes it, for metrics made from spans.
    pub remote_write_endpoints: Option<Vec<RemoteWriteEndpoint>>,
    /// The ports that units of this application open; see [`ports`](Self::ports). Coordinators write them in any
    /// order.
    pub worker_ports: Option<BTreeSet<u16>>,
    /// The authority that signed the server certificate, PEM. This and the two below are there with TLS only.
    pub ca_cert: Option<String>,
    /// The certificate that all workers serve with, PEM. It is the coordinator leader's own.
    pub server_cert: Option<String>,
    /// The Juju secret with the certificate's key under `private-key`, as `secret:<id>`. Granted to the relation.
    pub privkey_secret_id: Option<String>,
    /// The authorities of the object store's certificate, PEM, with blank lines between.
    pub s3_tls_ca_chain: Option<String>,
    /// Labels that each unit's pod is to have.
    pub worker_labels: Option<BTreeMap<String, String>>,
}

/// One place to push metrics to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoteWriteEndpoint {
    /// The whole URL.
    pub url: String,
}

impl CoordinatorApplication {
    /// The whole databag. Keys that it lacks must not stay in the one that it replaces.
    #[must_use]
    pub fn encode(&self) -> Databag {
        // Taken apart, so that no field can be forgotten.
        let Self {
            worker_config,
            loki_endpoints,
            charm_tracing_receivers,
            workload_tracing_receivers,
            remote_write_endpoints,
            worker_ports,
            ca_cert,
            server_cert,
            privkey_secret_id,
            s3_tls_ca_chain,
            worker_labels,
        } = self;
        let mut bag = Databag::new();
        put(&mut bag, WORKER_CONFIG, worker_config);
        put_some(&mut bag, LOKI_ENDPOINTS, loki_endpoints.as_ref());
        put_some(&mut bag, CHARM_TRACING_RECEIVERS, charm_tracing_receivers.as_ref());
        put_some(&mut bag, WORKLOAD_TRACING_RECEIVERS, workload_tracing_receivers.as_ref());
        put_some(&mut bag, REMOTE_WRITE_ENDPOINTS, remote_write_endpoints.as_ref());
        put_some(&mut bag, WORKER_PORTS, worker_ports.as_ref());
        put_some(&mut bag, CA_CERT, ca_cert.as_ref());
        put_some(&mut bag, SERVER_CERT, server_cert.as_ref());
        put_some(&mut bag, PRIVKEY_SECRET_ID, privkey_secret_id.as_ref());
        put_some(&mut bag, S3_TLS_CA_CHAIN, s3_tls_ca_chain.as_ref());
        put_some(&mut bag, WORKER_LABELS, worker_labels.as_ref());
        bag
    }

    /// Reads a databag. Keys that this build does not know, Juju's own among them, are ignored whatever they hold.
    ///
    /// # Errors
    /// `worker_config` is missing, or a known key does not hold what it is for.
    pub fn decode(bag: &Databag) -> Result<Self, DatabagError> {
        Ok(Self {
            worker_config: required(bag, WORKER_CONFIG, TEXT)?,
            loki_endpoints: optional(bag, LOKI_ENDPOINTS, URLS)?,
            charm_tracing_receivers: optional(bag, CHARM_TRACING_RECEIVERS, URLS)?,
            workload_tracing_receivers: optional(bag, WORKLOAD_TRACING_RECEIVERS, URLS)?,
            remote_write_endpoints: optional(bag, REMOTE_WRITE_ENDPOINTS, ENDPOINTS)?,
            worker_ports: optional(bag, WORKER_PORTS, PORTS)?,
            ca_cert: optional(bag, CA_CERT, TEXT)?,
            server_cert: optional(bag, SERVER_CERT, TEXT)?,
            privkey_secret_id: optional(bag, PRIVKEY_SECRET_ID, TEXT)?,
            s3_tls_ca_chain: optional(bag, S3_TLS_CA_CHAIN, TEXT)?,
            worker_labels: optional(bag, WORKER_LABELS, LABELS)?,
        })
    }

    /// The ports that a unit opens: those that the coordinator names, or, for one too old to name any, those that
    /// the product's worker charm opens then.
    #[must_use]
    pub fn ports(&self, product: Product) -> BTreeSet<u16> {
        let unnamed: &[u16] = match product {
            Product::Tempo => &[3200, 4317, 4318, 7946, 9096, 9411, 14250, 14268],
            Product::Mimir => &[8080],
            Product::Loki => &[3100],
        };
        self.worker_ports.clone().unwrap_or_else(|| unnamed.iter().copied().collect())
    }
}
