//! Clients that keep their connections and never send a request twice: what a load balancer must not fail.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use hyper::{Method, StatusCode};
use muster_testkit::http::Client;
use muster_testkit::wait_until;
use tokio::task::JoinSet;

/// How long one answer may take.
const ANSWER: Duration = Duration::from_secs(30);

/// What one client sends again and again.
#[derive(Debug, Clone)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// The path, with its query.
    pub target: &'static str,
    /// The body.
    pub body: &'static [u8],
    /// How long the client rests after an answer. Zero: it sends as fast as it can.
    pub pause: Duration,
    /// What the body of a good answer begins with.
    pub answer: &'static [u8],
}

/// Clients at work.
pub struct Load {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    failures: Arc<Mutex<BTreeMap<String, usize>>>,
    clients: JoinSet<anyhow::Result<()>>,
}

impl Load {
    /// Starts one client for each request.
    #[must_use]
    pub fn start(address: SocketAddr, requests: Vec<Request>) -> Self {
        let mut load = Self {
            stop: Arc::default(),
            answered: Arc::default(),
            failures: Arc::default(),
            clients: JoinSet::new(),
        };
        for request in requests {
            let (stop, answered) = (Arc::clone(&load.stop), Arc::clone(&load.answered));
            let failures = Arc::clone(&load.failures);
            load.clients.spawn(async move {
                let mut client = Client::new(&format!("http://{address}"))?;
                while !stop.load(Ordering::Relaxed) {
                    match send(&mut client, &request).await {
                        Ok(()) => drop(answered.fetch_add(1, Ordering::Relaxed)),
                        Err(error) => {
                            let mut failures = failures.lock().unwrap_or_else(PoisonError::into_inner);
                            *failures
                                .entry(format!("{} {}: {error:#}", request.method, request.target))
                                .or_default() += 1;
                        }
                    }
                    if !request.pause.is_zero() {
                        tokio::time::sleep(request.pause).await;
                    }
                }
                Ok(())
            });
        }
        load
    }

    /// How many requests were answered well so far.
    #[must_use]
    pub fn answered(&self) -> usize {
        self.answered.load(Ordering::Relaxed)
    }

    /// Waits until `more` further requests are answered.
    ///
    /// # Errors
    /// They are not, in time.
    pub async fn progress(&self, more: usize) -> anyhow::Result<()> {
        let wanted = self.answered() + more;
        let answered = async || (self.answered() >= wanted).then_some(());
        let waited = wait_until(&format!("{more} more answers"), ANSWER, answered).await;
        waited.with_context(|| format!("failed so far: {:?}", self.failures()))
    }

    /// How many requests failed so far, by what happened to them.
    #[must_use]
    pub fn failures(&self) -> BTreeMap<String, usize> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Ends the clients after their current requests. Returns how many requests failed, by what happened to them.
    ///
    /// # Errors
    /// A client could not do its work.
    pub async fn stop(mut self) -> anyhow::Result<BTreeMap<String, usize>> {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(ended) = self.clients.join_next().await {
            ended.context("a client panicked")??;
        }
        Ok(self.failures())
    }
}

/// Sends one request, on the kept connection if there is one.
async fn send(client: &mut Client, request: &Request) -> anyhow::Result<()> {
    let body = Bytes::from_static(request.body);
    let answer = client.send(request.method.clone(), request.target, &[], body, ANSWER).await?;
    ensure!(answer.status == StatusCode::OK, "{}: {}", answer.status, answer.excerpt());
    ensure!(answer.body.starts_with(request.answer), "an unexpected answer: {}", answer.excerpt());
    Ok(())
}
