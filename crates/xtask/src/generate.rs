//! What is made from the code: the reference pages, the custom resource definitions, and everything to install.

mod chart;

use std::fmt::Write as _;
use std::fs;

use anyhow::{Context as _, bail};
use kube::CustomResourceExt as _;
use muster_api::{Coordinator, Unit, Worker};
use muster_manifests::images;
use muster_model::{Product, Reason, RoleSet};
use muster_products::charm::{self, OptionKind};
use muster_testkit::servers::workspace;

/// A file of the repository and what makes it.
type Made = (&'static str, fn() -> anyhow::Result<String>);

const FILES: &[Made] = &[
    ("docs/reference/roles.md", || Ok(format!("{PAGE_NOTE}{}", roles()?))),
    ("docs/reference/options.md", || Ok(format!("{PAGE_NOTE}{}", options()?))),
    ("docs/reference/reasons.md", || Ok(format!("{PAGE_NOTE}{}", reasons()?))),
    ("deploy/crds/coordinators.muster.dev.yaml", || definition(&Coordinator::crd())),
    ("deploy/crds/workers.muster.dev.yaml", || definition(&Worker::crd())),
    ("deploy/crds/units.muster.dev.yaml", || definition(&Unit::crd())),
    ("deploy/install.yaml", install),
    ("deploy/helm/muster/Chart.yaml", chart::description),
    ("deploy/helm/muster/crds/muster.dev.yaml", definitions),
    ("deploy/helm/muster/files/rules.yaml", chart::rules),
    ("deploy/helm/muster/files/lease-rules.yaml", chart::lease_rules),
    ("deploy/helm/muster/files/unit-reports.yaml", chart::unit_reports),
    ("deploy/helm/muster/files/deletion.yaml", chart::deletion),
    ("deploy/helm/muster/files/nesting.yaml", chart::nesting),
];
const PAGE_NOTE: &str = "<!-- Made by `cargo xtask generate`; do not edit. -->\n";
const YAML_NOTE: &str = "# Made by `cargo xtask generate`; do not edit.\n";
/// The operator with all that it needs besides the custom resource definitions.
const OPERATOR: &str = "deploy/operator.yaml";

/// Writes all files, or with `check` fails if one is not as it would be written.
///
/// # Errors
/// A file is stale, or cannot be read or written.
pub(crate) fn run(check: bool) -> anyhow::Result<()> {
    for (name, make) in FILES {
        let path = workspace().join(name);
        let text = make()?;
        if !check {
            if let Some(directory) = path.parent() {
                fs::create_dir_all(directory)
                    .with_context(|| format!("failed to make {}", directory.display()))?;
            }
            fs::write(&path, text).with_context(|| format!("failed to write {}", path.display()))?;
        } else if fs::read_to_string(&path).unwrap_or_default() != text {
            bail!("{name} is stale: run `cargo xtask generate` and commit what it writes");
        }
    }
    Ok(())
}

fn definition(definition: &impl serde::Serialize) -> anyhow::Result<String> {
    Ok(format!("{YAML_NOTE}{}", muster_model::yaml::to_string(definition)?))
}

fn definitions() -> anyhow::Result<String> {
    let all = [Coordinator::crd(), Worker::crd(), Unit::crd()];
    let texts: Vec<String> = all.iter().map(muster_model::yaml::to_string).collect::<Result<_, _>>()?;
    Ok(format!("{YAML_NOTE}{}", texts.join("---\n")))
}

/// Everything to install, in the order in which it is to be applied.
fn install() -> anyhow::Result<String> {
    Ok(format!("{}---\n{}", definitions()?, operator()?))
}

fn operator() -> anyhow::Result<String> {
    let path = workspace().join(OPERATOR);
    let text = fs::read_to_string(&path).with_context(|| format!("failed to read {}", path.display()))?;
    if !text.contains(images::MUSTER) {
        bail!("{OPERATOR} does not run {}, which is this version's image", images::MUSTER);
    }
    Ok(text)
}

fn list(roles: &RoleSet) -> String {
    if roles.is_empty() {
        return "–".to_owned();
    }
    roles.iter().map(|role| format!("`{role}`")).collect::<Vec<_>>().join(", ")
}

fn roles() -> anyhow::Result<String> {
    let mut text = String::from(
        "# Roles\n\nWithout a required role the coordinator is blocked and all services stop. Without an optional one it is active and \
         degraded. A meta role stands for others.\n",
    );
    for product in Product::ALL {
        for version in muster_products::supported_versions(product) {
            let table = muster_products::role_table(product, *version)?;
            let per_unit = if table.exclusive { "exactly one role" } else { "any roles" };
            write!(text, "\n## {product} {version}: {per_unit} per worker\n\n| kind | roles |\n|---|---|\n")?;
            writeln!(text, "| required | {} |", list(&table.required))?;
            writeln!(text, "| optional | {} |", list(&table.optional))?;
            writeln!(text, "| accepted, never missed | {} |", list(&table.uncounted))?;
            for (meta, parts) in &table.meta {
                let meaning = if parts.contains(*meta) { "itself".to_owned() } else { list(parts) };
                writeln!(text, "| meta `{meta}` | {meaning} |")?;
            }
        }
    }
    Ok(text)
}

fn options() -> anyhow::Result<String> {
    let mut text = String::from(
        "# Charm options\n\nSet with `muster config APPLICATION OPTION=VALUE` or `muster deploy CHARM --config OPTION=VALUE`.\n",
    );
    for charm in charm::charms() {
        write!(text, "\n## {}\n\n| option | type | default | meaning |\n|---|---|---|---|\n", charm.name)?;
        for (name, option) in &charm.options {
            let kind = match option.kind {
                OptionKind::String => "string",
                OptionKind::Int => "int",
                OptionKind::Boolean => "boolean",
            };
            let default =
                option.default.as_ref().map_or_else(|| "–".to_owned(), |value| format!("`{value}`"));
            let meaning =
                option.description.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|");
            writeln!(text, "| `{name}` | {kind} | {default} | {meaning} |")?;
        }
    }
    Ok(text)
}

fn reasons() -> anyhow::Result<String> {
    let mut text = String::from(
        "# Statuses and reasons\n\nA worse status hides a better one: `error` > `blocked` > `maintenance` > `waiting` > `active`. \
         The message says what is wrong and what fixes it. Conditions in `muster status -o json` carry one of these reasons.\n\n\
         | reason | meaning |\n|---|---|\n",
    );
    for (reason, meaning) in Reason::ALL {
        writeln!(text, "| `{}` | {} |", reason.as_str(), meaning.trim())?;
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use muster_model::Role;

    use super::*;

    #[test]
    fn every_page_speaks_of_everything() {
        let text = roles().unwrap();
        assert!(Role::ALL.iter().all(|role| text.contains(&format!("`{role}`"))));
        assert!(charm::charms().all(|charm| options().unwrap().contains(&charm.name.to_string())));
        assert!(Reason::ALL.iter().all(|(reason, _)| reasons().unwrap().contains(reason.as_str())));
    }
}
