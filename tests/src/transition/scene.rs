//! What runs before and after an edit.

use std::collections::{BTreeMap, BTreeSet};

use muster_model::{Product, RoleSet};

use crate::documents;

/// A worker application.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct App {
    /// Its name.
    pub name: &'static str,
    /// How many units it has.
    pub units: u32,
    /// The roles that are switched on.
    pub roles: &'static [&'static str],
}

impl App {
    /// The names of its units.
    pub fn unit_names(self) -> impl Iterator<Item = String> {
        (0..self.units).map(move |number| format!("{}/{number}", self.name))
    }

    /// The roles that its processes may run: Mimir's scheduler goes by what other units run.
    pub(super) fn assigned(self, product: Product) -> Vec<RoleSet> {
        let declared: RoleSet = self.roles.iter().filter_map(|role| role.parse().ok()).collect();
        let workload = muster_products::workload(product);
        [false, true]
            .iter()
            .filter_map(|elsewhere| workload.assign_roles(&declared, *elsewhere).ok())
            .collect()
    }
}

/// All worker applications of a deployment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout(pub Vec<App>);

impl Layout {
    pub(crate) fn app(&self, name: &str) -> Option<App> {
        self.0.iter().find(|app| app.name == name).copied()
    }

    /// The names of all units.
    pub(crate) fn units(&self) -> BTreeSet<String> {
        self.0.iter().flat_map(|app| app.unit_names()).collect()
    }

    /// The workers as YAML that are not the same in `before`.
    pub(crate) fn documents(&self, before: &Self, coordinator: &str) -> String {
        let new = self.0.iter().filter(|app| before.app(app.name) != Some(**app));
        new.map(|app| documents::worker(app.name, coordinator, app.units, app.roles)).collect()
    }

    /// How often the process of each unit is started on the way from `before`, at the least: once where the unit is new or has other
    /// roles.
    pub(super) fn least_starts(&self, before: &Self) -> BTreeMap<String, Starts> {
        let mut least = BTreeMap::new();
        for app in &self.0 {
            let former = before.app(app.name);
            for (number, unit) in app.unit_names().enumerate() {
                let starts = match former {
                    Some(former) if (number as u32) < former.units => {
                        Starts { first: 0, again: usize::from(former.roles != app.roles) }
                    }
                    _ => Starts { first: 1, again: 0 },
                };
                least.insert(unit, starts);
            }
        }
        least
    }
}

/// How often a unit's process is started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Starts {
    /// Because the unit is new.
    pub first: usize,
    /// In the place of another process.
    pub again: usize,
}

/// The coordinator as YAML, with its product's name and further lines of its spec.
pub(crate) fn coordinator(product: Product, copies: u8, further: &str) -> String {
    let receiver = if product == Product::Tempo { ", always-enable-otlp-http: true" } else { "" };
    let spec = format!("{further}  s3: {{secret: s3}}\n  config: {{replication-factor: {copies}{receiver}}}");
    documents::coordinator_of(product.as_str(), product.as_str(), &spec)
}

/// One process kind that does everything.
#[must_use]
pub fn monolithic(units: u32) -> Layout {
    Layout(vec![App { name: "worker", units, roles: &["all"] }])
}

/// Reads, writes and the rest apart, or with Tempo each required role.
#[must_use]
pub fn apart(product: Product, holders: u32) -> Layout {
    // Enough for one to be away where there is more than one copy of the data.
    let others = holders.min(2);
    let app = |name, units, roles| App { name, units, roles };
    Layout(match product {
        Product::Mimir | Product::Loki => vec![
            app("read", others, &["read"]),
            app("write", holders, &["write"]),
            app("backend", others, &["backend"]),
        ],
        Product::Tempo => vec![
            app("distributor", 1, &["distributor"]),
            app("ingester", holders, &["ingester"]),
            app("querier", others, &["querier"]),
            app("query-frontend", 1, &["query-frontend"]),
            app("compactor", 1, &["compactor"]),
        ],
    })
}

/// The role that holds data, before and after it moves from `first` to other units.
#[must_use]
pub fn moved(product: Product, holders: u32) -> [Layout; 2] {
    let app = |name, units, roles| App { name, units, roles };
    match product {
        Product::Mimir => [
            Layout(vec![app("first", holders, &["read", "write"]), app("second", holders, &["backend"])]),
            Layout(vec![app("first", holders, &["read"]), app("second", holders, &["backend", "write"])]),
        ],
        Product::Loki => [
            Layout(vec![app("first", holders, &["write"]), app("second", 1, &["read", "backend"])]),
            Layout(vec![
                app("first", holders, &["read"]),
                app("second", 1, &["read", "backend"]),
                app("third", holders, &["write"]),
            ]),
        ],
        Product::Tempo => {
            let rest = [
                app("distributor", 1, &["distributor"]),
                app("querier", 1, &["querier"]),
                app("query-frontend", 1, &["query-frontend"]),
                app("compactor", 1, &["compactor"]),
            ];
            let with = |apps: &[App]| Layout(apps.iter().chain(&rest).copied().collect());
            [
                with(&[app("first", holders, &["ingester"])]),
                with(&[app("first", holders, &["querier"]), app("third", holders, &["ingester"])]),
            ]
        }
    }
}

/// The one unit that holds data and another one, before and after they have each other's roles.
#[must_use]
pub fn traded(product: Product) -> [Layout; 2] {
    let before = apart(product, 1);
    let (one, other) = match product {
        Product::Mimir | Product::Loki => ("write", "backend"),
        Product::Tempo => ("ingester", "querier"),
    };
    let roles = |name: &str| before.app(name).map(|app| app.roles);
    let after = before.0.iter().map(|app| {
        let partner = if app.name == one {
            other
        } else if app.name == other {
            one
        } else {
            app.name
        };
        App { roles: roles(partner).unwrap_or(app.roles), ..*app }
    });
    let after = Layout(after.collect());
    [before, after]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_starts_are_those_of_new_units_and_other_roles() {
        let [before, after] = moved(Product::Loki, 1);
        let least = after.least_starts(&before);
        let of = |unit: &str| (least[unit].first, least[unit].again);
        assert_eq!((of("first/0"), of("second/0"), of("third/0")), ((0, 1), (0, 0), (1, 0)));
        let grown = monolithic(3).least_starts(&monolithic(1));
        assert_eq!(grown.values().map(|starts| starts.first).sum::<usize>(), 2);
        assert!(grown.values().all(|starts| starts.again == 0));
    }

    #[test]
    fn those_that_trade_have_each_others_roles() {
        let [before, after] = traded(Product::Mimir);
        let roles = |layout: &Layout, name: &str| layout.app(name).map(|app| app.roles);
        assert_eq!(roles(&before, "write"), roles(&after, "backend"));
        assert_eq!(roles(&before, "backend"), roles(&after, "write"));
        assert_eq!(roles(&before, "read"), roles(&after, "read"));
    }

    #[test]
    fn only_what_differs_is_written() {
        let [before, after] = moved(Product::Loki, 1);
        let text = after.documents(&before, "loki");
        assert!(
            text.contains("name: first") && text.contains("name: third") && !text.contains("name: second")
        );
    }
}
