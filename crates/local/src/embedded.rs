//! The embedded S3 server as a unit of the model: its credentials, its Secret documents, and what its agent runs.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read};

use k8s_openapi::api::core::v1::Secret;
use muster_api::{Document, S3_SECRET_TYPE};
use muster_model::{AppName, Revision, RoleSet, UnitName};
use muster_relation::{Assignment, Run};

use crate::state::{EmbeddedStore, OBJECT_STORE_APP};

/// The port of the embedded S3 server.
pub(crate) const S3_PORT: u16 = 9000;

/// The unit that runs the embedded S3 server.
#[must_use]
pub(crate) fn unit() -> UnitName {
    // The constant is a DNS label.
    AppName::new(OBJECT_STORE_APP).expect("the embedded server's name is a valid one").unit(0)
}

impl EmbeddedStore {
    /// New credentials.
    pub fn generate() -> io::Result<Self> {
        Ok(Self {
            access_key: muster_model::Secret::new(random_hex(10)?),
            secret_key: muster_model::Secret::new(random_hex(20)?),
        })
    }

    /// The S3 relation to a bucket of the embedded server.
    #[must_use]
    pub fn secret(&self, name: &AppName, bucket: &str, address: &str) -> Document {
        let mut secret = Secret { type_: Some(S3_SECRET_TYPE.to_owned()), ..Secret::default() };
        secret.metadata.name = Some(name.to_string());
        secret.string_data = Some(
            [
                ("endpoint", format!("http://{address}:{S3_PORT}")),
                ("bucket", bucket.to_owned()),
                ("access-key", self.access_key.expose().to_owned()),
                ("secret-key", self.secret_key.expose().to_owned()),
                ("create-bucket", "true".to_owned()),
            ]
            .map(|(key, value)| (key.to_owned(), value))
            .into(),
        );
        Document::Secret(Box::new(secret))
    }
}

/// What the embedded server's agent is told: to run, always the same.
#[must_use]
pub(crate) fn assignment() -> Assignment {
    Assignment {
        epoch: 1,
        revision: Revision::of([OBJECT_STORE_APP.as_bytes()]),
        roles: RoleSet::new(),
        run: Run::Start,
        gives_up: false,
        quiesces: false,
        forgets: BTreeSet::new(),
        peers: BTreeMap::new(),
        seeds: Vec::new(),
    }
}

/// So many random bytes from the kernel, as hexadecimal digits.
pub(crate) fn random_hex(bytes: usize) -> io::Result<String> {
    let mut buffer = vec![0; bytes];
    File::open("/dev/urandom")?.read_exact(&mut buffer)?;
    Ok(buffer.iter().map(|byte| format!("{byte:02x}")).collect())
}
