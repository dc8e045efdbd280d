//! What the probe says of certificates.

#![expect(clippy::unwrap_used, reason = "these functions serve tests only, which may panic")]

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use muster_model::{ObjectStorage, Reason, Secret};
use muster_s3::probe;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

const TIMEOUT: Duration = Duration::from_secs(20);
const DENIAL: &str = "<Error><Code>AccessDenied</Code><Message>no</Message></Error>";

/// A server with a certificate for `names` that denies every request. Returns its address and its certificate.
fn server(names: &[&str]) -> (SocketAddr, String) {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let identity = rcgen::generate_simple_self_signed(names).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(identity.signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![identity.cert.der().clone()], key)
        .unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(stream) = stream else { return };
            let mut stream = StreamOwned::new(ServerConnection::new(Arc::clone(&config)).unwrap(), stream);
            let mut buffer = [0; 4096];
            // A refused handshake is an error here, and the end of the connection.
            while stream.read(&mut buffer).is_ok_and(|n| n > 0) {
                let head = format!("HTTP/1.1 403 Forbidden\r\ncontent-length: {}\r\n\r\n", DENIAL.len());
                if stream.write_all(format!("{head}{DENIAL}").as_bytes()).is_err() {
                    break;
                }
            }
        }
    });
    (address, identity.cert.pem())
}

fn storage(address: SocketAddr, chain: Option<&str>) -> ObjectStorage {
    let endpoint = format!("https://{address}");
    let pairs =
        [("endpoint", endpoint.as_str()), ("bucket", "mimir"), ("access-key", "AK"), ("secret-key", "SK")];
    let pairs = pairs.into_iter().chain(chain.map(|chain| ("tls-ca-chain", chain)));
    let data: BTreeMap<_, _> = pairs.map(|(key, value)| (key.to_owned(), Secret::new(value))).collect();
    ObjectStorage::from_secret(&data).unwrap()
}

#[tokio::test]
async fn the_given_authorities_are_trusted_and_no_others() {
    let (address, certificate) = server(&["127.0.0.1"]);
    // The server is reached, so the certificate was accepted.
    let error = probe(&storage(address, Some(&certificate)), TIMEOUT).await.unwrap_err();
    assert_eq!(error.reason(), Reason::ObjectStoreDenied, "{error}");

    let (_, stranger) = server(&["127.0.0.1"]);
    let error = probe(&storage(address, Some(&stranger)), TIMEOUT).await.unwrap_err();
    assert_eq!(error.reason(), Reason::ObjectStoreUnreachable, "{error}");
    assert!(error.to_string().contains("certificate is refused"), "{error}");
}

#[tokio::test]
async fn without_authorities_a_self_signed_certificate_is_not_trusted() {
    let (address, _) = server(&["127.0.0.1"]);
    // Where the system knows no authority at all, the storage is not usable for that reason.
    let error = probe(&storage(address, None), TIMEOUT).await.unwrap_err();
    assert!(matches!(error.reason(), Reason::ObjectStoreUnreachable | Reason::ObjectStoreInvalid), "{error}");
    assert!(error.to_string().contains("tls-ca-chain"), "{error}");
}

#[tokio::test]
async fn a_certificate_for_another_host_is_refused() {
    let (address, certificate) = server(&["s3.example.com"]);
    let error = probe(&storage(address, Some(&certificate)), TIMEOUT).await.unwrap_err();
    assert_eq!(error.reason(), Reason::ObjectStoreUnreachable, "{error}");
    assert!(error.to_string().contains("certificate is refused"), "{error}");
}

#[tokio::test]
async fn a_chain_that_is_none_is_refused_before_anything_is_sent() {
    let garbage = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let error = probe(&storage("127.0.0.1:9".parse().unwrap(), Some(garbage)), TIMEOUT).await.unwrap_err();
    assert_eq!(error.reason(), Reason::ObjectStoreInvalid, "{error}");
    assert!(error.to_string().contains("tls-ca-chain"), "{error}");
}
