//! Copying this program into another container's image.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Why the program was not copied.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// The path ends in `..` or `/`.
    #[error("{} names no file", .0.display())]
    NoFile(PathBuf),
    /// The file cannot be written.
    #[error("failed to install to {}", path.display())]
    Write {
        /// Where to.
        path: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
}

/// Copies the running program to `path`, mode 0755. Whoever looks sees no file, or a whole one.
///
/// # Errors
/// The path names no file, or it cannot be written.
pub fn install(path: &Path) -> Result<(), InstallError> {
    let name = path.file_name().ok_or_else(|| InstallError::NoFile(path.to_owned()))?;
    let mut temporary_name = name.to_owned();
    temporary_name.push(".tmp");
    let temporary = path.with_file_name(temporary_name);
    let copied = fs::copy("/proc/self/exe", &temporary)
        .and_then(|_| fs::set_permissions(&temporary, Permissions::from_mode(0o755)))
        .and_then(|()| fs::rename(&temporary, path));
    if copied.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    copied.map_err(|source| InstallError::Write { path: path.to_owned(), source })
}
