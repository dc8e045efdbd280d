//! Which crate may depend on which.

use std::collections::BTreeSet;

use cargo_metadata::DependencyKind;

use super::Violation;

/// The layers, from below. A crate depends on lower layers only, and on its own where [`WITHIN`] says so.
const LAYERS: &[&[&str]] = &[
    &["muster-model"],
    &["muster-products", "muster-nginx", "muster-relation", "muster-api"],
    &["muster-planner", "muster-manifests"],
    &["muster-telemetry", "muster-s3", "muster-agent", "muster-kubernetes", "muster-local"],
    &["muster-coordinator", "muster-worker", "muster-cli"],
    &["muster-bundle"],
    &["muster-simulation", "muster-testkit", "xtask", "muster-tests"],
];

/// Layers up to this are pure: no async, clock, environment, files, network or randomness.
const LAST_PURE: usize = 2;

/// The layer of test doubles and chores. No product links it; tests do.
const TESTS: usize = 6;

/// Who may depend on whom within one layer.
const WITHIN: &[(&str, &str)] = &[
    ("muster-manifests", "muster-planner"),
    ("muster-agent", "muster-telemetry"),
    ("muster-kubernetes", "muster-s3"),
    ("muster-kubernetes", "muster-telemetry"),
    ("muster-local", "muster-agent"),
    ("muster-local", "muster-s3"),
    ("muster-local", "muster-telemetry"),
    ("xtask", "muster-testkit"),
    ("muster-tests", "muster-testkit"),
];

/// The only crate that links the AWS SDK.
const AWS: &str = "muster-s3";

fn layer(package: &str) -> Option<usize> {
    LAYERS.iter().position(|packages| packages.contains(&package))
}

pub(super) fn is_pure(package: &str) -> bool {
    layer(package).is_some_and(|layer| layer <= LAST_PURE)
}

/// Checks the dependencies that a package's own manifest names.
pub(super) fn check(package: &str, dependencies: &[(&str, DependencyKind)]) -> Vec<Violation> {
    let violation = |what: String, remedy| Violation { place: manifest(package), what, remedy };
    let Some(own) = layer(package) else {
        return vec![violation(
            format!("package {package:?} has no layer"),
            "give it one in LAYERS of crates/xtask/src/tidy/layers.rs",
        )];
    };
    let mut violations = Vec::new();
    for &(name, kind) in dependencies {
        if name.starts_with("aws-") && package != AWS {
            violations
                .push(violation(format!("depends on {name}"), "ask crates/s3: it alone links the AWS SDK"));
        }
        let Some(other) = layer(name) else { continue };
        // What only tests link does not shape the product.
        if kind == DependencyKind::Development {
            continue;
        }
        if other == TESTS && own < TESTS {
            violations.push(violation(format!("links {name}"), "make it a dev-dependency"));
        } else if other >= own && !WITHIN.contains(&(package, name)) {
            violations.push(violation(
                format!("depends on {name}, which is not below it"),
                "turn the dependency round, or move what both need into a lower crate",
            ));
        }
    }
    violations
}

/// Checks all that a pure package links, directly or not.
pub(super) fn check_reach(package: &str, reached: &BTreeSet<String>) -> Vec<Violation> {
    let effect = |name: &str| {
        matches!(name, "tokio" | "hyper" | "kube-client" | "nix" | "reqwest") || name.starts_with("aws-")
    };
    reached
        .iter()
        .filter(|name| effect(name))
        .map(|name| Violation {
            place: manifest(package),
            what: format!("reaches {name}"),
            remedy: "this crate is pure: move what needs it into a crate with effects (`cargo tree -i` shows the way)",
        })
        .collect()
}

fn manifest(package: &str) -> String {
    match package.strip_prefix("muster-").unwrap_or(package) {
        "tests" => "tests/Cargo.toml".to_owned(),
        folder => format!("crates/{folder}/Cargo.toml"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NORMAL: DependencyKind = DependencyKind::Normal;

    fn places(package: &str, dependency: &str, kind: DependencyKind) -> Vec<String> {
        check(package, &[(dependency, kind)]).into_iter().map(|violation| violation.place).collect()
    }

    #[test]
    fn dependencies_point_down() {
        for (package, dependency) in [
            ("muster-products", "muster-model"),
            ("muster-planner", "muster-products"),
            ("muster-local", "muster-agent"),
            ("muster-cli", "muster-local"),
            ("xtask", "muster-testkit"),
            ("muster-s3", "aws-sdk-s3"),
            ("muster-model", "serde"),
        ] {
            assert_eq!(places(package, dependency, NORMAL), Vec::<String>::new(), "{package} → {dependency}");
        }
        for (package, dependency, place) in [
            ("muster-model", "muster-products", "crates/model/Cargo.toml"),
            ("muster-nginx", "muster-products", "crates/nginx/Cargo.toml"),
            ("muster-agent", "muster-local", "crates/agent/Cargo.toml"),
            ("muster-cli", "muster-worker", "crates/cli/Cargo.toml"),
            ("muster-cli", "muster-testkit", "crates/cli/Cargo.toml"),
            ("muster-tests", "aws-sdk-s3", "tests/Cargo.toml"),
            ("muster-surprise", "serde", "crates/surprise/Cargo.toml"),
        ] {
            assert_eq!(places(package, dependency, NORMAL), [place], "{package} → {dependency}");
        }
    }

    #[test]
    fn tests_may_use_test_doubles_and_nobody_else_the_sdk() {
        assert_eq!(
            places("muster-planner", "muster-testkit", DependencyKind::Development),
            Vec::<String>::new()
        );
        assert_eq!(
            places("muster-local", "aws-sdk-s3", DependencyKind::Development),
            ["crates/local/Cargo.toml"]
        );
    }

    #[test]
    fn pure_crates_reach_no_effects() {
        assert!(
            is_pure("muster-planner") && is_pure("muster-api") && !is_pure("muster-s3") && !is_pure("serde")
        );
        let reached = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        assert_eq!(check_reach("muster-api", &reached(&["kube", "kube-core", "serde", "http"])), []);
        for effect in ["tokio", "kube-client", "hyper", "nix", "aws-config"] {
            assert_eq!(check_reach("muster-api", &reached(&["kube", effect])).len(), 1, "{effect}");
        }
    }
}
