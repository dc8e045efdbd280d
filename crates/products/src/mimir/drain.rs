//! What a Mimir unit holds and how it leaves.

use std::time::Duration;

use muster_model::{Role, RoleSet};

use super::roles;
use crate::HttpCall;

pub(super) fn in_ring(role: Role) -> bool {
    matches!(role, Role::Ingester | Role::StoreGateway | Role::Alertmanager)
}

pub(super) fn holds_data(role: Role) -> bool {
    role == Role::Ingester
}

/// Arms "upload and unregister" for the SIGTERM that follows; the config alone does neither at a mere restart.
/// The other rings are left at every SIGTERM.
const LEAVE_INGESTERS: &[HttpCall] = &[HttpCall { method: "POST", path: "/ingester/prepare-shutdown" }];

pub(super) fn leave_calls(assigned: &RoleSet) -> &'static [HttpCall] {
    if roles::processes(assigned).contains(Role::Ingester) { LEAVE_INGESTERS } else { &[] }
}

/// An ingester that leaves uploads all that it holds, which with full blocks and a slow store takes many minutes.
const FLUSH_BUDGET: Duration = Duration::from_secs(20 * 60);
/// The longest that the other roles may finish what they are at: the termination grace period that Grafana's chart
/// mimir-distributed gives to queriers, frontends, schedulers and rulers. In rest they are gone within 2 s.
const FINISH_BUDGET: Duration = Duration::from_secs(180);

pub(super) fn kill_delay(assigned: &RoleSet) -> Duration {
    if roles::processes(assigned).iter().any(|role| holds_data(role) || role == Role::Flusher) {
        FLUSH_BUDGET
    } else {
        FINISH_BUDGET
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_runs_an_ingester_leaves_with_an_upload() {
        for with in [RoleSet::from([Role::All]), RoleSet::from([Role::Distributor, Role::Ingester])] {
            assert_eq!(leave_calls(&with), [HttpCall { method: "POST", path: "/ingester/prepare-shutdown" }]);
            assert_eq!(kill_delay(&with), FLUSH_BUDGET);
        }
        let without = RoleSet::from([Role::Querier, Role::StoreGateway]);
        assert_eq!(leave_calls(&without), []);
        assert_eq!(kill_delay(&without), FINISH_BUDGET);
        assert_eq!(leave_calls(&RoleSet::new()), []);
    }

    #[test]
    fn what_holds_data_is_in_a_ring() {
        for role in Role::ALL {
            assert!(!holds_data(*role) || in_ring(*role), "{role}");
        }
    }
}
