//! What a Loki unit holds and how it leaves.

use std::io;
use std::time::Duration;

use muster_model::{Role, RoleSet};

use crate::held::{Disk, Ending, has_content};
use crate::{HttpCall, Ring};

pub(super) fn in_ring(role: Role) -> bool {
    role == Role::Write
}

pub(super) const RING: Ring = Ring { path: "/ring", shown_by: &[Role::Write, Role::Read] };

pub(super) fn holds_data(role: Role) -> bool {
    role == Role::Write
}

fn writes(assigned: &RoleSet) -> bool {
    assigned.contains(Role::Write) || assigned.contains(Role::All)
}

/// Arms "upload and unregister" for the SIGTERM that follows; a mere restart goes on with the log on the disk. The index of what
/// is uploaded follows when the process ends, so it must end by itself.
const LEAVE_INGESTERS: &[HttpCall] = &[HttpCall { method: "POST", path: "/ingester/prepare_shutdown" }];

pub(super) fn leave_calls(assigned: &RoleSet) -> &'static [HttpCall] {
    if writes(assigned) { LEAVE_INGESTERS } else { &[] }
}

/// Loki's log, below its directory.
const LOG: &str = "wal";

/// An ingester that was told to leave ends with success only when all is uploaded, its index too; it waits for the object store as long as it
/// takes. After any other end its log may hold what is nowhere else.
pub(super) fn held(assigned: &RoleSet, disk: &dyn Disk, ending: Ending) -> io::Result<Option<String>> {
    let may_hold = writes(assigned) && ending == Ending::Other && has_content(disk, LOG)?;
    Ok(may_hold.then(|| "lines may be in its log alone".to_owned()))
}

/// The list of index files is read anew after 60 s, which nobody can change, and the index itself every 10 s (`resync_interval`).
pub(super) const FOUND_AFTER: Duration = Duration::from_secs(60 + 10 + 5);

/// An ingester that leaves uploads all its chunks, and waits for the object store as long as it is away.
const FLUSH_BUDGET: Duration = Duration::from_secs(20 * 60);
/// The longest that the other roles may finish what they are at. In rest they are gone within 2 s.
const FINISH_BUDGET: Duration = Duration::from_secs(60);

pub(super) fn kill_delay(assigned: &RoleSet) -> Duration {
    if writes(assigned) { FLUSH_BUDGET } else { FINISH_BUDGET }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::held::tests::Files;

    #[test]
    fn who_writes_leaves_with_an_upload() {
        for with in [RoleSet::from([Role::All]), RoleSet::from([Role::Write])] {
            assert_eq!(leave_calls(&with), LEAVE_INGESTERS);
            assert_eq!(kill_delay(&with), FLUSH_BUDGET);
        }
        let without = RoleSet::from([Role::Read, Role::Backend]);
        assert_eq!(leave_calls(&without), []);
        assert_eq!(kill_delay(&without), FINISH_BUDGET);
    }

    #[test]
    fn only_an_orderly_end_proves_that_all_is_uploaded() {
        let write = RoleSet::from([Role::Write]);
        let files = || Files(&[("wal/00000000", "x")]);
        assert_eq!(held(&write, &files(), Ending::Orderly).unwrap(), None);
        assert!(held(&write, &files(), Ending::Other).unwrap().is_some());
        assert_eq!(
            held(&write, &Files(&[("wal/00000000", "")]), Ending::Other).unwrap(),
            None,
            "it took nothing"
        );
        assert_eq!(held(&RoleSet::from([Role::Read]), &files(), Ending::Other).unwrap(), None);
    }
}
