//! Source files and other texts, by name and by line.

use super::Violation;

/// Crates whose products start processes, and code that only tests and chores run.
const MAY_SPAWN: &[&str] = &["crates/agent/", "crates/local/", "crates/testkit/", "crates/xtask/", "tests/"];

/// Names that say nothing about what a module holds.
const EMPTY_NAMES: &[&str] = &["common", "helper", "helpers", "manager", "misc", "util", "utils"];

/// The modules that need unsafe code. Each says why at its top.
const UNSAFE: &[&str] = &[];

/// Paths of the machines that the project was written on. In two pieces, so that this file does not break its rule.
const MACHINE_PATHS: &[&str] = &[concat!("/wo", "rk/"), concat!("/ro", "ot/")];

/// Checks one file, given by its path from the workspace's root.
pub(super) fn check(file: &str, text: &str) -> Vec<Violation> {
    let mut violations = Vec::new();
    let rust = file.ends_with(".rs");
    if rust
        && let Some(name) = file.trim_end_matches(".rs").split('/').find(|name| EMPTY_NAMES.contains(name))
    {
        violations.push(Violation {
            place: file.to_owned(),
            what: format!("a module is called {name:?}"),
            remedy: "name it after what it holds",
        });
    }
    for (number, line) in text.lines().enumerate().map(|(index, line)| (index + 1, line)) {
        let mut report = |what: String, remedy| {
            violations.push(Violation { place: format!("{file}:{number}"), what, remedy })
        };
        if let Some(path) = MACHINE_PATHS.iter().find(|path| mentions(line, path)) {
            report(
                format!("names the machine path {path}"),
                "write it relative to the workspace or take it from the user",
            );
        }
        if !rust {
            continue;
        }
        if in_product(file) && spawns(line) && !MAY_SPAWN.iter().any(|prefix| file.starts_with(prefix)) {
            report(
                "starts processes".to_owned(),
                "let crates/agent or crates/local do it: they end what they start",
            );
        }
        if line.replace(' ', "").contains(concat!("(unsafe", "_code")) && !UNSAFE.contains(&file) {
            report(
                "allows unsafe code".to_owned(),
                "do without, or list the module in crates/xtask/src/tidy/sources.rs",
            );
        }
    }
    violations
}

/// Whether a file is part of a crate's library or program, and not one of its integration tests.
fn in_product(file: &str) -> bool {
    file.split('/').nth(2) == Some("src")
}

/// Whether a line uses the standard library's or tokio's `Command`.
fn spawns(line: &str) -> bool {
    let Some((_, rest)) = line.split_once("process::") else { return false };
    rest.starts_with("Command") || (rest.starts_with('{') && rest.contains("Command"))
}

/// Whether a line has the path where a path can begin, and not within a longer one.
fn mentions(line: &str, path: &str) -> bool {
    line.match_indices(path).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        before
            .is_none_or(|before| !before.is_alphanumeric() && !matches!(before, '.' | '_' | '-' | '}' | '/'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whats(file: &str, text: &str) -> Vec<String> {
        check(file, text).into_iter().map(|violation| violation.what).collect()
    }

    #[test]
    fn only_supervising_crates_start_processes() {
        for line in [
            "use std::process::Command;",
            "use tokio::process::{Child, Command};",
            "std::process::Command::new(x)",
        ] {
            assert_eq!(whats("crates/cli/src/up.rs", line), ["starts processes"], "{line}");
            assert_eq!(whats("crates/agent/src/driver.rs", line), Vec::<String>::new());
            assert_eq!(whats("crates/nginx/tests/syntax.rs", line), Vec::<String>::new());
        }
        for line in ["use std::process::ExitCode;", "std::process::id()", "enum Command { A }"] {
            assert_eq!(whats("crates/cli/src/up.rs", line), Vec::<String>::new(), "{line}");
        }
    }

    #[test]
    fn modules_have_names() {
        assert_eq!(whats("crates/cli/src/utils.rs", ""), ["a module is called \"utils\""]);
        assert_eq!(whats("crates/cli/src/common/mod.rs", ""), ["a module is called \"common\""]);
        assert_eq!(whats("crates/cli/src/commons.rs", ""), Vec::<String>::new());
        assert_eq!(whats("docs/common.md", ""), Vec::<String>::new());
    }

    #[test]
    fn unsafe_code_is_listed() {
        let line = concat!("#[allow(unsafe", "_code)]");
        assert_eq!(whats("crates/cli/src/up.rs", line), ["allows unsafe code"]);
        assert_eq!(whats("docs/lints.md", line), Vec::<String>::new());
    }

    #[test]
    fn machine_paths_are_found_in_any_text() {
        let path = MACHINE_PATHS[0];
        for line in [format!("cd {path}x"), format!("\"{path}\""), format!("={path}y")] {
            assert_eq!(whats("docs/a.md", &line).len(), 1, "{line}");
        }
        for line in
            [format!("frame{}", &path[1..]), format!("https://example.com/a{path}b"), format!("./a{path}")]
        {
            assert_eq!(whats("docs/a.md", &line), Vec::<String>::new(), "{line}");
        }
    }
}
