//! Loki's roles.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use muster_model::Role::{All, Backend, Read, Write};
use muster_model::{RoleSet, RoleTable, Version};

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
