//! The workspace's own binaries.

use std::env;
use std::path::PathBuf;

/// The built binary `name`, from the same target directory and profile as the running test.
///
/// # Panics
/// The binary is not built.
#[must_use]
pub fn path(name: &str) -> PathBuf {
    let test = env::current_exe().expect("the kernel knows what runs");
    // target/PROFILE/deps/TEST-HASH, or target/PROFILE/PROGRAM.
    let directory = test.parent().expect("an executable is in a directory");
    let profile =
        if directory.ends_with("deps") { directory.parent().unwrap_or(directory) } else { directory };
    let binary = profile.join(name);
    assert!(binary.is_file(), "{} is missing: run `cargo build --workspace --bins` first", binary.display());
    binary
}
