//! What the relation is called in the charms' metadata.

use muster_model::Product;

/// The endpoint of both sides: the coordinator provides it, a worker requires it (and relates to one coordinator only).
#[must_use]
pub fn endpoint(product: Product) -> &'static str {
    match product {
        Product::Tempo => "tempo-cluster",
        Product::Mimir => "mimir-cluster",
        Product::Loki => "loki-cluster",
    }
}

/// The interface of the [`endpoint`].
#[must_use]
pub fn interface(product: Product) -> &'static str {
    match product {
        Product::Tempo => "tempo_cluster",
        Product::Mimir => "mimir_cluster",
        Product::Loki => "loki_cluster",
    }
}
