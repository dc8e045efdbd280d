//! Sees to it that units which have gone, or are about to, have no place in a ring any more.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use muster_model::UnitName;
use tokio::time::{Instant, sleep, timeout};

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

/// How long a place must be gone for everybody to have heard of it: see [`STILL_COMING`], and some more.
const HEARD: Duration = Duration::from_millis(1500);
/// Between two looks meanwhile.
const SOON: Duration = Duration::from_millis(100);
/// How long it is tried. A process that lives takes its place again with its next heartbeat, every 5 s; after that there is time enough.
const TRIED: Duration = Duration::from_secs(8);

/// Takes away the place of the process at this address, which goes on to answer, and comes back once others have heard of it, or not in time.
///
/// From the moment that a process is told to end it answers no query, and those that others send it fail until they hear that it has left.
/// With one copy of the data no other answer makes up for that.
pub(super) async fn give_place_up(ring: Ring, address: IpAddr, name: &str) {
    let at = SocketAddr::new(address, ring.port);
    match timeout(TRIED, until_others_heard(ring, at, name)).await {
        Ok(Ok(())) => {}
        Ok(Err(problem)) => {
            tracing::warn!(problem, path = ring.page.path, "the place in the ring is kept until the end")
        }
        Err(_) => tracing::warn!(path = ring.page.path, "the place in the ring came back again and again"),
    }
}

async fn until_others_heard(ring: Ring, at: SocketAddr, name: &str) -> Result<(), String> {
    loop {
        http::submit(at, ring.page.path, muster_products::Ring::forget(name), CALL_TIMEOUT).await?;
        let gone = Instant::now();
        while !places(ring, at).await?.contains(name) {
            if gone.elapsed() >= HEARD {
                return Ok(());
            }
            sleep(SOON).await;
        }
    }
}

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
    let places = places(ring, at).await?;
    let left: Vec<String> = units.iter().map(UnitName::label).filter(|name| places.contains(name)).collect();
    if forgets {
        for name in &left {
            tracing::warn!(name, "a unit that has gone still has a place in the ring: it is taken away");
            http::submit(at, ring.page.path, muster_products::Ring::forget(name), CALL_TIMEOUT).await?;
        }
    }
    Ok(left.is_empty())
}

/// Who has a place in the ring that a process sees.
async fn places(ring: Ring, at: SocketAddr) -> Result<BTreeSet<String>, String> {
    let page = http::json(at, ring.page.path, CALL_TIMEOUT).await?;
    muster_products::Ring::places(&page)
        .map_err(|error| format!("the page of the ring cannot be read: {error}"))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    const PAGE: muster_products::Ring = muster_products::Ring { path: "/ring", shown_by: &[] };

    /// A process whose place comes back once, with the heartbeat that follows the first time that it is taken away.
    async fn process(forgets: Arc<AtomicUsize>) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let mut looks = 0;
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = vec![0; 4096];
                let length = stream.read(&mut request).await.unwrap();
                let answer = if request[..length].starts_with(b"POST") {
                    forgets.fetch_add(1, Ordering::Relaxed);
                    looks = 0;
                    "HTTP/1.1 302 Found\r\ncontent-length: 0\r\n\r\n".to_owned()
                } else {
                    looks += 1;
                    let is_back = forgets.load(Ordering::Relaxed) == 1 && looks == 3;
                    let page = if is_back { r#"{"shards":[{"id":"w-0"}]}"# } else { r#"{"shards":[]}"# };
                    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{page}", page.len())
                };
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        at
    }

    #[tokio::test]
    async fn a_place_is_given_up_for_as_long_as_others_need_to_hear_of_it() {
        let forgets = Arc::new(AtomicUsize::new(0));
        let at = process(Arc::clone(&forgets)).await;
        let begun = Instant::now();
        give_place_up(Ring { port: at.port(), page: PAGE }, at.ip(), "w-0").await;
        assert_eq!(forgets.load(Ordering::Relaxed), 2);
        assert!(begun.elapsed() >= HEARD);
    }
}
