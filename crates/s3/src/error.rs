//! What went wrong with an object store, in the classes that a person acts on.

use std::error::Error;
use std::io;
use std::time::Duration;

use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use muster_model::{ObjectStorage, Reason};

/// Why an object store cannot be used. Names the endpoint and the bucket, never a key, and says what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProbeError {
    /// The store refuses the credentials, or they do not allow an operation that the products need.
    #[error(
        "object store {endpoint} refused to {operation} bucket {bucket:?} ({answer}); check access-key and secret-key, \
         and that they may list, read, write and delete there"
    )]
    Denied {
        /// The endpoint's URL.
        endpoint: String,
        /// The bucket.
        bucket: String,
        /// What was refused, as a verb phrase: `write to`.
        operation: &'static str,
        /// The store's own error code, or its HTTP status.
        answer: String,
    },
    /// The bucket does not exist and may not be made.
    #[error(
        "bucket {bucket:?} does not exist at {endpoint}; create it, correct its name, or set create-bucket=true"
    )]
    BucketMissing {
        /// The endpoint's URL.
        endpoint: String,
        /// The bucket.
        bucket: String,
    },
    /// Nothing answers, the name does not resolve, the TLS handshake fails, or the store says that it cannot serve now.
    #[error("object store {endpoint} with bucket {bucket:?} cannot be reached: {cause}")]
    Unreachable {
        /// The endpoint's URL.
        endpoint: String,
        /// The bucket.
        bucket: String,
        /// What happened and what to check.
        cause: String,
    },
    /// The store answers, but not as it must for the products to work.
    #[error("object store {endpoint} with bucket {bucket:?} is not usable: {cause}")]
    Other {
        /// The endpoint's URL.
        endpoint: String,
        /// The bucket.
        bucket: String,
        /// What happened and what to check.
        cause: String,
    },
}

impl ProbeError {
    /// The reason for conditions and findings.
    #[must_use]
    pub fn reason(&self) -> Reason {
        match self {
            Self::Denied { .. } => Reason::ObjectStoreDenied,
            Self::BucketMissing { .. } => Reason::BucketMissing,
            Self::Unreachable { .. } => Reason::ObjectStoreUnreachable,
            Self::Other { .. } => Reason::ObjectStoreInvalid,
        }
    }

    pub(crate) fn bucket_missing(storage: &ObjectStorage) -> Self {
        Self::BucketMissing { endpoint: storage.endpoint.to_string(), bucket: storage.bucket.clone() }
    }

    pub(crate) fn unreachable(storage: &ObjectStorage, cause: impl Into<String>) -> Self {
        Self::Unreachable {
            endpoint: storage.endpoint.to_string(),
            bucket: storage.bucket.clone(),
            cause: cause.into(),
        }
    }

    pub(crate) fn other(storage: &ObjectStorage, cause: impl Into<String>) -> Self {
        Self::Other {
            endpoint: storage.endpoint.to_string(),
            bucket: storage.bucket.clone(),
            cause: cause.into(),
        }
    }

    pub(crate) fn silent(storage: &ObjectStorage, after: Duration) -> Self {
        Self::unreachable(
            storage,
            format!("no answer within {after:?}; check the endpoint and the network to it"),
        )
    }

    /// Classifies what the SDK returned for `operation`.
    pub(crate) fn from_sdk<E>(
        storage: &ObjectStorage,
        operation: &'static str,
        error: &SdkError<E, aws_sdk_s3::config::http::HttpResponse>,
        timeout: Duration,
    ) -> Self
    where
        E: ProvideErrorMetadata + Error + 'static,
    {
        match error {
            SdkError::TimeoutError(_) => Self::silent(storage, timeout),
            SdkError::DispatchFailure(failure) if failure.is_timeout() => Self::silent(storage, timeout),
            SdkError::DispatchFailure(failure) => Self::unreachable(
                storage,
                failure
                    .as_connector_error()
                    .map_or_else(|| "the connection failed".to_owned(), |e| connection_cause(e)),
            ),
            SdkError::ServiceError(service) => {
                let status = service.raw().status().as_u16();
                Self::from_answer(storage, operation, status, service.err().code())
            }
            SdkError::ResponseError(response) => {
                Self::from_answer(storage, operation, response.raw().status().as_u16(), None)
            }
            other => Self::other(storage, format!("the request could not be made: {}", innermost(other))),
        }
    }

    /// Classifies an answer by its HTTP status and, where its body could be read, S3's error code.
    /// Codes: <https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html>.
    fn from_answer(
        storage: &ObjectStorage,
        operation: &'static str,
        status: u16,
        code: Option<&str>,
    ) -> Self {
        // The code comes from the other side: take it for a word or not at all.
        let code =
            code.filter(|c| !c.is_empty() && c.len() <= 64 && c.bytes().all(|b| b.is_ascii_alphanumeric()));
        let answer = match code {
            Some(code) => format!("{status} {code}"),
            None => format!("HTTP status {status}"),
        };
        match (status, code) {
            (_, Some("RequestTimeTooSkewed")) => Self::other(
                storage,
                format!("{answer}: this machine's clock and the store's differ too much; set the time"),
            ),
            (301 | 307 | 308, _)
            | (
                _,
                Some(
                    "PermanentRedirect"
                    | "AuthorizationHeaderMalformed"
                    | "IllegalLocationConstraintException",
                ),
            ) => Self::other(
                storage,
                format!("{answer}: the bucket is not served there; check endpoint and region"),
            ),
            (401 | 403, _) => Self::Denied {
                endpoint: storage.endpoint.to_string(),
                bucket: storage.bucket.clone(),
                operation,
                answer,
            },
            (404, None | Some("NoSuchBucket" | "NotFound")) => Self::bucket_missing(storage),
            (500.. | 429, _) => Self::unreachable(
                storage,
                format!("it answered {answer} to a request to {operation} it; check the store"),
            ),
            _ => Self::other(
                storage,
                format!("it answered {answer} to a request to {operation} it; check that this is an S3 API"),
            ),
        }
    }
}

/// Says in a person's words why a connection could not be made or was lost.
fn connection_cause(error: &(dyn Error + 'static)) -> String {
    let mut io_kind = None;
    for current in chain(error) {
        match current.downcast_ref() {
            Some(rustls::Error::InvalidCertificate(why)) => {
                return format!(
                    "its certificate is refused ({why}); check tls-ca-chain and that the endpoint names the host"
                );
            }
            Some(error) => {
                return format!("no TLS session ({error}); check whether the endpoint is http or https");
            }
            None => {}
        }
        let text = current.to_string();
        if text == "dns error" || text.starts_with("failed to lookup address") {
            return "its name does not resolve; check the endpoint".to_owned();
        }
        if let Some(io) = current.downcast_ref::<io::Error>()
            && io.kind() != io::ErrorKind::Other
        {
            io_kind = Some(io.kind());
        }
    }
    match io_kind {
        Some(io::ErrorKind::ConnectionRefused) => {
            "connection refused; check that it runs and the endpoint's port".to_owned()
        }
        Some(kind) => format!("{kind}; check the endpoint and the network to it"),
        None => format!("{}; check the endpoint", innermost(error)),
    }
}

/// The error and all that caused it. An I/O error hides the error that it wraps from [`Error::source`].
fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&current| {
        match current.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(wrapped) => Some(wrapped),
            None => current.source(),
        }
    })
}

/// The text of the error at the end of the chain.
fn innermost(error: &(dyn Error + 'static)) -> String {
    chain(error).last().unwrap_or(error).to_string()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use muster_model::Secret;

    use super::*;

    fn storage() -> ObjectStorage {
        let data: BTreeMap<String, Secret> = [
            ("endpoint", "http://127.0.0.1:9"),
            ("bucket", "mimir"),
            ("access-key", "AK"),
            ("secret-key", "hunter2"),
        ]
        .map(|(k, v)| (k.to_owned(), Secret::new(v)))
        .into();
        ObjectStorage::from_secret(&data).unwrap()
    }

    #[test]
    fn answers_are_classified_by_what_a_person_must_do() {
        for (status, code, reason) in [
            (403, Some("AccessDenied"), Reason::ObjectStoreDenied),
            (403, Some("SignatureDoesNotMatch"), Reason::ObjectStoreDenied),
            (403, Some("InvalidAccessKeyId"), Reason::ObjectStoreDenied),
            (403, None, Reason::ObjectStoreDenied),
            (401, None, Reason::ObjectStoreDenied),
            (403, Some("RequestTimeTooSkewed"), Reason::ObjectStoreInvalid),
            (404, Some("NoSuchBucket"), Reason::BucketMissing),
            (404, Some("NoSuchKey"), Reason::ObjectStoreInvalid),
            (404, None, Reason::BucketMissing),
            (301, Some("PermanentRedirect"), Reason::ObjectStoreInvalid),
            (400, Some("AuthorizationHeaderMalformed"), Reason::ObjectStoreInvalid),
            (400, None, Reason::ObjectStoreInvalid),
            (200, None, Reason::ObjectStoreInvalid),
            (500, Some("InternalError"), Reason::ObjectStoreUnreachable),
            (503, Some("SlowDown"), Reason::ObjectStoreUnreachable),
            (507, None, Reason::ObjectStoreUnreachable),
            (429, None, Reason::ObjectStoreUnreachable),
        ] {
            let error = ProbeError::from_answer(&storage(), "list", status, code);
            assert_eq!(error.reason(), reason, "{status} {code:?}: {error}");
            let message = error.to_string();
            assert!(message.contains("http://127.0.0.1:9") && message.contains("\"mimir\""), "{message}");
            assert!(!message.contains("hunter2") && !message.contains("AK"), "{message}");
        }
    }

    #[test]
    fn odd_error_codes_are_not_repeated() {
        let error = ProbeError::from_answer(&storage(), "list", 403, Some("<script>\u{1b}[31m"));
        assert!(error.to_string().contains("HTTP status 403"), "{error}");
        assert!(!error.to_string().contains("script"));
    }
}
