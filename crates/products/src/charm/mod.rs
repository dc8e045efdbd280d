//! The charms: what can be deployed, and its options. Declared in `charms/*/charmcraft.yaml`, in charmcraft's own
//! format, and built in.

mod options;
mod rules;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use muster_model::{Product, yaml};
use serde::Deserialize;
use serde_json::Value;

pub use options::{OptionProblem, Options};

/// The option of every coordinator that says whether clients name their tenant.
pub const MULTI_TENANCY: &str = "multi-tenancy";

/// One thing that can be deployed.
#[derive(Debug, Clone, PartialEq)]
pub struct Charm {
    /// The name to deploy it by, `mimir-worker-k8s`.
    pub name: String,
    /// What it is.
    pub kind: CharmKind,
    /// A heading.
    pub title: String,
    /// What it is for, in one sentence.
    pub summary: String,
    /// What it is for, in a few sentences.
    pub description: String,
    /// Its options by name.
    pub options: BTreeMap<String, CharmOption>,
}

/// What a charm is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum CharmKind {
    /// The coordinator of a product.
    Coordinator(Product),
    /// A worker of a product.
    Worker(Product),
    /// The holder of a bucket's address and credentials.
    S3Integrator,
}

/// One option of a charm.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct CharmOption {
    /// The type of its values.
    #[serde(rename = "type")]
    pub kind: OptionKind,
    /// The value where none is given; a value of the option's type.
    #[serde(default)]
    pub default: Option<Value>,
    /// What it means.
    pub description: String,
}

/// The types of option values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OptionKind {
    /// A text.
    String,
    /// A whole number.
    Int,
    /// true or false.
    Boolean,
}

/// The charm of that name.
#[must_use]
pub fn charm(name: &str) -> Option<&'static Charm> {
    charms().find(|charm| charm.name == name)
}

/// All charms, in the order of [`CharmKind`].
pub fn charms() -> impl Iterator<Item = &'static Charm> {
    CHARMS.values()
}

/// The coordinator charm of a product.
#[must_use]
pub fn coordinator(product: Product) -> &'static Charm {
    &CHARMS[&CharmKind::Coordinator(product)]
}

/// The worker charm of a product.
#[must_use]
pub fn worker(product: Product) -> &'static Charm {
    &CHARMS[&CharmKind::Worker(product)]
}

/// The charm that holds a bucket's address and credentials.
#[must_use]
pub fn s3_integrator() -> &'static Charm {
    &CHARMS[&CharmKind::S3Integrator]
}

macro_rules! declaration {
    ($name:literal) => {
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../charms/", $name, "/charmcraft.yaml"))
    };
}

const DECLARATIONS: [(CharmKind, &str); 7] = [
    (CharmKind::Coordinator(Product::Tempo), declaration!("tempo-coordinator-k8s")),
    (CharmKind::Coordinator(Product::Mimir), declaration!("mimir-coordinator-k8s")),
    (CharmKind::Coordinator(Product::Loki), declaration!("loki-coordinator-k8s")),
    (CharmKind::Worker(Product::Tempo), declaration!("tempo-worker-k8s")),
    (CharmKind::Worker(Product::Mimir), declaration!("mimir-worker-k8s")),
    (CharmKind::Worker(Product::Loki), declaration!("loki-worker-k8s")),
    (CharmKind::S3Integrator, declaration!("s3-integrator")),
];

static CHARMS: LazyLock<BTreeMap<CharmKind, Charm>> = LazyLock::new(|| {
    let read = |(kind, text): (CharmKind, &str)| {
        let declared: Declaration =
            yaml::from_str(text).expect("the charms are built in and this crate's tests read them");
        let Declaration { name, title, summary, description, config } = declared;
        let description = description.trim_end().to_owned();
        (kind, Charm { name, kind, title, summary, description, options: config.options })
    };
    DECLARATIONS.into_iter().map(read).collect()
});

/// The part of a charmcraft.yaml that Muster reads.
#[derive(Deserialize)]
struct Declaration {
    name: String,
    title: String,
    summary: String,
    description: String,
    config: Config,
}

#[derive(Deserialize)]
struct Config {
    options: BTreeMap<String, CharmOption>,
}

#[cfg(test)]
mod tests {
    use muster_model::Role;

    use super::*;
    use crate::{role_table, supported_versions};

    fn raw(kind: CharmKind) -> Value {
        let (_, text) = DECLARATIONS.iter().find(|(declared, _)| *declared == kind).unwrap();
        yaml::from_str(text).unwrap()
    }

    #[test]
    fn names_follow_kinds() {
        for of in charms() {
            let name = match of.kind {
                CharmKind::Coordinator(product) => format!("{product}-coordinator-k8s"),
                CharmKind::Worker(product) => format!("{product}-worker-k8s"),
                CharmKind::S3Integrator => "s3-integrator".to_owned(),
            };
            assert_eq!(of.name, name);
            assert_eq!(charm(&name), Some(of));
        }
        assert_eq!(charms().count(), 7);
        assert_eq!(charm("mimir"), None);
        assert_eq!(coordinator(Product::Loki).name, "loki-coordinator-k8s");
        assert_eq!(worker(Product::Tempo).name, "tempo-worker-k8s");
        assert_eq!(s3_integrator().name, "s3-integrator");
    }

    #[test]
    fn worker_options_are_the_roles() {
        for product in Product::ALL {
            let table = role_table(product, supported_versions(product)[0]).unwrap();
            let options: Vec<_> = worker(product).options.keys().cloned().collect();
            let roles: Vec<_> = table.roles().iter().map(|role| format!("role-{role}")).collect();
            assert_eq!(options, roles, "{product}");
            for (name, option) in &worker(product).options {
                assert_eq!(option.kind, OptionKind::Boolean);
                assert_eq!(
                    option.default,
                    Some(Value::Bool(*name == format!("role-{}", Role::All))),
                    "{name}"
                );
            }
        }
    }

    #[test]
    fn declarations_are_whole() {
        for charm in charms() {
            let raw = raw(charm.kind);
            for key in
                ["name", "type", "title", "summary", "description", "base", "platforms", "assumes", "config"]
            {
                assert!(!raw[key].is_null(), "{}: {key}", charm.name);
            }
            assert_eq!(raw["type"], "charm");
            assert!(charm.summary.len() < 79, "{}: charmcraft wants a short summary", charm.name);
            // Every container has a resource, every mount a storage.
            for container in
                raw["containers"].as_object().into_iter().flatten().map(|(_, container)| container)
            {
                let resource = container["resource"].as_str().unwrap();
                assert_eq!(raw["resources"][resource]["type"], "oci-image", "{}", charm.name);
                for mount in container["mounts"].as_array().into_iter().flatten() {
                    assert!(raw["storage"][mount["storage"].as_str().unwrap()].is_object(), "{}", charm.name);
                }
            }
            assert!(!charm.options.is_empty());
            for (name, option) in &charm.options {
                let kebab = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
                assert!(kebab && !option.description.is_empty(), "{}: {name}", charm.name);
            }
        }
    }

    #[test]
    fn relations_fit_each_other() {
        let interface =
            |raw: &Value, side: &str, name: &str| raw[side][name]["interface"].as_str().map(str::to_owned);
        for product in Product::ALL {
            let (coordinator, worker) =
                (raw(CharmKind::Coordinator(product)), raw(CharmKind::Worker(product)));
            let cluster = format!("{product}-cluster");
            assert_eq!(interface(&coordinator, "provides", &cluster), Some(format!("{product}_cluster")));
            assert_eq!(interface(&worker, "requires", &cluster), Some(format!("{product}_cluster")));
            let s3 = interface(&raw(CharmKind::S3Integrator), "provides", "s3-credentials");
            assert_eq!(interface(&coordinator, "requires", "s3"), s3);
            assert!(s3.is_some());
        }
        let [tempo, mimir] =
            [Product::Tempo, Product::Mimir].map(|product| raw(CharmKind::Coordinator(product)));
        let sends = interface(&tempo, "requires", "send-remote-write");
        assert_eq!(sends.as_deref(), Some("prometheus_remote_write"));
        assert_eq!(sends, interface(&mimir, "provides", "receive-remote-write"));
    }
}
