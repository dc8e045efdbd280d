//! Where a unit shows the ring that it sees, and how it is made to forget who is gone.
//!
//! A unit that leaves in good order gives up its place in the ring by itself. One that was killed, or whose disk is lost, leaves its place
//! behind: others wait for it, and with one copy of the data every write that falls to it fails, for ever.

use std::collections::BTreeSet;

use muster_model::{Role, RoleSet};
use serde::Deserialize;

/// A ring's page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ring {
    /// The page. GET with `Accept: application/json` is answered with who has a place, POST of the form `forget=NAME` takes a place away.
    pub path: &'static str,
    /// The roles whose units have the page, each by itself.
    pub shown_by: &'static [Role],
}

/// As much of the page as matters.
#[derive(Deserialize)]
struct Page {
    shards: Vec<Shard>,
}

#[derive(Deserialize)]
struct Shard {
    id: String,
}

impl Ring {
    /// Whether a unit with these atomic roles has the page.
    #[must_use]
    pub fn is_shown_by(&self, roles: &RoleSet) -> bool {
        self.shown_by.iter().any(|role| roles.contains(*role))
    }

    /// The names of those that have a place, in whatever state.
    ///
    /// # Errors
    /// The text is not what the page is known to answer.
    pub fn places(page: &[u8]) -> serde_json::Result<BTreeSet<String>> {
        let page: Page = serde_json::from_slice(page)?;
        Ok(page.shards.into_iter().map(|shard| shard.id).collect())
    }

    /// The form that takes a place away. Unit names need no escapes.
    #[must_use]
    pub fn forget(name: &str) -> String {
        format!("forget={name}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_who_has_a_place_is_named() {
        let page = br#"{"shards":[{"id":"mimir-worker-0","state":"ACTIVE","address":"127.0.0.2:9095","tokens":[1]},{"id":"mimir-worker-1","state":"UNHEALTHY"}],"now":"2026-11-28T00:00:00Z"}"#;
        let places = Ring::places(page).unwrap();
        assert_eq!(places.into_iter().collect::<Vec<_>>(), ["mimir-worker-0", "mimir-worker-1"]);
        assert!(Ring::places(br#"{"shards":[]}"#).unwrap().is_empty());
        Ring::places(b"<!DOCTYPE html>").unwrap_err();
        Ring::places(b"{}").unwrap_err();
    }
}
