//! Every transition that the campaign knows, by name.

use muster_model::Product;

use super::kill::{Actor, Kill, Phase};
use super::scene::{App, Layout, apart, monolithic, moved, traded};

/// Units that trade roles which nobody else has.
const TRADE: &str = "roles-traded";
/// A role that moves from some units to others.
const MOVE: &str = "role-moves";

/// One transition.
#[derive(Debug, Clone)]
pub struct Case {
    /// The product.
    pub product: Product,
    /// The replication factor.
    pub copies: u8,
    /// What the change is called.
    pub change: &'static str,
    /// What runs at first, and what each edit asks for.
    pub layouts: Vec<Layout>,
    /// What is killed on the way, and when.
    pub kill: Option<Kill>,
    /// Whether units may leave in order. If not, each that is to leave is killed with its disk before the edit: nobody guards the
    /// data, and the campaign must see that.
    pub guarded: bool,
}

impl Case {
    /// For example `mimir-3 monolithic-to-scalable kill-up-leaving`.
    #[must_use]
    pub fn name(&self) -> String {
        let kill = self.kill.map(|kill| format!(" {kill}")).unwrap_or_default();
        let guard = if self.guarded { "" } else { " without-guard" };
        format!("{}-{} {}{kill}{guard}", self.product, self.copies, self.change)
    }

    /// The unit that stands in for others on the way: for those that trade roles which nobody else has, and for one that gives up data
    /// beside such a role.
    #[must_use]
    pub fn stand_in(&self) -> Option<String> {
        let gives_up = (self.product, self.copies, self.change) == (Product::Mimir, 1, MOVE);
        (self.change == TRADE || gives_up).then(|| format!("{}-transition/0", self.product))
    }

    /// The product's own name for roles apart: from one process to many.
    #[must_use]
    pub fn splits(&self) -> bool {
        self.change.starts_with("monolithic-to")
    }
}

/// All of them: each change of each product with one copy and with three, the split also with each kill, and without guard.
#[must_use]
pub fn all() -> Vec<Case> {
    let mut cases = Vec::new();
    for product in [Product::Mimir, Product::Loki, Product::Tempo] {
        for copies in [1, 3] {
            let case = |change, layouts| Case { product, copies, change, layouts, kill: None, guarded: true };
            for (change, layouts) in changes(product, copies.into()) {
                cases.push(case(change, layouts));
            }
        }
        for copies in [1, 3] {
            let split = Case {
                kill: None,
                guarded: true,
                product,
                copies,
                change: split(product),
                layouts: vec![monolithic(copies.into()), apart(product, copies.into())],
            };
            let kills = [Actor::Up, Actor::Agent]
                .into_iter()
                .flat_map(|actor| Phase::ALL.map(|phase| Kill { actor, phase }));
            cases.extend(kills.map(|kill| Case { kill: Some(kill), ..split.clone() }));
            cases.push(Case { guarded: false, ..split });
        }
    }
    cases
}

/// The case of that name.
#[must_use]
pub fn named(name: &str) -> Option<Case> {
    all().into_iter().find(|case| case.name() == name)
}

fn split(product: Product) -> &'static str {
    if product == Product::Tempo { "monolithic-to-distributed" } else { "monolithic-to-scalable" }
}

fn changes(product: Product, copies: u32) -> Vec<(&'static str, Vec<Layout>)> {
    let (one, many) = (monolithic(copies), apart(product, copies));
    let back = if product == Product::Tempo { "distributed-to-monolithic" } else { "scalable-to-monolithic" };
    let all = |name, units| App { name, units, roles: &["all"] };
    let mut changes = vec![
        (split(product), vec![one.clone(), many.clone()]),
        (back, vec![many, one]),
        (MOVE, moved(product, copies).to_vec()),
        (
            "worker-removed",
            vec![Layout(vec![all("worker", 1), all("other", copies)]), Layout(vec![all("other", copies)])],
        ),
    ];
    // Three copies need three units at all times.
    if copies == 1 {
        changes.push(("scale-3-1-3", [3, 1, 3].map(monolithic).to_vec()));
        changes.push(("scale-1-3-1", [1, 3, 1].map(monolithic).to_vec()));
        changes.push((TRADE, traded(product).to_vec()));
    } else {
        changes.push(("scale-4-3-4", [4, 3, 4].map(monolithic).to_vec()));
    }
    changes
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_tell_cases_apart() {
        let names: BTreeSet<String> = all().iter().map(Case::name).collect();
        assert_eq!(names.len(), all().len());
        for name in [
            "mimir-3 monolithic-to-scalable kill-up-leaving",
            "tempo-1 distributed-to-monolithic",
            "loki-1 scale-3-1-3",
            "mimir-1 roles-traded",
            "mimir-1 monolithic-to-scalable without-guard",
        ] {
            assert!(names.contains(name), "{name}");
        }
    }

    #[test]
    fn three_copies_never_have_less_than_three_holders() {
        let holds = |app: &App| app.roles.iter().any(|role| ["all", "write", "ingester"].contains(role));
        for case in all() {
            for layout in &case.layouts {
                let holders: u32 = layout.0.iter().filter(|app| holds(app)).map(|app| app.units).sum();
                assert!(holders >= case.copies.into(), "{}", case.name());
            }
        }
    }
}
