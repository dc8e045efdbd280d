//! Models as YAML.

use anyhow::Context as _;
use muster_testkit::servers;

/// The monolithic Mimir, with which users start, but for two minutes that units which go would stay: tests of transitions have these.
///
/// # Errors
/// It cannot be read.
pub fn monolithic() -> anyhow::Result<String> {
    const PRODUCT: &str = "  product: mimir\n";
    let example = example("mimir-monolithic")?;
    let (before, after) = example.split_once(PRODUCT).context("the example has no product")?;
    Ok(format!("{before}{PRODUCT}  transitions: {{readHold: Never}}\n{after}"))
}

/// One of the examples, by its name without `.yaml`.
///
/// # Errors
/// It cannot be read.
pub fn example(name: &str) -> anyhow::Result<String> {
    let path = servers::workspace().join("deploy/examples").join(format!("{name}.yaml"));
    std::fs::read_to_string(&path).with_context(|| format!("failed to read {}", path.display()))
}

/// A Mimir coordinator with these further lines in its spec, each indented by two spaces.
#[must_use]
pub fn coordinator(name: &str, spec: &str) -> String {
    coordinator_of("mimir", name, spec)
}

/// The same of any product.
#[must_use]
pub fn coordinator_of(product: &str, name: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: muster.dev/v1alpha1\nkind: Coordinator\nmetadata:\n  name: {name}\nspec:\n  product: {product}\n{spec}\n"
    )
}

/// A worker of that coordinator with these roles switched on, and no other.
#[must_use]
pub fn worker(name: &str, coordinator: &str, units: u32, roles: &[&str]) -> String {
    let all = if roles.contains(&"all") { "" } else { "all: false, " };
    let roles: Vec<_> = roles.iter().map(|role| format!("{role}: true")).collect();
    let roles = format!("{all}{}", roles.join(", "));
    format!(
        "---\napiVersion: muster.dev/v1alpha1\nkind: Worker\nmetadata:\n  name: {name}\nspec:\n  coordinator: {coordinator}\n  \
         units: {units}\n  roles: {{{roles}}}\n"
    )
}
