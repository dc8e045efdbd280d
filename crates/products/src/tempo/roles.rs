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

/// What a unit runs whose worker declares `declared`, which is one role.
pub(super) fn assign(declared: &RoleSet) -> RoleSet {
    let known = table().roles();
    declared.iter().filter(|role| known.contains(*role)).collect()
}

/// The target of the process that runs assigned roles. Tempo's own `all` keeps its rings to itself.
pub(super) fn target(assigned: &RoleSet) -> String {
    if assigned.contains(All) { "scalable-single-binary".to_owned() } else { assigned.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_scales() {
        assert_eq!(target(&RoleSet::from([All])), "scalable-single-binary");
        assert_eq!(target(&RoleSet::from([MetricsGenerator])), "metrics-generator");
        assert_eq!(assign(&RoleSet::from([All])), RoleSet::from([All]));
        assert_eq!(assign(&RoleSet::from([muster_model::Role::Ruler])), RoleSet::new());
    }
}
