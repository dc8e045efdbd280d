//! A small S3 client that signs by itself, so that the server is checked by something other than the product's own client.

use std::time::Duration;

use anyhow::ensure;
use bytes::Bytes;
use hyper::header::{AUTHORIZATION, HeaderName, RANGE};
use hyper::{Method, StatusCode};
use jiff::Timestamp;
use sha2::{Digest, Sha256};

use crate::http::{self, Response};

const CONTENT_HASH: HeaderName = HeaderName::from_static("x-amz-content-sha256");
const DATE: HeaderName = HeaderName::from_static("x-amz-date");
/// The servers under test take any region.
const REGION: &str = "us-east-1";

/// A client of one bucket, with path-style addresses.
#[derive(Debug)]
pub struct Client {
    http: http::Client,
    authority: String,
    bucket: String,
    access_key: String,
    secret_key: String,
    timeout: Duration,
}

impl Client {
    /// A client of `bucket` at `base`, which is `http://HOST:PORT`. Every request may take 30 s.
    ///
    /// # Errors
    /// `base` is something else.
    pub fn new(base: &str, bucket: &str, access_key: &str, secret_key: &str) -> anyhow::Result<Self> {
        Ok(Self {
            http: http::Client::new(base)?,
            authority: base.trim_start_matches("http://").trim_end_matches('/').to_owned(),
            bucket: bucket.to_owned(),
            access_key: access_key.to_owned(),
            secret_key: secret_key.to_owned(),
            timeout: Duration::from_secs(30),
        })
    }

    /// Writes an object. Once this returns, it is acknowledged.
    ///
    /// # Errors
    /// The store does not acknowledge it.
    pub async fn put(&mut self, key: &str, content: impl Into<Bytes>) -> anyhow::Result<()> {
        self.send(Method::PUT, key, &[], &[], content.into()).await.map(drop)
    }

    /// Reads an object.
    ///
    /// # Errors
    /// The store does not return it.
    pub async fn get(&mut self, key: &str) -> anyhow::Result<Bytes> {
        Ok(self.send(Method::GET, key, &[], &[], Bytes::new()).await?.body)
    }

    /// Reads a part of an object; `range` as in HTTP: `bytes=0-9`.
    ///
    /// # Errors
    /// The store does not return it.
    pub async fn get_range(&mut self, key: &str, range: &str) -> anyhow::Result<Bytes> {
        let response = self.send(Method::GET, key, &[], &[(RANGE, range)], Bytes::new()).await?;
        ensure!(response.status == StatusCode::PARTIAL_CONTENT, "status {}", response.status);
        Ok(response.body)
    }

    /// Sends any request for the bucket (`key` empty) or an object. `query` must be sorted by name.
    ///
    /// # Errors
    /// No answer, or one that is no success.
    pub async fn send(
        &mut self,
        method: Method,
        key: &str,
        query: &[(&str, &str)],
        headers: &[(HeaderName, &str)],
        body: Bytes,
    ) -> anyhow::Result<Response> {
        let segments: Vec<String> = key.split('/').map(http::encode).collect();
        let path = format!("/{}/{}", self.bucket, segments.join("/"));
        let query: Vec<String> = query
            .iter()
            .map(|(name, value)| format!("{}={}", http::encode(name), http::encode(value)))
            .collect();
        let query = query.join("&");
        let date = Timestamp::now().strftime("%Y%m%dT%H%M%SZ").to_string();
        let hash = hex(&Sha256::digest(&body));
        let authorization = self.sign(&method, &path, &query, &date, &hash);
        let mut all = vec![(AUTHORIZATION, authorization.as_str()), (CONTENT_HASH, &hash), (DATE, &date)];
        all.extend(headers.iter().map(|(name, value)| (name.clone(), *value)));
        let target = if query.is_empty() { path.clone() } else { format!("{path}?{query}") };
        let response = self.http.send(method.clone(), &target, &all, body, self.timeout).await?;
        ensure!(response.status.is_success(), "{method} {path}: {}: {}", response.status, response.excerpt());
        Ok(response)
    }

    /// AWS signature version 4, as in
    /// <https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html>.
    fn sign(&self, method: &Method, path: &str, query: &str, date: &str, hash: &str) -> String {
        const SIGNED: &str = "host;x-amz-content-sha256;x-amz-date";
        let request = format!(
            "{method}\n{path}\n{query}\nhost:{}\nx-amz-content-sha256:{hash}\nx-amz-date:{date}\n\n{SIGNED}\n{hash}",
            self.authority
        );
        let day = &date[..8];
        let scope = format!("{day}/{REGION}/s3/aws4_request");
        let text = format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n{}", hex(&Sha256::digest(request)));
        let key = [day, REGION, "s3", "aws4_request"]
            .iter()
            .fold(format!("AWS4{}", self.secret_key).into_bytes(), |key, part| {
                hmac(&key, part.as_bytes()).to_vec()
            });
        let signature = hex(&hmac(&key, text.as_bytes()));
        format!(
            "AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={SIGNED}, Signature={signature}",
            self.access_key
        )
    }
}

/// HMAC with SHA-256 (RFC 2104).
fn hmac(key: &[u8], text: &[u8]) -> [u8; 32] {
    let mut block = [0; 64];
    if key.len() > block.len() {
        block[..32].copy_from_slice(&Sha256::digest(key));
    } else {
        block[..key.len()].copy_from_slice(key);
    }
    let inner = Sha256::new().chain_update(block.map(|byte| byte ^ 0x36)).chain_update(text).finalize();
    Sha256::new().chain_update(block.map(|byte| byte ^ 0x5c)).chain_update(inner).finalize().into()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 4231, test cases 2 and 6.
    #[test]
    fn hmac_is_the_one_of_the_standard() {
        assert_eq!(
            hex(&hmac(b"Jefe", b"what do ya want for nothing?")),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
        assert_eq!(
            hex(&hmac(&[0xaa; 131], b"Test Using Larger Than Block-Size Key - Hash Key First")),
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"
        );
    }
}
