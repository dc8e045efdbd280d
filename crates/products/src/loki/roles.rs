//! Loki's roles.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use muster_model::Role::{All, Backend, Read, Write};
use muster_model::{RoleSet, RoleTable, Version};

use crate::RoleConflict;

/// The role tables by version line.
pub fn tables() -> &'static BTreeMap<Version, RoleTable> {
    static TABLES: LazyLock<BTreeMap<Version, RoleTable>> = LazyLock::new(|| {
        BTreeMap::from([
            (Version { major: 3, minor: 7 }, simple_scalable()),
            (Version { major: 4, minor: 0 }, single_binary()),
        ])
    });
    &TABLES
}

/// `read`, `write` and `backend` are Loki's own targets: not expanded, because that changes the mode in which the
/// index is shipped.
fn simple_scalable() -> RoleTable {
    let required = RoleSet::from([Read, Write, Backend]);
    RoleTable {
        meta: BTreeMap::from([(All, required.clone())]),
        required,
        optional: RoleSet::new(),
        uncounted: RoleSet::new(),
        exclusive: false,
    }
}

/// Loki 4.0 drops the three targets. Of the roles that Muster gives to Loki, `all` alone is left; it has no parts
/// that a worker could be given, so it is atomic here.
fn single_binary() -> RoleTable {
    RoleTable {
        required: RoleSet::from([All]),
        optional: RoleSet::new(),
        uncounted: RoleSet::new(),
        meta: BTreeMap::new(),
        exclusive: false,
    }
}

/// What a unit runs whose worker declares `declared`: `all` alone, or targets that a process can share.
pub(super) fn assign(declared: &RoleSet) -> Result<RoleSet, RoleConflict> {
    let known = [Read, Write, Backend, All].into_iter().filter(|role| declared.contains(*role));
    let roles: RoleSet = known.collect();
    if roles.contains(All) {
        return Ok(RoleSet::from([All]));
    }
    if roles.contains(Write) && roles.len() > 1 {
        return Err(RoleConflict::WriteBesideOthers);
    }
    Ok(roles)
}

#[cfg(test)]
mod tests {
    use muster_model::Role::Ingester;

    use super::*;

    #[test]
    fn targets_are_passed_as_they_are() {
        for (declared, assigned) in [
            (RoleSet::from([All, Read]), RoleSet::from([All])),
            (RoleSet::from([Write]), RoleSet::from([Write])),
            (RoleSet::from([Read, Backend]), RoleSet::from([Read, Backend])),
            (RoleSet::from([Ingester]), RoleSet::new()),
        ] {
            assert_eq!(assign(&declared), Ok(assigned));
        }
        for others in [Read, Backend] {
            let conflict = assign(&RoleSet::from([Write, others])).unwrap_err();
            assert!(conflict.to_string().contains("role-all=true"), "{conflict}");
        }
    }
}
