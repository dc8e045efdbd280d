//! What the load balancer listens on, and which path goes to which role.

use std::fmt;

use crate::{HTTP_PORT, Role};

/// One port of the load balancer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listener {
    /// The port that clients connect to.
    pub port: u16,
    /// What they speak there.
    pub protocol: Protocol,
    /// Its purpose, in the word that names the port in Kubernetes: at most 15 small letters, digits and dashes.
    pub name: &'static str,
    /// The paths that are let through, most specific first.
    pub routes: &'static [Route],
}

/// What is spoken on a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1.
    Http,
    /// gRPC: HTTP/2 without a negotiation.
    Grpc,
}

/// One location of the load balancer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Which request paths it takes.
    pub path: PathMatch,
    /// Who serves it.
    pub to: Upstream,
    /// What kind of traffic it is, which sets timeouts, retries and buffering.
    pub traffic: Traffic,
}

/// Units that share the requests of some routes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Upstream {
    /// Their role.
    pub role: Role,
    /// Their port.
    pub port: u16,
}

/// `role`, and the port where it is not the one of HTTP.
impl fmt::Display for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            HTTP_PORT => write!(f, "{}", self.role),
            port => write!(f, "{}-{port}", self.role),
        }
    }
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
    /// Connections that are upgraded to WebSockets and stay open.
    Tail,
    /// Large uploads in several steps: streamed, unlimited, never repeated.
    Upload,
}
