//! What units share, as Secrets: one for the workers, one for the load balancer, which must not know the object store.

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use muster_model::AppName;
use muster_relation::ClusterData;

use crate::names::{balancer_secret, cluster_secret};
use crate::{Deployment, Object};

/// The type of the Secrets of the cluster relation.
const RELATION_SECRET_TYPE: &str = "muster.dev/relation";

/// Where a plan shares nothing new there is no object: what was last shared stays.
pub(crate) fn objects(deployment: &Deployment<'_>, name: &AppName) -> Vec<Object> {
    let cluster = deployment.plan.cluster.as_ref().map(|data| (cluster_secret(name), data));
    let balancer = deployment.plan.balancer_cluster.as_ref().map(|data| (balancer_secret(name), data));
    cluster.into_iter().chain(balancer).map(|(secret, data)| object(deployment, name, secret, data)).collect()
}

fn object(deployment: &Deployment<'_>, name: &AppName, secret: String, data: &ClusterData) -> Object {
    let entries = data.to_entries().into_iter();
    Object::Secret(Secret {
        metadata: deployment.of_coordinator(name, secret),
        type_: Some(RELATION_SECRET_TYPE.to_owned()),
        data: Some(
            entries.map(|(entry, text)| (entry, ByteString(text.expose().as_bytes().to_vec()))).collect(),
        ),
        ..Secret::default()
    })
}
