//! The SDK's client for one bucket, set up as the products' own clients behave.

use std::sync::LazyLock;
use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    BehaviorVersion, Credentials, Region, RequestChecksumCalculation, ResponseChecksumValidation,
    SharedHttpClient,
};
use aws_smithy_http_client::Builder;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};
use muster_model::{ObjectStorage, Scheme};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::ProbeError;

/// More certificates than this are no chain of authorities but a mistake.
const MAX_AUTHORITIES: usize = 200;

/// A client that tries every request once, so that an answer is known within `timeout`.
pub(crate) fn connect(storage: &ObjectStorage, timeout: Duration) -> Result<Client, ProbeError> {
    let credentials = Credentials::new(
        storage.access_key.expose(),
        storage.secret_key.expose(),
        None,
        None,
        "object storage relation",
    );
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(storage.region.clone()))
        .endpoint_url(storage.endpoint.to_string())
        // Stores on one address have no host name per bucket; all three products address buckets by path too.
        .force_path_style(true)
        .credentials_provider(credentials)
        .retry_config(RetryConfig::disabled())
        .timeout_config(TimeoutConfig::builder().operation_timeout(timeout).connect_timeout(timeout).build())
        // Trailing checksums are unknown to many S3 servers, and the products do not send them.
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
        .http_client(http_client(storage)?)
        .build();
    Ok(Client::from_conf(config))
}

fn http_client(storage: &ObjectStorage) -> Result<SharedHttpClient, ProbeError> {
    match storage.endpoint.scheme {
        Scheme::Http => Ok(Builder::new().build_http()),
        Scheme::Https => {
            let context = TlsContext::builder().with_trust_store(trust_store(storage)?).build();
            let context =
                context.map_err(|e| ProbeError::other(storage, format!("TLS cannot be set up: {e}")))?;
            Ok(Builder::new()
                .tls_provider(Provider::Rustls(CryptoMode::AwsLc))
                .tls_context(context)
                .build_https())
        }
    }
}

/// The relation's authorities alone where it names some, as the products do; else those of the system.
fn trust_store(storage: &ObjectStorage) -> Result<TrustStore, ProbeError> {
    /// Whether the system knows any authority. Looked up once: the SDK keeps them for the process's life too.
    static SYSTEM_HAS_AUTHORITIES: LazyLock<bool> =
        LazyLock::new(|| !rustls_native_certs::load_native_certs().certs.is_empty());

    match &storage.tls_ca_chain {
        Some(chain) => {
            check_authorities(chain)
                .map_err(|why| ProbeError::other(storage, format!("tls-ca-chain {why}")))?;
            Ok(TrustStore::empty().with_pem_certificate(chain.as_bytes()))
        }
        None if *SYSTEM_HAS_AUTHORITIES => Ok(TrustStore::default()),
        None => Err(ProbeError::other(
            storage,
            "no certificate authority is known here; give tls-ca-chain or install the system's CA certificates",
        )),
    }
}

/// The SDK panics on certificates that it cannot use, so they are checked before it sees them.
fn check_authorities(chain: &str) -> Result<(), String> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(chain.as_bytes()) {
        let certificate = certificate.map_err(|e| format!("is no PEM text: {e}"))?;
        roots.add(certificate).map_err(|e| format!("holds a certificate that cannot be used: {e}"))?;
        if roots.len() > MAX_AUTHORITIES {
            return Err(format!("holds more than {MAX_AUTHORITIES} certificates"));
        }
    }
    if roots.is_empty() { Err("holds no certificate".to_owned()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authorities_are_checked_before_the_sdk_sees_them() {
        let authority = rcgen::generate_simple_self_signed(["s3.example.com".to_owned()]).unwrap().cert.pem();
        assert_eq!(check_authorities(&authority), Ok(()));
        assert_eq!(check_authorities(&format!("a comment\r\n{authority}\n{authority}")), Ok(()));
        for bad in [
            "",
            "text",
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            "-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----\n",
            "-----BEGIN CERTIFICATE-----\nAAAA\n",
            &authority.repeat(MAX_AUTHORITIES + 1),
        ] {
            assert!(check_authorities(bad).is_err(), "{}", &bad[..bad.len().min(80)]);
        }
    }
}
