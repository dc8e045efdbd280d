//! The files of a launch: written aside, checked there, then moved into place without needing space again.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::workload::{Launch, Link};

/// What could not be done to which path.
#[derive(Debug, thiserror::Error)]
#[error("failed to {action} {}: {source}{}", path.display(), hint(source))]
pub(crate) struct FileError {
    action: &'static str,
    path: PathBuf,
    #[source]
    source: io::Error,
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "; free space there",
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => "; make it writable",
        _ => "",
    }
}

pub(crate) trait Context<T> {
    fn context(self, action: &'static str, path: &Path) -> Result<T, FileError>;
}

impl<T> Context<T> for io::Result<T> {
    fn context(self, action: &'static str, path: &Path) -> Result<T, FileError> {
        self.map_err(|source| FileError { action, path: path.to_owned(), source })
    }
}

/// Makes a directory, with its parents, that only the owner may enter.
pub(crate) fn make_directory(path: &Path) -> Result<(), FileError> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).context("make directory", path)
}

/// Replaces a file as a whole, mode 0600. `durable`: it survives a power cut.
pub(crate) fn write_atomic(path: &Path, content: &[u8], durable: bool) -> Result<(), FileError> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".tmp");
    let temporary = path.with_file_name(name);
    let written = (|| {
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        file.write_all(content)?;
        if durable {
            file.sync_all()?;
        }
        fs::rename(&temporary, path)
    })();
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written.context("write", path)?;
    if durable && let Some(parent) = path.parent() {
        fs::File::open(parent).and_then(|directory| directory.sync_all()).context("sync", parent)?;
    }
    Ok(())
}

/// Makes a symbolic link, replacing one of that name at once.
pub(crate) fn link(directory: &Path, link: &Link) -> Result<(), FileError> {
    let path = directory.join(&link.name);
    let temporary = directory.join(format!("{}.tmp", link.name));
    let _ = fs::remove_file(&temporary);
    std::os::unix::fs::symlink(link.target, &temporary).context("make link", &path)?;
    fs::rename(&temporary, &path).context("make link", &path)
}

/// Writes everything that `launch` needs below `directory`. A file that is there with the same content is left alone, so
/// that a process can be started again on a full disk.
pub(crate) fn write(launch: &Launch, directory: &Path) -> Result<(), FileError> {
    make_directory(directory)?;
    for sub in &launch.directories {
        make_directory(&directory.join(sub))?;
    }
    for file in &launch.files {
        let path = directory.join(&file.name);
        if fs::read(&path).is_ok_and(|there| there == file.content.as_bytes()) {
            continue;
        }
        if let Some(parent) = path.parent() {
            make_directory(parent)?;
        }
        write_atomic(&path, file.content.as_bytes(), false)?;
    }
    launch.links.iter().try_for_each(|l| link(directory, l))
}

/// Moves the files of `launch` that were written to `staged` to `directory`, and sees to everything else there.
pub(crate) fn adopt(launch: &Launch, staged: &Path, directory: &Path) -> Result<(), FileError> {
    make_directory(directory)?;
    for file in &launch.files {
        let (from, to) = (staged.join(&file.name), directory.join(&file.name));
        if let Some(parent) = to.parent() {
            make_directory(parent)?;
        }
        // What is not staged, or no longer what it should be, is written by `write`.
        let _ = fs::rename(from, to);
    }
    write(launch, directory)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::workload::{File, Probe};

    fn launch(content: &str) -> Launch {
        Launch {
            program: PathBuf::new(),
            arguments: Vec::new(),
            check_arguments: None,
            directories: vec!["tls".into(), "run".into()],
            files: vec![
                File { name: "config".into(), content: content.into() },
                File { name: "tls/key".into(), content: "secret".into() },
            ],
            links: vec![Link { name: "run/link".into(), target: "keep" }],
            probe: Probe::Alive,
            quiesce: None,
            ring: None,
            leave_calls: Vec::new(),
        }
    }

    #[test]
    fn staged_files_are_moved_and_only_the_owner_may_read_them() {
        let directory = tempfile::tempdir().unwrap();
        let (next, live) = (directory.path().join("next"), directory.path().join("live"));
        write(&launch("old"), &live).unwrap();
        write(&launch("new"), &next).unwrap();
        adopt(&launch("new"), &next, &live).unwrap();
        assert_eq!(fs::read_to_string(live.join("config")).unwrap(), "new");
        assert!(!next.join("config").exists());
        assert_eq!(fs::read_link(live.join("run/link")).unwrap(), Path::new("keep"));
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&live), mode(&live.join("tls/key"))), (0o700, 0o600));
        // Nothing staged, or something stale: what is asked for counts.
        write(&launch("stale"), &next).unwrap();
        adopt(&launch("newer"), &next, &live).unwrap();
        assert_eq!(fs::read_to_string(live.join("config")).unwrap(), "newer");
    }

    #[test]
    fn errors_name_the_path() {
        let error = write(&launch("x"), Path::new("/proc/nowhere")).unwrap_err();
        assert!(error.to_string().starts_with("failed to make directory /proc/nowhere"), "{error}");
        assert!(!format!("{:?}", launch("secret")).contains("secret"));
    }
}
