//! Version lines: which can be run, and whose roles are known.

use muster_model::{Product, RoleTable, Version};

use crate::{loki, mimir, tempo};

/// The version line is not one that this build supports.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{product} {version} is not supported: use {}", list(supported_versions(*.product)))]
pub struct UnsupportedVersion {
    /// The product.
    pub product: Product,
    /// What was asked for.
    pub version: Version,
}

fn list(versions: &[Version]) -> String {
    versions.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or ")
}

/// The version lines that a coordinator may ask for, newest first. Never empty; the first is the default.
#[must_use]
pub fn supported_versions(product: Product) -> &'static [Version] {
    match product {
        Product::Tempo => tempo::SUPPORTED,
        Product::Mimir => mimir::SUPPORTED,
        Product::Loki => loki::SUPPORTED,
    }
}

/// Whether a coordinator may ask for `version`.
pub fn check_version(product: Product, version: Version) -> Result<(), UnsupportedVersion> {
    let supported = supported_versions(product).contains(&version);
    if supported { Ok(()) } else { Err(UnsupportedVersion { product, version }) }
}

/// The roles of a version line. Also known for lines that come after the supported ones, so that it can be told
/// which roles they drop; whether a line can be run is [`check_version`]'s answer.
pub fn role_table(product: Product, version: Version) -> Result<&'static RoleTable, UnsupportedVersion> {
    let tables = match product {
        Product::Tempo => tempo::roles::tables(),
        Product::Mimir => mimir::roles::tables(),
        Product::Loki => loki::roles::tables(),
    };
    tables.get(&version).ok_or(UnsupportedVersion { product, version })
}

#[cfg(test)]
mod tests {
    use muster_model::{Role, RoleSet};
    use proptest::prelude::*;

    use super::*;

    fn known_tables() -> Vec<(Product, Version, &'static RoleTable)> {
        let of = |product: Product, tables: &'static std::collections::BTreeMap<Version, RoleTable>| {
            tables.iter().map(move |(version, table)| (product, *version, table)).collect::<Vec<_>>()
        };
        [
            of(Product::Tempo, tempo::roles::tables()),
            of(Product::Mimir, mimir::roles::tables()),
            of(Product::Loki, loki::roles::tables()),
        ]
        .concat()
    }

    fn version(text: &str) -> Version {
        text.parse().unwrap()
    }

    #[test]
    fn defaults_are_the_lines_of_the_design() {
        for (product, default) in [(Product::Tempo, "2.10"), (Product::Mimir, "2.17"), (Product::Loki, "3.7")]
        {
            assert_eq!(supported_versions(product).first(), Some(&version(default)));
            assert!(supported_versions(product).is_sorted_by(|newer, older| newer > older));
            for supported in supported_versions(product) {
                assert!(role_table(product, *supported).is_ok());
                assert!(check_version(product, *supported).is_ok());
            }
        }
    }

    #[test]
    fn unsupported_versions_name_the_supported_ones() {
        for (product, bad) in [
            (Product::Mimir, "1.9"),
            (Product::Mimir, "9.9"),
            (Product::Tempo, "0.0"),
            (Product::Loki, "2.9"),
        ] {
            let error = role_table(product, version(bad)).unwrap_err();
            let default = supported_versions(product)[0];
            assert_eq!(error.to_string(), format!("{product} {bad} is not supported: use {default}"));
        }
        // Known, but not runnable yet.
        assert!(role_table(Product::Mimir, version("3.0")).is_ok());
        assert!(check_version(Product::Mimir, version("3.0")).is_err());
    }

    /// Mimir's table is checked beside its roles.
    #[test]
    fn tables_of_tempo_and_loki_are_the_designs() {
        let tempo = role_table(Product::Tempo, version("2.10")).unwrap();
        assert_eq!(tempo.required.to_string(), "compactor,distributor,ingester,querier,query-frontend");
        assert_eq!(tempo.optional.to_string(), "metrics-generator");
        assert!(tempo.exclusive && tempo.uncounted.is_empty());
        let loki = role_table(Product::Loki, version("3.7")).unwrap();
        assert_eq!(loki.required.to_string(), "backend,read,write");
        assert!(!loki.exclusive && loki.optional.is_empty() && loki.uncounted.is_empty());
        for table in [tempo, loki] {
            assert_eq!(table.meta.keys().copied().collect::<RoleSet>(), RoleSet::from([Role::All]));
        }
        assert!(!role_table(Product::Mimir, version("2.17")).unwrap().exclusive);
    }

    #[test]
    fn newer_lines_drop_roles() {
        use Role::{Backend, Flusher, Read, Write};
        let known = |product, text: &str| role_table(product, version(text)).unwrap().roles();
        for role in [Read, Write, Backend] {
            assert!(known(Product::Mimir, "2.17").contains(role));
            assert!(!known(Product::Mimir, "3.0").contains(role));
            assert!(known(Product::Loki, "3.7").contains(role));
            assert!(!known(Product::Loki, "4.0").contains(role));
        }
        assert!(known(Product::Mimir, "3.0").contains(Flusher));
        assert!(!known(Product::Mimir, "3.1").contains(Flusher));
    }

    #[test]
    fn meta_roles_stand_for_counted_atomic_roles() {
        for (product, version, table) in known_tables() {
            for (meta, parts) in &table.meta {
                assert!(!table.is_atomic(*meta), "{product} {version}: {meta} is meta and atomic");
                assert!(!parts.is_empty());
                assert!(
                    table.required.union(&table.optional).is_superset(parts),
                    "{product} {version}: {meta}"
                );
            }
            assert!(table.knows(Role::All), "{product} {version}");
            assert!(table.coverage([(&RoleSet::from([Role::All]), 1)]).is_coherent(), "{product} {version}");
            for role in table.required.iter() {
                assert!(!table.optional.contains(role) && !table.uncounted.contains(role));
            }
        }
    }

    /// A table, and worker applications of it: any roles, few units.
    fn deployments() -> impl Strategy<Value = (&'static RoleTable, Vec<(RoleSet, u32)>)> {
        let roles = prop::collection::vec(prop::sample::select(Role::ALL), 0..5).prop_map(RoleSet::from_iter);
        (prop::sample::select(known_tables()), prop::collection::vec((roles, 0..4_u32), 0..6))
            .prop_map(|((_, _, table), workers)| (table, workers))
    }

    fn coverage(table: &RoleTable, workers: &[(RoleSet, u32)]) -> muster_model::Coverage {
        table.coverage(workers.iter().map(|(roles, units)| (roles, *units)))
    }

    proptest! {
        #[test]
        fn coverage_is_monotone((table, workers) in deployments(), role in prop::sample::select(Role::ALL), at in 0..6_usize) {
            let before = coverage(table, &workers);
            let mut more = workers.clone();
            match more.get_mut(at) {
                Some((roles, _)) => roles.insert(role),
                None => more.push((RoleSet::from([role]), 1)),
            }
            let after = coverage(table, &more);
            prop_assert!(before.missing_required.is_superset(&after.missing_required));
            prop_assert!(before.missing_optional.is_superset(&after.missing_optional));
            for (role, units) in &before.units {
                prop_assert!(after.units.get(role) >= Some(units));
            }
        }

        #[test]
        fn meta_roles_equal_their_expansion((table, workers) in deployments()) {
            let expanded: Vec<_> = workers.iter().map(|(roles, units)| (table.expand(roles), *units)).collect();
            prop_assert_eq!(coverage(table, &workers), coverage(table, &expanded));
            for (roles, _) in &expanded {
                prop_assert_eq!(&table.expand(roles), roles);
            }
        }

        #[test]
        fn order_never_matters((table, workers) in deployments(), seed in any::<prop::sample::Index>()) {
            let mut turned = workers.clone();
            if !turned.is_empty() {
                let by = seed.index(turned.len());
                turned.rotate_left(by);
                turned.reverse();
            }
            prop_assert_eq!(coverage(table, &workers), coverage(table, &turned));
        }
    }
}
