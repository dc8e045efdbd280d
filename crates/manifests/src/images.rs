//! The images of the workloads, and where each has its binary.

use muster_model::{Product, Version};

/// nginx as an unprivileged user.
pub(crate) const NGINX: &str = "docker.io/nginxinc/nginx-unprivileged:1.28";
/// nginx in its image.
pub(crate) const NGINX_BINARY: &str = "/usr/sbin/nginx";

/// The image of a product's version line, as its makers publish it.
pub(crate) fn workload(product: Product, version: Version) -> String {
    let name = match product {
        Product::Mimir => "docker.io/grafana/mimir",
        Product::Loki => "docker.io/grafana/loki",
        Product::Tempo => "docker.io/grafana/tempo",
    };
    // The first release of a line: tags of lines do not exist.
    format!("{name}:{version}.0")
}

/// The product's binary in its image.
pub(crate) fn binary(product: Product) -> &'static str {
    match product {
        Product::Mimir => "/bin/mimir",
        Product::Loki => "/usr/bin/loki",
        Product::Tempo => "/tempo",
    }
}
