//! Text for terminals: without control characters, measured, cut and wrapped by display columns.

use std::iter::Peekable;
use std::str::Chars;

use unicode_width::UnicodeWidthChar;

/// What stands for the part that was cut away.
const ELLIPSIS: char = '…';

/// `text` as one line that cannot steer a terminal: escape sequences go, line breaks and tabs become one space,
/// other control characters and the marks that turn the writing direction go.
pub(crate) fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\u{1b}' | '\u{9b}' => skip_escape_sequence(c, &mut chars),
            '\n' | '\r' | '\t' | '\u{85}' | '\u{2028}' | '\u{2029}' => {
                if !plain.ends_with(' ') {
                    plain.push(' ');
                }
            }
            c if c.is_control() || steers_layout(c) => {}
            c => plain.push(c),
        }
    }
    plain.truncate(plain.trim_end().len());
    plain
}

/// Several lines, each made [`plain`].
pub(crate) fn plain_lines(text: &str) -> String {
    text.lines().map(plain).collect::<Vec<_>>().join("\n")
}

/// Marks of direction, joiners and variation selectors: they have no width of their own, and terminals disagree on
/// what they do to their neighbours.
fn steers_layout(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}')
}

/// Skips what follows an escape character, as ECMA-48 ends it: a control sequence at its final byte (`@` to `~`), an
/// operating system command at BEL or at the next escape, anything else after one character.
fn skip_escape_sequence(introducer: char, rest: &mut Peekable<Chars<'_>>) {
    let kind = if introducer == '\u{9b}' { Some('[') } else { rest.next() };
    match kind {
        Some('[') => {
            while rest.next_if(|c| matches!(c, ' '..='?')).is_some() {}
            rest.next_if(|c| matches!(c, '@'..='~'));
        }
        Some(']' | 'P' | '_' | '^' | 'X') => {
            while rest.next_if(|c| !matches!(c, '\u{7}' | '\u{1b}' | '\n')).is_some() {}
            rest.next_if_eq(&'\u{7}');
        }
        _ => {}
    }
}

/// Display columns of a plain text.
pub(crate) fn width(text: &str) -> usize {
    text.chars().map(char_width).sum()
}

fn char_width(c: char) -> usize {
    c.width().unwrap_or(0)
}

/// `text` cut to at most `max` display columns; what was cut ends with `…`.
pub(crate) fn cut(text: &str, max: usize) -> String {
    if width(text) <= max {
        return text.to_owned();
    }
    if max == 0 {
        return String::new();
    }
    let mut used = 0;
    let mut cut: String = text
        .chars()
        .take_while(|c| {
            used += char_width(*c);
            used < max
        })
        .collect();
    cut.truncate(cut.trim_end().len());
    cut.push(ELLIPSIS);
    cut
}

/// `text` broken at spaces into lines of at most `max` display columns. A longer word is broken inside.
pub(crate) fn wrap(text: &str, max: usize) -> Vec<String> {
    let max = max.max(2);
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in text.split_whitespace() {
        if !line.is_empty() && width(&line) + 1 + width(word) > max {
            lines.push(std::mem::take(&mut line));
        }
        if !line.is_empty() {
            line.push(' ');
        }
        for c in word.chars() {
            if width(&line) + char_width(c) > max {
                lines.push(std::mem::take(&mut line));
            }
            line.push(c);
        }
    }
    if !line.is_empty() {
        lines.push(line);
    }
    lines
}

/// `1 unit`, `2 units`.
pub(crate) fn counted(count: u32, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn nothing_steers_the_terminal() {
        for (hostile, shown) in [
            ("a\u{1b}[31mred\u{1b}[0m b", "ared b"),
            ("a\u{1b}]0;title\u{7}b", "ab"),
            ("a\u{1b}]8;;http://x\u{1b}\\b", "ab"),
            ("a\nb\r\n\tc", "a b c"),
            ("bell\u{7}\u{8}\u{7f}", "bell"),
            ("\u{9b}2Jx", "x"),
            ("a\u{202e}b\u{200b}", "ab"),
            ("\u{1b}", ""),
            ("\u{1b}[", ""),
            ("é 日本 😀", "é 日本 😀"),
        ] {
            assert_eq!(plain(hostile), shown, "{hostile:?}");
        }
    }

    #[test]
    fn cutting_counts_columns() {
        assert_eq!(cut("abcdef", 6), "abcdef");
        assert_eq!(cut("abcdef", 5), "abcd…");
        assert_eq!(cut("abc def", 5), "abc…");
        assert_eq!(cut("日本語", 5), "日本…");
        assert_eq!(cut("日本語", 4), "日…");
        assert_eq!(cut("ab", 1), "…");
        assert_eq!(cut("ab", 0), "");
    }

    #[test]
    fn wrapping_keeps_every_word() {
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("abcdefgh i", 3), ["abc", "def", "gh", "i"]);
        assert!(wrap("  ", 10).is_empty());
    }

    proptest! {
        #[test]
        fn plain_texts_have_no_control_characters_and_stay_plain(text in any::<String>()) {
            let once = plain(&text);
            prop_assert!(!once.chars().any(char::is_control));
            prop_assert_eq!(plain(&once), once);
        }

        #[test]
        fn cut_and_wrap_never_exceed_the_width(text in any::<String>(), max in 2_usize..40) {
            let text = plain(&text);
            prop_assert!(width(&cut(&text, max)) <= max);
            for line in wrap(&text, max) {
                prop_assert!(width(&line) <= max, "{:?}", line);
            }
            let words: String = text.split_whitespace().collect();
            let wrapped: String = wrap(&text, max).concat().split_whitespace().collect();
            prop_assert_eq!(words, wrapped);
        }
    }
}
