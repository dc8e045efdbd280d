//! Mimir's roles, and which of them run in one process.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use muster_model::Role::{
    Alertmanager, All, Backend, Compactor, Distributor, Flusher, Ingester, OverridesExporter, Querier,
    QueryFrontend, QueryScheduler, Read, Ruler, StoreGateway, Write,
};
use muster_model::{RoleSet, RoleTable, Version};

use crate::RoleConflict;

const V2_17: Version = Version { major: 2, minor: 17 };

/// The role tables by version line.
pub fn tables() -> &'static BTreeMap<Version, RoleTable> {
    static TABLES: LazyLock<BTreeMap<Version, RoleTable>> = LazyLock::new(|| {
        let v3_0 = without_meta(table(), &[Read, Write, Backend]);
        let mut v3_1 = v3_0.clone();
        v3_1.uncounted.remove(Flusher);
        BTreeMap::from([
            (V2_17, table()),
            (Version { major: 3, minor: 0 }, v3_0),
            (Version { major: 3, minor: 1 }, v3_1.clone()),
            (Version { major: 3, minor: 2 }, v3_1),
        ])
    });
    &TABLES
}

/// Mimir 2.17, which has the most roles.
fn table() -> RoleTable {
    let read = RoleSet::from([QueryFrontend, Querier]);
    let write = RoleSet::from([Distributor, Ingester]);
    let backend =
        RoleSet::from([QueryScheduler, StoreGateway, Compactor, Ruler, Alertmanager, OverridesExporter]);
    let all = read.union(&write).union(&backend);
    RoleTable {
        required: all.difference(&RoleSet::from([OverridesExporter])),
        optional: RoleSet::from([OverridesExporter]),
        uncounted: RoleSet::from([Flusher]),
        meta: BTreeMap::from([(Read, read), (Write, write), (Backend, backend), (All, all)]),
        exclusive: false,
    }
}

fn without_meta(mut table: RoleTable, dropped: &[muster_model::Role]) -> RoleTable {
    table.meta.retain(|role, _| !dropped.contains(role));
    table
}

/// What a unit runs whose worker declares `declared`: `all` alone, or atomic roles.
pub(super) fn assign(declared: &RoleSet, scheduler_elsewhere: bool) -> Result<RoleSet, RoleConflict> {
    if declared.contains(All) {
        return Ok(RoleSet::from([All]));
    }
    let mut roles = tables()[&V2_17].expand(declared);
    if roles.len() > 1 {
        // A one-shot tool that opens the ingester's directory by itself.
        roles.remove(Flusher);
    }
    // Sharing a process makes this line panic: both register the same metrics.
    if roles.contains(Querier) && roles.contains(QueryScheduler) {
        if !scheduler_elsewhere {
            return Err(RoleConflict::SchedulerBesideQuerier);
        }
        roles.remove(QueryScheduler);
    }
    Ok(roles)
}

/// The targets of the process that runs assigned roles. For `all` these are given one by one: Mimir's own `all`
/// lacks alertmanager and overrides-exporter. The query-scheduler stays out; a frontend without one queues by itself.
pub(super) fn processes(assigned: &RoleSet) -> RoleSet {
    let mut targets = tables()[&V2_17].expand(assigned);
    if assigned.contains(All) {
        targets.remove(QueryScheduler);
        targets.remove(Flusher);
    }
    targets
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn set(names: &str) -> RoleSet {
        names.split(',').filter(|name| !name.is_empty()).map(|name| name.parse().unwrap()).collect()
    }

    #[test]
    fn the_table_is_the_designs() {
        let table = &tables()[&V2_17];
        let required = "alertmanager,compactor,distributor,ingester,querier,query-frontend,query-scheduler,ruler,store-gateway";
        assert_eq!(table.required, set(required));
        assert_eq!(table.optional, set("overrides-exporter"));
        assert_eq!(table.uncounted, set("flusher"));
        assert_eq!(table.expand(&set("all")), set(required).union(&set("overrides-exporter")));
        assert_eq!(table.expand(&set("backend")).len(), 6);
    }

    #[test]
    fn roles_are_assigned_by_the_design() {
        let backend_less = "alertmanager,compactor,overrides-exporter,ruler,store-gateway";
        for (declared, elsewhere, assigned) in [
            ("all", false, "all".to_owned()),
            ("all,flusher", false, "all".to_owned()),
            ("all,query-scheduler,read", true, "all".to_owned()),
            ("flusher", false, "flusher".to_owned()),
            ("flusher,ingester", false, "ingester".to_owned()),
            ("read", false, "querier,query-frontend".to_owned()),
            ("write,ingester", false, "distributor,ingester".to_owned()),
            ("backend", false, format!("{backend_less},query-scheduler")),
            ("backend,read", true, format!("{backend_less},querier,query-frontend")),
            ("metrics-generator", false, String::new()),
            ("", true, String::new()),
        ] {
            assert_eq!(assign(&set(declared), elsewhere), Ok(set(&assigned)), "{declared}");
        }
        for declared in ["backend,read", "querier,query-scheduler", "read,write,backend"] {
            let conflict = assign(&set(declared), false).unwrap_err();
            assert!(conflict.to_string().contains("role-all=true"), "{conflict}");
        }
    }

    #[test]
    fn all_is_spelled_out_without_the_scheduler() {
        assert_eq!(
            processes(&set("all")).to_string(),
            "alertmanager,compactor,distributor,ingester,overrides-exporter,querier,query-frontend,ruler,store-gateway"
        );
        assert_eq!(processes(&set("query-scheduler,ingester")).to_string(), "ingester,query-scheduler");
        assert_eq!(processes(&set("flusher")).to_string(), "flusher");
    }

    proptest! {
        #[test]
        fn no_process_has_both_querier_and_scheduler(
            declared in prop::collection::vec(prop::sample::select(muster_model::Role::ALL), 0..6), elsewhere: bool,
        ) {
            let declared = RoleSet::from_iter(declared);
            if let Ok(assigned) = assign(&declared, elsewhere) {
                let targets = processes(&assigned);
                prop_assert!(!(targets.contains(Querier) && targets.contains(QueryScheduler)));
                prop_assert!(targets.len() == 1 || !targets.contains(Flusher));
                // Nothing but these two is dropped.
                let dropped = tables()[&V2_17].expand(&declared).difference(&targets);
                prop_assert!(RoleSet::from([QueryScheduler, Flusher]).is_superset(&dropped));
                prop_assert_eq!(assign(&assigned, elsewhere), Ok(assigned));
            }
        }
    }
}
