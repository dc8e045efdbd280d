//! What a unit's disk holds that the object store does not have yet.
//!
//! A product's own answers prove little: Mimir answers 204 and ends with success although nothing could be uploaded. What it left on
//! its disk does not lie, so a unit that is to leave for good is looked at after its process has ended.

use std::io;

/// A unit's data directory, as far as it is looked at. Paths are relative to it, with `/` between their parts.
pub trait Disk {
    /// The names in a directory, in any order; none where it is not there or is no directory.
    ///
    /// # Errors
    /// It cannot be read.
    fn names(&self, directory: &str) -> io::Result<Vec<String>>;

    /// The text of a file; `None` where it is not there.
    ///
    /// # Errors
    /// It cannot be read.
    fn text(&self, file: &str) -> io::Result<Option<String>>;

    /// The length of a file in bytes.
    ///
    /// # Errors
    /// It is not there, or cannot be looked at.
    fn length(&self, file: &str) -> io::Result<u64>;
}

/// How a process that was to leave for good has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// By itself and with success, after it was asked to.
    Orderly,
    /// In any other way: it was killed, it failed, or nobody saw it.
    Other,
}

/// Whether some file below a directory, or in a directory of it, is not empty.
pub(crate) fn has_content(disk: &dyn Disk, directory: &str) -> io::Result<bool> {
    for name in disk.names(directory)? {
        let path = format!("{directory}/{name}");
        let inner = disk.names(&path)?;
        let filled = if inner.is_empty() {
            disk.length(&path).is_ok_and(|length| length > 0)
        } else {
            inner.iter().any(|name| disk.length(&format!("{path}/{name}")).is_ok_and(|length| length > 0))
        };
        if filled {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Files by path, with their texts.
    pub(crate) struct Files(pub(crate) &'static [(&'static str, &'static str)]);

    impl Disk for Files {
        fn names(&self, directory: &str) -> io::Result<Vec<String>> {
            let inner = self.0.iter().filter_map(|(path, _)| path.strip_prefix(directory)?.strip_prefix('/'));
            let mut names: Vec<_> =
                inner.filter_map(|path| Some(path.split('/').next()?.to_owned())).collect();
            names.dedup();
            Ok(names)
        }

        fn text(&self, file: &str) -> io::Result<Option<String>> {
            Ok(self.0.iter().find(|(path, _)| *path == file).map(|(_, text)| (*text).to_owned()))
        }

        fn length(&self, file: &str) -> io::Result<u64> {
            let text = self.text(file)?.ok_or(io::ErrorKind::NotFound)?;
            Ok(text.len() as u64)
        }
    }

    #[test]
    fn an_empty_file_is_no_content() {
        assert!(!has_content(&Files(&[]), "wal").unwrap());
        assert!(
            !has_content(&Files(&[("wal/00000000", ""), ("wal/checkpoint.1/00000000", "")]), "wal").unwrap()
        );
        assert!(has_content(&Files(&[("wal/checkpoint.1/00000000", "x")]), "wal").unwrap());
        assert!(has_content(&Files(&[("wal/00000001", "x")]), "wal").unwrap());
    }
}
