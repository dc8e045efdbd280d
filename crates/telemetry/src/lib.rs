//! What the binaries have in common for those who look after them: tracing set-up (events go to standard error, filtered by
//! `RUST_LOG`) and the pages of [`admin`].

pub mod admin;

use std::fmt;
use std::io;
use std::str::FromStr;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

/// How events are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// One line of text per event, for people.
    #[default]
    Text,
    /// One JSON object per line, for collectors.
    Json,
}

/// The text names no format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownFormat(String);

impl fmt::Display for UnknownFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "log format {:?} is not known; write text or json", self.0)
    }
}

impl std::error::Error for UnknownFormat {}

impl FromStr for Format {
    type Err = UnknownFormat;
    fn from_str(s: &str) -> Result<Self, UnknownFormat> {
        match s {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            other => Err(UnknownFormat(other.to_owned())),
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Text => "text",
            Self::Json => "json",
        })
    }
}

/// What is written where `RUST_LOG` does not say otherwise. Clients of the Kubernetes API complain about every single try; whoever
/// tries again and again knows better what is worth a line.
const EVENTS: &str = "info,kube_client=off,kube_runtime=off";

/// Starts to write events to standard error: `info` and above, or as `RUST_LOG` says. Directives in it that cannot be
/// read are ignored with a note. A second call changes nothing.
pub fn init(format: Format) {
    let events = std::env::var(EnvFilter::DEFAULT_ENV).unwrap_or_else(|_| EVENTS.to_owned());
    let filter = EnvFilter::builder().with_default_directive(LevelFilter::INFO.into()).parse_lossy(events);
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::IsTerminal::is_terminal(&io::stderr()));
    // Only the first subscriber of a process counts; that another one is there is no fault.
    let _ = match format {
        Format::Text => builder.try_init(),
        Format::Json => builder.json().try_init(),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_parse_and_print() {
        for format in [Format::Text, Format::Json] {
            assert_eq!(format.to_string().parse(), Ok(format));
        }
        assert!("xml".parse::<Format>().unwrap_err().to_string().contains("text or json"));
    }

    #[test]
    fn a_second_call_is_harmless() {
        init(Format::Text);
        init(Format::Json);
    }
}
