//! Shared by the test binaries of this package.

use anyhow::Context as _;
use muster_testkit::binaries;
use muster_testkit::model::Model;

pub mod documents;
pub mod traffic;

/// A model that is not up yet, with the binaries that were built along with the test.
///
/// # Errors
/// Never, as long as binaries lie in directories.
pub fn model() -> anyhow::Result<Model> {
    for name in ["worker", "coordinator"] {
        binaries::path(name);
    }
    let muster = binaries::path("muster");
    Ok(Model::new(muster.parent().context("a binary is in a directory")?))
}
