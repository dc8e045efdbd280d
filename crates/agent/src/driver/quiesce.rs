//! Has a workload upload what it holds, and take nothing new where it can, until all is in the object store; or has it take data again.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use muster_products::{Block, Disk, Evidence, HttpCall, Metrics};
use tokio::time::sleep;

use super::disk::Directory;
use super::http;
use crate::Settings;
use crate::workload::Quiesce;

/// How long others may go on to send data to a unit that takes nothing new: gossip takes up to 2 s to reach them, and requests are on
/// their way.
const STILL_COMING: Duration = Duration::from_secs(5);
/// How long a short call may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the upload of all that a unit holds may take: the flush budget of an ingester.
const UPLOAD_TIMEOUT: Duration = Duration::from_secs(20 * 60);
/// The wait before something is tried again that did not work. Uploads are tried again by the product itself, too.
const AGAIN: Duration = Duration::from_secs(5);

/// The wait between two looks at the disk while an upload goes on.
const LOOKS_AGAIN: Duration = Duration::from_secs(1);

/// Tempo's ingester has a span neither among those that still grow nor in a block for the moment in which it is put there. Units of one
/// application that are told at once do that a second after each other, so that another one has a copy meanwhile. After so many it begins
/// anew: nobody waits for long, and no span has as many copies.
const TURN: Duration = Duration::from_secs(1);
const TURNS: u32 = 5;

/// Comes back once all that was taken before it was asked for is in the object store, and nothing new is taken where that can be. Says
/// whether there was anything.
pub(super) async fn until_quiet(quiesce: Quiesce, settings: &Settings) -> bool {
    let (at, how) = (SocketAddr::new(settings.address, quiesce.port), quiesce.how);
    if let Some(takes_nothing) = how.takes_nothing {
        until_called(at, takes_nothing.begin).await;
        sleep(STILL_COMING).await;
    }
    loop {
        let uploaded = match &how.evidence {
            Evidence::Metrics(metrics) => upload_to_metrics(how.upload, metrics, at, settings).await,
            Evidence::Blocks(blocks) => {
                sleep(TURN * (settings.unit.number() % TURNS)).await;
                upload_blocks(how.upload, *blocks, at, settings).await
            }
        };
        match uploaded {
            Ok(Some(uploaded)) => return uploaded,
            Ok(None) => tracing::info!("what the workload holds is not in the object store yet"),
            Err(problem) => tracing::warn!(problem, "whether all is in the object store is not known"),
        }
        sleep(AGAIN).await;
    }
}

/// Comes back once data is taken.
pub(super) async fn until_resumed(quiesce: Quiesce, address: IpAddr) {
    if let Some(takes_nothing) = quiesce.how.takes_nothing {
        until_called(SocketAddr::new(address, quiesce.port), takes_nothing.end).await;
    }
}

async fn until_called(at: SocketAddr, call: HttpCall) {
    while let Err(problem) = http::call(at, call.method, call.path, CALL_TIMEOUT).await {
        tracing::warn!(problem, method = call.method, path = call.path, "the workload is asked again");
        sleep(AGAIN).await;
    }
}

/// Uploads once. `None`: something is not in the object store. Else whether there was anything.
async fn upload_to_metrics(
    upload: HttpCall,
    metrics: &Metrics,
    at: SocketAddr,
    settings: &Settings,
) -> Result<Option<bool>, String> {
    http::call(at, upload.method, upload.path, UPLOAD_TIMEOUT).await?;
    let page = http::call(at, "GET", metrics.path, CALL_TIMEOUT).await?;
    if !metrics.is_uploaded(&String::from_utf8_lossy(&page)) {
        return Ok(None);
    }
    let taken = Directory(settings.data_directory.clone()).names(metrics.taken).map_err(unread)?;
    Ok(Some(!taken.is_empty()))
}

/// Has the blocks uploaded that are there now, and comes back once they are. Says whether there was anything that others may not have found.
async fn upload_blocks(
    upload: HttpCall,
    blocks: fn(&dyn Disk) -> io::Result<BTreeMap<String, Block>>,
    at: SocketAddr,
    settings: &Settings,
) -> Result<Option<bool>, String> {
    let disk = Directory(settings.data_directory.clone());
    let before = blocks(&disk).map_err(unread)?;
    http::call(at, upload.method, upload.path, UPLOAD_TIMEOUT).await?;
    loop {
        let now = blocks(&disk).map_err(unread)?;
        let is_held = |id: &String| now.get(id) == Some(&Block::Held);
        if !before.keys().any(is_held) {
            return Ok(Some(now.values().any(|block| *block == Block::Uploaded)));
        }
        sleep(LOOKS_AGAIN).await;
    }
}

fn unread(error: io::Error) -> String {
    format!("its disk cannot be read: {error}")
}
