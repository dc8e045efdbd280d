//! Reading and writing single keys of a databag.

use std::collections::BTreeMap;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::json;

/// One side's databag: a JSON text for each key.
///
/// A coordinator's holds S3 keys in clear text; never show it.
pub type Databag = BTreeMap<String, String>;

/// Why a databag cannot be read. Shows nothing of what it holds, except the name of a role that is not known.
#[derive(Debug, thiserror::Error)]
pub enum DatabagError {
    /// A key that must be there is not. So it is before the other side has published anything.
    #[error(
        "key {0:?} is missing: wait until the other side of the relation has written it; if it does not, look at its status"
    )]
    Missing(&'static str),
    /// A value is not JSON.
    #[error("key {key:?} is not JSON: write one JSON document, and texts in double quotes")]
    NotJson {
        /// The key.
        key: &'static str,
        /// Where and why.
        source: serde_json::Error,
    },
    /// A value is JSON, but not what the key is for.
    #[error("key {key:?} is not usable: write {expected}")]
    Unusable {
        /// The key.
        key: &'static str,
        /// What it must hold.
        expected: &'static str,
    },
    /// A worker names a role that no product has.
    #[error(
        "key \"role\" is not usable: role {0:?} is not known; write roles with commas and no spaces between"
    )]
    UnknownRole(String),
}

/// Writes one key.
pub(super) fn put(bag: &mut Databag, key: &str, value: &(impl Serialize + ?Sized)) {
    bag.insert(key.to_owned(), json::to_text(value));
}

/// Writes a key that has a value. An empty collection is a value, and is written.
pub(super) fn put_some(bag: &mut Databag, key: &str, value: Option<&impl Serialize>) {
    if let Some(value) = value {
        put(bag, key, value);
    }
}

/// Reads a key that must be there.
pub(super) fn required<T: DeserializeOwned>(
    bag: &Databag,
    key: &'static str,
    expected: &'static str,
) -> Result<T, DatabagError> {
    let text = bag.get(key).ok_or(DatabagError::Missing(key))?;
    // In two steps: what the second one says of a value could show it. Of keys that an object repeats, the last
    // one counts, as in Python.
    let value: Value = serde_json::from_str(text).map_err(|source| DatabagError::NotJson { key, source })?;
    serde_json::from_value(value).map_err(|_| DatabagError::Unusable { key, expected })
}

/// Reads a key that may be absent or null, which is the same.
pub(super) fn optional<T: DeserializeOwned>(
    bag: &Databag,
    key: &'static str,
    expected: &'static str,
) -> Result<Option<T>, DatabagError> {
    if bag.contains_key(key) { required(bag, key, expected) } else { Ok(None) }
}
