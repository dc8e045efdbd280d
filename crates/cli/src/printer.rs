//! All that is written: data to standard output, talk to standard error.

use std::io::{self, IsTerminal, Write};

use muster_model::yaml;
use serde::Serialize;

use crate::args::{ColorWhen, Format};
use crate::failure::Failure;
use crate::text;

/// The width of tables where the output is no terminal.
pub(crate) const DEFAULT_WIDTH: usize = 100;

/// The longest line of talk, in display columns.
const MAX_SAID: usize = 4000;

/// The longest word of it.
const MAX_WORD: usize = 400;

/// What is known of the terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Screen {
    /// Display columns that a table may take.
    pub(crate) width: usize,
    /// Lines on the screen, where the output is a terminal: it can then be redrawn in place.
    pub(crate) height: Option<usize>,
    /// Whether to colour.
    pub(crate) colour: bool,
    /// Whether a person can be asked.
    pub(crate) interactive: bool,
}

impl Screen {
    /// Looks at the process's own streams. `NO_COLOR`, `CLICOLOR_FORCE` and `TERM` are honoured where `color` is
    /// `auto`.
    pub(crate) fn detect(color: ColorWhen) -> Self {
        let stdout = io::stdout();
        let size = if stdout.is_terminal() { terminal_size::terminal_size_of(&stdout) } else { None };
        Self {
            width: size.map_or(DEFAULT_WIDTH, |(width, _)| usize::from(width.0)),
            height: size.map(|(_, height)| usize::from(height.0)),
            colour: match color {
                ColorWhen::Always => true,
                ColorWhen::Never => false,
                ColorWhen::Auto => anstream::AutoStream::choice(&stdout) != anstream::ColorChoice::Never,
            },
            interactive: io::stdin().is_terminal() && io::stderr().is_terminal(),
        }
    }
}

/// Where a verb writes.
pub(crate) struct Printer<'a> {
    out: &'a mut dyn Write,
    err: &'a mut dyn Write,
    /// The terminal.
    pub(crate) screen: Screen,
    /// How many lines the last [`Printer::redraw`] drew.
    drawn: usize,
}

impl<'a> Printer<'a> {
    /// A printer on two streams.
    pub(crate) fn new(out: &'a mut dyn Write, err: &'a mut dyn Write, screen: Screen) -> Self {
        Self { out, err, screen, drawn: 0 }
    }

    /// Writes data, and the line break that it lacks.
    pub(crate) fn data(&mut self, data: &str) -> Result<(), Failure> {
        let end = if data.is_empty() || data.ends_with('\n') { "" } else { "\n" };
        let written = write!(self.out, "{data}{end}").and_then(|()| self.out.flush());
        written.map_err(Failure::Output)
    }

    /// Writes bytes that another library made.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.out.write_all(bytes).and_then(|()| self.out.flush()).map_err(Failure::Output)
    }

    /// Writes a value in a machine's format.
    pub(crate) fn value(&mut self, value: &impl Serialize, format: Format) -> Result<(), Failure> {
        let text = match format {
            Format::Json => serde_json::to_string_pretty(value).map_err(Failure::new)?,
            Format::Yaml => yaml::to_string(value).map_err(Failure::new)?,
        };
        self.data(&escape_controls(&text, format))
    }

    /// Writes a value as one line of JSON.
    pub(crate) fn json_line(&mut self, value: &impl Serialize) -> Result<(), Failure> {
        let text = serde_json::to_string(value).map_err(Failure::new)?;
        self.data(&escape_controls(&text, Format::Json))
    }

    /// Says something to the person, as one line. A message can quote what was given, and that can be a megabyte:
    /// words longer than [`MAX_WORD`] and lines longer than [`MAX_SAID`] are cut. Nobody may be listening: that stops
    /// nothing.
    pub(crate) fn say(&mut self, line: &str) {
        let words: Vec<String> = text::plain(line).split(' ').map(|word| text::cut(word, MAX_WORD)).collect();
        let line = text::cut(&words.join(" "), MAX_SAID);
        writeln!(self.err, "{line}").and_then(|()| self.err.flush()).ok();
    }

    /// Says what failed, with the next step.
    pub(crate) fn failure(&mut self, failure: &Failure) {
        self.say(&format!("ERROR {failure}"));
        if let Failure::Refused { hint: Some(hint), .. } = failure {
            self.say(&format!("hint: {hint}"));
        }
    }

    /// Asks a yes-or-no question on standard error. Anything but `y` or `yes` is a no.
    pub(crate) fn confirm(&mut self, question: &str) -> Result<bool, Failure> {
        let asked = write!(self.err, "{} [y/N]: ", text::plain(question)).and_then(|()| self.err.flush());
        asked.map_err(Failure::Output)?;
        let mut answer = String::new();
        io::stdin()
            .read_line(&mut answer)
            .map_err(|e| Failure::new(format!("failed to read the answer: {e}")))?;
        Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
    }

    /// Draws `lines` over what was drawn last. Lines that the screen has no place for are left out at the end.
    pub(crate) fn redraw(&mut self, lines: &str) -> Result<(), Failure> {
        let height = self.screen.height.unwrap_or(usize::MAX).max(2) - 1;
        // Cursor up, then erase to the end of the screen.
        let back = if self.drawn > 0 { format!("\u{1b}[{}A\r\u{1b}[J", self.drawn) } else { String::new() };
        let shown: Vec<&str> = lines.lines().take(height).collect();
        self.drawn = shown.len();
        self.data(&format!("{back}{}", shown.join("\n")))
    }
}

/// Escapes the control characters that JSON and YAML leave as they are (DEL and C1), so that data stays exact and
/// still cannot steer a terminal. In YAML those are quoted by the writer already.
fn escape_controls(text: &str, format: Format) -> String {
    if format == Format::Yaml || !text.chars().any(|c| c.is_control() && c != '\n') {
        return text.to_owned();
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if c.is_control() && c != '\n' {
            escaped.push_str(&format!("\\u{:04x}", u32::from(c)));
        } else {
            escaped.push(c);
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCREEN: Screen = Screen { width: 80, height: Some(4), colour: false, interactive: false };

    #[test]
    fn json_is_exact_and_harmless() {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let mut printer = Printer::new(&mut out, &mut err, SCREEN);
        let hostile = "a\u{9b}2J\u{7f}\u{1b}[0m\n";
        printer.value(&hostile, Format::Json).unwrap();
        printer.value(&hostile, Format::Yaml).unwrap();
        let text = String::from_utf8(out).unwrap();
        let (json, yaml_text) = text.split_once('\n').unwrap();
        assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{text:?}");
        assert_eq!(serde_json::from_str::<String>(json).unwrap(), hostile);
        assert_eq!(yaml::from_str::<String>(yaml_text).unwrap(), hostile);
    }

    #[test]
    fn redrawing_goes_back_over_the_last_lines() {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let mut printer = Printer::new(&mut out, &mut err, SCREEN);
        printer.redraw("a\nb").unwrap();
        printer.redraw("c\nd\ne\nf\ng").unwrap();
        printer.redraw("h").unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "a\nb\n\u{1b}[2A\r\u{1b}[Jc\nd\ne\n\u{1b}[3A\r\u{1b}[Jh\n"
        );
    }

    #[test]
    fn failures_name_the_next_step() {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let mut printer = Printer::new(&mut out, &mut err, SCREEN);
        printer.failure(&Failure::new("no \u{1b}[31mway").hint("go back"));
        assert!(out.is_empty());
        assert_eq!(String::from_utf8(err).unwrap(), "ERROR no way\nhint: go back\n");
    }
}
