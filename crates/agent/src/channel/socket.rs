//! The channel on one machine: a unix socket in the unit's directory. The agent listens and the coordinator connects,
//! so that neither minds how often the other is started again. Messages are JSON lines.

use std::fs::{File, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use muster_relation::{Frame, MAX_FRAME_LEN, ToAgent, ToCoordinator};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};

use super::Ends;

/// The socket's name in the unit's directory.
pub const NAME: &str = "agent.sock";

/// Connects to the socket of this name in a directory; to a unit's agent with [`NAME`] in the unit's directory.
pub async fn connect(directory: &Path, name: &str) -> io::Result<UnixStream> {
    let (_open, path) = short_path(directory, name)?;
    UnixStream::connect(path).await
}

/// A path to the socket of any directory: one in a socket address has at most 107 bytes. Good while the file is open.
fn short_path(directory: &Path, name: &str) -> io::Result<(File, PathBuf)> {
    let open = File::open(directory)?;
    let path = PathBuf::from(format!("/proc/self/fd/{}/{name}", open.as_raw_fd()));
    Ok((open, path))
}

/// Listens in this directory, which only its owner may enter and the caller holds the lock of: a socket that is there is a
/// former holder's.
pub fn listen(directory: &Path, name: &str) -> io::Result<UnixListener> {
    let (_open, path) = short_path(directory, name)?;
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    // Nobody else can get at it in between: the directory belongs to the owner alone.
    let listener = UnixListener::bind(&path)?;
    std::fs::set_permissions(&path, Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Serves one coordinator at a time. The newest connection wins: the older one's coordinator is gone, or about to be.
pub(crate) async fn serve(listener: UnixListener, ends: Ends) {
    let mut current: Option<tokio::task::JoinHandle<()>> = None;
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                if let Some(former) = current.take() {
                    former.abort();
                }
                let ends = ends.clone();
                current = Some(tokio::spawn(async move {
                    if let Err(error) = serve_one(stream, ends).await {
                        tracing::warn!(%error, "coordinator's connection closed");
                    }
                }));
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept the coordinator's connection");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

async fn serve_one(stream: UnixStream, ends: Ends) -> io::Result<()> {
    let (read, write) = stream.into_split();
    tokio::select! {
        result = receive(read, &ends) => result,
        result = send(write, &ends) => result,
    }
}

async fn receive(read: OwnedReadHalf, ends: &Ends) -> io::Result<()> {
    let mut reader = BufReader::new(read);
    loop {
        let mut line = Vec::new();
        let length = (&mut reader).take(MAX_FRAME_LEN as u64 + 1).read_until(b'\n', &mut line).await?;
        if length == 0 {
            return Ok(());
        }
        let invalid =
            |error: &dyn std::error::Error| io::Error::new(io::ErrorKind::InvalidData, error.to_string());
        let line = std::str::from_utf8(&line).map_err(|error| invalid(&error))?;
        let update = ToAgent::from_line(line).map_err(|error| invalid(&error))?;
        if ends.updates.send(update).await.is_err() {
            return Ok(());
        }
    }
}

async fn send(mut write: OwnedWriteHalf, ends: &Ends) -> io::Result<()> {
    let mut reports = ends.reports.clone();
    loop {
        let line = ToCoordinator::Report(reports.borrow_and_update().clone()).to_line();
        write.write_all(line.as_bytes()).await?;
        if reports.changed().await.is_err() {
            return Ok(());
        }
    }
}
