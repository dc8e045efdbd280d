//! Options as the command line gives them: `key=value`, and `key=@file` for what is long or secret.

use std::collections::BTreeMap;
use std::io::Read;

/// The longest file that `key=@file` reads, in bytes.
pub(crate) const MAX_FILE_LEN: u64 = 1 << 20;

/// Options of the s3-integrator whose values are never printed.
pub(crate) const HIDDEN: [&str; 2] = ["access-key", "secret-key"];

/// The option that must not be on a command line, where every user of the machine can read it.
const NEVER_ON_COMMAND_LINE: &str = "secret-key";

/// Why settings cannot be read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SettingError {
    /// No `=` in it.
    #[error("{0:?} is no setting: write KEY=VALUE")]
    NoValue(String),
    /// Nothing before the `=`.
    #[error("{0:?} has no option name before the '='")]
    NoKey(String),
    /// The same key twice.
    #[error("option {0} is given twice")]
    Twice(String),
    /// A secret as plain text.
    #[error(
        "{NEVER_ON_COMMAND_LINE} is not taken from the command line, where every user of the machine can read it: \
         put it in a file and write {NEVER_ON_COMMAND_LINE}=@FILE"
    )]
    SecretOnCommandLine,
    /// The file cannot be read.
    #[error("option {key}: cannot read {path}: {problem}")]
    File {
        /// The option.
        key: String,
        /// The file.
        path: String,
        /// Why.
        problem: String,
    },
}

/// Reads settings. `read` gives a file's text (see [`read_file`]).
pub(crate) fn parse(
    settings: &[String],
    mut read: impl FnMut(&str) -> Result<String, String>,
) -> Result<BTreeMap<String, String>, SettingError> {
    let mut parsed = BTreeMap::new();
    for setting in settings {
        let (key, value) = setting.split_once('=').ok_or_else(|| SettingError::NoValue(setting.clone()))?;
        if key.is_empty() {
            return Err(SettingError::NoKey(setting.clone()));
        }
        let value = match value.strip_prefix('@') {
            Some(path) => read(path).map_err(|problem| SettingError::File {
                key: key.to_owned(),
                path: path.to_owned(),
                problem,
            })?,
            None if key == NEVER_ON_COMMAND_LINE => return Err(SettingError::SecretOnCommandLine),
            None => value.to_owned(),
        };
        if parsed.insert(key.to_owned(), value).is_some() {
            return Err(SettingError::Twice(key.to_owned()));
        }
    }
    Ok(parsed)
}

/// Reads a file's text, `-` meaning standard input, without the one line break that editors leave at its end.
pub(crate) fn read_file(path: &str) -> Result<String, String> {
    let read = |source: &mut dyn Read| {
        let mut text = String::new();
        let length = source.take(MAX_FILE_LEN + 1).read_to_string(&mut text).map_err(|e| e.to_string())?;
        if length as u64 > MAX_FILE_LEN {
            Err(format!("it is longer than {MAX_FILE_LEN} bytes"))
        } else {
            Ok(text)
        }
    };
    let mut text = if path == "-" {
        read(&mut std::io::stdin().lock())?
    } else {
        // Not blocking on a FIFO that nobody writes to: only regular files are opened.
        let kind = std::fs::metadata(path).map_err(|e| e.to_string())?;
        if !kind.is_file() {
            return Err("it is no regular file; use @- for standard input".to_owned());
        }
        read(&mut std::fs::File::open(path).map_err(|e| e.to_string())?)?
    };
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(settings: &[&str]) -> Result<BTreeMap<String, String>, SettingError> {
        let settings: Vec<String> = settings.iter().map(|s| (*s).to_owned()).collect();
        parse(
            &settings,
            |path| if path == "none" { Err("gone".into()) } else { Ok(format!("text of {path}")) },
        )
    }

    #[test]
    fn values_and_files() {
        let settings = parsed(&["a=1", "b=x=y", "c=", "d=@file", "secret-key=@key"]).unwrap();
        let expected =
            [("a", "1"), ("b", "x=y"), ("c", ""), ("d", "text of file"), ("secret-key", "text of key")];
        assert_eq!(settings, expected.map(|(k, v)| (k.to_owned(), v.to_owned())).into());
    }

    #[test]
    fn refusals() {
        assert_eq!(parsed(&["a"]), Err(SettingError::NoValue("a".into())));
        assert_eq!(parsed(&["=1"]), Err(SettingError::NoKey("=1".into())));
        assert_eq!(parsed(&["a=1", "a=2"]), Err(SettingError::Twice("a".into())));
        assert!(matches!(parsed(&["a=@none"]), Err(SettingError::File { .. })));
        let refused = parsed(&["secret-key=hunter2"]).unwrap_err();
        assert_eq!(refused, SettingError::SecretOnCommandLine);
        assert!(!refused.to_string().contains("hunter2"));
    }

    #[test]
    fn files_are_capped_and_regular() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
        for (name, content, expected) in
            [("a", "x\n", "x"), ("b", "x\r\n", "x"), ("c", "x\n\n", "x\n"), ("d", "", "")]
        {
            std::fs::write(path(name), content).unwrap();
            assert_eq!(read_file(&path(name)).as_deref(), Ok(expected));
        }
        std::fs::write(path("long"), "x".repeat(MAX_FILE_LEN as usize + 1)).unwrap();
        assert!(read_file(&path("long")).unwrap_err().contains("longer"));
        std::fs::write(path("bytes"), b"\xff").unwrap();
        assert!(read_file(&path("bytes")).is_err());
        assert!(read_file(&path("absent")).is_err());
        assert!(read_file(directory.path().to_str().unwrap()).unwrap_err().contains("regular"));
    }
}
