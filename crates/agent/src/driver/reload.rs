//! Has a running nginx take over a new document, so that no request of a keep-alive client fails.
//! The steps and why they are so: `muster_nginx`, section "Reload".

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::{Duration, SystemTime};

use muster_model::Revision;
use muster_nginx::{
    CONNECTIONS_PATH, Connections, DRAIN_DEADLINE_MS, READY_PATH, SETTLE_MS, SHUTDOWN_TIMEOUT_SECONDS,
    STATUS_PORT, ready_body, waiting_connections,
};
use nix::sys::signal::Signal;
use tokio::time::{Instant, sleep};

use super::{Process, children, files, http};
use crate::workload::Link;

/// How long the new generation may take to answer.
const TIMEOUT: Duration = Duration::from_secs(10);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_millis(10);
/// How long requests that are under way may keep the old workers until the new document counts as taken up: whoever is not in it any more may be
/// stopped then. Queries take seconds, on a busy machine more; as long as Kubernetes gives a pod to end. Live tails and the like go on for
/// longer.
const UNDER_WAY: Duration = Duration::from_secs(30);
/// The title that a worker gives itself at the moment in which it closes its listening sockets.
const WORKER_ENDS: &[u8] = b"nginx: worker process is shutting down";

/// Reloads the nginx whose master is `process` and whose files in `prefix` are already the new ones.
/// `only_adds`: whether workers of the old document answer as well as new ones, so that it is enough that there are new ones: nginx starts
/// them once it has read the document.
pub(crate) async fn reload(
    prefix: &Path,
    process: &Process,
    address: IpAddr,
    (old, new): (&Revision, &Revision),
    only_adds: bool,
) -> Result<(), String> {
    let status = SocketAddr::new(address, STATUS_PORT);
    let close = Link { name: muster_nginx::files::connections(old), target: Connections::Close.target() };
    files::link(prefix, &close).map_err(|error| error.to_string())?;
    let drained = Instant::now() + Duration::from_millis(DRAIN_DEADLINE_MS);
    while Instant::now() < drained {
        let counts = http::request(status, "GET", CONNECTIONS_PATH, REQUEST_TIMEOUT).await;
        if counts.is_ok_and(|(_, body)| waiting_connections(&String::from_utf8_lossy(&body)) == Some(0)) {
            break;
        }
        sleep(PAUSE).await;
    }
    let master = process.pid().to_string();
    let old_workers = children::children_of(&master);
    if !process.signal(Signal::SIGHUP) {
        return Err("nginx ended before it could be reloaded".to_owned());
    }
    let expected = ready_body(new);
    let began = Instant::now();
    // Where the kernel does not list children, only time tells that the old generation has stopped accepting.
    let settle = if old_workers.is_empty() { Duration::from_millis(SETTLE_MS) } else { Duration::ZERO };
    // Since when the new generation alone has answered.
    let mut alone: Option<Instant> = None;
    let goes_on = |alone: Option<Instant>| match alone {
        None => began.elapsed() < TIMEOUT,
        Some(since) => since.elapsed() < UNDER_WAY + TIMEOUT,
    };
    while goes_on(alone) {
        // Workers of the old generation take most of the connections until they end.
        let has_new_workers = || children::children_of(&master).iter().any(|w| !old_workers.contains(w));
        if only_adds && !old_workers.is_empty() && has_new_workers() {
            forget_links(prefix, [old, new]);
            return Ok(());
        }
        let answer = http::request(status, "GET", READY_PATH, REQUEST_TIMEOUT).await;
        if answer.is_ok_and(|(_, body)| body == expected) {
            let alone = alone.get_or_insert_with(Instant::now);
            let has_settled =
                alone.elapsed() >= settle && old_workers.iter().all(|worker| has_stopped_accepting(*worker));
            let has_answered =
                || alone.elapsed() >= UNDER_WAY || old_workers.iter().all(|worker| title(*worker).is_none());
            if only_adds || (has_settled && has_answered()) {
                forget_links(prefix, [old, new]);
                return Ok(());
            }
        } else {
            alone = None;
        }
        sleep(PAUSE).await;
    }
    Err(format!("nginx did not take over revision {new} within {} s", began.elapsed().as_secs()))
}

/// Whether an nginx worker takes no more connections: it has ended, or its title says that it is about to.
fn has_stopped_accepting(worker: i32) -> bool {
    title(worker).is_none_or(|title| title.starts_with(WORKER_ENDS))
}

/// The title that a process gives itself. None: it is gone, or waits only to be noticed by its parent.
fn title(process: i32) -> Option<Vec<u8>> {
    fs::read(format!("/proc/{process}/cmdline")).ok().filter(|title| !title.is_empty())
}

/// Removes the links of generations whose last workers must have ended by now.
fn forget_links(prefix: &Path, live: [&Revision; 2]) {
    let live = live.map(|revision| prefix.join(muster_nginx::files::connections(revision)));
    let Some(directory) = live[0].parent() else { return };
    let age = Duration::from_secs(2 * u64::from(SHUTDOWN_TIMEOUT_SECONDS));
    let Some(before) = SystemTime::now().checked_sub(age) else { return };
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let stale = fs::symlink_metadata(entry.path())
            .is_ok_and(|m| m.is_symlink() && m.modified().is_ok_and(|at| at < before));
        if stale && !live.contains(&entry.path()) {
            let _ = fs::remove_file(entry.path());
        }
    }
}
