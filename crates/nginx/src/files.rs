//! Names of files in nginx' prefix directory, relative to it.

use muster_model::Revision;

/// The filled document.
pub const CONFIG: &str = "nginx.conf";
/// The master's process id, written by nginx.
pub const PID: &str = "nginx.pid";
/// The server's certificate chain, PEM. Read only when TLS is on.
pub const CERTIFICATE: &str = "tls/server.crt";
/// The server's private key, PEM. Read only when TLS is on.
pub const KEY: &str = "tls/server.key";
/// The directories that must be there before nginx starts, parents first. nginx makes its own temporary directories
/// below the second one.
pub const DIRECTORIES: [&str; 4] = ["tls", "run", "run/keep", "run/close"];

/// The symbolic link that tells the workers of `revision` what to do with client connections. Its target is
/// [`Connections::target`]. See the crate's section on reloads.
#[must_use]
pub fn connections(revision: &Revision) -> String {
    format!("{CONNECTIONS}{revision}")
}

/// The link's name without the revision.
pub(crate) const CONNECTIONS: &str = "run/connections-";

/// What a generation of workers does with client connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Connections {
    /// Keeps them open between requests.
    Keep,
    /// Asks the client, with every response, to close.
    Close,
}

impl Connections {
    /// The link's target, relative to the link's own directory: a directory of [`DIRECTORIES`].
    #[must_use]
    pub fn target(self) -> &'static str {
        match self {
            Self::Keep => "keep",
            Self::Close => "close",
        }
    }
}
