//! The real servers: built from pinned Go modules into a cache outside of the checkout, or installed.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, bail};
use muster_testkit::kubernetes::binaries::{self, BINARIES};
use muster_testkit::servers::{self, BUILD_FLAGS, GoServer};
use nix::fcntl::{Flock, FlockArg};
use nix::unistd::Uid;

use crate::run::succeed;

/// A server that can be provided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Name {
    /// Grafana Mimir, built with Go.
    Mimir,
    /// Grafana Loki, built with Go.
    Loki,
    /// Grafana Tempo, built with Go.
    Tempo,
    /// nginx, from the distribution.
    Nginx,
    /// A Kubernetes cluster and helm: their own binaries built with Go, the rest from the distribution.
    Kubernetes,
}

impl Name {
    const ALL: [Self; 5] = [Self::Nginx, Self::Mimir, Self::Loki, Self::Tempo, Self::Kubernetes];
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
            Name::Loki => build(servers::LOKI)?,
            Name::Tempo => build(servers::TEMPO)?,
            Name::Nginx => install_nginx()?,
            Name::Kubernetes => kubernetes()?,
        };
        anstream::println!("{}", path.display());
    }
    Ok(())
}

/// Builds `server` unless the binary of its pin is there.
fn build(server: GoServer) -> anyhow::Result<PathBuf> {
    let binary = server.binary().with_context(|| format!("failed to find out the pin of {}", server.name))?;
    once(&binary, || go_build(&server.module(), server.package, BUILD_FLAGS, &binary))?;
    Ok(binary)
}

/// Makes `file` unless it is there. Two that want to at once wait for one another.
fn once(file: &Path, make: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<()> {
    if file.is_file() {
        return Ok(());
    }
    let directory = file.parent().context("a file is in a directory")?;
    fs::create_dir_all(directory).with_context(|| format!("failed to make {}", directory.display()))?;
    let _lock = lock(&directory.join("lock"))?;
    if file.is_file() { Ok(()) } else { make() }
}

/// Builds a Go program. It is there whole or not at all.
fn go_build(module: &Path, package: &str, flags: &[&str], binary: &Path) -> anyhow::Result<()> {
    let name = binary.file_name().unwrap_or_default().display().to_string();
    let started = Instant::now();
    anstream::eprintln!("building {name} with Go; the first time takes some minutes …");
    let unfinished = binary.with_extension("unfinished");
    let mut go = Command::new("go");
    go.current_dir(module).env("CGO_ENABLED", "0").arg("build").args(flags);
    go.arg("-o").arg(&unfinished).arg(package);
    succeed(&mut go, "install Go 1.26 or later (https://go.dev/dl)")?;
    fs::rename(&unfinished, binary)
        .with_context(|| format!("failed to put {} in place", binary.display()))?;
    anstream::eprintln!("built {name} in {:.0?}", started.elapsed());
    Ok(())
}

/// The packages with what a cluster needs besides its own binaries, and a C compiler for the static ones.
const CLUSTER_PACKAGES: &[&str] = &[
    "containerd",
    "containernetworking-plugins",
    "curl",
    "gcc",
    "iproute2",
    "jq",
    "libc6-dev",
    "musl-tools",
    "nftables",
    "openssl",
    "procps",
    "runc",
    "util-linux",
];
/// A program of each of them.
const CLUSTER_TOOLS: &[&str] = &[
    "containerd",
    "curl",
    "gcc",
    "ip",
    "jq",
    "musl-gcc",
    "nft",
    "nsenter",
    "openssl",
    "pgrep",
    "runc",
    "unshare",
];

/// Builds a cluster's binaries, unless they are there, and installs what else it needs.
fn kubernetes() -> anyhow::Result<PathBuf> {
    let there = |tool: &&&str| servers::find_program(tool).is_some();
    let plugins = Path::new("/usr/lib/cni/bridge").is_file();
    if !plugins || CLUSTER_TOOLS.iter().filter(there).count() < CLUSTER_TOOLS.len() {
        install(CLUSTER_PACKAGES, "install these packages yourself")?;
    }
    let directory = binaries::directory().context("failed to find out the pin of the cluster")?;
    for program in BINARIES {
        let binary =
            program.path().with_context(|| format!("failed to find out the pin of {}", program.name))?;
        let flags = ["-mod=readonly", "-trimpath", "-ldflags", &binaries::linker_flags(program.module)];
        once(&binary, || go_build(&program.source(), program.package, &flags, &binary))?;
        let gathered = directory.join(program.name);
        once(&gathered, || link(&binary, &gathered))?;
    }
    let pause = directory.join("pause");
    once(&pause, || {
        let mut compile = Command::new("gcc");
        compile.args(["-static", "-Os", "-s", "-o"]).arg(&pause).arg(binaries::kit().join("pause.c"));
        succeed(&mut compile, "install gcc")
    })?;
    Ok(directory)
}

/// Puts a link to `file` at `link`, instead of one that leads nowhere: somebody may have cleared the directory of `file`.
fn link(file: &Path, link: &Path) -> anyhow::Result<()> {
    if link.is_symlink() {
        fs::remove_file(link).with_context(|| format!("failed to remove {}", link.display()))?;
    }
    symlink(file, link).with_context(|| format!("failed to make {}", link.display()))
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
const INSTALL: &str = r#"
export DEBIAN_FRONTEND=noninteractive
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' > "$policy"
    chmod 755 "$policy"
fi
apt-get update -qq
apt-get install -y -qq --no-install-recommends "$@"
"#;

/// Installs packages of the distribution.
fn install(packages: &[&str], hint: &str) -> anyhow::Result<()> {
    anstream::eprintln!("installing {} with apt-get …", packages.join(", "));
    let mut install = if Uid::effective().is_root() { Command::new("sh") } else { Command::new("sudo") };
    if !Uid::effective().is_root() {
        // No password prompt in the middle of a build.
        install.args(["-n", "sh"]);
    }
    install.args(["-euc", INSTALL, "install"]).args(packages);
    succeed(&mut install, hint).with_context(|| hint.to_owned())
}

/// Installs nginx unless it is there.
fn install_nginx() -> anyhow::Result<PathBuf> {
    const HINT: &str = "install nginx 1.18 or later yourself, so that it is on PATH";
    if let Some(nginx) = servers::find_nginx() {
        return Ok(nginx);
    }
    install(&["nginx-light"], HINT)?;
    match servers::find_nginx() {
        Some(nginx) => Ok(nginx),
        None => bail!("nginx is still missing after its installation: {HINT}"),
    }
}
