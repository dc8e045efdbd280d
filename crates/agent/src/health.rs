//! The agent's own HTTP pages: `/live`, `/ready`, `/metrics`. Nothing here changes anything.

use std::convert::Infallible;
use std::fmt::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use muster_relation::{Report, Service};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::time::{sleep, timeout};

/// How many connections are served at once; more wait.
const MAX_CONNECTIONS: usize = 64;
/// The longest request head, in bytes. The least that hyper takes.
const MAX_HEAD: usize = 8 << 10;
/// How long a request's head may take.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a connection may take, which serves one request.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(10);
/// Between two tries to get the port.
const RETRY: Duration = Duration::from_secs(10);

/// Serves the pages for ever. While the port is taken, `problem` holds why.
pub(crate) async fn serve(
    address: SocketAddr,
    reports: watch::Receiver<Report>,
    problem: watch::Sender<Option<String>>,
) {
    let listener = loop {
        match TcpListener::bind(address).await {
            Ok(listener) => break listener,
            Err(error) => {
                problem
                    .send_replace(Some(format!("no health pages: failed to listen on {address}: {error}")));
                sleep(RETRY).await;
            }
        }
    };
    problem.send_if_modified(|problem| problem.take().is_some());
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
        let Ok((stream, _)) = listener.accept().await else {
            // Short of file descriptors, or a connection that ended before it was taken.
            sleep(Duration::from_millis(100)).await;
            continue;
        };
        let reports = reports.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let response = answer(&request, &reports.borrow());
                async move { Ok::<_, Infallible>(response) }
            });
            let mut builder = hyper::server::conn::http1::Builder::new();
            builder
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_TIMEOUT)
                .max_buf_size(MAX_HEAD)
                .keep_alive(false);
            let connection = builder.serve_connection(TokioIo::new(stream), service);
            let _ = timeout(CONNECTION_TIMEOUT, connection).await;
            drop(slot);
        });
    }
}

fn answer(request: &Request<Incoming>, report: &Report) -> Response<Full<Bytes>> {
    let (status, text) = if matches!(*request.method(), Method::GET | Method::HEAD) {
        page(request.uri().path(), report)
    } else {
        (StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD are answered\n".to_owned())
    };
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    response
}

fn page(path: &str, report: &Report) -> (StatusCode, String) {
    match path {
        "/live" => (StatusCode::OK, "live\n".to_owned()),
        "/ready" if report.ready => (StatusCode::OK, "ready\n".to_owned()),
        "/ready" => (StatusCode::SERVICE_UNAVAILABLE, "the workload is not ready\n".to_owned()),
        "/metrics" => (StatusCode::OK, metrics(report)),
        _ => (StatusCode::NOT_FOUND, "there are /live, /ready and /metrics\n".to_owned()),
    }
}

const SERVICES: [(Service, &str); 6] = [
    (Service::Inactive, "inactive"),
    (Service::Starting, "starting"),
    (Service::Running, "running"),
    (Service::Stopping, "stopping"),
    (Service::Backoff, "backoff"),
    (Service::Stopped, "stopped"),
];

/// The report in Prometheus' text format.
fn metrics(report: &Report) -> String {
    let mut text = String::new();
    let mut family = |name: &str, kind: &str, help: &str, samples: &[(String, u64)]| {
        // Writing to a String cannot fail.
        let _ = write!(text, "# HELP muster_agent_{name} {help}\n# TYPE muster_agent_{name} {kind}\n");
        for (labels, value) in samples {
            let _ = writeln!(text, "muster_agent_{name}{labels} {value}");
        }
    };
    let one = |value: u64| [(String::new(), value)];
    let version = [(format!("{{version=\"{}\"}}", env!("CARGO_PKG_VERSION")), 1)];
    family("build_info", "gauge", "The agent's version.", &version);
    family("assignment_epoch", "gauge", "The newest assignment's epoch.", &one(report.epoch));
    family("workload_ready", "gauge", "Whether the workload is ready.", &one(report.ready.into()));
    let restarts = one(report.restarts.into());
    family("workload_restarts_total", "counter", "Starts after the workload ended by itself.", &restarts);
    let states =
        SERVICES.map(|(state, name)| (format!("{{state=\"{name}\"}}"), u64::from(state == report.service)));
    family("service_state", "gauge", "1 for the state that the service is in.", &states);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(ready: bool) -> Report {
        Report {
            instance: "one".into(),
            address: "127.0.0.1".into(),
            agent_version: "0".into(),
            epoch: 7,
            applied: None,
            service: Service::Backoff,
            ready,
            check: None,
            drain: None,
            last_exit: None,
            last_error: None,
            restarts: 3,
        }
    }

    #[test]
    fn pages() {
        assert_eq!(page("/live", &report(false)).0, StatusCode::OK);
        assert_eq!(page("/ready", &report(false)).0, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(page("/ready", &report(true)).0, StatusCode::OK);
        assert_eq!(page("/stop", &report(true)).0, StatusCode::NOT_FOUND);
        let metrics = page("/metrics", &report(true)).1;
        for line in [
            "muster_agent_assignment_epoch 7",
            "muster_agent_workload_restarts_total 3",
            "muster_agent_workload_ready 1",
            "muster_agent_service_state{state=\"backoff\"} 1",
            "muster_agent_service_state{state=\"running\"} 0",
        ] {
            assert!(metrics.lines().any(|l| l == line), "{line} is not in {metrics}");
        }
    }
}
