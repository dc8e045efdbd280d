//! The Secrets that a coordinator names and that no cache holds: certificates, because a cluster has many that no coordinator names,
//! and those of another type than is asked for.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt as _;
use muster_api::Coordinator;

use crate::belonging::coordinator_named;
use crate::context::{Context, locked};
use crate::key::Key;
use crate::write::WriteError;

/// What was read of them for one look at a coordinator.
#[derive(Default)]
pub(crate) struct Named {
    /// The Secret of the S3 relation, if it is not among those of its type.
    pub(crate) s3: Option<Secret>,
    /// The Secret of the server certificate, of whatever type.
    pub(crate) tls: Option<Arc<Secret>>,
    /// The Secrets with the certificates of the coordinators that metrics are to be written to, by the coordinators' names.
    pub(crate) remote_write_tls: BTreeMap<String, Arc<Secret>>,
}

/// Reads them.
pub(crate) async fn read(
    key: &Key,
    coordinator: &Coordinator,
    context: &Context,
) -> Result<Named, WriteError> {
    let mut named = Named::default();
    if let Some(reference) = &coordinator.spec.s3 {
        let secret = key.sibling(&reference.secret);
        if context.caches.s3_secrets.get(&secret).is_none() {
            named.s3 = context.writer.read::<Secret>(&secret).await?;
        }
    }
    if let Some(reference) = &coordinator.spec.tls {
        named.tls = certificate(&key.sibling(&reference.secret), context).await?;
    }
    for other in &coordinator.spec.remote_write {
        let found = coordinator_named(&key.sibling(other), &context.caches);
        let tls = found.as_ref().and_then(|found| found.0.as_ref().ok()?.spec.tls.as_ref());
        if let Some(reference) = tls
            && let Some(secret) = certificate(&key.sibling(&reference.secret), context).await?
        {
            named.remote_write_tls.insert(other.clone(), secret);
        }
    }
    Ok(named)
}

/// The Secret as it was read before, unless the watch knows of another version.
async fn certificate(secret: &Key, context: &Context) -> Result<Option<Arc<Secret>>, WriteError> {
    let version =
        context.caches.tls_secrets.get(secret).and_then(|seen| seen.metadata.resource_version.clone());
    let kept = locked(&context.certificates).get(secret).cloned();
    if let Some(kept) = kept.filter(|kept| version.is_some() && kept.resource_version() == version) {
        return Ok(Some(kept));
    }
    let read = context.writer.read::<Secret>(secret).await?.map(Arc::new);
    match &read {
        Some(read) => locked(&context.certificates).insert(secret.clone(), Arc::clone(read)),
        None => locked(&context.certificates).remove(secret),
    };
    Ok(read)
}
