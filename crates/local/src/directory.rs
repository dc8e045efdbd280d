//! The model directory: where everything of a model lives, who holds it, and how its state is kept.
//!
//! ```text
//! MODEL/                    0700
//!   model.json              the documents, the units and what was decided (written whole, atomically)
//!   lock                    held by the `muster up` that runs, with its process id
//!   control.sock            through which the other verbs reach it
//!   object-store/           the embedded S3 server's buckets
//!   units/mimir-read-0/     a unit's agent: socket, log, config
//!   units/mimir-read-0/data/mimir  the workload's disk under that coordinator; stays when the unit goes
//! ```

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use muster_model::UnitName;
use nix::fcntl::{Flock, FlockArg};

use crate::state::State;

/// Why a model directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// Another `muster up` holds it.
    #[error(
        "model {name:?} is already up (process {pid}); use another terminal's verbs against it, or stop that one first"
    )]
    Held {
        /// The model's name.
        name: String,
        /// Who holds it.
        pid: String,
    },
    /// The state file cannot be understood.
    #[error(
        "the state of the model in {path} cannot be read; it was left untouched. Move the directory away to start afresh"
    )]
    State {
        /// The state file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// The state was written by a newer build.
    #[error(
        "the model in {path} was written by a newer muster (format {found}, this one knows {known}); use that one"
    )]
    Newer {
        /// The state file.
        path: PathBuf,
        /// The format found.
        found: u32,
        /// The newest format that is known.
        known: u32,
    },
    /// A file could not be read or written.
    #[error("failed to {action} {path}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// What happened.
        #[source]
        source: io::Error,
    },
}

/// Adds what was tried to an error.
fn failed<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> DirectoryError + 'a {
    move |source| DirectoryError::Io { action, path: path.to_owned(), source }
}

/// A model directory that this process holds.
#[derive(Debug)]
pub struct ModelDirectory {
    root: PathBuf,
    /// Released when the process ends, however it ends.
    _lock: Flock<File>,
}

impl ModelDirectory {
    /// Makes the directory where it is absent and takes hold of it.
    pub fn open(root: &Path, name: &str) -> Result<Self, DirectoryError> {
        private_directory(root).map_err(failed("make", root))?;
        let root = root.canonicalize().map_err(failed("find", root))?;
        let path = root.join("lock");
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(failed("open", &path))?;
        let mut pid = String::new();
        let _ = (&mut file).take(32).read_to_string(&mut pid);
        let mut lock = Flock::lock(file, FlockArg::LockExclusiveNonblock)
            .map_err(|_| DirectoryError::Held { name: name.to_owned(), pid: pid.trim().to_owned() })?;
        let mut write_pid = || {
            lock.set_len(0)?;
            lock.rewind()?;
            writeln!(lock, "{}", std::process::id())
        };
        write_pid().map_err(failed("write", &path))?;
        Ok(Self { root, _lock: lock })
    }

    /// The directory itself.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where a unit's agent lives.
    #[must_use]
    pub fn unit(&self, unit: &UnitName) -> PathBuf {
        self.units().join(unit.label())
    }

    /// Where all units' agents live.
    #[must_use]
    pub fn units(&self) -> PathBuf {
        self.root.join("units")
    }

    /// The embedded S3 server's buckets.
    #[must_use]
    pub fn object_store(&self) -> PathBuf {
        self.root.join("object-store")
    }

    /// The state as last saved, or nothing for a new model.
    pub fn load(&self) -> Result<Option<State>, DirectoryError> {
        let path = self.root.join(STATE_FILE);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed("read", &path)(error)),
        };
        #[derive(serde::Deserialize)]
        struct Format {
            format: u32,
        }
        let format: Format = serde_json::from_slice(&text)
            .map_err(|source| DirectoryError::State { path: path.clone(), source })?;
        if format.format > State::FORMAT {
            return Err(DirectoryError::Newer { path, found: format.format, known: State::FORMAT });
        }
        serde_json::from_slice(&text).map(Some).map_err(|source| DirectoryError::State { path, source })
    }

    /// Saves the state: after this returns it survives a crash of the process and of the machine.
    pub fn save(&self, state: &State) -> Result<(), DirectoryError> {
        let path = self.root.join(STATE_FILE);
        // The state holds text keys only, which JSON can always write.
        let text = serde_json::to_vec(state).expect("the state has a JSON form");
        write_private(&path, &text).map_err(failed("write", &path))
    }
}

const STATE_FILE: &str = "model.json";

/// The control socket's name in a model directory.
pub(crate) const CONTROL_SOCKET: &str = "control.sock";

/// Makes a directory, and those above it, that only its owner may enter.
pub(crate) fn private_directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o700))
}

/// Writes a file that only its owner may read: whole or not at all, also when the machine loses power.
pub(crate) fn write_private(path: &Path, content: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension("new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    match path.parent() {
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_holder_at_a_time_and_the_second_is_told_who() {
        let place = tempfile::tempdir().unwrap();
        let root = place.path().join("a/model");
        let held = ModelDirectory::open(&root, "m").unwrap();
        let error = ModelDirectory::open(&root, "m").unwrap_err().to_string();
        assert!(error.contains(&format!("process {}", std::process::id())), "{error}");
        drop(held);
        ModelDirectory::open(&root, "m").unwrap();
        assert_eq!(fs::metadata(&root).unwrap().permissions().mode() & 0o777, 0o700);
    }

    #[test]
    fn state_survives_and_bad_state_is_refused_untouched() {
        let place = tempfile::tempdir().unwrap();
        let directory = ModelDirectory::open(place.path(), "m").unwrap();
        assert!(directory.load().unwrap().is_none());
        let state = State::new("m".to_owned(), 77, "id".to_owned());
        directory.save(&state).unwrap();
        assert_eq!(directory.load().unwrap(), Some(state));
        let path = directory.root().join(STATE_FILE);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        for (bad, expect) in [("{", "cannot be read"), ("{\"format\": 99}", "newer muster")] {
            fs::write(&path, bad).unwrap();
            let error = directory.load().unwrap_err().to_string();
            assert!(error.contains(expect), "{error}");
            assert_eq!(fs::read_to_string(&path).unwrap(), bad);
        }
    }
}
