//! [`ClusterData`] as the entries of a Kubernetes Secret: one for each live revision, others for what stands beside them.

use std::collections::BTreeMap;

use muster_model::{ObjectStorage, Product, Revision, Secret, TlsMaterial, Version};

use crate::ClusterData;

const PRODUCT: &str = "product";
const VERSION: &str = "version";
const OBJECT_STORAGE: &str = "s3.json";
const CERTIFICATE: &str = "tls.crt";
const KEY: &str = "tls.key";
const AUTHORITIES: &str = "ca.crt";
/// What the entry of a document is called after its revision.
const DOCUMENT: &str = ".conf";

/// Why the entries of a Secret are no [`ClusterData`]. Never holds what an entry says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EntriesError {
    /// An entry is missing.
    #[error("the entry {0:?} is missing")]
    Missing(&'static str),
    /// An entry is not of its form.
    #[error("the entry {0:?} is not usable")]
    Unusable(String),
}

impl ClusterData {
    /// The data as entries.
    ///
    /// # Panics
    /// Never: an object store's data has text keys only, which JSON can always write.
    #[must_use]
    pub fn to_entries(&self) -> BTreeMap<String, Secret> {
        let mut entries = BTreeMap::from([
            (PRODUCT.to_owned(), Secret::new(self.product.to_string())),
            (VERSION.to_owned(), Secret::new(self.version.to_string())),
        ]);
        for (revision, text) in &self.documents {
            entries.insert(format!("{revision}{DOCUMENT}"), Secret::new(text.clone()));
        }
        if let Some(storage) = &self.object_storage {
            let json = serde_json::to_string(storage).expect("an object store's data has a JSON form");
            entries.insert(OBJECT_STORAGE.to_owned(), Secret::new(json));
        }
        if let Some(TlsMaterial { certificate, key, ca }) = &self.tls {
            entries.insert(CERTIFICATE.to_owned(), Secret::new(certificate.clone()));
            entries.insert(KEY.to_owned(), key.clone());
            if let Some(ca) = ca {
                entries.insert(AUTHORITIES.to_owned(), Secret::new(ca.clone()));
            }
        }
        entries
    }

    /// Reads entries. Those that this build does not know are ignored.
    ///
    /// # Errors
    /// An entry that must be there is not, or one does not have its form.
    pub fn from_entries(entries: &BTreeMap<String, Secret>) -> Result<Self, EntriesError> {
        let unusable = |name: &str| EntriesError::Unusable(name.to_owned());
        let entry = |name: &'static str| entries.get(name).map(Secret::expose);
        let product: Product =
            entry(PRODUCT).ok_or(EntriesError::Missing(PRODUCT))?.parse().map_err(|_| unusable(PRODUCT))?;
        let version: Version =
            entry(VERSION).ok_or(EntriesError::Missing(VERSION))?.parse().map_err(|_| unusable(VERSION))?;
        let mut documents = BTreeMap::new();
        for (name, text) in entries {
            let Some(revision) = name.strip_suffix(DOCUMENT) else { continue };
            let revision: Revision = revision.parse().map_err(|_| unusable(name))?;
            documents.insert(revision, text.expose().to_owned());
        }
        let object_storage: Option<ObjectStorage> = entry(OBJECT_STORAGE)
            .map(|json| serde_json::from_str(json).map_err(|_| unusable(OBJECT_STORAGE)))
            .transpose()?;
        let tls = match (entry(CERTIFICATE), entries.get(KEY)) {
            (Some(certificate), Some(key)) => Some(TlsMaterial {
                certificate: certificate.to_owned(),
                key: key.clone(),
                ca: entry(AUTHORITIES).map(str::to_owned),
            }),
            (None, None) => None,
            (Some(_), None) => return Err(EntriesError::Missing(KEY)),
            (None, Some(_)) => return Err(EntriesError::Missing(CERTIFICATE)),
        };
        Ok(Self { product, version, documents, object_storage, tls })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn storage() -> ObjectStorage {
        let pairs =
            [("endpoint", "https://s3"), ("bucket", "bucket"), ("access-key", "AK"), ("secret-key", "SK")];
        ObjectStorage::from_secret(&pairs.map(|(k, v)| (k.to_owned(), Secret::new(v))).into()).unwrap()
    }

    fn any_data() -> impl Strategy<Value = ClusterData> {
        let tls = proptest::option::of((".*", ".*", proptest::option::of(".*")));
        (proptest::collection::vec(".*", 0..4), any::<bool>(), tls).prop_map(|(texts, stored, tls)| {
            ClusterData {
                product: Product::Mimir,
                version: "2.17".parse().unwrap(),
                documents: texts.into_iter().map(|text| (Revision::of([text.as_bytes()]), text)).collect(),
                object_storage: stored.then(storage),
                tls: tls.map(|(certificate, key, ca)| TlsMaterial { certificate, key: Secret::new(key), ca }),
            }
        })
    }

    proptest! {
        #[test]
        fn entries_say_all_of_it(data in any_data(), more in "[a-z]{1,8}") {
            let mut entries = data.to_entries();
            entries.entry(format!("x-{more}")).or_default();
            prop_assert_eq!(ClusterData::from_entries(&entries), Ok(data));
            let usable = |name: &str| name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
            prop_assert!(entries.keys().all(|name| usable(name)));
        }
    }

    #[test]
    fn what_is_wrong_is_named_and_not_shown() {
        let good = ClusterData {
            product: Product::Mimir,
            version: "2.17".parse().unwrap(),
            documents: BTreeMap::new(),
            object_storage: Some(storage()),
            tls: None,
        }
        .to_entries();
        for (name, value, expect) in [
            (PRODUCT, Some("prometheus"), "the entry \"product\" is not usable"),
            (PRODUCT, None, "the entry \"product\" is missing"),
            (OBJECT_STORAGE, Some("{hunter2"), "the entry \"s3.json\" is not usable"),
            ("../x.conf", Some("a"), "the entry \"../x.conf\" is not usable"),
            (CERTIFICATE, Some("pem"), "the entry \"tls.key\" is missing"),
        ] {
            let mut entries = good.clone();
            match value {
                Some(value) => entries.insert(name.to_owned(), Secret::new(value)),
                None => entries.remove(name),
            };
            assert_eq!(ClusterData::from_entries(&entries).unwrap_err().to_string(), expect);
        }
    }
}
