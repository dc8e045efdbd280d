//! One bucket and path belong to one coordinator.

use std::collections::BTreeMap;

use muster_model::{AppName, ObjectStorage};

/// A coordinator that names a bucket.
#[derive(Debug, Clone, Copy)]
pub struct Claim<'a> {
    /// The coordinator.
    pub coordinator: &'a AppName,
    /// What it names.
    pub storage: &'a ObjectStorage,
}

/// Of `claims`, in order of the coordinators' creation: those that name a bucket and path that an earlier one already has,
/// with that earlier coordinator.
#[must_use]
pub fn contested<'a>(claims: impl IntoIterator<Item = Claim<'a>>) -> BTreeMap<AppName, AppName> {
    let mut owners: BTreeMap<_, &AppName> = BTreeMap::new();
    let mut contested = BTreeMap::new();
    for Claim { coordinator, storage } in claims {
        let place = (&storage.endpoint.authority, &storage.bucket, &storage.path);
        match owners.get(&place) {
            Some(owner) => {
                contested.insert(coordinator.clone(), (*owner).clone());
            }
            None => {
                owners.insert(place, coordinator);
            }
        }
    }
    contested
}
