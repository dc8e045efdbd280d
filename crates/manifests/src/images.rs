//! The images: Muster's own, those of the workloads, and where each of these has its binary.

use muster_model::{Product, Version};

/// Muster's own, as it is published.
pub const MUSTER: &str = concat!("ghcr.io/muster-dev/muster:", env!("CARGO_PKG_VERSION"));
/// nginx as an unprivileged user.
pub const NGINX: &str = "docker.io/nginxinc/nginx-unprivileged:1.28";
/// nginx in its image.
pub(crate) const NGINX_BINARY: &str = "/usr/sbin/nginx";

/// The release that is run of each line, as its makers publish it. There are no tags of whole lines.
const RELEASES: [(Product, &str, &str); 3] = [
    (Product::Mimir, "2.17", "docker.io/grafana/mimir:2.17.5"),
    (Product::Loki, "3.7", "docker.io/grafana/loki:3.7.6"),
    (Product::Tempo, "2.10", "docker.io/grafana/tempo:2.10.8"),
];

/// The image of a product's version line, if one is known.
#[must_use]
pub fn workload(product: Product, version: Version) -> Option<&'static str> {
    let line = version.to_string();
    RELEASES.iter().find(|(of, version, _)| *of == product && *version == line).map(|(_, _, image)| *image)
}

/// Where the product's image has its binary.
#[must_use]
pub fn binary(product: Product) -> &'static str {
    match product {
        Product::Mimir => "/bin/mimir",
        Product::Loki => "/usr/bin/loki",
        Product::Tempo => "/tempo",
    }
}

#[cfg(test)]
mod tests {
    use muster_products::supported_versions;

    use super::*;

    #[test]
    fn every_supported_line_has_an_image() {
        for product in [Product::Mimir, Product::Loki, Product::Tempo] {
            for version in supported_versions(product) {
                assert!(workload(product, *version).is_some(), "{product} {version}");
            }
        }
        assert_eq!(workload(Product::Mimir, "2.1".parse().unwrap()), None);
    }
}
