//! `cargo xtask images`: Muster's image, and the images that tests run beside it, as OCI archives in `target/images`.
//!
//! Each has the name that installations and pods ask for, so that what users apply runs in tests as it is.

mod oci;

use std::collections::BTreeSet;
use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};
use muster_manifests::images;
use muster_model::Product;
use muster_products::supported_versions;
use muster_testkit::kubernetes::binaries;
use muster_testkit::servers;

use crate::run::succeed;
use oci::Image;

/// The most that Muster's image may hold as it is shipped, in bytes.
const MAX_SIZE: u64 = 40_000_000;
/// The package and the binary with all programs in one.
const BUNDLE: &str = "muster-bundle";

/// How Muster's own program is built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Build {
    /// As it is shipped.
    Shipped,
    /// The same code, but not linked as a whole, which takes minutes: tests measure nothing of it.
    Quick,
}

impl Build {
    /// The profile in the workspace's manifest.
    fn profile(self) -> &'static str {
        match self {
            Self::Shipped => binaries::IMAGE_PROFILE,
            Self::Quick => "image-quick",
        }
    }
}

/// Makes all images.
///
/// # Errors
/// A build fails, a server is missing, or Muster's image is too large.
pub(crate) fn run(build: Build) -> anyhow::Result<()> {
    let directory = binaries::images();
    fs::create_dir_all(&directory).with_context(|| format!("failed to make {}", directory.display()))?;
    let built = program(build)?;
    let size = write(&directory, "muster", images::MUSTER, &muster(&built))?;
    if build == Build::Shipped && size > MAX_SIZE {
        bail!("Muster's image has {size} bytes; at most {MAX_SIZE} are allowed");
    }
    write(&directory, "pause", "localhost/pause:1", &pause()?)?;
    write(&directory, "nginx", images::NGINX, &nginx()?)?;
    for (product, server) in
        [(Product::Mimir, servers::MIMIR), (Product::Loki, servers::LOKI), (Product::Tempo, servers::TEMPO)]
    {
        let binary = images::binary(product);
        let mut image = Image::new(&[binary]);
        image.file(&server.built(), binary, 0o755);
        let newest = supported_versions(product).last();
        let name = newest.and_then(|version| images::workload(product, *version));
        write(
            &directory,
            product.as_str(),
            name.with_context(|| format!("{product} has no image"))?,
            &image,
        )?;
    }
    Ok(())
}

fn write(directory: &Path, file: &str, name: &str, image: &Image) -> anyhow::Result<u64> {
    let archive = directory.join(format!("{file}.tar"));
    let unfinished = directory.join(format!("{file}.unfinished"));
    let size = image.write(name, &unfinished)?;
    // An archive that did not change keeps its time: stores of images made from it stay good.
    if fs::read(&archive).ok() == Some(fs::read(&unfinished)?) {
        fs::remove_file(&unfinished)?;
    } else {
        fs::rename(&unfinished, &archive)?;
    }
    anstream::println!("{:>6.1} MB  {name}  {}", size as f64 / 1e6, archive.display());
    Ok(size)
}

/// Builds the image's program, without any library of this machine. Answers where it is.
///
/// # Errors
/// The build fails.
pub(crate) fn program(build: Build) -> anyhow::Result<PathBuf> {
    let target = binaries::image_target();
    add_target(&target)?;
    let cargo = env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let mut command = Command::new(cargo);
    command.current_dir(servers::workspace()).args(["build", "--locked", "--bins"]);
    command.args(["--profile", build.profile()]);
    command.args(["--target", &target]);
    command.args(["-p", BUNDLE]);
    command.env(format!("CC_{}", target.replace('-', "_")), "musl-gcc");
    // An operator and an agent in every pod have little to do at once: what they no longer use goes back.
    command.env("JEMALLOC_SYS_WITH_MALLOC_CONF", "narenas:1,dirty_decay_ms:0,muzzy_decay_ms:0");
    succeed(&mut command, "install Rust with rustup (https://rustup.rs)")?;
    Ok(binaries::image_program(build.profile()))
}

fn add_target(target: &str) -> anyhow::Result<()> {
    let hint = "install Rust with rustup (https://rustup.rs)";
    succeed(Command::new("rustup").args(["target", "add", target]).current_dir(servers::workspace()), hint)
}

fn muster(built: &Path) -> Image {
    let mut image = Image::new(&["/muster"]);
    image.file(built, "/muster", 0o555);
    for program in ["coordinator", "worker", "kubectl-muster"] {
        image.link(format!("/{program}"), "muster");
    }
    image
}

/// What holds a pod's namespaces.
fn pause() -> anyhow::Result<Image> {
    let program = binaries::directory()?.join("pause");
    let mut image = Image::new(&["/pause"]);
    image.file(&program, "/pause", 0o755);
    Ok(image)
}

/// This machine's nginx with the libraries that it needs, and nothing else.
fn nginx() -> anyhow::Result<Image> {
    let nginx = servers::nginx();
    let output = Command::new("ldd").arg(&nginx).output().context("failed to run ldd")?;
    let listed = String::from_utf8_lossy(&output.stdout).into_owned();
    let libraries: BTreeSet<&str> = listed.split_whitespace().filter(|word| word.starts_with('/')).collect();
    let mut image = Image::new(&["/usr/sbin/nginx"]);
    image.file(&nginx, "/usr/sbin/nginx", 0o755);
    for library in libraries {
        let file = fs::canonicalize(library).with_context(|| format!("failed to find {library}"))?;
        image.file(&file, library, 0o755);
    }
    Ok(image)
}
