//! What users deploy: layouts of each product that are coherent, and the options that they set.

use std::collections::BTreeMap;

use muster_api::{CoordinatorSpec, ObjectStorageReference, OptionValue, ReadHold, Transitions, WorkerSpec};
use muster_model::{AppName, Product};

/// A worker's name, its units and its roles.
type Worker = (&'static str, u32, &'static [&'static str]);

const ALL: &[Worker] = &[("all", 3, &["all"])];
const ONE: &[Worker] = &[("all", 1, &["all"])];
const APART: &[Worker] = &[("b", 2, &["backend"]), ("r", 2, &["read"]), ("w", 3, &["write"])];
const TURNED: &[Worker] = &[("b", 3, &["write"]), ("r", 2, &["read"]), ("w", 2, &["backend"])];
const MIXED: &[Worker] = &[("all", 2, &["all"]), ("w", 3, &["write"])];
const TEMPO_APART: &[Worker] = &[
    ("c", 1, &["compactor"]),
    ("d", 1, &["distributor"]),
    ("f", 1, &["query-frontend"]),
    ("i", 3, &["ingester"]),
    ("q", 2, &["querier"]),
];
const TEMPO_TURNED: &[Worker] = &[
    ("c", 1, &["query-frontend"]),
    ("d", 3, &["ingester"]),
    ("f", 1, &["compactor"]),
    ("i", 2, &["distributor"]),
    ("q", 1, &["querier"]),
];
const TEMPO_MIXED: &[Worker] = &[("all", 2, &["all"]), ("i", 3, &["ingester"])];

const LEAN: &[Worker] = &[("b", 1, &["backend"]), ("r", 1, &["read"]), ("w", 1, &["write"])];
const TEMPO_LEAN: &[Worker] = &[
    ("c", 1, &["compactor"]),
    ("d", 1, &["distributor"]),
    ("f", 1, &["query-frontend"]),
    ("i", 1, &["ingester"]),
    ("q", 1, &["querier"]),
];

/// The layouts of a product.
fn layouts(product: Product) -> [&'static [Worker]; 6] {
    match product {
        Product::Mimir | Product::Loki => [ALL, APART, TURNED, MIXED, ONE, LEAN],
        Product::Tempo => [ALL, TEMPO_APART, TEMPO_TURNED, TEMPO_MIXED, ONE, TEMPO_LEAN],
    }
}

/// What a schedule starts with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Start {
    /// The product.
    pub product: Product,
    /// The layout's number.
    pub layout: u32,
    /// How many copies of fresh data are kept.
    pub copies: u32,
}

pub(crate) fn app(name: &str) -> AppName {
    AppName::new(name).expect("layouts have good names")
}

/// The workers of a layout. Numbers count round.
pub(crate) fn workers(product: Product, number: u32) -> BTreeMap<AppName, WorkerSpec> {
    let layouts = layouts(product);
    let layout = layouts[number as usize % layouts.len()];
    let spec = |units: u32, roles: &[&str]| WorkerSpec {
        coordinator: Some("coordinator".to_owned()),
        units,
        roles: roles.iter().map(|role| ((*role).to_owned(), true)).collect(),
        ..WorkerSpec::default()
    };
    layout.iter().map(|(name, units, roles)| (app(name), spec(*units, roles))).collect()
}

/// The coordinator's spec.
pub(crate) fn coordinator(start: Start) -> CoordinatorSpec {
    CoordinatorSpec {
        product: start.product.to_string(),
        units: 1,
        s3: Some(ObjectStorageReference { secret: "s3".to_owned() }),
        config: BTreeMap::from([(
            "replication-factor".to_owned(),
            OptionValue::Integer(i64::from(start.copies)),
        )]),
        transitions: Some(Transitions { read_hold: ReadHold::Auto, ..Transitions::default() }),
        ..CoordinatorSpec::default()
    }
}

/// Sets an option that every product has and that makes a new revision; 0 takes it away.
pub(crate) fn set(spec: &mut CoordinatorSpec, product: Product, number: u32) {
    let days = i64::from(number) * 10;
    let value = match product {
        Product::Mimir => OptionValue::Text(format!("{days}d")),
        Product::Loki | Product::Tempo => OptionValue::Integer(days),
    };
    match number {
        0 => drop(spec.config.remove("retention-period")),
        _ => drop(spec.config.insert("retention-period".to_owned(), value)),
    }
}
