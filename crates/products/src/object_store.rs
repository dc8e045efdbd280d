//! The object store in the words of the client that Mimir and Loki share. Tempo has another.

use muster_model::ObjectStorage;
use serde_json::{Value, json};

use crate::placeholder::{Placeholder, literal};

/// The section `s3`, without credentials.
pub(crate) fn s3(storage: &ObjectStorage) -> Value {
    let mut s3 = json!({
        // The host alone, without a scheme.
        "endpoint": literal(&storage.endpoint.authority),
        "insecure": storage.endpoint.is_insecure(),
        "region": literal(&storage.region),
        "bucket_name": literal(&storage.bucket),
        "access_key_id": Placeholder::AccessKey.to_string(),
        "secret_access_key": Placeholder::SecretKey.to_string(),
    });
    if storage.tls_ca_chain.is_some() {
        s3["http"] = json!({ "tls_ca_path": Placeholder::CaFile.to_string() });
    }
    s3
}
