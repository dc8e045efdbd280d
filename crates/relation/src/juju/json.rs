//! JSON as Python's `json.dumps` writes it: a space after `,` and `:`, and nothing but printable ASCII.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::Serializer;
use serde_json::ser::Formatter;

/// The value as one JSON text. Equal values give equal bytes.
///
/// # Panics
/// If the value has no JSON form. Texts, numbers, lists and maps with text keys have one.
pub(super) fn to_text(value: &(impl Serialize + ?Sized)) -> String {
    let mut bytes = Vec::new();
    value
        .serialize(&mut Serializer::with_formatter(&mut bytes, AsPython))
        .expect("what a databag holds has a JSON form");
    String::from_utf8(bytes).expect("all that is written is ASCII")
}

struct AsPython;

impl Formatter for AsPython {
    fn begin_array_value<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.begin_array_value(writer, first)
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b": ")
    }

    /// Gets texts without quotes, backslashes and control characters below the space: those are escaped already,
    /// and the way Python does it.
    fn write_string_fragment<W: ?Sized + Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        for c in fragment.chars() {
            let mut buffer = [0; 2];
            match u8::try_from(c) {
                Ok(byte @ b' '..=b'~') => writer.write_all(&[byte])?,
                _ => {
                    for unit in c.encode_utf16(&mut buffer) {
                        write!(writer, "\\u{unit:04x}")?;
                    }
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// The expected texts are what Python 3 prints.
    #[test]
    fn texts_and_separators_are_pythons() {
        let text = "/\"\\\u{8}\u{c}\n\r\t\0\u{1f} ~\u{7f}\u{80}é\u{2028}\u{ffff}😀";
        let python = r#""/\"\\\b\f\n\r\t\u0000\u001f ~\u007f\u0080\u00e9\u2028\uffff\ud83d\ude00""#;
        assert_eq!(to_text(text), python);
        assert_eq!(to_text(&[1, 2, 3]), "[1, 2, 3]");
        assert_eq!(to_text(&BTreeMap::from([("b", "é"), ("a", "")])), r#"{"a": "", "b": "\u00e9"}"#);
        assert_eq!(to_text(&[BTreeMap::from([("é", 1)]), BTreeMap::new()]), r#"[{"\u00e9": 1}, {}]"#);
        assert_eq!(to_text(&[0; 0]), "[]");
    }

    proptest! {
        #[test]
        fn any_text_is_read_as_it_was(text in any::<String>()) {
            let json = to_text(&text);
            prop_assert!(json.bytes().all(|b| (b' '..=b'~').contains(&b)), "{json}");
            prop_assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
        }
    }
}
