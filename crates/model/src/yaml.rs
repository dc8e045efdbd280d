//! The one module that reads and writes YAML. Why `serde-saphyr`: see `docs/design/yaml.md`.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// The longest text that [`from_str`] and [`documents`] take, in bytes. A model is a few kilobytes; a
/// megabyte-sized one is a mistake or an attack.
pub const MAX_LEN: usize = 1 << 20;

/// Why a text could not be read or a value could not be written.
#[derive(Debug, thiserror::Error)]
pub enum YamlError {
    /// The text is too long.
    #[error("the text has {0} bytes; at most {MAX_LEN} are read")]
    TooLong(usize),
    /// The text is not YAML, has duplicate keys, or does not fit the expected shape.
    #[error("{0}")]
    Read(String),
    /// The value cannot be written as YAML.
    #[error("failed to write YAML: {0}")]
    Write(String),
}

fn options() -> serde_saphyr::Options {
    serde_saphyr::options! {
        // `yes` and `on` stay texts, as in YAML 1.2 and in the products' own parsers.
        strict_booleans: true,
        with_snippet: false,
    }
}

fn checked(text: &str) -> Result<&str, YamlError> {
    if text.len() > MAX_LEN { Err(YamlError::TooLong(text.len())) } else { Ok(text) }
}

/// Reads one document. Duplicate keys are an error.
pub fn from_str<T: DeserializeOwned>(text: &str) -> Result<T, YamlError> {
    serde_saphyr::from_str_with_options(checked(text)?, options()).map_err(|e| YamlError::Read(e.to_string()))
}

/// Reads a stream of documents that `---` separates. Empty documents are left out.
pub fn documents<T: DeserializeOwned>(text: &str) -> Result<Vec<T>, YamlError> {
    serde_saphyr::from_multiple_with_options(checked(text)?, options())
        .map_err(|e| YamlError::Read(e.to_string()))
}

/// Writes one document. Texts that any YAML reader could take for something else are quoted. Equal values give
/// equal bytes; map keys come in the order in which the value gives them.
pub fn to_string<T: Serialize>(value: &T) -> Result<String, YamlError> {
    let options = serde_saphyr::ser_options! { compact_list_indent: true, prefer_block_scalars: false };
    serde_saphyr::to_string_with_options(value, options).map_err(|e| YamlError::Write(e.to_string()))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn hostile_texts_come_back_as_they_were() {
        for text in [
            "yes",
            "no",
            "on",
            "y",
            "null",
            "~",
            "",
            " ",
            "1e3",
            "0123",
            "0x1f",
            "1_000",
            "12:30:45",
            "2024-01-01",
            "=",
            "<<",
            "- a",
            "a: b",
            "# c",
            "'",
            "\"",
            "\\",
            "a\nb",
            "a\n",
            "\n",
            "\t",
            "\u{7f}",
            "\u{85}",
            "\u{2028}",
            "${X}",
            "%{y}",
            "&a",
            "*a",
            "!t",
            "|",
            ">",
            "@",
            "`",
            "{",
            "}",
            "[",
            "]",
            ",",
            "?",
            "-",
            "---",
            "...",
            "true",
            ".inf",
            ".nan",
            "é",
            "😀",
            "a #b",
            "a: ",
            ":",
            "trailing ",
            " leading",
        ] {
            let value = json!({ text: [text, { "k": text }] });
            let written = to_string(&value).unwrap();
            assert_eq!(from_str::<Value>(&written).unwrap(), value, "{text:?} was written as {written:?}");
        }
    }

    #[test]
    fn duplicate_keys_long_texts_and_bombs_are_refused() {
        assert!(from_str::<Value>("a: 1\na: 2\n").is_err());
        assert!(matches!(from_str::<Value>(&" ".repeat(MAX_LEN + 1)), Err(YamlError::TooLong(_))));
        let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for level in 1..12 {
            let previous = format!("*a{}, ", level - 1).repeat(10);
            bomb.push_str(&format!("a{level}: &a{level} [{}]\n", previous.trim_end_matches(", ")));
        }
        assert!(from_str::<Value>(&bomb).is_err());
        assert!(from_str::<Value>(&"[".repeat(100_000)).is_err());
    }

    #[test]
    fn several_documents_are_read() {
        assert_eq!(documents::<Value>("---\na: 1\n---\nb: 2\n").unwrap().len(), 2);
        assert_eq!(documents::<Value>("").unwrap().len(), 0);
    }
}
