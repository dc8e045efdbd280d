//! Temporary directories.

use tempfile::TempDir;

/// An empty directory that is removed when the value is dropped. Its path is short, because the path of a Unix socket
/// below it may have no more than 107 bytes.
///
/// # Panics
/// The directory cannot be made.
#[must_use]
pub fn temporary() -> TempDir {
    tempfile::Builder::new().prefix("m-").tempdir_in("/tmp").expect("a directory can be made in /tmp")
}
