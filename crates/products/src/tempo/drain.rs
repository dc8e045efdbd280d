//! How a Tempo unit leaves.

use std::time::Duration;

use muster_model::{Role, RoleSet};

use crate::{Flushed, HttpCall};

fn ingests(assigned: &RoleSet) -> bool {
    assigned.contains(Role::Ingester) || assigned.contains(Role::All)
}

/// Starts the upload while the unit still answers queries. The SIGTERM that follows uploads the rest and waits for it.
const FLUSH: &[HttpCall] = &[HttpCall { method: "POST", path: "/flush" }];

pub(super) fn leave_calls(assigned: &RoleSet) -> &'static [HttpCall] {
    if ingests(assigned) { FLUSH } else { &[] }
}

/// A unit that runs everything has a query-frontend, whose queue waits for ever once it has had a query. Its ingester ends when all is
/// uploaded.
pub(super) fn flushed(assigned: &RoleSet) -> Option<Flushed> {
    ingests(assigned).then_some(Flushed { path: "/status/services", service: "ingester" })
}

/// An ingester uploads all that it holds at every SIGTERM, and waits for the object store as long as it is away.
const FLUSH_BUDGET: Duration = Duration::from_secs(20 * 60);
/// Querier and query-frontend do not end on SIGTERM at all (more than 100 s): their poller of the object store cannot be cancelled.
const NEVER_ENDS: Duration = Duration::from_secs(5);
/// The compactor may finish the job that it is at, for which it gives itself 30 s.
const FINISH_BUDGET: Duration = Duration::from_secs(60);

pub(super) fn kill_delay(assigned: &RoleSet) -> Duration {
    if ingests(assigned) {
        FLUSH_BUDGET
    } else if assigned.contains(Role::Querier) || assigned.contains(Role::QueryFrontend) {
        NEVER_ENDS
    } else {
        FINISH_BUDGET
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_of_services_says_when_all_is_uploaded() {
        let flushed = flushed(&RoleSet::from([Role::All])).unwrap();
        let page = |state| {
            format!(
                "GET /status/services\n+--+\n| SERVICE NAME | STATUS | FAILURE CASE |\n+--+\n| distributor  | Terminated | |\n| ingester  | {state} |   |\n+--+\n"
            )
        };
        assert!(flushed.is_said(&page("Terminated")));
        for other in ["Running", "Stopping", "Failed", ""] {
            assert!(!flushed.is_said(&page(other)), "{other}");
        }
        assert!(!flushed.is_said("") && !flushed.is_said("| ingester-x | Terminated |"));
        assert_eq!(super::flushed(&RoleSet::from([Role::Querier])), None);
    }

    #[test]
    fn who_holds_traces_gets_time_and_who_never_ends_does_not() {
        for with in [Role::All, Role::Ingester] {
            assert_eq!(leave_calls(&RoleSet::from([with])), FLUSH);
            assert_eq!(kill_delay(&RoleSet::from([with])), FLUSH_BUDGET);
        }
        assert_eq!(leave_calls(&RoleSet::from([Role::Querier])), []);
        assert_eq!(kill_delay(&RoleSet::from([Role::Querier])), NEVER_ENDS);
        assert_eq!(kill_delay(&RoleSet::from([Role::Compactor])), FINISH_BUDGET);
    }
}
