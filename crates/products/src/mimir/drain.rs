//! What a Mimir unit holds and how it leaves.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use muster_model::{Role, RoleSet};

use super::roles;
use crate::held::{Disk, Ending, has_content};
use crate::{Evidence, HttpCall, Metrics, Quiesce, Ring, TakesNothing};

pub(super) fn in_ring(role: Role) -> bool {
    matches!(role, Role::Ingester | Role::StoreGateway | Role::Alertmanager)
}

pub(super) const RING: Ring =
    Ring { path: "/ingester/ring", shown_by: &[Role::Distributor, Role::Ingester, Role::Querier] };

pub(super) fn holds_data(role: Role) -> bool {
    role == Role::Ingester
}

/// Arms "upload and unregister" for the SIGTERM that follows; the config alone does neither at a mere restart.
/// The other rings are left at every SIGTERM.
const LEAVE_INGESTERS: &[HttpCall] = &[HttpCall { method: "POST", path: "/ingester/prepare-shutdown" }];

pub(super) fn leave_calls(assigned: &RoleSet) -> &'static [HttpCall] {
    if roles::processes(assigned).contains(Role::Ingester) { LEAVE_INGESTERS } else { &[] }
}

/// Read-only in the ring: distributors send it nothing, queriers ask it. Answers of the upload prove nothing: with the object store away it
/// is 204 too, and the oldest block that was not uploaded tells, as long as the process lives.
const QUIESCE_INGESTERS: Quiesce = Quiesce {
    takes_nothing: Some(TakesNothing {
        begin: HttpCall { method: "POST", path: "/ingester/prepare-instance-ring-downscale" },
        end: HttpCall { method: "DELETE", path: "/ingester/prepare-instance-ring-downscale" },
    }),
    upload: HttpCall { method: "POST", path: "/ingester/flush?wait=true" },
    evidence: Evidence::Metrics(Metrics {
        path: "/metrics",
        zero: &["cortex_ingester_memory_series", "cortex_ingester_oldest_unshipped_block_timestamp_seconds"],
        taken: BLOCKS,
    }),
};

/// The compactor writes the index, and queriers read it.
pub(super) const FOUND_AFTER: Duration =
    Duration::from_secs(super::config::CLEANUP_INTERVAL_SECONDS + QUERIER_INDEX_SECONDS + SLACK_SECONDS);

/// How old the bucket index may be that a querier goes by: it looks every minute, 20 % more or less, which is fixed in Mimir. Store-gateways
/// look more often (`bucket_store.sync_interval`), at the same time.
const QUERIER_INDEX_SECONDS: u64 = 72;
/// For the writing of the index itself. With a whole of 80 s at a cleanup interval of 5 s no query ever missed anything.
const SLACK_SECONDS: u64 = 5;

pub(super) fn quiesce(assigned: &RoleSet) -> Option<&'static Quiesce> {
    roles::processes(assigned).contains(Role::Ingester).then_some(&QUIESCE_INGESTERS)
}

/// Where the ingester has a directory for each tenant's blocks.
pub(super) const BLOCKS: &str = "tsdb";
/// In a tenant's directory: which blocks were uploaded. Mimir writes it after each upload.
const UPLOADED: &str = "mimir.shipper.json";
/// The length of a block's name, a ULID.
const BLOCK_NAME: usize = 26;

/// What `mimir.shipper.json` says.
#[derive(serde::Deserialize)]
struct Uploaded {
    shipped: Option<BTreeMap<String, serde_json::Value>>,
}

/// Mimir ends with success although an upload failed; its own notes tell. What is only in the log was put into a block before an orderly
/// end, and may be anything after another one.
pub(super) fn held(assigned: &RoleSet, disk: &dyn Disk, ending: Ending) -> io::Result<Option<String>> {
    if !roles::processes(assigned).contains(Role::Ingester) {
        return Ok(None);
    }
    for tenant in disk.names(BLOCKS)? {
        let directory = format!("{BLOCKS}/{tenant}");
        let notes = disk.text(&format!("{directory}/{UPLOADED}"))?;
        let uploaded = notes.map(|notes| serde_json::from_str::<Uploaded>(&notes)).transpose()?;
        let uploaded = uploaded.and_then(|uploaded| uploaded.shipped).unwrap_or_default();
        let is_block =
            |name: &&String| name.len() == BLOCK_NAME && name.bytes().all(|b| b.is_ascii_alphanumeric());
        let names = disk.names(&directory)?;
        let left = names.iter().filter(is_block).filter(|name| !uploaded.contains_key(*name)).count();
        if left > 0 {
            let plural = if left == 1 { "" } else { "s" };
            return Ok(Some(format!("{left} block{plural} of tenant {tenant:?} not uploaded")));
        }
        if ending == Ending::Other && has_content(disk, &format!("{directory}/wal"))? {
            return Ok(Some(format!("samples of tenant {tenant:?} may be in its log alone")));
        }
    }
    Ok(None)
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
    use crate::held::tests::Files;

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

    #[test]
    fn blocks_that_were_not_uploaded_are_held_whatever_the_process_says() {
        let all = RoleSet::from([Role::All]);
        let of = |files, ending| held(&all, &Files(files), ending).unwrap();
        const BLOCK: &str = "tsdb/anonymous/01KB3Q0000000000000000000A/meta.json";
        const NOTES: &str = "tsdb/anonymous/mimir.shipper.json";
        assert_eq!(of(&[], Ending::Other), None, "it never had anything");
        let left = of(&[(BLOCK, "{}"), (NOTES, r#"{"version":1,"shipped":{}}"#)], Ending::Orderly).unwrap();
        assert_eq!(left, "1 block of tenant \"anonymous\" not uploaded");
        assert!(of(&[(BLOCK, "{}")], Ending::Orderly).is_some(), "it noted nothing");
        let uploaded = r#"{"version":1,"shipped":{"01KB3Q0000000000000000000A":1764265000000}}"#;
        const LOG: &str = "tsdb/anonymous/wal/00000000";
        assert!(of(&[(BLOCK, "{}"), (LOG, "x"), (NOTES, "{\"shipped\":null}")], Ending::Orderly).is_some());
        let files: &'static [_] = Box::leak(Box::new([(BLOCK, "{}"), (LOG, "x"), (NOTES, uploaded)]));
        assert_eq!(of(files, Ending::Orderly), None);
        assert!(
            of(files, Ending::Other).unwrap().contains("log"),
            "it did not get so far as to make blocks of it"
        );
        assert!(held(&all, &Files(&[(NOTES, "{")]), Ending::Orderly).is_err(), "nobody knows");
        assert_eq!(
            held(&RoleSet::from([Role::Querier]), &Files(&[(BLOCK, "{}")]), Ending::Other).unwrap(),
            None
        );
    }
}
