//! Two versions of a document, as a unified diff.

use anstyle::{AnsiColor, Style};
use muster_planner::{Change, Rendition};
use similar::TextDiff;

/// Lines around a change, as `diff -u` shows them.
const CONTEXT: usize = 3;
/// Stands in the place of lines where only secrets change: they are in no document, and make a revision of their own.
const SAME_TEXT: &str = "(the text stays the same; the secrets that go with it change)";

/// The change of a document called `title`, if it would change.
pub(crate) fn unified(title: &str, change: &Change) -> Option<String> {
    let after = change.after.as_ref()?;
    if change.before.as_ref().is_some_and(|before| before.revision == after.revision) {
        return None;
    }
    let head = |rendition: Option<&Rendition>| match rendition {
        Some(rendition) => format!("{title} {}", rendition.revision.short()),
        None => format!("{title} (none)"),
    };
    let (old, new) = (head(change.before.as_ref()), head(Some(after)));
    let before = change.before.as_ref().map_or("", |before| before.text.as_str());
    if before == after.text {
        return Some(format!("--- {old}\n+++ {new}\n{SAME_TEXT}\n"));
    }
    let diff = TextDiff::from_lines(before, after.text.as_str());
    let text = diff.unified_diff().context_radius(CONTEXT).header(&old, &new).to_string();
    Some(text)
}

/// The lines of a unified diff for a terminal: harmless, and coloured where that is wanted.
pub(crate) fn painted(diff: &str, colour: bool) -> String {
    let mut text = String::with_capacity(diff.len() + 256);
    for (position, line) in diff.lines().enumerate() {
        let line = harmless(line);
        let style = match line.as_bytes().first() {
            _ if position < 2 => Style::new().bold(),
            Some(b'-') => AnsiColor::Red.on_default(),
            Some(b'+') => AnsiColor::Green.on_default(),
            Some(b'@') => AnsiColor::Cyan.on_default(),
            _ => Style::new(),
        };
        if colour && style != Style::new() {
            text.push_str(&format!("{style}{line}{style:#}\n"));
        } else {
            text.push_str(&line);
            text.push('\n');
        }
    }
    text
}

/// A line of a document with its control characters escaped: overrides can hold any.
fn harmless(line: &str) -> String {
    let escaped = |c: char| c.is_control() && c != '\t';
    let mut text = String::with_capacity(line.len());
    for c in line.chars() {
        if escaped(c) { text.extend(c.escape_unicode()) } else { text.push(c) }
    }
    text
}

#[cfg(test)]
mod tests {
    use muster_model::Revision;

    use super::*;

    fn rendition(text: &str, key: &str) -> Rendition {
        Rendition { revision: Revision::of([text.as_bytes(), key.as_bytes()]), text: text.to_owned() }
    }

    fn change(before: Option<&str>, after: &str) -> Change {
        Change { before: before.map(|text| rendition(text, "")), after: Some(rendition(after, "")) }
    }

    #[test]
    fn lines_that_change_stand_between_lines_that_stay() {
        let change = change(Some("a\nb\nc\nd\ne\nf\n"), "a\nb\nc\nd\nE\nf\n");
        let diff = unified("mimir: config", &change).unwrap();
        let [before, after] = [change.before, change.after].map(|r| r.unwrap().revision.short().to_owned());
        let expected = format!(
            "--- mimir: config {before}\n+++ mimir: config {after}\n@@ -2,5 +2,5 @@\n b\n c\n d\n-e\n+E\n f\n"
        );
        assert_eq!(diff, expected);
        assert_eq!(painted(&diff, false), expected);
        let painted = painted(&diff, true);
        assert!(painted.contains("\u{1b}[31m-e\u{1b}[0m\n") && painted.contains("\n b\n"), "{painted:?}");
    }

    #[test]
    fn what_stays_is_no_change() {
        assert_eq!(unified("x", &change(Some("a\n"), "a\n")), None);
        assert_eq!(unified("x", &Change { before: Some(rendition("a", "")), after: None }), None);
        assert!(unified("x", &change(None, "a\n")).unwrap().starts_with("--- x (none)\n"));
    }

    #[test]
    fn secrets_are_a_change_of_their_own_and_are_not_shown() {
        let change =
            Change { before: Some(rendition("a\n", "hunter2")), after: Some(rendition("a\n", "hunter3")) };
        let diff = unified("x", &change).unwrap();
        assert!(diff.contains("secrets that go with it change") && !diff.contains("hunter"), "{diff}");
        assert_eq!(diff.lines().count(), 3);
    }

    #[test]
    fn nothing_in_a_document_steers_the_terminal() {
        assert_eq!(harmless("a\u{1b}[2J\tb\u{9b}"), "a\\u{1b}[2J\tb\\u{9b}");
    }
}
