//! Sees to it that units which have gone have no place in a ring any more.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use muster_model::UnitName;
use tokio::time::{Instant, sleep};

use super::http;
use crate::workload::Ring;

/// How long a unit that has ended may still stand in the ring without a need to do something about it: that it left is on its way.
/// Measured: 0.1 to 0.3 s, with Tempo 0.4 to 1.2 s.
const STILL_COMING: Duration = Duration::from_secs(5);
/// How long one call may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// Between two looks.
const AGAIN: Duration = Duration::from_millis(500);
/// The same after one that failed.
const AGAIN_AFTER_FAILURE: Duration = Duration::from_secs(5);

/// Comes back once none of these units has a place in the ring that the process at this address sees.
pub(super) async fn until_forgotten(ring: Ring, address: IpAddr, units: &BTreeSet<UnitName>) {
    let at = SocketAddr::new(address, ring.port);
    let begun = Instant::now();
    loop {
        let pause = match look(ring, at, units, begun.elapsed() >= STILL_COMING).await {
            Ok(true) => return,
            Ok(false) => AGAIN,
            Err(problem) => {
                tracing::warn!(problem, path = ring.page.path, "who has a place in the ring is not known");
                AGAIN_AFTER_FAILURE
            }
        };
        sleep(pause).await;
    }
}

/// Whether none has a place. `forgets`: those that have one lose it, and the next look tells.
async fn look(ring: Ring, at: SocketAddr, units: &BTreeSet<UnitName>, forgets: bool) -> Result<bool, String> {
    let page = http::json(at, ring.page.path, CALL_TIMEOUT).await?;
    let places = muster_products::Ring::places(&page)
        .map_err(|error| format!("the page of the ring cannot be read: {error}"))?;
    let left: Vec<String> = units.iter().map(UnitName::label).filter(|name| places.contains(name)).collect();
    if forgets {
        for name in &left {
            tracing::warn!(name, "a unit that has gone still has a place in the ring: it is taken away");
            http::submit(at, ring.page.path, muster_products::Ring::forget(name), CALL_TIMEOUT).await?;
        }
    }
    Ok(left.is_empty())
}
