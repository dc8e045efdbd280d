//! Trying out what the products will do.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_sdk_s3::Client;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{BucketLocationConstraint, CreateBucketConfiguration};
use muster_model::ObjectStorage;

use crate::ProbeError;
use crate::client::connect;

/// Probe objects live under this prefix, below the storage's own path. The products never read it.
pub const PROBE_PREFIX: &str = "muster-probe";

/// How long a listing waits for one page.
const PAGE_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a failed probe may take to remove its object, on top of its timeout.
const CLEANUP_TIMEOUT: Duration = Duration::from_secs(1);

/// Lists, writes, finds, reads back and deletes one small object as the products will do with theirs, within
/// `timeout` altogether. Makes the bucket when it is missing and [`ObjectStorage::create_bucket`] allows it.
///
/// # Errors
/// The first thing that does not work, in the classes of [`ProbeError`]. Nothing is tried twice.
pub async fn probe(storage: &ObjectStorage, timeout: Duration) -> Result<(), ProbeError> {
    let bucket = Bucket { client: connect(storage, timeout)?, storage, timeout };
    let key = format!("{}/{}", probe_prefix(storage), unique());
    let mut written = false;
    let result = match tokio::time::timeout(timeout, bucket.exercise(&key, &mut written)).await {
        Ok(result) => result,
        Err(_) => Err(ProbeError::silent(storage, timeout)),
    };
    if result.is_err() && written {
        let delete = bucket.client.delete_object().bucket(&storage.bucket).key(&key).send();
        if !matches!(tokio::time::timeout(CLEANUP_TIMEOUT, delete).await, Ok(Ok(_))) {
            tracing::debug!(key, "a probe object could not be removed");
        }
    }
    result
}

/// All keys of the bucket that start with `prefix`, in S3's order. `prefix` is taken as it is: the storage's path
/// is not put before it.
///
/// # Errors
/// As [`probe`]. Each page of 1,000 keys may take up to 30 s.
pub async fn keys(storage: &ObjectStorage, prefix: &str) -> Result<Vec<String>, ProbeError> {
    let client = connect(storage, PAGE_TIMEOUT)?;
    let mut pages = client.list_objects_v2().bucket(&storage.bucket).prefix(prefix).into_paginator().send();
    let mut keys = Vec::new();
    while let Some(page) = pages.next().await {
        let page = page.map_err(|e| ProbeError::from_sdk(storage, "list", &e, PAGE_TIMEOUT))?;
        keys.extend(page.contents.unwrap_or_default().into_iter().filter_map(|object| object.key));
    }
    Ok(keys)
}

struct Bucket<'a> {
    client: Client,
    storage: &'a ObjectStorage,
    timeout: Duration,
}

impl Bucket<'_> {
    /// `written` is set before the object may exist.
    async fn exercise(&self, key: &str, written: &mut bool) -> Result<(), ProbeError> {
        let name = &self.storage.bucket;
        // A listing comes first: it changes nothing, and unlike an answer to HEAD its error has a body that says why.
        match self.listed(key).await {
            Err(ProbeError::BucketMissing { .. }) if self.storage.create_bucket => self.create().await?,
            Err(error) => return Err(error),
            Ok(_) => {}
        }

        let content =
            format!("written by muster to try out this bucket; safe to delete\n{key}\n").into_bytes();
        *written = true;
        let put = self
            .client
            .put_object()
            .bucket(name)
            .key(key)
            .body(ByteStream::from(content.clone()))
            .send()
            .await;
        put.map_err(|e| self.failed("write to", &e))?;

        let head = self.client.head_object().bucket(name).key(key).send().await;
        let length = match head {
            Ok(head) => head.content_length,
            Err(SdkError::ServiceError(e)) if e.err().is_not_found() => {
                return Err(self.broken("an object just written is not found"));
            }
            Err(error) => return Err(self.failed("read from", &error)),
        };
        if length.and_then(|l| usize::try_from(l).ok()) != Some(content.len()) {
            return Err(self.broken("an object just written has another length"));
        }

        if !self.listed(key).await? {
            return Err(self.broken("an object just written is not listed"));
        }

        let get = self.client.get_object().bucket(name).key(key).send().await;
        let body = get.map_err(|e| self.failed("read from", &e))?.body.collect().await;
        let body = body.map_err(|e| {
            ProbeError::unreachable(self.storage, format!("reading an object broke off: {e}"))
        })?;
        if body.into_bytes() != content {
            return Err(self.broken("an object just written has another content"));
        }

        let delete = self.client.delete_object().bucket(name).key(key).send().await;
        delete.map_err(|e| self.failed("delete from", &e))?;
        *written = false;
        Ok(())
    }

    /// Whether a listing shows `key`.
    async fn listed(&self, key: &str) -> Result<bool, ProbeError> {
        let list =
            self.client.list_objects_v2().bucket(&self.storage.bucket).prefix(key).max_keys(1).send().await;
        let list = list.map_err(|e| self.failed("list", &e))?;
        Ok(list.contents().iter().any(|object| object.key() == Some(key)))
    }

    async fn create(&self) -> Result<(), ProbeError> {
        let mut create = self.client.create_bucket().bucket(&self.storage.bucket);
        // AWS wants no constraint for its first region and one for every other; other stores accept both.
        if self.storage.region != ObjectStorage::DEFAULT_REGION {
            let region = BucketLocationConstraint::from(self.storage.region.as_str());
            create = create.create_bucket_configuration(
                CreateBucketConfiguration::builder().location_constraint(region).build(),
            );
        }
        match create.send().await {
            Ok(_) => Ok(()),
            Err(SdkError::ServiceError(e)) if e.err().is_bucket_already_owned_by_you() => Ok(()),
            Err(SdkError::ServiceError(e)) if e.err().is_bucket_already_exists() => {
                Err(self.broken("somebody else owns a bucket of that name; choose another"))
            }
            Err(error) => Err(self.failed("create", &error)),
        }
    }

    fn failed<E>(
        &self,
        operation: &'static str,
        error: &SdkError<E, aws_sdk_s3::config::http::HttpResponse>,
    ) -> ProbeError
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        ProbeError::from_sdk(self.storage, operation, error, self.timeout)
    }

    fn broken(&self, cause: &str) -> ProbeError {
        ProbeError::other(self.storage, cause)
    }
}

fn probe_prefix(storage: &ObjectStorage) -> String {
    match &storage.path {
        Some(path) => format!("{path}/{PROBE_PREFIX}"),
        None => PROBE_PREFIX.to_owned(),
    }
}

/// A name that no other probe has: of this process, of another on this machine, or elsewhere at the same time.
fn unique() -> String {
    static PROBES: AtomicU64 = AtomicU64::new(0);
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    format!("{since_epoch:x}-{}-{}", std::process::id(), PROBES.fetch_add(1, Ordering::Relaxed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probe_names_differ() {
        assert_ne!(unique(), unique());
    }
}
