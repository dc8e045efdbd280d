//! What all units of a cluster share.

use std::collections::BTreeMap;

use muster_model::{ObjectStorage, Product, Revision, TlsMaterial, Version};
use serde::{Deserialize, Serialize};

/// The shared data of one cluster. Documents are free of secrets; the secrets stand beside them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterData {
    /// The product.
    pub product: Product,
    /// Its version line.
    pub version: Version,
    /// The live revisions: a workload config with placeholders, or a load balancer's nginx document.
    pub documents: BTreeMap<Revision, String>,
    /// The object store. Absent for load balancer units, which must not know it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object_storage: Option<ObjectStorage>,
    /// The server certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsMaterial>,
}
