//! What `s3s-fs` lacks for data that somebody relies on.
//!
//! `s3s-fs` alone shows an object before its checksum is verified, before it is on the disk and before its sidecar
//! files (ETag, checksums, metadata) belong to it; it copies over objects in place, makes buckets by writing into
//! them and removes buckets that are not empty. Here every write goes into a staging directory first and is then
//! published: synced, stripped of the old sidecars, renamed, and the directories synced. A kill at any moment leaves
//! the old object or the new one, at worst without sidecars, which `s3s-fs` then computes anew or does without.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use base64_simd::URL_SAFE_NO_PAD;
use s3s::access::{S3Access, S3AccessContext};
use s3s::dto::*;
use s3s::{S3, S3Error, S3Request, S3Response, S3Result, s3_error};
use s3s_fs::FileSystem;
use tokio::sync::{Mutex, OwnedMutexGuard};

use super::listing::{self, Page, Query};
use super::make_private_directory;

/// Where objects are written before they are published. S3 allows no bucket of that name.
const STAGING: &str = ".staging";

/// The most keys of one page, as S3 has it.
const MAX_KEYS: usize = 1000;

/// The longest file name of Linux's file systems, in bytes. A sidecar's name holds bucket and key, so it bounds keys:
/// to 130 bytes in a bucket with a name of five.
const MAX_FILE_NAME: usize = 255;

/// How a sidecar's name goes on for a multipart upload: the longest of all.
const LONGEST_AFFIX: &str = ".upload-00000000-0000-0000-0000-000000000000.metadata";

/// Files of multipart uploads that nobody went on with for this long are removed when the server starts.
const UPLOAD_LIFETIME: Duration = Duration::from_secs(7 * 24 * 3600);

/// A directory of buckets.
#[derive(Debug)]
pub(super) struct Store {
    files: FileSystem,
    directory: Arc<Directory>,
    staged: AtomicU64,
    /// Held while an object appears or disappears, so that conditions hold and no directory vanishes under a rename.
    publishing: Arc<Mutex<()>>,
}

impl Store {
    /// Opens the buckets below `root` and removes what an earlier server left half done.
    pub(super) fn open(root: &Path) -> io::Result<Self> {
        let root = root.canonicalize()?;
        let staging = root.join(STAGING);
        match fs::remove_dir_all(&staging) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => make_private_directory(&staging)?,
        }
        let directory = Directory { root };
        directory.remove_leftovers()?;
        let files = FileSystem::new(&directory.root).map_err(|e| io::Error::other(format!("{e:?}")))?;
        Ok(Self {
            files,
            directory: Arc::new(directory),
            staged: AtomicU64::new(0),
            publishing: Arc::new(Mutex::new(())),
        })
    }

    fn stage(&self) -> Staged {
        let key = self.staged.fetch_add(1, Ordering::Relaxed).to_string();
        Staged { directory: Arc::clone(&self.directory), key }
    }

    /// Makes a staged object the one of that key, if the conditions hold.
    async fn publish(
        &self,
        staged: Staged,
        bucket: String,
        key: String,
        conditions: Conditions,
    ) -> S3Result<()> {
        let staged = blocking(move || staged.sync().map(|()| staged)).await?;
        let guard = self.hold().await;
        self.check(&bucket, &key, &conditions).await?;
        blocking(move || {
            let outcome = staged.publish(&bucket, &key);
            drop(guard);
            outcome?;
            staged.directory.sync_path_to(&bucket, &key)
        })
        .await
    }

    async fn hold(&self) -> OwnedMutexGuard<()> {
        Arc::clone(&self.publishing).lock_owned().await
    }

    async fn check(&self, bucket: &str, key: &str, conditions: &Conditions) -> S3Result<()> {
        let Conditions { if_match, if_none_match } = conditions;
        if if_match.is_none() && if_none_match.is_none() {
            return Ok(());
        }
        let head = HeadObjectInput { bucket: bucket.to_owned(), key: key.to_owned(), ..Default::default() };
        let current = if self.directory.is_object(bucket, key) {
            self.files.head_object(request(head)).await?.output.e_tag
        } else {
            None
        };
        let matches = |condition: &ETagCondition| match (&current, condition) {
            (None, _) => false,
            (Some(_), ETagCondition::Any) => true,
            (Some(current), ETagCondition::ETag(wanted)) => current.strong_cmp(wanted),
        };
        if if_match.as_ref().is_some_and(|c| !matches(c)) || if_none_match.as_ref().is_some_and(matches) {
            return Err(s3_error!(PreconditionFailed));
        }
        Ok(())
    }

    async fn delete(&self, bucket: String, key: String) -> S3Result<()> {
        let guard = self.hold().await;
        let directory = Arc::clone(&self.directory);
        blocking(move || {
            let outcome = directory.remove(&bucket, &key);
            drop(guard);
            outcome
        })
        .await
    }

    async fn list(&self, bucket: &str, query: Query) -> S3Result<Page> {
        let path = self.directory.bucket(bucket);
        blocking(move || listing::list(&path, &query)).await
    }

    fn require_object(&self, bucket: &str, key: &str) -> S3Result<()> {
        if self.directory.is_object(bucket, key) { Ok(()) } else { Err(s3_error!(NoSuchKey)) }
    }
}

/// What a write asks of the object that it replaces.
struct Conditions {
    if_match: Option<ETagCondition>,
    if_none_match: Option<ETagCondition>,
}

#[async_trait::async_trait]
impl S3 for Store {
    async fn create_bucket(
        &self,
        req: S3Request<CreateBucketInput>,
    ) -> S3Result<S3Response<CreateBucketOutput>> {
        let path = self.directory.bucket(&req.input.bucket);
        let root = self.directory.root.clone();
        let made = blocking(move || match fs::create_dir(path) {
            Ok(()) => File::open(root)?.sync_all().map(|()| true),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(error),
        });
        if made.await? {
            Ok(S3Response::new(CreateBucketOutput { location: Some(format!("/{}", req.input.bucket)) }))
        } else {
            Err(s3_error!(BucketAlreadyOwnedByYou))
        }
    }

    async fn put_object(&self, mut req: S3Request<PutObjectInput>) -> S3Result<S3Response<PutObjectOutput>> {
        let staged = self.stage();
        let bucket = std::mem::replace(&mut req.input.bucket, STAGING.to_owned());
        let key = std::mem::replace(&mut req.input.key, staged.key.clone());
        let conditions =
            Conditions { if_match: req.input.if_match.take(), if_none_match: req.input.if_none_match.take() };
        let response = self.files.put_object(req).await?;
        self.publish(staged, bucket, key, conditions).await?;
        Ok(response)
    }

    async fn copy_object(
        &self,
        mut req: S3Request<CopyObjectInput>,
    ) -> S3Result<S3Response<CopyObjectOutput>> {
        if let CopySource::Bucket { bucket, key, .. } = &req.input.copy_source {
            check_key(bucket, key)?;
            self.require_object(bucket, key)?;
        }
        let staged = self.stage();
        let bucket = std::mem::replace(&mut req.input.bucket, STAGING.to_owned());
        let key = std::mem::replace(&mut req.input.key, staged.key.clone());
        let response = self.files.copy_object(req).await?;
        self.publish(staged, bucket, key, Conditions { if_match: None, if_none_match: None }).await?;
        Ok(response)
    }

    async fn complete_multipart_upload(
        &self,
        mut req: S3Request<CompleteMultipartUploadInput>,
    ) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
        let staged = self.stage();
        let bucket = std::mem::replace(&mut req.input.bucket, STAGING.to_owned());
        let key = std::mem::replace(&mut req.input.key, staged.key.clone());
        let conditions =
            Conditions { if_match: req.input.if_match.take(), if_none_match: req.input.if_none_match.take() };
        // The upload's metadata is filed under the object's key; what completes it looks under the staged one.
        let upload = req.input.upload_id.clone();
        let from = self.directory.sidecar(&bucket, &key, &format!(".upload-{upload}.metadata"));
        let to = self.directory.sidecar(STAGING, &staged.key, &format!(".upload-{upload}.metadata"));
        blocking(move || rename_if_there(&from, &to)).await?;
        let mut response = self.files.complete_multipart_upload(req).await?;
        if let Some(result) = response.output.future.take() {
            response.output = result.await?;
        }
        self.publish(staged, bucket.clone(), key.clone(), conditions).await?;
        response.output.bucket = Some(bucket);
        response.output.key = Some(key);
        Ok(response)
    }

    async fn delete_object(
        &self,
        req: S3Request<DeleteObjectInput>,
    ) -> S3Result<S3Response<DeleteObjectOutput>> {
        self.delete(req.input.bucket, req.input.key).await?;
        Ok(S3Response::new(DeleteObjectOutput::default()))
    }

    async fn delete_objects(
        &self,
        req: S3Request<DeleteObjectsInput>,
    ) -> S3Result<S3Response<DeleteObjectsOutput>> {
        let mut output = DeleteObjectsOutput::default();
        for object in req.input.delete.objects {
            let result = match check_key(&req.input.bucket, &object.key) {
                Ok(()) => self.delete(req.input.bucket.clone(), object.key.clone()).await,
                Err(error) => Err(error),
            };
            match result {
                Ok(()) => output
                    .deleted
                    .get_or_insert_default()
                    .push(DeletedObject { key: Some(object.key), ..Default::default() }),
                Err(error) => output.errors.get_or_insert_default().push(Error {
                    code: Some(error.code().as_str().to_owned()),
                    key: Some(object.key),
                    ..Default::default()
                }),
            }
        }
        Ok(S3Response::new(output))
    }

    async fn list_objects(
        &self,
        req: S3Request<ListObjectsInput>,
    ) -> S3Result<S3Response<ListObjectsOutput>> {
        let input = req.input;
        let encode = encoder(input.encoding_type.as_ref());
        let query = Query {
            prefix: input.prefix.clone().unwrap_or_default(),
            delimiter: input.delimiter.clone(),
            after: input.marker.clone().unwrap_or_default(),
            limit: page_limit(input.max_keys),
        };
        let page = self.list(&input.bucket, query).await?;
        Ok(S3Response::new(ListObjectsOutput {
            is_truncated: Some(page.next.is_some()),
            next_marker: page.next.map(|next| encode(&next)),
            contents: Some(page.objects.into_iter().map(|entry| object(entry, encode)).collect()),
            common_prefixes: Some(common_prefixes(page.prefixes, encode)),
            name: Some(input.bucket),
            prefix: input.prefix.map(|p| encode(&p)),
            marker: input.marker.map(|m| encode(&m)),
            max_keys: Some(input.max_keys.unwrap_or(1000)),
            delimiter: input.delimiter.map(|d| encode(&d)),
            encoding_type: input.encoding_type,
            ..Default::default()
        }))
    }

    async fn list_objects_v2(
        &self,
        req: S3Request<ListObjectsV2Input>,
    ) -> S3Result<S3Response<ListObjectsV2Output>> {
        let input = req.input;
        let encode = encoder(input.encoding_type.as_ref());
        let after = input.continuation_token.clone().max(input.start_after.clone());
        let query = Query {
            prefix: input.prefix.clone().unwrap_or_default(),
            delimiter: input.delimiter.clone(),
            after: after.unwrap_or_default(),
            limit: page_limit(input.max_keys),
        };
        let page = self.list(&input.bucket, query).await?;
        let count = page.objects.len() + page.prefixes.len();
        Ok(S3Response::new(ListObjectsV2Output {
            is_truncated: Some(page.next.is_some()),
            next_continuation_token: page.next,
            key_count: i32::try_from(count).ok(),
            contents: Some(page.objects.into_iter().map(|entry| object(entry, encode)).collect()),
            common_prefixes: Some(common_prefixes(page.prefixes, encode)),
            name: Some(input.bucket),
            prefix: input.prefix.map(|p| encode(&p)),
            start_after: input.start_after.map(|s| encode(&s)),
            continuation_token: input.continuation_token,
            max_keys: Some(input.max_keys.unwrap_or(1000)),
            delimiter: input.delimiter.map(|d| encode(&d)),
            encoding_type: input.encoding_type,
            ..Default::default()
        }))
    }

    async fn get_object(&self, req: S3Request<GetObjectInput>) -> S3Result<S3Response<GetObjectOutput>> {
        self.require_object(&req.input.bucket, &req.input.key)?;
        self.files.get_object(req).await
    }

    async fn head_object(&self, req: S3Request<HeadObjectInput>) -> S3Result<S3Response<HeadObjectOutput>> {
        self.require_object(&req.input.bucket, &req.input.key)?;
        self.files.head_object(req).await
    }

    async fn head_bucket(&self, req: S3Request<HeadBucketInput>) -> S3Result<S3Response<HeadBucketOutput>> {
        self.files.head_bucket(req).await
    }

    async fn get_bucket_location(
        &self,
        req: S3Request<GetBucketLocationInput>,
    ) -> S3Result<S3Response<GetBucketLocationOutput>> {
        self.files.get_bucket_location(req).await
    }

    async fn list_buckets(
        &self,
        req: S3Request<ListBucketsInput>,
    ) -> S3Result<S3Response<ListBucketsOutput>> {
        self.files.list_buckets(req).await
    }

    async fn create_multipart_upload(
        &self,
        req: S3Request<CreateMultipartUploadInput>,
    ) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
        self.files.create_multipart_upload(req).await
    }

    async fn upload_part(&self, req: S3Request<UploadPartInput>) -> S3Result<S3Response<UploadPartOutput>> {
        self.files.upload_part(req).await
    }

    async fn list_parts(&self, req: S3Request<ListPartsInput>) -> S3Result<S3Response<ListPartsOutput>> {
        self.files.list_parts(req).await
    }

    async fn abort_multipart_upload(
        &self,
        req: S3Request<AbortMultipartUploadInput>,
    ) -> S3Result<S3Response<AbortMultipartUploadOutput>> {
        self.files.abort_multipart_upload(req).await
    }
}

/// Lets in signed requests for buckets that exist and keys that can be file names.
pub(super) struct UsableNames {
    root: PathBuf,
}

impl UsableNames {
    pub(super) fn below(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }
}

#[async_trait::async_trait]
impl S3Access for UsableNames {
    async fn check(&self, cx: &mut S3AccessContext<'_>) -> S3Result<()> {
        if cx.credentials().is_none() {
            return Err(s3_error!(AccessDenied, "a signature is required"));
        }
        if let Some(bucket) = cx.s3_path().get_bucket_name()
            && cx.s3_op().name() != "CreateBucket"
            && !self.root.join(bucket).is_dir()
        {
            return Err(s3_error!(NoSuchBucket));
        }
        cx.s3_path().as_object().map_or(Ok(()), |(bucket, key)| check_key(bucket, key))
    }
}

/// Whether a key can be a path: two keys must never be the same file, and none may lie outside its bucket.
fn check_key(bucket: &str, key: &str) -> S3Result<()> {
    if sidecar_name(bucket, key, LONGEST_AFFIX).len() > MAX_FILE_NAME {
        return Err(s3_error!(KeyTooLongError, "this store takes keys of at most about 130 bytes"));
    }
    if key.contains('\0') || key.split('/').any(|segment| matches!(segment, "" | "." | "..")) {
        return Err(s3_error!(InvalidArgument, "this store takes no keys with empty, '.' or '..' segments"));
    }
    Ok(())
}

/// An object that is written but not yet published. Dropped before that, it leaves nothing behind.
#[derive(Debug)]
struct Staged {
    directory: Arc<Directory>,
    key: String,
}

impl Staged {
    fn sync(&self) -> io::Result<()> {
        File::open(self.directory.object(STAGING, &self.key))?.sync_all()?;
        for sidecar in self.directory.sidecars(STAGING, &self.key) {
            match File::open(sidecar) {
                Ok(file) => file.sync_all()?,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn publish(&self, bucket: &str, key: &str) -> io::Result<()> {
        let object = self.directory.object(bucket, key);
        if let Some(parent) = object.parent() {
            fs::create_dir_all(parent)?;
        }
        // Old sidecars first: an object without them is whole, one with another object's is not.
        for old in self.directory.sidecars(bucket, key) {
            remove_if_there(&old)?;
        }
        fs::rename(self.directory.object(STAGING, &self.key), object)?;
        let (from, to) = (self.directory.sidecars(STAGING, &self.key), self.directory.sidecars(bucket, key));
        from.iter().zip(&to).try_for_each(|(from, to)| rename_if_there(from, to))
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        let _ = fs::remove_file(self.directory.object(STAGING, &self.key));
        for sidecar in self.directory.sidecars(STAGING, &self.key) {
            let _ = fs::remove_file(sidecar);
        }
    }
}

/// Where `s3s-fs` keeps what: objects under `bucket/key`, sidecars directly below the root.
#[derive(Debug)]
struct Directory {
    root: PathBuf,
}

impl Directory {
    fn bucket(&self, bucket: &str) -> PathBuf {
        self.root.join(bucket)
    }

    fn object(&self, bucket: &str, key: &str) -> PathBuf {
        self.bucket(bucket).join(key)
    }

    fn is_object(&self, bucket: &str, key: &str) -> bool {
        self.object(bucket, key).is_file()
    }

    fn sidecar(&self, bucket: &str, key: &str, affix: &str) -> PathBuf {
        self.root.join(sidecar_name(bucket, key, affix))
    }

    /// ETag with checksums, and metadata.
    fn sidecars(&self, bucket: &str, key: &str) -> [PathBuf; 2] {
        [self.sidecar(bucket, key, ".internal"), self.sidecar(bucket, key, ".metadata")]
    }

    /// Removes an object, its sidecars, and the directories that it leaves empty.
    fn remove(&self, bucket: &str, key: &str) -> io::Result<()> {
        let object = self.object(bucket, key);
        if !object.is_file() {
            return Ok(());
        }
        fs::remove_file(&object)?;
        for sidecar in self.sidecars(bucket, key) {
            remove_if_there(&sidecar)?;
        }
        let bucket = self.bucket(bucket);
        for directory in object.ancestors().skip(1).take_while(|directory| **directory != bucket) {
            if fs::remove_dir(directory).is_err() {
                break;
            }
        }
        Ok(())
    }

    /// Syncs every directory that names a part of the object, and the root, which holds the sidecars.
    fn sync_path_to(&self, bucket: &str, key: &str) -> io::Result<()> {
        for directory in
            self.object(bucket, key).ancestors().skip(1).take_while(|d| d.starts_with(&self.root))
        {
            match File::open(directory) {
                Ok(directory) => directory.sync_all()?,
                // A delete came after the write: then there is nothing left to keep.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Removes sidecars of objects that were never published and uploads that nobody goes on with.
    fn remove_leftovers(&self) -> io::Result<()> {
        let staged = format!(".bucket-{}.object-", URL_SAFE_NO_PAD.encode_to_string(STAGING));
        for entry in fs::read_dir(&self.root)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            let abandoned = || -> io::Result<bool> {
                let age = SystemTime::now().duration_since(entry.metadata()?.modified()?);
                Ok(age.is_ok_and(|age| age > UPLOAD_LIFETIME))
            };
            let upload = name.starts_with(".upload-")
                || name.starts_with(".upload_id-")
                || (name.starts_with(".bucket-") && name.contains(".upload-"));
            if name.starts_with(&staged) || (upload && abandoned()?) {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }
}

/// The naming of `s3s-fs` 0.14.
fn sidecar_name(bucket: &str, key: &str, affix: &str) -> String {
    let encode = |text: &str| URL_SAFE_NO_PAD.encode_to_string(text);
    format!(".bucket-{}.object-{}{affix}.json", encode(bucket), encode(key))
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn rename_if_there(from: &Path, to: &Path) -> io::Result<()> {
    match fs::rename(from, to) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Runs file operations where they may block.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> S3Result<T> {
    let outcome = tokio::task::spawn_blocking(work).await.map_err(S3Error::internal_error)?;
    outcome.map_err(|error| match error.kind() {
        io::ErrorKind::NotADirectory | io::ErrorKind::IsADirectory | io::ErrorKind::AlreadyExists => {
            s3_error!(
                InvalidRequest,
                "this store cannot hold an object whose key is a directory of another object's key"
            )
        }
        _ => {
            tracing::error!(%error, "the object store's directory cannot be used");
            S3Error::internal_error(error)
        }
    })
}

/// A request that the server makes of itself.
fn request<T>(input: T) -> S3Request<T> {
    S3Request {
        input,
        method: hyper::Method::HEAD,
        uri: hyper::Uri::default(),
        headers: hyper::HeaderMap::new(),
        extensions: hyper::http::Extensions::new(),
        credentials: None,
        region: None,
        service: None,
        trailing_headers: None,
    }
}

fn page_limit(max_keys: Option<i32>) -> usize {
    max_keys.map_or(MAX_KEYS, |max| usize::try_from(max).unwrap_or(0).min(MAX_KEYS))
}

fn object(entry: listing::Entry, encode: fn(&str) -> String) -> Object {
    Object {
        key: Some(encode(&entry.key)),
        size: i64::try_from(entry.size).ok(),
        last_modified: Some(Timestamp::from(entry.modified)),
        ..Default::default()
    }
}

fn common_prefixes(prefixes: Vec<String>, encode: fn(&str) -> String) -> Vec<CommonPrefix> {
    prefixes.into_iter().map(|prefix| CommonPrefix { prefix: Some(encode(&prefix)) }).collect()
}

/// Keys in listings are URL-encoded when the client asks for it.
fn encoder(encoding: Option<&EncodingType>) -> fn(&str) -> String {
    if encoding.is_some_and(|e| e.as_str() == EncodingType::URL) { url_encode } else { str::to_owned }
}

fn url_encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~' | b'/') {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_could_be_another_file_are_refused() {
        for good in ["a", "a/b", "anonymous/01J0000000000000000000000/chunks/000001", "a=b/ü %+", "..a/.b"] {
            assert!(check_key("mimir", good).is_ok(), "{good}");
        }
        for bad in ["/a", "a/", "a//b", "a/./b", "../a", "a/..", ".", "a\0b"] {
            assert!(check_key("mimir", bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn keys_are_as_long_as_file_names_allow() {
        assert!(check_key("mimir", &"k".repeat(130)).is_ok());
        assert!(check_key("mimir", &"k".repeat(131)).is_err());
        assert!(check_key(&"b".repeat(63), &"k".repeat(72)).is_ok());
        assert!(check_key(&"b".repeat(63), &"k".repeat(73)).is_err());
    }

    #[test]
    fn listed_keys_are_encoded_as_clients_decode_them() {
        assert_eq!(url_encode("a/b c+d%ü=.txt"), "a/b%20c%2Bd%25%C3%BC%3D.txt");
    }
}
