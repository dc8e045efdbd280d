//! A note beside a unit's data: what ran there last and may have left data that is nowhere else. It stays with the disk when pod and agent
//! are made anew, so that whoever finds it can finish what was begun. It has no secrets.

use std::fs;
use std::io;
use std::path::Path;

use muster_model::UnitName;
use muster_relation::{Assignment, ClusterData};
use serde::{Deserialize, Serialize};

use crate::driver::files::{self, Context as _, FileError};

const NAME: &str = "muster-holds.json";

/// What ran.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Marked {
    unit: UnitName,
    pub(crate) assignment: Assignment,
    /// Without keys and certificates.
    pub(crate) cluster: ClusterData,
}

/// Notes what is about to run.
pub(crate) fn write(
    directory: &Path,
    unit: &UnitName,
    assignment: &Assignment,
    cluster: &ClusterData,
) -> Result<(), FileError> {
    let cluster = ClusterData { object_storage: None, tls: None, ..cluster.clone() };
    let marked = Marked { unit: unit.clone(), assignment: assignment.clone(), cluster };
    // Text keys and finite numbers only, which JSON can always write.
    let json = serde_json::to_vec(&marked).expect("an assignment has a JSON form");
    files::make_directory(directory)?;
    files::write_atomic(&directory.join(NAME), &json, true)
}

/// Notes that nothing is left.
pub(crate) fn remove(directory: &Path) -> Result<(), FileError> {
    let path = directory.join(NAME);
    match fs::remove_file(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed.context("remove", &path),
    }
}

/// The note for this unit.
pub(crate) fn read(directory: &Path, unit: &UnitName) -> Option<Marked> {
    let path = directory.join(NAME);
    let text = match fs::read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        text => text,
    };
    let marked = text.map_err(|error| error.to_string());
    let marked = marked.and_then(|text| serde_json::from_slice::<Marked>(&text).map_err(|e| e.to_string()));
    match marked {
        Ok(marked) if marked.unit == *unit => Some(marked),
        Ok(marked) => {
            tracing::warn!(unit = %marked.unit, "the disk has another unit's note and is taken as empty");
            None
        }
        Err(error) => {
            tracing::warn!(file = %path.display(), error, "the note beside the data cannot be read");
            None
        }
    }
}
