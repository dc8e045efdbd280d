//! Filling the shared config for one unit: the placeholders that mean the same in every product.

use crate::UnitValues;
use crate::placeholder::{self, FillError, Filling, Placeholder};

/// Fills `document` for one unit. `own` fills what only this product has.
pub(crate) fn fill(
    document: &str,
    values: &UnitValues,
    own: impl Fn(Placeholder) -> Option<String>,
) -> Result<String, FillError> {
    placeholder::fill(document, |placeholder| {
        Some(Filling::Text(match placeholder {
            Placeholder::UnitAddress => values.address.clone(),
            Placeholder::UnitId => values.id.clone(),
            Placeholder::UnitData => values.data_directory.clone(),
            Placeholder::GossipSeeds => return Some(Filling::List(values.seeds.clone())),
            Placeholder::AccessKey => values.access_key.expose().to_owned(),
            Placeholder::SecretKey => values.secret_key.expose().to_owned(),
            Placeholder::CaFile => values.ca_file.clone()?,
            Placeholder::SchedulerDiscovery
            | Placeholder::SchedulerPrefix
            | Placeholder::FrontendAddress
            | Placeholder::CompactorAddress
            | Placeholder::CompactorOfCompactors
            | Placeholder::CompactorMode => own(placeholder)?,
        }))
    })
}
