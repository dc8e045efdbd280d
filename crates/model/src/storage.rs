//! Object storage: the S3 relation's data.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::Secret;

/// Everything needed to reach one bucket, as the keys of Juju's `s3` interface give it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ObjectStorage {
    /// Where the S3 API is.
    pub endpoint: Endpoint,
    /// The bucket, which belongs to one coordinator alone.
    pub bucket: String,
    /// The access key.
    pub access_key: Secret,
    /// The secret key.
    pub secret_key: Secret,
    /// The region; `us-east-1` where the relation gives none, as S3 servers without regions expect.
    pub region: String,
    /// A prefix inside the bucket, without slashes at its ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Authorities that sign the endpoint's certificate, PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_ca_chain: Option<String>,
    /// Whether Muster may make the bucket when it is absent.
    #[serde(default)]
    pub create_bucket: bool,
}

/// The URL of an S3 API: scheme, host and port, no path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Endpoint {
    /// How to talk to it.
    pub scheme: Scheme,
    /// `host` or `host:port`; IPv6 addresses in brackets.
    pub authority: String,
}

/// The scheme of an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// Plain text.
    Http,
    /// TLS.
    Https,
}

impl Endpoint {
    /// Whether traffic to the endpoint is not encrypted.
    #[must_use]
    pub fn is_insecure(&self) -> bool {
        self.scheme == Scheme::Http
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_insecure() { "http" } else { "https" };
        write!(f, "{scheme}://{}", self.authority)
    }
}

impl From<Endpoint> for String {
    fn from(endpoint: Endpoint) -> Self {
        endpoint.to_string()
    }
}

impl TryFrom<String> for Endpoint {
    type Error = ObjectStorageProblem;
    fn try_from(s: String) -> Result<Self, ObjectStorageProblem> {
        s.parse()
    }
}

impl FromStr for Endpoint {
    type Err = ObjectStorageProblem;

    fn from_str(s: &str) -> Result<Self, ObjectStorageProblem> {
        let problem = |why: &'static str| ObjectStorageProblem::Endpoint { value: s.to_owned(), why };
        let (scheme, rest) = match s.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => (Scheme::Http, rest),
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") => (Scheme::Https, rest),
            Some(_) => return Err(problem("the scheme must be http or https")),
            None => (Scheme::Https, s),
        };
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        if authority.contains('/') {
            return Err(problem("it has a path; write the host alone and put the path into \"path\""));
        }
        if authority.contains(['?', '#']) {
            return Err(problem("it has a query or fragment; write the host alone"));
        }
        if authority.contains('@') {
            return Err(problem("it has credentials; write them into \"access-key\" and \"secret-key\""));
        }
        let (host, port) = split_port(authority).ok_or_else(|| problem("the address is not complete"))?;
        if let Some(port) = port
            && !port.parse::<u16>().is_ok_and(|p| p > 0 && !port.starts_with('+'))
        {
            return Err(problem("the port must be a number from 1 to 65535"));
        }
        let named = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
        let bracketed = |h: &str| {
            h.strip_prefix('[')
                .and_then(|h| h.strip_suffix(']'))
                .is_some_and(|h| h.parse::<std::net::Ipv6Addr>().is_ok())
        };
        let named = !host.is_empty() && host.len() <= 253 && host.bytes().all(named);
        if !named && !bracketed(host) {
            return Err(problem("the host must be a DNS name or an IP address"));
        }
        Ok(Self { scheme, authority: authority.to_owned() })
    }
}

/// Splits `host:port`, `host`, `[v6]:port` or `[v6]`.
fn split_port(authority: &str) -> Option<(&str, Option<&str>)> {
    if authority.starts_with('[') {
        let end = authority.find(']')? + 1;
        let (host, rest) = authority.split_at(end);
        return match rest.strip_prefix(':') {
            Some(port) => Some((host, Some(port))),
            None if rest.is_empty() => Some((host, None)),
            None => None,
        };
    }
    Some(match authority.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (authority, None),
    })
}

/// One thing that is wrong with an S3 Secret. Never holds a secret value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ObjectStorageProblem {
    /// A required key is absent or empty.
    #[error("key {0:?} is missing or empty")]
    Missing(&'static str),
    /// A value has white space, a line break or another control character where none can belong.
    #[error(
        "key {0:?} has white space or control characters at its ends or inside; was it written with a line break?"
    )]
    Unprintable(&'static str),
    /// The endpoint is no URL of an S3 API.
    #[error("endpoint {value:?} is not usable: {why}")]
    Endpoint {
        /// What was given.
        value: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The bucket's name breaks S3's rules.
    #[error(
        "bucket {0:?} is not usable: 3 to 63 lower-case letters, digits, '-' and '.', starting and ending with a letter or digit"
    )]
    Bucket(String),
    /// The path has characters or segments that cannot be a key prefix of all three products.
    #[error("path {0:?} is not usable: letters, digits, '-', '_' and single '/' between them")]
    Path(String),
    /// The region has unexpected characters.
    #[error("region {0:?} is not usable: letters, digits and '-'")]
    Region(String),
    /// The authorities' certificates are no PEM text.
    #[error("key \"tls-ca-chain\" holds no PEM block of type CERTIFICATE")]
    CaChain,
    /// A boolean is neither true nor false.
    #[error("key {0:?} must be true or false")]
    Boolean(&'static str),
}

/// All that is wrong with an S3 Secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
pub struct ObjectStorageError(pub Vec<ObjectStorageProblem>);

impl ObjectStorage {
    /// The region used where none is given.
    pub const DEFAULT_REGION: &'static str = "us-east-1";

    /// Reads the keys of Juju's `s3` interface. Reports every problem, not the first only.
    pub fn from_secret(data: &BTreeMap<String, Secret>) -> Result<Self, ObjectStorageError> {
        let mut problems = Vec::new();
        let mut optional = |key: &'static str| {
            let value = data.get(key).map(Secret::expose).filter(|v| !v.is_empty())?;
            if value.chars().any(|c| c.is_control() || c.is_whitespace()) {
                problems.push(ObjectStorageProblem::Unprintable(key));
                return None;
            }
            Some(value.to_owned())
        };
        let endpoint = optional("endpoint");
        let bucket = optional("bucket");
        let access_key = optional("access-key");
        let secret_key = optional("secret-key");
        let region = optional("region");
        let path = optional("path");
        let create_bucket = optional("create-bucket");
        for (key, value) in [
            ("endpoint", &endpoint),
            ("bucket", &bucket),
            ("access-key", &access_key),
            ("secret-key", &secret_key),
        ] {
            if value.is_none() && !problems.contains(&ObjectStorageProblem::Unprintable(key)) {
                problems.push(ObjectStorageProblem::Missing(key));
            }
        }
        let endpoint =
            endpoint.and_then(|e| e.parse::<Endpoint>().map_err(|problem| problems.push(problem)).ok());
        if let Some(bucket) = bucket.as_deref().filter(|b| !is_bucket_name(b)) {
            problems.push(ObjectStorageProblem::Bucket(bucket.to_owned()));
        }
        let region = region.unwrap_or_else(|| Self::DEFAULT_REGION.to_owned());
        if !region.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
            problems.push(ObjectStorageProblem::Region(region.clone()));
        }
        let path = path.map(|p| p.trim_matches('/').to_owned()).filter(|p| !p.is_empty());
        if let Some(path) = path.as_deref().filter(|p| !is_path(p)) {
            problems.push(ObjectStorageProblem::Path(path.to_owned()));
        }
        let tls_ca_chain =
            data.get("tls-ca-chain").map(|v| v.expose().to_owned()).filter(|v| !v.trim().is_empty());
        if tls_ca_chain.as_ref().is_some_and(|chain| !chain.contains("-----BEGIN CERTIFICATE-----")) {
            problems.push(ObjectStorageProblem::CaChain);
        }
        let create_bucket = match create_bucket.as_deref() {
            None | Some("false") => false,
            Some("true") => true,
            Some(_) => {
                problems.push(ObjectStorageProblem::Boolean("create-bucket"));
                false
            }
        };
        match (endpoint, bucket, access_key, secret_key) {
            (Some(endpoint), Some(bucket), Some(access_key), Some(secret_key)) if problems.is_empty() => {
                Ok(Self {
                    endpoint,
                    bucket,
                    access_key: Secret::new(access_key),
                    secret_key: Secret::new(secret_key),
                    region,
                    path,
                    tls_ca_chain,
                    create_bucket,
                })
            }
            _ => Err(ObjectStorageError(problems)),
        }
    }
}

/// S3's rules for bucket names, without the ban on names that look like addresses (S3 itself refuses those).
fn is_bucket_name(name: &str) -> bool {
    let edge = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = name.as_bytes();
    (3..=63).contains(&bytes.len())
        && bytes.first().is_some_and(edge)
        && bytes.last().is_some_and(edge)
        && bytes.iter().all(|b| edge(b) || matches!(b, b'-' | b'.'))
        && !name.contains("..")
}

fn is_path(path: &str) -> bool {
    path.len() <= 512
        && path.split('/').all(|segment| {
            !segment.is_empty()
                && segment.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(pairs: &[(&str, &str)]) -> BTreeMap<String, Secret> {
        let mut data: BTreeMap<String, Secret> = [
            ("endpoint", "http://127.0.0.1:9000"),
            ("bucket", "mimir"),
            ("access-key", "AK"),
            ("secret-key", "SK"),
        ]
        .map(|(k, v)| (k.to_owned(), Secret::new(v)))
        .into();
        data.extend(pairs.iter().map(|(k, v)| ((*k).to_owned(), Secret::new(*v))));
        data
    }

    #[test]
    fn endpoints_have_scheme_host_and_port_only() {
        for (text, shown) in [
            ("http://127.0.0.1:9000", "http://127.0.0.1:9000"),
            ("HTTPS://s3.example.com/", "https://s3.example.com"),
            ("s3.example.com:443", "https://s3.example.com:443"),
            ("http://[::1]:9000", "http://[::1]:9000"),
        ] {
            assert_eq!(text.parse::<Endpoint>().unwrap().to_string(), shown);
        }
        for bad in [
            "",
            "http://",
            "ftp://a",
            "http://a/b",
            "http://a?b",
            "http://u:p@a",
            "http://a:0",
            "http://a:65536",
            "http://a:b",
            "http://a b",
            "http://[::1",
            "http://[zz]:1",
            "http://a:+1",
            "http://ü",
            "http://a;b",
        ] {
            assert!(bad.parse::<Endpoint>().is_err(), "{bad}");
        }
    }

    #[test]
    fn all_problems_are_reported_and_no_secret_is_shown() {
        let error = ObjectStorage::from_secret(&secret(&[
            ("endpoint", "http://a/b"),
            ("bucket", "Mimir"),
            ("secret-key", "hunter2\n"),
            ("access-key", ""),
        ]))
        .unwrap_err();
        assert_eq!(error.0.len(), 4, "{error}");
        assert!(!error.to_string().contains("hunter2"));
        let good =
            ObjectStorage::from_secret(&secret(&[("secret-key", "hunter2"), ("path", "/a/b/")])).unwrap();
        assert_eq!(good.path.as_deref(), Some("a/b"));
        assert!(!format!("{good:?}").contains("hunter2"));
    }

    #[test]
    fn odd_values_are_refused_by_key() {
        for (key, value) in [
            ("path", "a/../b"),
            ("path", "a//b"),
            ("region", "us east"),
            ("region", "ü"),
            ("tls-ca-chain", "nothing"),
            ("create-bucket", "yes"),
            ("bucket", "a..b"),
            ("bucket", "ab"),
        ] {
            assert!(ObjectStorage::from_secret(&secret(&[(key, value)])).is_err(), "{key}={value}");
        }
    }
}
