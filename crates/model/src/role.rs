//! Roles: the components of a product that a worker can run.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

macro_rules! roles {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// One role. Which of them a product knows, and what a meta role stands for, is in its [`RoleTable`](crate::RoleTable).
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "kebab-case")]
        pub enum Role { $($(#[$doc])* $variant,)* }

        impl Role {
            /// Every role of every product, in alphabetical order of the names.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The role's name, as in `role-<NAME>` and in the product's `-target`.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

roles! {
    /// Alert delivery (Mimir).
    Alertmanager = "alertmanager",
    /// Everything in one process. A meta role of each product.
    All = "all",
    /// What is neither read nor write path. Meta in Mimir, a target of its own in Loki.
    Backend = "backend",
    /// Compacts and expires blocks.
    Compactor = "compactor",
    /// Takes what clients send and hands it to ingesters.
    Distributor = "distributor",
    /// One-shot tool that uploads what a lost ingester's disk still holds (Mimir before 3.1).
    Flusher = "flusher",
    /// Holds fresh data in memory and on disk until it is in the object store.
    Ingester = "ingester",
    /// Makes metrics from spans (Tempo).
    MetricsGenerator = "metrics-generator",
    /// Shows per-tenant limits as metrics (Mimir).
    OverridesExporter = "overrides-exporter",
    /// Runs queries.
    Querier = "querier",
    /// Takes queries from clients, splits and caches them.
    QueryFrontend = "query-frontend",
    /// Queues queries between frontends and queriers (Mimir).
    QueryScheduler = "query-scheduler",
    /// The read path. Meta in Mimir, a target of its own in Loki.
    Read = "read",
    /// Evaluates rules (Mimir).
    Ruler = "ruler",
    /// Serves blocks from the object store (Mimir).
    StoreGateway = "store-gateway",
    /// The write path. Meta in Mimir, a target of its own in Loki.
    Write = "write",
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The text names no role of any product.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("role {0:?} is not known")]
pub struct UnknownRole(pub String);

impl FromStr for Role {
    type Err = UnknownRole;
    fn from_str(s: &str) -> Result<Self, UnknownRole> {
        Self::ALL.iter().copied().find(|r| r.as_str() == s).ok_or_else(|| UnknownRole(s.to_owned()))
    }
}

/// A set of roles, always in alphabetical order. Prints as `querier,query-frontend`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RoleSet(BTreeSet<Role>);

impl RoleSet {
    /// The empty set.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether the set has no role.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many roles the set has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether `role` is in the set.
    #[must_use]
    pub fn contains(&self, role: Role) -> bool {
        self.0.contains(&role)
    }

    /// Adds a role.
    pub fn insert(&mut self, role: Role) {
        self.0.insert(role);
    }

    /// Takes a role out, if it is there.
    pub fn remove(&mut self, role: Role) {
        self.0.remove(&role);
    }

    /// The roles in alphabetical order.
    pub fn iter(&self) -> impl Iterator<Item = Role> + '_ {
        self.0.iter().copied()
    }

    /// Whether every role of `other` is in this set.
    #[must_use]
    pub fn is_superset(&self, other: &Self) -> bool {
        self.0.is_superset(&other.0)
    }

    /// The roles of either set.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        Self(self.0.union(&other.0).copied().collect())
    }

    /// The roles of this set that `other` lacks.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Self {
        Self(self.0.difference(&other.0).copied().collect())
    }
}

impl FromIterator<Role> for RoleSet {
    fn from_iter<I: IntoIterator<Item = Role>>(roles: I) -> Self {
        Self(roles.into_iter().collect())
    }
}

impl<const N: usize> From<[Role; N]> for RoleSet {
    fn from(roles: [Role; N]) -> Self {
        roles.into_iter().collect()
    }
}

impl Extend<Role> for RoleSet {
    fn extend<I: IntoIterator<Item = Role>>(&mut self, roles: I) {
        self.0.extend(roles);
    }
}

impl fmt::Display for RoleSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.iter().map(Role::as_str).collect();
        f.pad(&names.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip_and_are_sorted() {
        for role in Role::ALL {
            assert_eq!(role.as_str().parse::<Role>().unwrap(), *role);
            assert_eq!(serde_json::to_string(role).unwrap(), format!("{:?}", role.as_str()));
        }
        assert!(Role::ALL.is_sorted_by_key(|r| r.as_str()), "the derived order is the order of the names");
        assert_eq!(RoleSet::from([Role::Write, Role::All]).to_string(), "all,write");
    }
}
