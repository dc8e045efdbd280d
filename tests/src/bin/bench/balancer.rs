//! Requests that fail while units join and leave the load balancer under clients that keep their connections.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use hyper::Method;
use muster_testkit::model::Model;
use muster_tests::load::{Load, Request};
use muster_tests::{ACTIVE, documents, model};

use crate::Figure;

const CLIENTS: usize = 16;
/// How often the read worker is scaled from two units to three and back.
const ROUNDS: usize = 3;
const BALANCER: &str = "mimir/0";

pub(crate) async fn figures() -> anyhow::Result<Vec<Figure>> {
    let mut model = model()?;
    let coordinator = documents::coordinator("mimir", "  s3: {secret: s3}");
    let workers = [("mimir-read", 2, "read"), ("mimir-write", 1, "write"), ("mimir-backend", 1, "backend")];
    let workers = workers.map(|(name, units, role)| documents::worker(name, "mimir", units, &[role]));
    model.up(Some(&format!("{coordinator}{}", workers.concat())))?;
    model.wait_active(ACTIVE).await?;
    let gateway = model.gateway("mimir").await?;
    let address: SocketAddr = gateway.trim_start_matches("http://").parse().context("no gateway address")?;

    let load = Load::start(address, clients());
    load.progress(200).await?;
    let mut changes = 0;
    for units in ["3", "2"].repeat(ROUNDS) {
        let before = nginx_workers(&model);
        model.muster(&["scale", "mimir-read", units]).await?;
        model.wait_active(ACTIVE).await?;
        load.progress(100).await?;
        changes += usize::from(nginx_workers(&model) != before);
    }
    let answered = load.answered();
    let failures = load.stop().await?;
    for (failure, count) in &failures {
        anstream::println!("  {count} × {failure}");
    }
    let failed: usize = failures.values().sum();
    Ok(vec![
        Figure {
            what: format!("scale 2 to 3 to 2, {ROUNDS} times: load balancer really changed"),
            measured: changes.to_string(),
            bar: (2 * ROUNDS).to_string(),
            holds: changes == 2 * ROUNDS,
        },
        Figure {
            what: format!(
                "failed of {} requests by {CLIENTS} keep-alive clients meanwhile",
                answered + failed
            ),
            measured: failed.to_string(),
            bar: "0".to_owned(),
            holds: failed == 0,
        },
    ])
}

/// Some clients never rest; the others let their connections idle for a while, as real ones do.
fn clients() -> Vec<Request> {
    let pauses = [0, 5, 50, 500].map(Duration::from_millis);
    let request = |pause| Request {
        method: Method::GET,
        target: "/prometheus/api/v1/query?query=1",
        body: b"",
        pause,
        answer: br#"{"status":"success""#,
    };
    pauses.into_iter().cycle().take(CLIENTS).map(request).collect()
}

/// The ids of nginx' processes; a reload changes them.
fn nginx_workers(model: &Model) -> Vec<i32> {
    model.processes_of("nginx", BALANCER).iter().map(|p| p.pid.as_raw()).collect()
}
