//! Queries in Prometheus' HTTP API, as Mimir serves it below `/prometheus`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use hyper::Method;
use hyper::header::HeaderName;
use serde::Deserialize;

use crate::http::{self, encode};
use crate::remote_write::METRIC;

const TENANT: HeaderName = HeaderName::from_static("x-scope-orgid");

/// A client of one query endpoint. Every query has a connection of its own, so one that hangs hinders no other.
#[derive(Debug, Clone)]
pub struct Client {
    /// Where: `http://HOST:PORT`.
    pub base: String,
    /// The tenant header, if one is to be sent.
    pub tenant: Option<String>,
    /// How long to wait for an answer.
    pub timeout: Duration,
}

/// A series with its points: one for an instant query, all raw ones for a range selector.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its points: seconds since 1970, and the value.
    pub points: Vec<(f64, f64)>,
}

#[derive(Deserialize)]
struct Answer {
    status: String,
    data: Data,
}

#[derive(Deserialize)]
#[serde(tag = "resultType", content = "result", rename_all = "lowercase")]
enum Data {
    Vector(Vec<Instant>),
    Matrix(Vec<Range>),
    Scalar((f64, String)),
}

#[derive(Deserialize)]
struct Instant {
    metric: BTreeMap<String, String>,
    value: (f64, String),
}

#[derive(Deserialize)]
struct Range {
    metric: BTreeMap<String, String>,
    values: Vec<(f64, String)>,
}

impl Client {
    /// A client with 30 s for an answer and no tenant.
    #[must_use]
    pub fn new(base: impl Into<String>) -> Self {
        Self { base: base.into(), tenant: None, timeout: Duration::from_secs(30) }
    }

    /// Evaluates `query` now. A range selector (`probe[2h]`) returns raw points.
    ///
    /// # Errors
    /// No answer in time, a refusal, or an answer that is none of the API's.
    pub async fn query(&self, query: &str) -> anyhow::Result<Vec<Series>> {
        let path = format!("/prometheus/api/v1/query?query={}", encode(query));
        let headers: Vec<_> = self.tenant.as_deref().map(|tenant| (TENANT, tenant)).into_iter().collect();
        let mut client = http::Client::new(&self.base)?;
        let response = client.send(Method::GET, &path, &headers, Bytes::new(), self.timeout).await?;
        ensure!(response.status.is_success(), "{}: {}", response.status, response.excerpt());
        series(&response.body).with_context(|| format!("query {query:?}"))
    }

    /// The numbers of all samples of a [`Writer`](crate::remote_write::Writer) with that run label that can be read,
    /// as far back as two hours.
    ///
    /// # Errors
    /// As [`Client::query`], and a value that no writer wrote.
    pub async fn read_back(&self, run: &str) -> anyhow::Result<BTreeSet<u64>> {
        let found = self.query(&format!("{METRIC}{{run={run:?}}}[2h]")).await?;
        found.iter().flat_map(|series| &series.points).map(|(_, value)| number(*value)).collect()
    }
}

fn series(body: &[u8]) -> anyhow::Result<Vec<Series>> {
    let answer: Answer = serde_json::from_slice(body)?;
    ensure!(answer.status == "success", "status is {:?}", answer.status);
    let point =
        |(time, value): (f64, String)| Ok((time, value.parse().with_context(|| format!("value {value:?}"))?));
    let points = |values: Vec<_>| values.into_iter().map(point).collect::<anyhow::Result<_>>();
    match answer.data {
        Data::Vector(found) => found
            .into_iter()
            .map(|s| Ok(Series { labels: s.metric, points: points(vec![s.value])? }))
            .collect(),
        Data::Matrix(found) => {
            found.into_iter().map(|s| Ok(Series { labels: s.metric, points: points(s.values)? })).collect()
        }
        Data::Scalar(value) => Ok(vec![Series { labels: BTreeMap::new(), points: points(vec![value])? }]),
    }
}

fn number(value: f64) -> anyhow::Result<u64> {
    let exact = value.fract() == 0.0 && (0.0..=9_007_199_254_740_992.0).contains(&value);
    ensure!(exact, "{value} is no number of a sample");
    Ok(value as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read() {
        let matrix = br#"{"status":"success","data":{"resultType":"matrix","result":[
            {"metric":{"run":"r"},"values":[[1.5,"0"],[2,"1"]]}]}}"#;
        let found = series(matrix).unwrap();
        assert_eq!(found[0].points, [(1.5, 0.0), (2.0, 1.0)]);
        let vector = br#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1,"+Inf"]}]}}"#;
        assert_eq!(series(vector).unwrap()[0].points, [(1.0, f64::INFINITY)]);
        for bad in [&b"not json"[..], br#"{"status":"error","data":{"resultType":"vector","result":[]}}"#] {
            assert!(series(bad).is_err());
        }
    }

    #[test]
    fn only_numbers_of_samples_are_taken() {
        assert_eq!(number(7.0).unwrap(), 7);
        for bad in [-1.0, 0.5, f64::NAN, f64::INFINITY, 1e17] {
            assert!(number(bad).is_err(), "{bad}");
        }
    }
}
