//! Roles: the components of a product that a worker can run.

use std::cmp::Ordering;
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
#[derive(Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(from = "Vec<Role>", into = "Vec<Role>")]
pub struct RoleSet {
    /// One bit for each role: every plan compares and joins the sets of every unit.
    bits: u32,
}

const _: () = assert!(Role::ALL.len() <= u32::BITS as usize);

impl RoleSet {
    /// The empty set.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether the set has no role.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bits == 0
    }

    /// How many roles the set has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bits.count_ones() as usize
    }

    /// Whether `role` is in the set.
    #[must_use]
    pub fn contains(&self, role: Role) -> bool {
        self.bits & role.bit() != 0
    }

    /// Adds a role.
    pub fn insert(&mut self, role: Role) {
        self.bits |= role.bit();
    }

    /// Takes a role out, if it is there.
    pub fn remove(&mut self, role: Role) {
        self.bits &= !role.bit();
    }

    /// The roles in alphabetical order.
    pub fn iter(&self) -> impl Iterator<Item = Role> + '_ {
        Role::ALL.iter().copied().filter(|role| self.contains(*role))
    }

    /// Whether every role of `other` is in this set.
    #[must_use]
    pub fn is_superset(&self, other: &Self) -> bool {
        other.bits & !self.bits == 0
    }

    /// The roles of either set.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        Self { bits: self.bits | other.bits }
    }

    /// The roles of this set that `other` lacks.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Self {
        Self { bits: self.bits & !other.bits }
    }
}

impl Role {
    fn bit(self) -> u32 {
        1 << self as u32
    }
}

impl fmt::Debug for RoleSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

impl Ord for RoleSet {
    /// As lists of roles are ordered.
    fn cmp(&self, other: &Self) -> Ordering {
        if self == other { Ordering::Equal } else { self.iter().cmp(other.iter()) }
    }
}

impl PartialOrd for RoleSet {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl From<Vec<Role>> for RoleSet {
    fn from(roles: Vec<Role>) -> Self {
        roles.into_iter().collect()
    }
}

impl From<RoleSet> for Vec<Role> {
    fn from(roles: RoleSet) -> Self {
        roles.iter().collect()
    }
}

impl FromIterator<Role> for RoleSet {
    fn from_iter<I: IntoIterator<Item = Role>>(roles: I) -> Self {
        let mut set = Self::new();
        set.extend(roles);
        set
    }
}

impl<const N: usize> From<[Role; N]> for RoleSet {
    fn from(roles: [Role; N]) -> Self {
        roles.into_iter().collect()
    }
}

impl Extend<Role> for RoleSet {
    fn extend<I: IntoIterator<Item = Role>>(&mut self, roles: I) {
        roles.into_iter().for_each(|role| self.insert(role));
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
