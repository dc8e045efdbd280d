//! What Mimir says about a config that it refuses.

use crate::MAX_MESSAGE_LEN;

const ELLIPSIS: &str = "…";

/// The complaint in one line. Mimir writes `error loading config from FILE: Error parsing config file: REASON` or
/// `error validating config: REASON`; the reason may have several lines.
pub(super) fn message(stderr: &str) -> String {
    let line = stderr.split(|c: char| c.is_control() || c.is_whitespace()).filter(|word| !word.is_empty());
    let line = line.collect::<Vec<_>>().join(" ");
    let reason = match line.strip_prefix("error loading config from ") {
        // The file is the agent's own, at a path that tells nothing and may differ between units.
        Some(rest) => rest.split_once(": ").map_or(rest, |(_file, reason)| reason),
        None => line.strip_prefix("error validating config: ").unwrap_or(&line),
    };
    let reason = reason.strip_prefix("Error parsing config file: ").unwrap_or(reason);
    if reason.is_empty() {
        return "mimir refused the config without a reason".to_owned();
    }
    if reason.len() <= MAX_MESSAGE_LEN {
        return reason.to_owned();
    }
    let mut end = MAX_MESSAGE_LEN - ELLIPSIS.len();
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{ELLIPSIS}", &reason[..end])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_reason_is_kept_and_the_rest_is_not() {
        for (stderr, expected) in [
            (
                "error loading config from /run/muster/x.yaml: Error parsing config file: yaml: unmarshal errors:\n  line 2: field nope not found in type mimir.Config\n",
                "yaml: unmarshal errors: line 2: field nope not found in type mimir.Config",
            ),
            (
                "error validating config: invalid TSDB config: storage prefix contains invalid characters\n",
                "invalid TSDB config: storage prefix contains invalid characters",
            ),
            ("panic: oh\u{1b}[31m\tno\r\n\n", "panic: oh [31m no"),
            (" \n", "mimir refused the config without a reason"),
        ] {
            assert_eq!(message(stderr), expected);
        }
    }

    proptest! {
        #[test]
        fn any_output_gives_one_short_line(stderr in "(\\PC|\\n|\u{7f}|é){0,900}") {
            let message = message(&stderr);
            prop_assert!(!message.is_empty() && message.len() <= MAX_MESSAGE_LEN);
            prop_assert!(!message.chars().any(char::is_control));
        }
    }
}
