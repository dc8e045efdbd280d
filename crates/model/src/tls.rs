//! TLS material, as a `kubernetes.io/tls` Secret holds it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Secret;

/// A server certificate with its key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TlsMaterial {
    /// The certificate chain, PEM.
    pub certificate: String,
    /// The private key, PEM.
    pub key: Secret,
    /// The authority's certificates, PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
}

/// Why a Secret holds no usable TLS material.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TlsError {
    /// A key is absent or empty.
    #[error("key {0:?} is missing or empty")]
    Missing(&'static str),
    /// A value is no PEM text of the expected kind.
    #[error("key {0:?} holds no PEM block of type {1}")]
    NotPem(&'static str, &'static str),
}

impl TlsMaterial {
    /// Reads `tls.crt`, `tls.key` and the optional `ca.crt`.
    pub fn from_secret(data: &BTreeMap<String, Secret>) -> Result<Self, TlsError> {
        let value = |key: &'static str| {
            data.get(key).map(Secret::expose).filter(|v| !v.trim().is_empty()).ok_or(TlsError::Missing(key))
        };
        let certificate = value("tls.crt")?;
        if !certificate.contains("-----BEGIN CERTIFICATE-----") {
            return Err(TlsError::NotPem("tls.crt", "CERTIFICATE"));
        }
        let key = value("tls.key")?;
        if !key.contains("PRIVATE KEY-----") {
            return Err(TlsError::NotPem("tls.key", "PRIVATE KEY"));
        }
        Ok(Self {
            certificate: certificate.to_owned(),
            key: Secret::new(key),
            ca: value("ca.crt").ok().map(str::to_owned),
        })
    }
}
