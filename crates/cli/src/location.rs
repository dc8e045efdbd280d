//! Where a model lives.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use muster_model::{AppName, NameError};

/// A model's name and its directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Location {
    /// The name, for headings.
    pub(crate) name: String,
    /// The directory that holds the model's state.
    pub(crate) directory: PathBuf,
}

/// Why a text does not say which model.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LocationError {
    /// Not a name, and without a `/` not a path either.
    #[error("model {0}; a path has a '/' in it, for example ./model")]
    Name(NameError),
    /// Not even text.
    #[error("model {0:?} is not UTF-8; write a name or a path with a '/' in it")]
    NotText(OsString),
    /// The path has no last component to name the model by.
    #[error("model path {0:?} names no directory of its own; write for example ./model")]
    NoDirectory(PathBuf),
    /// There is no place for models.
    #[error(
        "neither XDG_STATE_HOME nor HOME is set to an absolute path; write the model as a path, for example --model ./model"
    )]
    NoHome,
}

/// Finds the model that `value` means: a value with a `/` is a path, any other a name below
/// `$XDG_STATE_HOME/muster/models` (`~/.local/state` where that is unset or relative, as its specification says).
pub(crate) fn locate(
    value: &OsStr,
    state_home: Option<&OsStr>,
    home: Option<&OsStr>,
) -> Result<Location, LocationError> {
    if value.as_encoded_bytes().contains(&b'/') {
        let directory = PathBuf::from(value);
        let name = directory.file_name().ok_or_else(|| LocationError::NoDirectory(directory.clone()))?;
        return Ok(Location { name: name.to_string_lossy().into_owned(), directory });
    }
    let name = value.to_str().ok_or_else(|| LocationError::NotText(value.to_owned()))?;
    let name = AppName::new(name).map_err(LocationError::Name)?;
    let absolute =
        |path: Option<&OsStr>| path.map(Path::new).filter(|path| path.is_absolute()).map(Path::to_owned);
    let state = absolute(state_home)
        .or_else(|| absolute(home).map(|home| home.join(".local/state")))
        .ok_or(LocationError::NoHome)?;
    Ok(Location { name: name.to_string(), directory: state.join("muster/models").join(name.as_str()) })
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt;

    use super::*;

    fn at(value: &str, state: Option<&str>, home: Option<&str>) -> Result<Location, LocationError> {
        locate(OsStr::new(value), state.map(OsStr::new), home.map(OsStr::new))
    }

    #[test]
    fn names_live_in_the_state_home_and_paths_where_they_say() {
        for (value, state, home, directory, name) in [
            ("default", Some("/state"), Some("/home/me"), "/state/muster/models/default", "default"),
            ("prod", None, Some("/home/me"), "/home/me/.local/state/muster/models/prod", "prod"),
            ("prod", Some("relative"), Some("/home/me"), "/home/me/.local/state/muster/models/prod", "prod"),
            ("./here", None, None, "./here", "here"),
            ("/srv/m/", None, None, "/srv/m/", "m"),
        ] {
            let location = at(value, state, home).unwrap();
            assert_eq!(
                (location.directory, location.name),
                (PathBuf::from(directory), name.to_owned()),
                "{value}"
            );
        }
    }

    #[test]
    fn what_is_neither_is_refused() {
        assert_eq!(at("x", None, None), Err(LocationError::NoHome));
        assert_eq!(at("/", None, None), Err(LocationError::NoDirectory("/".into())));
        for bad in ["", "..", ".", "A", "a b", "a\n", &"a".repeat(1 << 20)] {
            assert!(matches!(at(bad, None, Some("/h")), Err(LocationError::Name(_))), "{bad}");
        }
        assert!(locate(OsStr::from_bytes(b"\xff"), None, Some(OsStr::new("/h"))).is_err());
    }
}
