//! Tempo's roles.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use muster_model::Role::{All, Compactor, Distributor, Ingester, MetricsGenerator, Querier, QueryFrontend};
use muster_model::{RoleSet, RoleTable, Version};

/// The role tables by version line.
pub fn tables() -> &'static BTreeMap<Version, RoleTable> {
    static TABLES: LazyLock<BTreeMap<Version, RoleTable>> =
        LazyLock::new(|| BTreeMap::from([(Version { major: 2, minor: 10 }, table())]));
    &TABLES
}

fn table() -> RoleTable {
    let required = RoleSet::from([Querier, QueryFrontend, Ingester, Distributor, Compactor]);
    let optional = RoleSet::from([MetricsGenerator]);
    // Tempo's `scalable-single-binary` runs the metrics-generator too.
    let all = required.union(&optional);
    RoleTable {
        required,
        optional,
        uncounted: RoleSet::new(),
        meta: BTreeMap::from([(All, all)]),
        exclusive: true,
    }
}
