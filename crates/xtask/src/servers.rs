//! The real servers: built from pinned Go modules into a cache outside of the checkout, or installed.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, bail};
use muster_testkit::servers::{self, BUILD_FLAGS, GoServer};
use nix::fcntl::{Flock, FlockArg};
use nix::unistd::Uid;

use crate::run::succeed;

/// A server that can be provided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Name {
    /// Grafana Mimir, built with Go.
    Mimir,
    /// nginx, from the distribution.
    Nginx,
}

impl Name {
    const ALL: [Self; 2] = [Self::Nginx, Self::Mimir];
}

/// Provides `names`, or all servers if there is none. What is there already is left alone.
///
/// # Errors
/// A tool is missing, or a build or an installation fails.
pub(crate) fn provide(names: &[Name]) -> anyhow::Result<()> {
    let names = if names.is_empty() { &Name::ALL[..] } else { names };
    for name in names {
        let path = match name {
            Name::Mimir => build(servers::MIMIR)?,
            Name::Nginx => install_nginx()?,
        };
        anstream::println!("{}", path.display());
    }
    Ok(())
}

/// Builds `server` unless the binary of its pin is there. Two builds at once wait for one another.
fn build(server: GoServer) -> anyhow::Result<PathBuf> {
    let binary = server.binary().with_context(|| format!("failed to find out the pin of {}", server.name))?;
    if binary.is_file() {
        return Ok(binary);
    }
    let directory = binary.parent().context("a binary is in a directory")?;
    fs::create_dir_all(directory).with_context(|| format!("failed to make {}", directory.display()))?;
    let _lock = lock(&directory.join("lock"))?;
    if binary.is_file() {
        return Ok(binary);
    }
    let started = Instant::now();
    anstream::eprintln!("building {} with Go; the first time takes some minutes …", server.name);
    let unfinished = directory.join(format!("{}.unfinished", server.name));
    let mut go = Command::new("go");
    go.current_dir(server.module()).env("CGO_ENABLED", "0").arg("build").args(BUILD_FLAGS);
    go.arg("-o").arg(&unfinished).arg(server.package);
    succeed(&mut go, "install Go 1.26 or later (https://go.dev/dl)")?;
    fs::rename(&unfinished, &binary)
        .with_context(|| format!("failed to put {} in place", binary.display()))?;
    anstream::eprintln!("built {} in {:.0?}", server.name, started.elapsed());
    Ok(binary)
}

/// Waits until no other build holds the lock. The kernel lets go of it when its holder ends, however that happens.
fn lock(path: &Path) -> anyhow::Result<Flock<File>> {
    let file = || File::create(path).with_context(|| format!("failed to write {}", path.display()));
    if let Ok(lock) = Flock::lock(file()?, FlockArg::LockExclusiveNonblock) {
        return Ok(lock);
    }
    anstream::eprintln!("waiting for another build …");
    Flock::lock(file()?, FlockArg::LockExclusive)
        .map_err(|(_, errno)| errno)
        .with_context(|| format!("failed to lock {}", path.display()))
}

/// A policy-rc.d that answers 101 keeps packages from starting their services (Debian's invoke-rc.d(8)).
const INSTALL_NGINX: &str = r#"
export DEBIAN_FRONTEND=noninteractive
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' > "$policy"
    chmod 755 "$policy"
fi
apt-get update -qq
apt-get install -y -qq --no-install-recommends nginx-light
"#;

/// Installs nginx unless it is there.
fn install_nginx() -> anyhow::Result<PathBuf> {
    const HINT: &str = "install nginx 1.18 or later yourself, so that it is on PATH";
    if let Some(nginx) = servers::find_nginx() {
        return Ok(nginx);
    }
    anstream::eprintln!("installing nginx with apt-get …");
    let mut install = if Uid::effective().is_root() { Command::new("sh") } else { Command::new("sudo") };
    if !Uid::effective().is_root() {
        // No password prompt in the middle of a build.
        install.args(["-n", "sh"]);
    }
    succeed(install.args(["-euc", INSTALL_NGINX]), HINT).context(HINT)?;
    match servers::find_nginx() {
        Some(nginx) => Ok(nginx),
        None => bail!("nginx is still missing after its installation: {HINT}"),
    }
}
