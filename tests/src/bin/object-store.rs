//! The embedded S3 server as a process of its own, so that tests can kill it.

use std::env;
use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context as _;
use muster_local::object_store;

/// `object-store ROOT ADDRESS KEYS`: KEYS is a file with the access key and the secret key, a line each.
#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let mut arguments = env::args_os().skip(1);
    let mut next = |name: &str| arguments.next().with_context(|| format!("argument {name} is missing"));
    let root = PathBuf::from(next("ROOT")?);
    let address: SocketAddr =
        next("ADDRESS")?.to_string_lossy().parse().context("ADDRESS is no socket address")?;
    let keys = std::fs::read_to_string(next("KEYS")?).context("failed to read KEYS")?;
    let (access_key, secret_key) = keys.trim_end().split_once('\n').context("KEYS must hold two lines")?;
    object_store::serve(&root, address, access_key, secret_key).await.context("the object store failed")
}
