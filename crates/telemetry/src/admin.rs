//! The pages that say how a process is: `/live`, `/ready`, `/metrics`. Nothing here changes anything.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::service::service_fn;
use hyper::{Method, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
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

/// What the pages say.
pub trait Health: Send + Sync + 'static {
    /// Why the process is not ready, in one line, if it is not.
    fn unready(&self) -> Option<String>;
    /// Metrics in Prometheus' text format.
    fn metrics(&self) -> String;
    /// Called when the port cannot be had, with the reason, and with none once it can.
    fn listens(&self, problem: Option<String>);
}

/// Serves the pages for ever.
pub async fn serve(address: SocketAddr, health: impl Health) {
    let health = Arc::new(health);
    let listener = loop {
        match TcpListener::bind(address).await {
            Ok(listener) => break listener,
            Err(error) => {
                health.listens(Some(format!("no health pages: failed to listen on {address}: {error}")));
                sleep(RETRY).await;
            }
        }
    };
    health.listens(None);
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
        let Ok((stream, _)) = listener.accept().await else {
            // Short of file descriptors, or a connection that ended before it was taken.
            sleep(Duration::from_millis(100)).await;
            continue;
        };
        let health = Arc::clone(&health);
        tokio::spawn(async move {
            let service = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
                let response = answer(request.method(), request.uri().path(), &*health);
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

fn answer(method: &Method, path: &str, health: &impl Health) -> Response<Full<Bytes>> {
    let (status, text) = if matches!(*method, Method::GET | Method::HEAD) {
        page(path, health)
    } else {
        (StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD are answered\n".to_owned())
    };
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    response
}

fn page(path: &str, health: &impl Health) -> (StatusCode, String) {
    match path {
        "/live" => (StatusCode::OK, "live\n".to_owned()),
        "/ready" => match health.unready() {
            None => (StatusCode::OK, "ready\n".to_owned()),
            Some(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
        },
        "/metrics" => (StatusCode::OK, health.metrics()),
        _ => (StatusCode::NOT_FOUND, "there are /live, /ready and /metrics\n".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Is(bool);

    impl Health for Is {
        fn unready(&self) -> Option<String> {
            (!self.0).then(|| "not yet".to_owned())
        }
        fn metrics(&self) -> String {
            "up 1\n".to_owned()
        }
        fn listens(&self, _: Option<String>) {}
    }

    #[test]
    fn pages() {
        assert_eq!(page("/live", &Is(false)).0, StatusCode::OK);
        assert_eq!(page("/ready", &Is(false)), (StatusCode::SERVICE_UNAVAILABLE, "not yet\n".to_owned()));
        assert_eq!(page("/ready", &Is(true)).0, StatusCode::OK);
        assert_eq!(page("/metrics", &Is(true)).1, "up 1\n");
        assert_eq!(page("/stop", &Is(true)).0, StatusCode::NOT_FOUND);
        assert_eq!(answer(&Method::POST, "/live", &Is(true)).status(), StatusCode::METHOD_NOT_ALLOWED);
    }
}
