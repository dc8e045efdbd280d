//! How a unit that is about to give up data shows that what it took can be found elsewhere, and takes no more where it can.
//!
//! Data that was just uploaded is not found at once: somebody writes an index of the object store, and others read it again after a while.
//! A unit that goes before that takes what it uploaded out of every query's sight. A product whose units can upload and go on to answer
//! queries says here how.

use std::collections::BTreeMap;
use std::io;

use crate::HttpCall;
use crate::held::Disk;

/// How a unit is made to upload what it took while it answers queries, and how to see that it has.
#[derive(Debug, Clone, Copy)]
pub struct Quiesce {
    /// How it takes nothing new meanwhile. `None`: it goes on to take data until it ends, and what comes after the upload was asked for is
    /// uploaded as it ends.
    pub takes_nothing: Option<TakesNothing>,
    /// Uploads what it holds. An answer proves nothing: the upload goes on, or was given up.
    pub upload: HttpCall,
    /// How to see that it is done.
    pub evidence: Evidence,
}

/// How a unit takes nothing new.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TakesNothing {
    /// Has it take nothing new. Lasts as long as the unit stands in its ring, also over restarts.
    pub begin: HttpCall,
    /// Takes that back.
    pub end: HttpCall,
}

/// How to see that everything is in the object store that a unit took before it was asked for the upload.
#[derive(Debug, Clone, Copy)]
pub enum Evidence {
    /// The unit says so itself. Who was given up is asked for the upload again.
    Metrics(Metrics),
    /// What it has on its disk says so, and it tries until it has come to that. Gives the blocks there by what names them for good.
    Blocks(fn(&dyn Disk) -> io::Result<BTreeMap<String, Block>>),
}

/// Metrics that say that everything is in the object store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metrics {
    /// Answers GET with metrics in Prometheus's text format.
    pub path: &'static str,
    /// The metrics that are all there and all zero if and only if everything is in the object store.
    pub zero: &'static [&'static str],
    /// The directory below the unit's data that has something in it once the unit has ever taken data.
    pub taken: &'static str,
}

/// What a block on a unit's disk has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Block {
    /// It is in the object store.
    Uploaded,
    /// Nothing was written to it yet.
    Empty,
    /// Something of it is on this disk alone.
    Held,
}

impl Metrics {
    /// Whether a page of metrics says that everything is in the object store.
    #[must_use]
    pub fn is_uploaded(&self, page: &str) -> bool {
        self.zero.iter().all(|name| {
            let mut values = page.lines().filter_map(|line| value(line, name)).peekable();
            values.peek().is_some() && values.all(|value| value == Some(0.0))
        })
    }
}

/// The value of a sample if it is one of the metric: with labels or without.
fn value(line: &str, name: &str) -> Option<Option<f64>> {
    let rest = line.strip_prefix(name)?;
    let number = match rest.strip_prefix('{') {
        Some(labels) => labels.rsplit_once('}')?.1,
        None => rest.strip_prefix(' ')?,
    };
    Some(number.split_whitespace().next().and_then(|number| number.parse().ok()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const METRICS: Metrics =
        Metrics { path: "/metrics", zero: &["held_series", "oldest_block"], taken: "data" };

    #[test]
    fn every_sample_of_every_metric_must_be_there_and_zero() {
        let is = |page| METRICS.is_uploaded(page);
        assert!(is("# TYPE held_series gauge\nheld_series 0\noldest_block 0\n"));
        assert!(is("held_series{user=\"a}b\"} 0\nheld_series{user=\"b\"} 0 1700000000\noldest_block 0e+00"));
        assert!(!is("held_series 0\n"), "one is missing");
        assert!(!is("held_series 1\noldest_block 0"));
        assert!(!is("held_series 0\noldest_block 1.7e+09"));
        assert!(!is("held_series{user=\"a\"} 0\nheld_series{user=\"b\"} 2\noldest_block 0"));
        assert!(!is("held_series_total 0\noldest_block 0"), "another metric's name goes on");
        assert!(!is("held_series x\noldest_block 0"), "no number proves nothing");
        assert!(!is(""));
    }
}
