//! What a change of the document means for those who still work by the old one.

use std::collections::BTreeMap;

use crate::layout::NEVER_LEFT_OUT;

/// Each upstream's servers, with what is said of them, and all other lines.
fn parts(document: &str) -> (BTreeMap<&str, BTreeMap<&str, &str>>, Vec<&str>) {
    let (mut upstreams, mut rest) = (BTreeMap::<&str, BTreeMap<&str, &str>>::new(), Vec::new());
    let mut upstream = None;
    for line in document.lines().map(str::trim) {
        match (upstream, line.strip_prefix("upstream "), line.strip_prefix("server ")) {
            (_, Some(name), _) => upstream = Some(name),
            (Some(_), ..) if line == "}" => upstream = None,
            (Some(name), _, Some(server)) => {
                let (server, parameters) = server.split_once(' ').unwrap_or((server, ""));
                upstreams.entry(name).or_default().insert(server, parameters);
            }
            _ => rest.push(line),
        }
    }
    (upstreams, rest)
}

/// Whether a worker that asks `old` finds an answer wherever one that asks `new` does: in all of several units that are only expected it
/// asks one after the other until one answers.
fn answers_as_well(old: &BTreeMap<&str, &str>, new: &BTreeMap<&str, &str>) -> bool {
    let expected = old.len() > 1 && old.values().all(|parameters| parameters.starts_with(NEVER_LEFT_OUT));
    let mut kept = old.keys().map(|server| new.contains_key(server));
    if expected { kept.any(|kept| kept) } else { kept.all(|kept| kept) }
}

/// Whether a document of [`layout`](crate::layout) has no unit to send requests to.
#[must_use]
pub fn routes_nowhere(document: &str) -> bool {
    parts(document).0.is_empty()
}

/// Whether `new` does all that `old` does, with the same units and more of them, or with those that serve by now out of the ones that
/// were expected to: a worker that still goes by `old` then answers as well as one that goes by `new`. Both are documents of
/// [`layout`](crate::layout).
#[must_use]
pub fn only_adds_servers(old: &str, new: &str) -> bool {
    let ((old, old_rest), (new, new_rest)) = (parts(old), parts(new));
    old_rest == new_rest
        && old.len() == new.len()
        && old.iter().all(|(name, servers)| new.get(name).is_some_and(|new| answers_as_well(servers, new)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: &str = "http {\n    server {\n        listen 80;\n        return 503;\n    }\n}\n";

    fn with(servers: &[&str], location: &str) -> String {
        said(servers, "max_fails=1 fail_timeout=5s", location)
    }

    fn said(servers: &[&str], parameters: &str, location: &str) -> String {
        let servers: Vec<String> =
            servers.iter().map(|s| format!("        server {s}:80 {parameters};\n")).collect();
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

    #[test]
    fn those_that_serve_out_of_the_expected_ones_are_no_loss() {
        let expected = said(&["g", "h"], "max_fails=0", "x;");
        assert!(only_adds_servers(&expected, &with(&["g", "h"], "x;")));
        assert!(only_adds_servers(&expected, &said(&["h"], "max_fails=0", "x;")), "g does not serve yet");
        assert!(
            !only_adds_servers(&expected, &said(&["i"], "max_fails=0", "x;")),
            "old workers do not know it"
        );
        let alone = said(&["g"], "max_fails=0", "x;");
        assert!(only_adds_servers(&alone, &with(&["g", "h"], "x;")));
        assert!(!only_adds_servers(&alone, &said(&["h"], "max_fails=0", "x;")), "g may have served");
    }
}
