//! Role tables and what a deployment covers of them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Role, RoleSet};

/// The roles of one product at one version line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoleTable {
    /// Atomic roles without which the product does not work.
    pub required: RoleSet,
    /// Atomic roles whose absence makes the deployment degraded.
    pub optional: RoleSet,
    /// Atomic roles that are accepted and never counted as missing (one-shot tools).
    pub uncounted: RoleSet,
    /// Meta roles and the atomic roles that they stand for.
    pub meta: BTreeMap<Role, RoleSet>,
    /// Whether a worker takes exactly one role (Tempo) or any union of roles.
    pub exclusive: bool,
}

impl RoleTable {
    /// Whether a worker of this product may be given `role`.
    #[must_use]
    pub fn knows(&self, role: Role) -> bool {
        self.is_atomic(role) || self.meta.contains_key(&role)
    }

    /// Whether `role` is one component of this product.
    #[must_use]
    pub fn is_atomic(&self, role: Role) -> bool {
        self.required.contains(role) || self.optional.contains(role) || self.uncounted.contains(role)
    }

    /// Every role that a worker may be given: atomic and meta.
    #[must_use]
    pub fn roles(&self) -> RoleSet {
        let meta: RoleSet = self.meta.keys().copied().collect();
        self.required.union(&self.optional).union(&self.uncounted).union(&meta)
    }

    /// Replaces meta roles by what they stand for. A role that the table does not know is dropped.
    #[must_use]
    pub fn expand(&self, roles: &RoleSet) -> RoleSet {
        let mut atomic = RoleSet::new();
        for role in roles.iter() {
            match self.meta.get(&role) {
                Some(parts) => atomic = atomic.union(parts),
                None if self.is_atomic(role) => atomic.insert(role),
                None => {}
            }
        }
        atomic
    }

    /// The coverage by workers, given as (declared roles, number of units that exist and can serve).
    #[must_use]
    pub fn coverage<'a>(&self, workers: impl IntoIterator<Item = (&'a RoleSet, u32)>) -> Coverage {
        let mut units = BTreeMap::new();
        for (roles, count) in workers {
            if count > 0 {
                for role in self.expand(roles).iter() {
                    *units.entry(role).or_insert(0) += count;
                }
            }
        }
        let missing = |of: &RoleSet| of.iter().filter(|role| !units.contains_key(role)).collect();
        Coverage {
            missing_required: missing(&self.required),
            missing_optional: missing(&self.optional),
            units,
        }
    }
}

/// The union of roles over all units that exist and can serve, against a [`RoleTable`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Coverage {
    /// How many units run each covered atomic role.
    pub units: BTreeMap<Role, u32>,
    /// Required roles that no unit runs.
    pub missing_required: RoleSet,
    /// Optional roles that no unit runs.
    pub missing_optional: RoleSet,
}

impl Coverage {
    /// Whether every required role is covered.
    #[must_use]
    pub fn is_coherent(&self) -> bool {
        self.missing_required.is_empty()
    }
}
