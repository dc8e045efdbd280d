//! The version line that a coordinator's pods are made for.

use muster_api::CoordinatorSpec;
use muster_model::{Product, RoleTable, Version};
use muster_products::{Workload, check_version, role_table, supported_versions, workload};

/// One line of a product that this build runs.
#[derive(Clone, Copy)]
pub(crate) struct Line {
    pub(crate) product: Product,
    pub(crate) version: Version,
    pub(crate) table: &'static RoleTable,
    pub(crate) workload: &'static dyn Workload,
}

impl Line {
    /// The line that a coordinator asks for: the newest where it names none.
    pub(crate) fn asked_for(spec: &CoordinatorSpec) -> Option<Self> {
        let Some(version) = &spec.version else { return Self::newest(spec) };
        let product = spec.product.parse().ok()?;
        let version = version.parse().ok()?;
        check_version(product, version).ok()?;
        Self::of(product, version)
    }

    /// The newest line of a coordinator's product, whichever is asked for.
    pub(crate) fn newest(spec: &CoordinatorSpec) -> Option<Self> {
        let product = spec.product.parse().ok()?;
        Self::of(product, *supported_versions(product).first()?)
    }

    fn of(product: Product, version: Version) -> Option<Self> {
        let table = role_table(product, version).ok()?;
        Some(Self { product, version, table, workload: workload(product) })
    }
}
