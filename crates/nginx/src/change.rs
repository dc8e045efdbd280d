//! What a change of the document means for those who still work by the old one.

use std::collections::{BTreeMap, BTreeSet};

/// Each upstream's servers, and all other lines.
fn parts(document: &str) -> (BTreeMap<&str, BTreeSet<&str>>, Vec<&str>) {
    let (mut upstreams, mut rest) = (BTreeMap::<&str, BTreeSet<&str>>::new(), Vec::new());
    let mut upstream = None;
    for line in document.lines().map(str::trim) {
        match (upstream, line.strip_prefix("upstream ")) {
            (_, Some(name)) => upstream = Some(name),
            (Some(_), _) if line == "}" => upstream = None,
            (Some(name), _) if line.starts_with("server ") => {
                upstreams.entry(name).or_default().insert(line);
            }
            _ => rest.push(line),
        }
    }
    (upstreams, rest)
}

/// Whether a document of [`layout`](crate::layout) has no unit to send requests to.
#[must_use]
pub fn routes_nowhere(document: &str) -> bool {
    parts(document).0.is_empty()
}

/// Whether `new` does all that `old` does, with the same units and more of them: a worker that still goes by `old` then answers as
/// well as one that goes by `new`. Both are documents of [`layout`](crate::layout).
#[must_use]
pub fn only_adds_servers(old: &str, new: &str) -> bool {
    let ((old, old_rest), (new, new_rest)) = (parts(old), parts(new));
    old_rest == new_rest
        && old.len() == new.len()
        && old.iter().all(|(name, servers)| new.get(name).is_some_and(|more| more.is_superset(servers)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: &str = "http {\n    server {\n        listen 80;\n        return 503;\n    }\n}\n";

    fn with(servers: &[&str], location: &str) -> String {
        let servers: Vec<String> = servers.iter().map(|s| format!("        server {s}:80;\n")).collect();
        format!(
            "http {{\n    upstream a {{\n{}        keepalive 8;\n    }}\n    server {{\n        {location}\n    }}\n}}\n",
            servers.concat()
        )
    }

    #[test]
    fn more_servers_of_the_same_upstreams_and_nothing_else_is_an_addition() {
        let (one, two) = (with(&["h"], "x;"), with(&["g", "h"], "x;"));
        assert!(only_adds_servers(&one, &two) && only_adds_servers(&one, &one));
        assert!(!only_adds_servers(&two, &one), "one was taken out");
        assert!(!only_adds_servers(&one, &with(&["g"], "x;")), "one was exchanged");
        assert!(!only_adds_servers(&one, &with(&["g", "h"], "y;")), "something else changed");
        assert!(!only_adds_servers(NONE, &one), "there was no answer before");
        assert!(routes_nowhere(NONE) && !routes_nowhere(&one));
    }
}
