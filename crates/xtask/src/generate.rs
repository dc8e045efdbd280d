//! The reference pages that are made from the code: roles, options, statuses and reasons.

use std::fmt::Write as _;
use std::fs;

use anyhow::{Context as _, bail};
use muster_model::{Product, Reason, RoleSet};
use muster_products::charm::{self, OptionKind};
use muster_testkit::servers::workspace;

/// A page below `docs/reference/` and what makes it.
type Page = (&'static str, fn() -> anyhow::Result<String>);

const PAGES: &[Page] = &[("roles.md", roles), ("options.md", options), ("reasons.md", reasons)];
const NOTE: &str = "<!-- Made by `cargo xtask generate`; do not edit. -->\n";

/// Writes all pages, or with `check` fails if one is not as it would be written.
///
/// # Errors
/// A page is stale, or cannot be read or written.
pub(crate) fn run(check: bool) -> anyhow::Result<()> {
    for (name, page) in PAGES {
        let path = workspace().join("docs/reference").join(name);
        let text = format!("{NOTE}{}", page()?);
        if !check {
            fs::write(&path, text).with_context(|| format!("failed to write {}", path.display()))?;
        } else if fs::read_to_string(&path).unwrap_or_default() != text {
            bail!("docs/reference/{name} is stale: run `cargo xtask generate` and commit what it writes");
        }
    }
    Ok(())
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
