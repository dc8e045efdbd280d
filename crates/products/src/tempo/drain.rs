//! How a Tempo unit leaves.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use muster_model::{Role, RoleSet};

use crate::held::{Disk, Ending};
use crate::{Block, Evidence, Flushed, HttpCall, Quiesce, Ring};

fn ingests(assigned: &RoleSet) -> bool {
    assigned.contains(Role::Ingester) || assigned.contains(Role::All)
}

/// Starts the upload while the unit still answers queries. The SIGTERM that follows uploads the rest and waits for it.
const FLUSH: &[HttpCall] = &[UPLOAD];
const UPLOAD: HttpCall = HttpCall { method: "POST", path: "/flush" };

pub(super) const RING: Ring = Ring { path: "/ingester/ring", shown_by: &[Role::Distributor, Role::Querier] };

pub(super) fn leave_calls(assigned: &RoleSet) -> &'static [HttpCall] {
    if ingests(assigned) { FLUSH } else { &[] }
}

/// A unit that runs everything has a query-frontend, whose queue waits for ever once it has had a query. Its ingester ends when all is
/// uploaded.
pub(super) fn flushed(assigned: &RoleSet) -> Option<Flushed> {
    ingests(assigned).then_some(Flushed { path: "/status/services", service: "ingester" })
}

/// Where the ingester has the blocks that it writes to, and below [`COMPLETE`] those that are complete.
const LOG: &str = "wal";
const COMPLETE: &str = "blocks";
/// In a complete block's directory, once it is in the object store.
const UPLOADED: &str = "flushed";

/// What Tempo has on its disk tells, however it ended: an upload that waits for its turn is forgotten when the ingester ends.
pub(super) fn held(assigned: &RoleSet, disk: &dyn Disk, _: Ending) -> io::Result<Option<String>> {
    if !ingests(assigned) {
        return Ok(None);
    }
    let left = blocks(disk)?.into_values().filter(|block| *block == Block::Held).count();
    let plural = if left == 1 { "" } else { "s" };
    Ok((left > 0).then(|| format!("{left} block{plural} of traces not uploaded")))
}

/// The blocks on a disk by their id, which a block keeps from its first page to the object store. One that is written to has its pages in
/// numbered files of a directory `ID+TENANT+VERSION`.
fn blocks(disk: &dyn Disk) -> io::Result<BTreeMap<String, Block>> {
    let mut blocks: BTreeMap<String, Block> = BTreeMap::new();
    let mut note = |id: &str, block: Block| {
        // A block that is being completed is there twice.
        blocks.entry(id.to_owned()).and_modify(|known| *known = block.max(*known)).or_insert(block);
    };
    for name in disk.names(LOG)?.iter().filter(|name| *name != COMPLETE) {
        let path = format!("{LOG}/{name}");
        let pages = disk.names(&path)?;
        let mut pages = pages.iter().filter(|page| page.bytes().all(|b| b.is_ascii_digit()));
        // A block that nothing was written to has an empty page.
        let filled = pages.any(|page| disk.length(&format!("{path}/{page}")).map_or(true, |l| l > 0));
        let id = name.split_once('+').map_or(name.as_str(), |(id, _)| id);
        note(id, if filled { Block::Held } else { Block::Empty });
    }
    let complete = format!("{LOG}/{COMPLETE}");
    for tenant in disk.names(&complete)? {
        for id in disk.names(&format!("{complete}/{tenant}"))? {
            let files = disk.names(&format!("{complete}/{tenant}/{id}"))?;
            if files.iter().any(|file| file == UPLOADED) {
                note(&id, Block::Uploaded);
            } else if !files.is_empty() {
                note(&id, Block::Held);
            }
        }
    }
    Ok(blocks)
}

/// An ingester takes spans until it ends, so what came after the flush is uploaded as it ends. `/flush` is answered when all it has is cut
/// into blocks; the upload goes on by itself, and is tried again by itself.
const QUIESCE_INGESTERS: Quiesce =
    Quiesce { takes_nothing: None, upload: UPLOAD, evidence: Evidence::Blocks(blocks) };

pub(super) fn quiesce(assigned: &RoleSet) -> Option<&'static Quiesce> {
    ingests(assigned).then_some(&QUIESCE_INGESTERS)
}

/// Two looks at the object store (`blocklist_poll`): that of the one who writes the list of blocks, and that of who reads it.
pub(super) const FOUND_AFTER: Duration = Duration::from_secs(2 * 15 + 2);

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
    use crate::held::tests::Files;

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

    #[test]
    fn blocks_without_the_mark_of_an_upload_are_held() {
        let all = RoleSet::from([Role::All]);
        let of = |files| held(&all, &Files(files), Ending::Orderly).unwrap();
        assert_eq!(of(&[]), None);
        assert_eq!(
            of(&[("wal/u1+single-tenant+vParquet4/meta.json", "{}")]),
            None,
            "nothing was written to it"
        );
        let empty = of(&[("wal/u1+single-tenant+vParquet4/0000000001", "")]);
        assert_eq!(empty, None, "its page is empty");
        let pages = of(&[
            ("wal/u1+single-tenant+vParquet4/meta.json", "{}"),
            ("wal/u1+single-tenant+vParquet4/0000000001", "x"),
        ]);
        assert_eq!(pages.as_deref(), Some("1 block of traces not uploaded"));
        let complete = [
            ("wal/blocks/single-tenant/u2/data.parquet", "x"),
            ("wal/blocks/single-tenant/u2/meta.json", "{}"),
        ];
        assert!(of(Box::leak(Box::new(complete))).is_some());
        assert_eq!(
            of(&[
                ("wal/blocks/single-tenant/u2/data.parquet", "x"),
                ("wal/blocks/single-tenant/u2/flushed", "")
            ]),
            None
        );
    }

    #[test]
    fn a_block_is_known_from_its_first_page_to_the_object_store() {
        const WRITTEN: &str = "wal/u1+single-tenant+vParquet4/0000000001";
        const COMPLETE: &str = "wal/blocks/single-tenant/u1/data.parquet";
        let of = |files| blocks(&Files(files)).unwrap().into_iter().collect::<Vec<_>>();
        let is = |block| vec![("u1".to_owned(), block)];
        assert_eq!(of(&[(WRITTEN, "")]), is(Block::Empty));
        assert_eq!(of(&[(WRITTEN, "x")]), is(Block::Held));
        assert_eq!(of(&[(WRITTEN, "x"), (COMPLETE, "x")]), is(Block::Held));
        assert_eq!(of(&[(COMPLETE, "x")]), is(Block::Held));
        let uploaded = of(&[(COMPLETE, "x"), ("wal/blocks/single-tenant/u1/flushed", "")]);
        assert_eq!(uploaded, is(Block::Uploaded));
    }
}
