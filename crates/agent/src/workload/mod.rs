//! How each kind of workload is started and treated. Pure: launches are values, the driver carries them out.

mod command;
mod product;
mod proxy;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use muster_products::{Disk, Ending};
use muster_relation::{Assignment, ClusterData};

pub use self::command::{Command, Readiness};
pub use self::product::Product;
pub use self::proxy::Proxy;
use crate::Settings;
use crate::machine::Manners;

/// One kind of workload.
pub trait Workload: fmt::Debug + Send + Sync {
    /// How a process for this assignment is to be treated.
    fn manners(&self, assignment: &Assignment, cluster: &ClusterData) -> Manners;

    /// What to start for this assignment, with its files in `directory`, an absolute path that is also the working
    /// directory. The files' contents do not depend on the directory, so that what was checked in one runs in another.
    fn launch(
        &self,
        settings: &Settings,
        assignment: &Assignment,
        cluster: &ClusterData,
        directory: &Path,
    ) -> Result<Launch, LaunchError>;

    /// How to see that a process for `assignment` that was asked to end holds nothing any more. Absent: it ends by itself then.
    fn flushed(&self, _assignment: &Assignment, _cluster: &ClusterData) -> Option<Flushed> {
        None
    }

    /// What the process of this assignment, which has ended, holds on its disk that is not in the object store, in one line.
    fn held(
        &self,
        _assignment: &Assignment,
        _cluster: &ClusterData,
        _disk: &dyn Disk,
        _ending: Ending,
    ) -> io::Result<Option<String>> {
        Ok(None)
    }

    /// The binary's own complaint out of what a failed check wrote to standard error: one line.
    fn check_message(&self, cluster: &ClusterData, stderr: &str) -> String;
}

/// All that is needed to check and start one process.
#[derive(Debug, Clone)]
pub struct Launch {
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// The arguments with which the same program checks its config and ends. Absent: there is nothing to check.
    pub check_arguments: Option<Vec<String>>,
    /// Directories to make, parents first; relative ones are below the launch's directory.
    pub directories: Vec<PathBuf>,
    /// Files below the launch's directory.
    pub files: Vec<File>,
    /// Symbolic links below the launch's directory.
    pub links: Vec<Link>,
    /// How to see whether the process is ready.
    pub probe: Probe,
    /// How to have the process take nothing new while it answers queries. Absent: it cannot.
    pub quiesce: Option<Quiesce>,
    /// Where the process shows the ring that it sees. Absent: it does not.
    pub ring: Option<Ring>,
    /// What to call, in order, before a unit that leaves for good is asked to end.
    pub leave_calls: Vec<Call>,
}

/// How to have a process upload what it holds while it answers queries.
#[derive(Debug, Clone, Copy)]
pub struct Quiesce {
    /// The port.
    pub port: u16,
    /// What to call there, and what to look at.
    pub how: &'static muster_products::Quiesce,
}

/// Where a process shows the ring that it sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ring {
    /// The port.
    pub port: u16,
    /// The page.
    pub page: muster_products::Ring,
}

/// How to see that a process that was asked to end holds nothing any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flushed {
    /// The port.
    pub port: u16,
    /// The page that says so.
    pub page: muster_products::Flushed,
}

/// A file that a process needs.
#[derive(Clone, PartialEq, Eq)]
pub struct File {
    /// Relative to the launch's directory.
    pub name: String,
    /// What it holds.
    pub content: String,
}

impl fmt::Debug for File {
    /// Contents hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "File({:?}, {} bytes)", self.name, self.content.len())
    }
}

/// A symbolic link that a process needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Relative to the launch's directory.
    pub name: String,
    /// What it points to, as written in the link.
    pub target: &'static str,
}

/// How to see whether a process is ready. Always at the unit's own address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probe {
    /// A GET is answered with success.
    Http {
        /// The port.
        port: u16,
        /// The path.
        path: String,
    },
    /// A TCP connection is accepted.
    Connect {
        /// The port.
        port: u16,
    },
    /// A process that has lived for a second is ready.
    Alive,
}

/// An HTTP request without a body to the unit's own address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// The port.
    pub port: u16,
    /// The method.
    pub method: String,
    /// The path.
    pub path: String,
}

/// Why an assignment cannot be turned into a process. Asking again does not help: the coordinator must send other data.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// The shared data lacks the document that the assignment names.
    #[error("the coordinator sent no document for revision {0}")]
    NoDocument(muster_model::Revision),
    /// The shared data lacks the object store.
    #[error("the coordinator sent no object storage")]
    NoObjectStorage,
    /// The workload's document cannot be filled.
    #[error(transparent)]
    Fill(#[from] muster_products::placeholder::FillError),
    /// The load balancer's document cannot be filled.
    #[error(transparent)]
    Document(#[from] muster_nginx::UnitError),
    /// A path that goes into a config or an argument is not UTF-8.
    #[error("path {0:?} is not UTF-8; choose another directory")]
    Path(PathBuf),
}

pub(crate) fn document<'a>(
    assignment: &Assignment,
    cluster: &'a ClusterData,
) -> Result<&'a str, LaunchError> {
    let document = cluster.documents.get(&assignment.revision);
    document.map(String::as_str).ok_or_else(|| LaunchError::NoDocument(assignment.revision.clone()))
}

fn text(path: &Path) -> Result<&str, LaunchError> {
    path.to_str().ok_or_else(|| LaunchError::Path(path.to_owned()))
}

/// The last line that says something, cut and without control characters.
fn last_line(stderr: &str) -> String {
    let line = stderr.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("no message");
    line.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).take(1000).collect()
}
