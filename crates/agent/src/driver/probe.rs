//! Watches whether a workload is ready.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::{Instant, sleep, timeout};

use super::http;
use crate::machine::{Event, ProcessNumber};
use crate::workload::Probe;

/// How long one look may take.
const TIMEOUT: Duration = Duration::from_secs(1);
/// Between two looks at a process that is not ready.
const SOON: Duration = Duration::from_millis(100);
/// The same for one that has not been ready for longer than [`PATIENCE`].
const LATER: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks at a process that is ready: as often as Kubernetes looks by default. A look costs the agent four or five
/// wake-ups, most of all that it has at rest. That a process ended is seen at once, without a look.
const CALM: Duration = Duration::from_secs(10);
/// How many looks must fail in a row before a ready process counts as not ready: one may be lost on a busy machine.
const FAILURES: u32 = 2;

/// Reports every change, until it is dropped.
pub(crate) async fn watch(
    process: ProcessNumber,
    probe: Probe,
    address: IpAddr,
    events: UnboundedSender<Event>,
) {
    let mut ready = false;
    let mut failures = 0;
    let mut since = Instant::now();
    loop {
        let answered = look(&probe, address).await;
        failures = if answered { 0 } else { failures + 1 };
        let now_ready = answered || (ready && failures < FAILURES);
        if now_ready != ready {
            ready = now_ready;
            since = Instant::now();
            if events.send(Event::Ready(process, ready)).is_err() {
                return;
            }
        }
        if probe == Probe::Alive {
            return;
        }
        let pause = match ready {
            true if failures == 0 => CALM,
            false if since.elapsed() > PATIENCE => LATER,
            _ => SOON,
        };
        sleep(pause).await;
    }
}

async fn look(probe: &Probe, address: IpAddr) -> bool {
    match probe {
        Probe::Http { port, path } => {
            let answer = http::request(SocketAddr::new(address, *port), "GET", path, TIMEOUT).await;
            answer.is_ok_and(|(status, _)| status.is_success())
        }
        Probe::Connect { port } => {
            let connection = timeout(TIMEOUT, TcpStream::connect(SocketAddr::new(address, *port))).await;
            connection.is_ok_and(|connection| connection.is_ok())
        }
        Probe::Alive => true,
    }
}
