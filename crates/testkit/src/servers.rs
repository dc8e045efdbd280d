//! The real servers that tests run. `cargo xtask servers` builds or installs them.

use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

/// How every server is built; part of its pin.
pub const BUILD_FLAGS: &[&str] = &["-mod=readonly", "-trimpath", "-ldflags", "-s -w"];

/// A server that is built from a pinned Go module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GoServer {
    /// Its name, which is its binary's and that of the directory with its `go.mod`.
    pub name: &'static str,
    /// The Go package of its main function.
    pub package: &'static str,
}

/// Grafana Mimir.
pub const MIMIR: GoServer = GoServer { name: "mimir", package: "github.com/grafana/mimir/cmd/mimir" };

/// Grafana Loki.
pub const LOKI: GoServer = GoServer { name: "loki", package: "github.com/grafana/loki/v3/cmd/loki" };
/// Grafana Tempo.
pub const TEMPO: GoServer = GoServer { name: "tempo", package: "github.com/grafana/tempo/cmd/tempo" };

/// All servers that are built from Go modules.
pub const GO_SERVERS: &[GoServer] = &[MIMIR, LOKI, TEMPO];

impl GoServer {
    /// The directory with the server's `go.mod` and `go.sum`.
    #[must_use]
    pub fn module(&self) -> PathBuf {
        workspace().join("tests/servers").join(self.name)
    }

    /// Where the binary of the present pin is, or is to be: in a directory of its own outside of the checkout.
    ///
    /// # Errors
    /// `go.mod` or `go.sum` cannot be read, or there is no place for caches.
    pub fn binary(&self) -> io::Result<PathBuf> {
        let pin = pin(&fs::read(self.module().join("go.mod"))?, &fs::read(self.module().join("go.sum"))?);
        Ok(cache()?.join("servers").join(format!("{}-{pin}", self.name)).join(self.name))
    }

    /// The built binary.
    ///
    /// # Panics
    /// It is not built.
    #[must_use]
    pub fn built(&self) -> PathBuf {
        let binary = self.binary().expect("the server's pin can be read");
        assert!(
            binary.is_file(),
            "{} is missing: run `cargo xtask servers {}` first",
            binary.display(),
            self.name
        );
        binary
    }
}

/// The built Mimir.
///
/// # Panics
/// It is not built: `cargo xtask servers mimir` does it.
#[must_use]
pub fn mimir() -> PathBuf {
    MIMIR.built()
}

/// The installed nginx.
///
/// # Panics
/// There is none: `cargo xtask servers nginx` installs it.
#[must_use]
pub fn nginx() -> PathBuf {
    find_nginx().expect("nginx is missing: run `cargo xtask servers nginx` first")
}

/// nginx on `PATH`, or where distributions put it outside of a user's `PATH`.
#[must_use]
pub fn find_nginx() -> Option<PathBuf> {
    find_program("nginx")
}

/// A program on `PATH`, or where distributions put those of administrators.
#[must_use]
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let directories =
        env::split_paths(&path).chain(["/usr/sbin", "/sbin", "/usr/local/sbin"].map(PathBuf::from));
    directories.map(|directory| directory.join(name)).find(|program| program.is_file())
}

/// The directory of the workspace that this was compiled in.
///
/// # Panics
/// Never: this crate lies two levels below the workspace.
#[must_use]
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .expect("the crate lies in crates/ of the workspace")
}

/// `$MUSTER_CACHE`, or `muster` in the user's cache directory (XDG base directory specification).
///
/// # Errors
/// There is no place for caches.
pub fn cache() -> io::Result<PathBuf> {
    let variable = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    variable("MUSTER_CACHE")
        .or_else(|| variable("XDG_CACHE_HOME").map(|cache| cache.join("muster")))
        .or_else(|| variable("HOME").map(|home| home.join(".cache/muster")))
        .ok_or_else(|| {
            io::Error::new(io::ErrorKind::NotFound, "no place for caches: set MUSTER_CACHE to a directory")
        })
}

/// Names one build: 16 hexadecimal digits over all that decides what it is.
fn pin(go_mod: &[u8], go_sum: &[u8]) -> String {
    digest([go_mod, go_sum].into_iter().chain(BUILD_FLAGS.iter().map(|flag| flag.as_bytes())))
}

/// 16 hexadecimal digits over parts and their lengths.
pub(crate) fn digest<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// The SHA-256 of `bytes` in hexadecimal digits.
#[must_use]
pub fn hex_digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pins_follow_their_files() {
        assert_eq!(pin(b"a", b"b").len(), 16);
        assert_eq!(pin(b"a", b"b"), pin(b"a", b"b"));
        assert_ne!(pin(b"a", b"b"), pin(b"ab", b""));
        assert_ne!(pin(b"a", b"b"), pin(b"a", b"c"));
    }

    #[test]
    fn every_server_has_its_module() {
        for server in GO_SERVERS {
            let go_mod = fs::read_to_string(server.module().join("go.mod")).unwrap();
            let module = server.package.split("/cmd/").next().unwrap();
            assert!(go_mod.contains(module), "{}", server.name);
            assert!(server.binary().unwrap().is_absolute());
        }
    }
}
