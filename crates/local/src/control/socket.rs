//! Unix sockets at paths of any length: the kernel takes 107 bytes, so the directory is named by a file descriptor.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tokio::net::{UnixListener, UnixStream};

/// The socket's short path, valid while `directory` is open.
fn short(directory: &File, name: &str) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}/{name}", directory.as_raw_fd()))
}

/// Listens on `directory/name`, readable and writable by its owner only. A socket that is left from before is replaced.
pub(crate) fn listen(directory: &Path, name: &str) -> io::Result<UnixListener> {
    let open = File::open(directory)?;
    let path = short(&open, name);
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(&path)?;
    // The directory is 0700 already, so there is no moment at which another user could connect.
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Connects to `directory/name`.
pub(crate) async fn connect(directory: &Path, name: &str) -> io::Result<UnixStream> {
    let open = File::open(directory)?;
    UnixStream::connect(short(&open, name)).await
}
