//! The load balancer's routes: which path goes to which role.

use crate::Role;

/// One location of the load balancer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Which request paths it takes.
    pub path: PathMatch,
    /// The role whose units serve it.
    pub role: Role,
    /// What kind of traffic it is, which sets timeouts, retries and buffering.
    pub traffic: Traffic,
}

/// How a path is matched. No regular expressions: they would let one route shadow another unseen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathMatch {
    /// Exactly this path.
    Exact(&'static str),
    /// This path and everything below it, on segment boundaries: `/a` takes `/a` and `/a/b`, not `/ab`.
    Prefix(&'static str),
}

/// Kinds of traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Traffic {
    /// Small or medium bodies that may be sent to another unit again (samples: a repeat changes nothing).
    Push,
    /// Queries that may run for minutes.
    Query,
    /// Configuration APIs (rules, alertmanager): changed by PUT, POST and DELETE, repeated only when nothing was sent.
    Api,
    /// Large uploads in several steps: streamed, unlimited, never repeated.
    Upload,
}
