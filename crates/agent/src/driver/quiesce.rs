//! Has a workload take nothing new and shows that all it took is in the object store; or has it take data again.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use muster_products::Disk;
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

/// Comes back once nothing new is taken and all is in the object store. Says whether there was anything.
pub(super) async fn until_quiet(quiesce: Quiesce, settings: &Settings) -> bool {
    let at = SocketAddr::new(settings.address, quiesce.port);
    until_called(at, quiesce.how.begin).await;
    sleep(STILL_COMING).await;
    loop {
        match try_upload(quiesce, at, settings).await {
            Ok(Some(uploaded)) => return uploaded,
            Ok(None) => tracing::info!("what the workload holds is not in the object store yet"),
            Err(problem) => tracing::warn!(problem, "whether all is in the object store is not known"),
        }
        sleep(AGAIN).await;
    }
}

/// Comes back once data is taken.
pub(super) async fn until_resumed(quiesce: Quiesce, address: IpAddr) {
    until_called(SocketAddr::new(address, quiesce.port), quiesce.how.end).await;
}

async fn until_called(at: SocketAddr, call: muster_products::HttpCall) {
    while let Err(problem) = http::call(at, call.method, call.path, CALL_TIMEOUT).await {
        tracing::warn!(problem, method = call.method, path = call.path, "the workload is asked again");
        sleep(AGAIN).await;
    }
}

/// Uploads once. `None`: something is not in the object store. Else whether there was anything.
async fn try_upload(quiesce: Quiesce, at: SocketAddr, settings: &Settings) -> Result<Option<bool>, String> {
    let how = quiesce.how;
    http::call(at, how.upload.method, how.upload.path, UPLOAD_TIMEOUT).await?;
    let page = http::call(at, "GET", how.metrics_path, CALL_TIMEOUT).await?;
    if !how.is_uploaded(&String::from_utf8_lossy(&page)) {
        return Ok(None);
    }
    let taken = has_taken(quiesce, settings).map_err(|error| format!("its disk cannot be read: {error}"))?;
    Ok(Some(taken))
}

fn has_taken(quiesce: Quiesce, settings: &Settings) -> io::Result<bool> {
    Ok(!Directory(settings.data_directory.clone()).names(quiesce.how.taken)?.is_empty())
}
