//! The operator and an agent at a real API server, as processes of their own. Kubelets and the other units' agents are played.

mod agent;
mod audit;
mod bare;
mod deployment;
mod fleet;
mod leader;
mod scale;
mod toggle;
mod watched;
mod writes;

use std::fs;
use std::os::unix::fs::symlink;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use muster_testkit::kubernetes::{Cluster, Level, binaries};
use muster_tests::kubernetes::Site;

use crate::Figure;
use audit::{Audit, list, total};
use bare::Bare;

/// The most that the image's program may weigh.
const IMAGE_BAR: u64 = 40_000_000;
/// How long nothing is changed.
const WINDOW: Duration = Duration::from_secs(60);
const SOON: Duration = Duration::from_secs(30);

/// What one deployment at a time costs and takes.
pub(crate) fn figures() -> anyhow::Result<Vec<Figure>> {
    apart(|| async {
        let mut figures = small().await?;
        figures.push(image()?);
        Ok(figures)
    })
}

/// What very many deployments at once cost and take.
pub(crate) fn fleet_figures() -> anyhow::Result<Vec<Figure>> {
    apart(fleet::figures)
}

/// Measures in a thread of its own: it moves into a cluster's network, where no other part is to be.
fn apart<F: Future<Output = anyhow::Result<Vec<Figure>>>>(
    measurement: impl FnOnce() -> F + Send + 'static,
) -> anyhow::Result<Vec<Figure>> {
    let thread = thread::Builder::new().name("kubernetes".to_owned()).spawn(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(measurement())
    });
    thread?.join().map_err(|_| anyhow!("it panicked; what it said stands above"))?
}

async fn small() -> anyhow::Result<Vec<Figure>> {
    let cluster = Cluster::start_audited(Level::Api);
    cluster.enter();
    let site = shipped(Site::install(cluster, Level::Controllers).await)?;
    let audit = Audit::new(site.cluster.audit_log());
    let doubles = site.doubles();
    let mut operator = site.operator("operator-0");
    operator.wait_leads(SOON).await;

    let mut figures = writes::figures(&site, &audit, &mut operator).await?;
    let mut bare = Bare::start(&site).await?;
    figures.extend(scale::figures(&site, &audit, &mut bare).await?);
    let (toggles, _agent) = toggle::figures(&site, &doubles, &audit, &mut bare).await?;
    figures.extend(toggles);
    figures.push(quiet(&audit).await?);
    let (leaders, _operator) = leader::figures(&site, operator).await?;
    figures.extend(leaders);
    Ok(figures)
}

/// Every deployment that was made so far is left alone.
async fn quiet(audit: &Audit) -> anyhow::Result<Figure> {
    audit.over().await?;
    let before = audit.now()?;
    // This is the measurement itself: the length of the window is what is asked for.
    tokio::time::sleep(WINDOW).await;
    let writes = audit.since(before, None)?;
    let count = total(&writes);
    if count > 0 {
        list("nothing was changed", &writes);
    }
    Ok(Figure {
        what: format!("nothing changed for {} s: API writes besides the lease's", WINDOW.as_secs()),
        measured: count.to_string(),
        bar: "0".to_owned(),
        holds: count == 0,
    })
}

/// Runs the operator from the image's program.
fn shipped(mut site: Site) -> anyhow::Result<Site> {
    // It is the one that it is called by.
    site.program = site.directory.path().join("coordinator");
    symlink(binaries::image_program(binaries::IMAGE_PROFILE), &site.program)?;
    Ok(site)
}

/// The image holds nothing but this program, which `cargo xtask bench` builds.
fn image() -> anyhow::Result<Figure> {
    let size = fs::metadata(binaries::image_program(binaries::IMAGE_PROFILE)).context("no program")?.len();
    Ok(Figure {
        what: "static image, uncompressed: its program".to_owned(),
        measured: megabytes(size),
        bar: megabytes(IMAGE_BAR),
        holds: size <= IMAGE_BAR,
    })
}

fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// A number of bytes that the kernel tells of a process.
fn status(pid: i32, key: &str) -> anyhow::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(key)).context("an unknown kernel")?;
    let kilobytes: u64 = line.trim_start_matches(':').trim().trim_end_matches(" kB").parse()?;
    Ok(kilobytes * 1024)
}

/// The time that so many per cent of them do not exceed; sorts them.
///
/// # Panics
/// There are none.
fn percentile(times: &mut [Duration], per_cent: usize) -> Duration {
    times.sort_unstable();
    times[(times.len() * per_cent).div_ceil(100) - 1]
}
