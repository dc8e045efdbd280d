//! Whether writes and queries are served, by the roles of the units that answer.

use std::collections::BTreeMap;

use muster_model::{Role, RoleSet};

use crate::observed::{Observed, ObservedUnit};
use crate::validate::Line;

/// What clients do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Path {
    Writes,
    Reads,
}

impl Path {
    pub(super) const ALL: [Self; 2] = [Self::Writes, Self::Reads];

    /// The roles that a request of this kind passes through.
    fn passes(self, role: Role) -> bool {
        use Role::{
            All, Backend, Distributor, Ingester, Querier, QueryFrontend, QueryScheduler, Read, StoreGateway,
            Write,
        };
        match self {
            Self::Writes => matches!(role, All | Distributor | Ingester | Write),
            // Queries ask those who hold fresh data too.
            Self::Reads => matches!(
                role,
                All | Backend
                    | Ingester
                    | Querier
                    | QueryFrontend
                    | QueryScheduler
                    | Read
                    | StoreGateway
                    | Write
            ),
        }
    }
}

/// How many units answer in each role.
#[derive(Debug, Clone, Default)]
pub(super) struct Served {
    roles: BTreeMap<Role, usize>,
    balancers: usize,
}

impl Served {
    /// What the units serve but for those that are `away`.
    pub(super) fn by(
        observed: &Observed,
        line: &Line,
        is_away: impl Fn(&muster_model::UnitName) -> bool,
    ) -> Self {
        let mut served = Self::default();
        let mut expanded = BTreeMap::<RoleSet, RoleSet>::new();
        let answers = |unit: &ObservedUnit| unit.answered();
        for (name, worker) in &observed.workers {
            for (number, unit) in worker.units.iter().filter(|(_, unit)| answers(unit)) {
                if is_away(&name.unit(*number)) {
                    continue;
                }
                let roles = expanded.entry(unit.current_roles()).or_insert_with_key(|r| line.table.expand(r));
                for role in roles.iter() {
                    *served.roles.entry(role).or_insert(0) += 1;
                }
            }
        }
        let balancers = observed.balancers.iter().filter(|(_, unit)| answers(unit));
        served.balancers = balancers.filter(|(number, _)| !is_away(&observed.name.unit(**number))).count();
        served
    }

    /// How many units answer in a role.
    pub(super) fn count(&self, role: Role) -> usize {
        self.roles.get(&role).copied().unwrap_or(0)
    }

    /// The roles that a path lacks. `None`: it is served. Without a load balancer none is, whatever the roles.
    pub(super) fn lacks(&self, path: Path, line: &Line, factor: u8) -> Option<RoleSet> {
        let needed = |role: Role| {
            if role == line.workload.replicated_role() { usize::from(factor / 2 + 1) } else { 1 }
        };
        let required = line.table.required.iter().filter(|role| path.passes(*role));
        let missing: RoleSet = required.filter(|role| self.count(*role) < needed(*role)).collect();
        (!missing.is_empty() || self.balancers == 0).then_some(missing)
    }
}
