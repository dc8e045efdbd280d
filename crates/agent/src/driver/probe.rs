//! Watches whether a workload is ready.

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::Duration;

use muster_relation::Waiting;
use tokio::net::TcpStream;
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::{Instant, sleep, timeout};

use super::http;
use super::output::Tail;
use crate::machine::{Event, OKAY_DELAY, ProcessNumber};
use crate::workload::Probe;

/// How long one look may take.
const TIMEOUT: Duration = Duration::from_secs(1);
/// Between two looks at a process that was started a moment ago: a small part of the time that it has taken so far, because others wait
/// for it, within these bounds.
const AT_FIRST: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_millis(40);
const PART: u32 = 32;
const A_MOMENT: Duration = Duration::from_secs(5);
/// The same for one that is not ready a while later.
const SOON: Duration = Duration::from_millis(100);
/// The same for one that has not been ready for longer than [`PATIENCE`].
const LATER: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks at a process that is ready: as often as Kubernetes looks by default. A look costs the agent four or five
/// wake-ups, most of all that it has at rest. That a process ended is seen at once, without a look.
const CALM: Duration = Duration::from_secs(10);
/// How many looks must fail in a row before a ready process counts as not ready: one may be lost on a busy machine.
const FAILURES: u32 = 2;

/// How long a process is not ready until it is worth telling what it says. Told again each time it has waited twice as long.
const COMPLAINT: Duration = Duration::from_secs(10);
/// How much is told of an answer, in characters.
const MAX_ANSWER: usize = 300;

/// Whether a process is ready now.
pub(crate) async fn is_ready(probe: &Probe, address: IpAddr) -> bool {
    look(probe, address).await.is_ok()
}

/// Reports every change from `ready`, and what a process says that is not ready for long, until it is dropped.
pub(crate) async fn watch(
    process: ProcessNumber,
    probe: Probe,
    address: IpAddr,
    mut ready: bool,
    tail: Tail,
    events: UnboundedSender<Event>,
) {
    let mut failures = 0;
    let mut since = Instant::now();
    let mut complaint = COMPLAINT;
    if probe == Probe::Alive {
        // All that can be known of it is that it lives on.
        sleep(OKAY_DELAY).await;
    }
    loop {
        let looked = look(&probe, address).await;
        failures = if looked.is_ok() { 0 } else { failures + 1 };
        let now_ready = looked.is_ok() || (ready && failures < FAILURES);
        if now_ready != ready {
            ready = now_ready;
            since = Instant::now();
            complaint = COMPLAINT;
            if events.send(Event::Ready(process, ready)).is_err() {
                return;
            }
        }
        if let (Err(answer), true) = (looked, !ready && since.elapsed() >= complaint) {
            complaint *= 2;
            if events.send(Event::Waits(process, Waiting { answer, lines: tail.lines() })).is_err() {
                return;
            }
        }
        if probe == Probe::Alive {
            return;
        }
        let pause = match ready {
            true if failures == 0 => CALM,
            false if since.elapsed() > PATIENCE => LATER,
            false if since.elapsed() < A_MOMENT => {
                (since.elapsed() / PART).clamp(*AT_FIRST.start(), *AT_FIRST.end())
            }
            _ => SOON,
        };
        sleep(pause).await;
    }
}

/// One look. The error is the answer of a process that is not ready, in one line.
async fn look(probe: &Probe, address: IpAddr) -> Result<(), String> {
    match probe {
        Probe::Http { port, path } => {
            let at = SocketAddr::new(address, *port);
            match http::request(at, "GET", path, TIMEOUT).await {
                Ok((status, _)) if status.is_success() => Ok(()),
                Ok((status, body)) => {
                    Err(one_line(&String::from_utf8_lossy(&body)).unwrap_or(status.to_string()))
                }
                Err(error) => Err(format!("{path} on port {port}: {error}")),
            }
        }
        Probe::Connect { port } => {
            let connection = timeout(TIMEOUT, TcpStream::connect(SocketAddr::new(address, *port))).await;
            match connection {
                Ok(Ok(_)) => Ok(()),
                Ok(Err(error)) => Err(format!("port {port}: {error}")),
                Err(_) => Err(format!("port {port}: no answer")),
            }
        }
        Probe::Alive => Ok(()),
    }
}

/// The words of a text, unless there are none.
fn one_line(text: &str) -> Option<String> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let line: String = words.join(" ").chars().filter(|c| !c.is_control()).take(MAX_ANSWER).collect();
    (!line.is_empty()).then_some(line)
}
