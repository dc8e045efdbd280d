//! What must outlive the agent: the last order, the process that was started, and that there is one agent only.

use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use muster_model::UnitName;
use muster_relation::{Assignment, ClusterData};
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};

use crate::driver::files::{self, FileError};
use crate::driver::orphan::ProcessRecord;
use crate::machine::Manners;

const APPLIED: &str = "applied.json";
const PROCESS: &str = "workload.json";
const STDIN: &str = "workload.stdin";
const LOCK: &str = "agent.lock";
/// What an unusable file is renamed to, so that it can be looked at.
const QUARANTINE: &str = "unusable";

/// The agent's directory.
#[derive(Debug, Clone)]
pub(crate) struct State {
    directory: PathBuf,
}

/// The last accepted assignment.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Applied {
    unit: UnitName,
    instance: String,
    pub(crate) assignment: Assignment,
    pub(crate) cluster: ClusterData,
}

/// Why there is no agent in this directory.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another agent has it.
    #[error("another agent (process {holder}) holds {}; end it first", directory.display())]
    Held {
        /// Its process id, as far as it is known.
        holder: String,
        /// The directory.
        directory: PathBuf,
    },
    /// The lock file cannot be used.
    #[error("failed to lock {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
}

/// Held as long as the agent lives; the kernel lets go of it however the agent ends.
#[derive(Debug)]
pub(crate) struct Lock(#[expect(dead_code, reason = "held, not read")] Flock<fs::File>);

impl State {
    pub(crate) fn new(directory: &Path) -> Self {
        Self { directory: directory.to_owned() }
    }

    /// Makes this the only agent of the directory.
    pub(crate) fn lock(&self) -> Result<Lock, LockError> {
        let path = self.directory.join(LOCK);
        let at = |source: io::Error| LockError::File { path: path.clone(), source };
        let open =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
        let mut lock = match Flock::lock(open.map_err(at)?, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => lock,
            Err((file, nix::errno::Errno::EWOULDBLOCK)) => {
                let mut holder = String::new();
                let _ = file.take(20).read_to_string(&mut holder);
                let holder = holder.trim().to_owned();
                return Err(LockError::Held { holder, directory: self.directory.clone() });
            }
            Err((_, errno)) => return Err(at(errno.into())),
        };
        // The number is for people; a full disk must not keep the agent from its work.
        let _ = lock.set_len(0).and_then(|()| writeln!(lock, "{}", std::process::id()));
        Ok(Lock(lock))
    }

    /// Remembers the last accepted assignment, durably.
    pub(crate) fn save_applied(
        &self,
        unit: &UnitName,
        instance: &str,
        assignment: &Assignment,
        cluster: &ClusterData,
    ) -> Result<(), FileError> {
        let applied = Applied {
            unit: unit.clone(),
            instance: instance.to_owned(),
            assignment: assignment.clone(),
            cluster: cluster.clone(),
        };
        // Text keys and finite numbers only, which JSON can always write.
        let json = serde_json::to_vec(&applied).expect("an assignment has a JSON form");
        files::write_atomic(&self.directory.join(APPLIED), &json, true)
    }

    /// What was remembered for this very unit.
    pub(crate) fn applied(&self, unit: &UnitName, instance: &str) -> Option<Applied> {
        let applied: Applied = self.read(APPLIED)?;
        if applied.unit == *unit && applied.instance == instance {
            return Some(applied);
        }
        self.quarantine(APPLIED, &format!("it belongs to {} {}", applied.unit, applied.instance));
        None
    }

    /// Remembers the process that was started, or that none is there. Not durable: no process outlives the machine.
    pub(crate) fn save_process(&self, record: Option<&ProcessRecord>) -> Result<(), FileError> {
        let path = self.directory.join(PROCESS);
        match record {
            Some(record) => {
                let json = serde_json::to_vec(record).expect("a process record has a JSON form");
                files::write_atomic(&path, &json, false)
            }
            None => {
                let _ = fs::remove_file(path);
                Ok(())
            }
        }
    }

    /// The process that a former agent started and did not see end.
    pub(crate) fn process(&self) -> Option<ProcessRecord> {
        self.read(PROCESS)
    }

    /// What a process of this agent's workload gets as its standard input: a file with nothing in it, by which it is known
    /// to be one.
    pub(crate) fn stdin(&self) -> Stdio {
        let path = self.directory.join(STDIN);
        let file = fs::File::open(&path).or_else(|_| {
            // Nothing else to be made for a process that is started again on a full disk.
            OpenOptions::new().append(true).create(true).mode(0o600).open(&path)?;
            fs::File::open(&path)
        });
        file.map(Stdio::from).unwrap_or_else(|error| {
            // Only an agent that is killed at this very moment and started again would miss it.
            tracing::warn!(%error, file = %path.display(), "the workload's standard input is nothing of its own");
            Stdio::null()
        })
    }

    /// A process that a former agent started without living long enough to note it.
    pub(crate) fn unnoted_process(&self, manners: &Manners) -> Option<ProcessRecord> {
        ProcessRecord::reading(&self.directory.join(STDIN), manners.kill_delay, manners.stop_signal)
    }

    fn read<T: serde::de::DeserializeOwned>(&self, name: &str) -> Option<T> {
        let text = match fs::read(self.directory.join(name)) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                self.quarantine(name, &error.to_string());
                return None;
            }
        };
        serde_json::from_slice(&text).map_err(|error| self.quarantine(name, &error.to_string())).ok()
    }

    fn quarantine(&self, name: &str, why: &str) {
        let path = self.directory.join(name);
        let aside = self.directory.join(format!("{name}.{QUARANTINE}"));
        tracing::warn!(file = %path.display(), kept_as = %aside.display(), why, "file cannot be used and is ignored");
        let _ = fs::rename(path, aside);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::os::unix::fs::PermissionsExt;

    use muster_model::{Product, Revision, RoleSet};
    use muster_relation::Run;

    use super::*;

    fn saved(directory: &Path) -> State {
        let state = State::new(directory);
        let assignment = Assignment {
            epoch: 3,
            revision: Revision::of([b"a".as_slice()]),
            roles: RoleSet::new(),
            run: Run::Start,
            gives_up: false,
            quiesces: false,
            forgets: BTreeSet::new(),
            peers: std::collections::BTreeMap::new(),
            seeds: vec![],
        };
        let cluster = ClusterData {
            product: Product::Mimir,
            version: "2.17".parse().unwrap(),
            documents: BTreeMap::new(),
            object_storage: None,
            tls: None,
        };
        state.save_applied(&"a/0".parse().unwrap(), "one", &assignment, &cluster).unwrap();
        state
    }

    #[test]
    fn what_was_saved_comes_back_for_the_same_unit_only() {
        let directory = tempfile::tempdir().unwrap();
        let state = saved(directory.path());
        let mode = fs::metadata(directory.path().join(APPLIED)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(state.applied(&"a/0".parse().unwrap(), "one").unwrap().assignment.epoch, 3);
        assert!(state.applied(&"a/0".parse().unwrap(), "two").is_none());
        assert!(directory.path().join("applied.json.unusable").exists());
        assert!(state.applied(&"a/0".parse().unwrap(), "one").is_none());
    }

    #[test]
    fn broken_files_are_put_aside() {
        for content in [&b""[..], b"{", b"null", b"\xff", b"{\"unit\":\"../..\"}"] {
            let directory = tempfile::tempdir().unwrap();
            let state = saved(directory.path());
            fs::write(directory.path().join(APPLIED), content).unwrap();
            fs::write(directory.path().join(PROCESS), content).unwrap();
            assert!(state.applied(&"a/0".parse().unwrap(), "one").is_none());
            assert!(state.process().is_none());
            assert!(directory.path().join("applied.json.unusable").exists());
            assert!(directory.path().join("workload.json.unusable").exists());
        }
    }

    #[test]
    fn one_agent_per_directory() {
        let directory = tempfile::tempdir().unwrap();
        let state = State::new(directory.path());
        let lock = state.lock().unwrap();
        let error = state.lock().unwrap_err().to_string();
        assert!(error.contains(&format!("process {}", std::process::id())), "{error}");
        drop(lock);
        state.lock().unwrap();
    }
}
