//! Manifests: every version stands in the workspace's manifest, once.

use super::Violation;

const REMEDY: &str = "put the version into [workspace.dependencies] and write `{ workspace = true }` here";

/// Checks the manifest of a member of the workspace. Other files are none of its business.
pub(super) fn check(file: &str, text: &str) -> Vec<Violation> {
    let member = file.ends_with("/Cargo.toml") && (file.starts_with("crates/") || file == "tests/Cargo.toml");
    if !member {
        return Vec::new();
    }
    let mut violations = Vec::new();
    let mut section = Section::Other;
    for (number, line) in text.lines().enumerate().map(|(index, line)| (index + 1, line.trim())) {
        let violation = |what: &str| Violation {
            place: format!("{file}:{number}"),
            what: what.to_owned(),
            remedy: REMEDY,
        };
        if let Some(header) = line.strip_prefix('[') {
            section = Section::of(header.trim_end_matches(']'));
            if section == Section::OneDependency {
                violations.push(violation("a table for one dependency"));
            }
        } else if section == Section::Dependencies
            && let Some((name, value)) = line.split_once('=').filter(|(name, _)| !name.starts_with('#'))
            && !(name.trim().ends_with(".workspace") && value.trim() == "true")
            && !value.replace(' ', "").contains("workspace=true")
        {
            violations.push(violation(&format!("dependency {:?} is not the workspace's", name.trim())));
        }
    }
    violations
}

#[derive(Debug, PartialEq, Eq)]
enum Section {
    Dependencies,
    OneDependency,
    Other,
}

impl Section {
    /// What stands under a header: `dependencies`, `target.'cfg(unix)'.dev-dependencies`, `dependencies.serde` …
    fn of(header: &str) -> Self {
        let kinds = ["dependencies", "dev-dependencies", "build-dependencies"];
        let of_target =
            |header: &str, kind: &str| header.starts_with("target.") && header.ends_with(&format!(".{kind}"));
        if kinds.iter().any(|kind| header == *kind || of_target(header, kind)) {
            Self::Dependencies
        } else if kinds.iter().any(|kind| header.contains(&format!("{kind}."))) {
            Self::OneDependency
        } else {
            Self::Other
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        check("crates/a/Cargo.toml", text).into_iter().map(|violation| violation.place).collect()
    }

    #[test]
    fn versions_stand_in_the_workspace_only() {
        let good = "[package]\nname = \"a\"\nversion = \"1\"\n[dependencies]\n# a = \"1\"\nserde = { workspace = true }\n\
                    b.workspace = true\n[dev-dependencies]\nc = { workspace = true, features = [\"x\"] }\n[features]\nx = []\n";
        assert_eq!(lines(good), Vec::<String>::new());
        assert_eq!(lines("[dependencies]\nserde = \"1\"\n"), ["crates/a/Cargo.toml:2"]);
        assert_eq!(lines("[dev-dependencies]\nserde = { version = \"1\" }\n"), ["crates/a/Cargo.toml:2"]);
        assert_eq!(lines("[target.'cfg(unix)'.dependencies]\nnix = \"1\"\n"), ["crates/a/Cargo.toml:2"]);
        assert_eq!(lines("[dependencies.serde]\nversion = \"1\"\n"), ["crates/a/Cargo.toml:1"]);
        assert_eq!(check("Cargo.toml", "[dependencies]\nserde = \"1\"\n"), []);
    }
}
