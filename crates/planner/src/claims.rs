//! One bucket and path belong to one coordinator.

use std::collections::BTreeMap;

use muster_model::ObjectStorage;

use crate::observed::CarryOver;

/// A coordinator that names a bucket.
#[derive(Debug, Clone, Copy)]
pub struct Claim<'a, K> {
    /// The coordinator, by a key that tells it from all others.
    pub coordinator: K,
    /// What it names.
    pub storage: &'a ObjectStorage,
    /// What its last plan decided, where there was one.
    pub carry: Option<&'a CarryOver>,
}

impl<K> Claim<'_, K> {
    /// Names the bucket and path, the same for everybody who means them.
    #[must_use]
    pub fn place(&self) -> String {
        place(self.storage)
    }

    /// Whether the coordinator's units already run with what it names.
    fn is_held(&self) -> bool {
        self.carry.and_then(|carry| carry.store.as_ref()).is_some_and(|store| *store == self.place())
    }
}

pub(crate) fn place(storage: &ObjectStorage) -> String {
    let ObjectStorage { endpoint, bucket, path, .. } = storage;
    format!("{}/{bucket}/{}", endpoint.authority.to_ascii_lowercase(), path.as_deref().unwrap_or_default())
}

/// Of `claims`, in order of the coordinators' creation: those that name a bucket and path that belong to another, with that
/// other coordinator. They belong to the one whose units run with them, else to the first.
#[must_use]
pub fn contested<'a, K: Clone + Ord>(claims: impl IntoIterator<Item = Claim<'a, K>>) -> BTreeMap<K, K> {
    let (held, new): (Vec<_>, Vec<_>) = claims.into_iter().partition(Claim::is_held);
    let mut owners: BTreeMap<String, K> = BTreeMap::new();
    let mut contested = BTreeMap::new();
    for claim in held.into_iter().chain(new) {
        match owners.get(&claim.place()) {
            Some(owner) => {
                contested.insert(claim.coordinator, owner.clone());
            }
            None => {
                owners.insert(claim.place(), claim.coordinator);
            }
        }
    }
    contested
}
