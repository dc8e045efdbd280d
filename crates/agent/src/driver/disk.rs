//! A unit's data directory, as products look at it.

use std::fs;
use std::io;
use std::path::PathBuf;

use muster_products::Disk;

/// The directory with this path.
pub(super) struct Directory(pub(super) PathBuf);

impl Disk for Directory {
    fn names(&self, directory: &str) -> io::Result<Vec<String>> {
        let entries = match fs::read_dir(self.0.join(directory)) {
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Ok(Vec::new());
            }
            entries => entries?,
        };
        entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
    }

    fn text(&self, file: &str) -> io::Result<Option<String>> {
        match fs::read_to_string(self.0.join(file)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            text => text.map(Some),
        }
    }

    fn length(&self, file: &str) -> io::Result<u64> {
        Ok(fs::metadata(self.0.join(file))?.len())
    }
}
