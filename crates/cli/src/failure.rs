//! How a verb ends.

use std::fmt::Display;
use std::io;

/// How a verb ended when it could do its work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Done, or yes. Exit code 0.
    Yes,
    /// The answer is no: a wait timed out, a check found errors, a question was declined. Exit code 1.
    No,
}

/// Why a verb could not do its work. Exit code 2.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// It was refused or went wrong.
    #[error("{message}")]
    Refused {
        /// What is wrong.
        message: String,
        /// The next step, where one is known.
        hint: Option<String>,
        /// Whether it may be over by itself soon, so that who waits anyway can ask again.
        passing: bool,
    },
    /// Somebody else edited the model between reading and writing. Trying again reads it anew.
    #[error("the model is being edited by others all the time; try again")]
    Stale,
    /// The output could not be written. A closed pipe is no failure: who reads has seen enough.
    #[error("failed to write the output: {0}")]
    Output(#[source] io::Error),
}

impl Failure {
    /// A failure without a hint.
    pub(crate) fn new(message: impl Display) -> Self {
        Self::Refused { message: message.to_string(), hint: None, passing: false }
    }

    /// A failure that may be over by itself soon.
    pub(crate) fn passing(message: impl Display) -> Self {
        Self::Refused { message: message.to_string(), hint: None, passing: true }
    }

    /// A failure of another crate, with what caused it. A cause that the message quotes already is not said twice.
    pub(crate) fn of(error: &dyn std::error::Error) -> Self {
        let mut message = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            let text = error.to_string();
            if !message.ends_with(&text) {
                message.push_str(": ");
                message.push_str(&text);
            }
            cause = error.source();
        }
        Self::new(message)
    }

    /// The same failure with a hint, if it has none yet.
    pub(crate) fn hint(self, next: impl Display) -> Self {
        match self {
            Self::Refused { message, hint: None, passing } => {
                Self::Refused { message, hint: Some(next.to_string()), passing }
            }
            other => other,
        }
    }

    /// Whether it may be over by itself soon.
    pub(crate) fn is_passing(&self) -> bool {
        matches!(self, Self::Refused { passing: true, .. })
    }

    /// Whether the output was closed by its reader.
    pub(crate) fn is_broken_pipe(&self) -> bool {
        matches!(self, Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    enum Outer {
        #[error("failed to open it")]
        Silent(#[source] io::Error),
        #[error("failed to open it: {0}")]
        Quoting(#[source] io::Error),
    }

    #[test]
    fn causes_are_said_once() {
        let gone = || io::Error::other("it is gone");
        for error in [Outer::Silent(gone()), Outer::Quoting(gone())] {
            assert_eq!(Failure::of(&error).to_string(), "failed to open it: it is gone");
        }
    }

    #[test]
    fn the_first_hint_stays() {
        let Failure::Refused { hint, .. } = Failure::new("no").hint("a").hint("b") else { panic!() };
        assert_eq!(hint.as_deref(), Some("a"));
    }
}
