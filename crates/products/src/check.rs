//! What a binary says about a config that it refuses.

use crate::MAX_MESSAGE_LEN;

const ELLIPSIS: &str = "…";
/// Loki says so after every complaint about a file.
const EXPANSION_HINT: &str =
    ". Use `-config.expand-env=true` flag if you want to expand environment variables in your config file";

/// The complaint of `binary` in one line; the reason may have several. Mimir writes `error loading config from FILE: Error parsing
/// config file: REASON` or `error validating config: REASON`, Loki `failed parsing config: FILE: REASON` with a hint that does not
/// hold here, Tempo `failed parsing config: failed to parse configFile FILE: REASON`.
pub(crate) fn message(binary: &str, stderr: &str) -> String {
    let line = stderr.split(|c: char| c.is_control() || c.is_whitespace()).filter(|word| !word.is_empty());
    let line = line.collect::<Vec<_>>().join(" ");
    let with_file = [
        "error loading config from ",
        "failed parsing config: failed to parse configFile ",
        "failed parsing config: ",
    ];
    let reason = match with_file.iter().find_map(|prefix| line.strip_prefix(prefix)) {
        // The file is the agent's own, at a path that tells nothing and may differ between units.
        Some(rest) => rest.split_once(": ").map_or(rest, |(_file, reason)| reason),
        None => line.strip_prefix("error validating config: ").unwrap_or(&line),
    };
    let reason = reason.strip_prefix("Error parsing config file: ").unwrap_or(reason);
    let reason = reason.strip_suffix(EXPANSION_HINT).unwrap_or(reason);
    if reason.is_empty() {
        return format!("{binary} refused the config without a reason");
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
            (
                "failed parsing config: config.yaml: yaml: unmarshal errors:\n  line 1: field nope not found in type loki.ConfigWrapper. Use `-config.expand-env=true` flag if you want to expand environment variables in your config file\n",
                "yaml: unmarshal errors: line 1: field nope not found in type loki.ConfigWrapper",
            ),
            (
                "failed parsing config: failed to parse configFile config.yaml: yaml: unmarshal errors:\n  line 1: field nope not found in type app.Config\n",
                "yaml: unmarshal errors: line 1: field nope not found in type app.Config",
            ),
            ("panic: oh\u{1b}[31m\tno\r\n\n", "panic: oh [31m no"),
            (" \n", "mimir refused the config without a reason"),
        ] {
            assert_eq!(message("mimir", stderr), expected);
        }
    }

    proptest! {
        #[test]
        fn any_output_gives_one_short_line(stderr in "(\\PC|\\n|\u{7f}|é){0,900}") {
            let message = message("mimir", &stderr);
            prop_assert!(!message.is_empty() && message.len() <= MAX_MESSAGE_LEN);
            prop_assert!(!message.chars().any(char::is_control));
        }
    }
}
