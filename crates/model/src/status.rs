//! Juju's workload statuses.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The kind of a status. The order is Juju's precedence: a greater one hides a lesser one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WorkloadStatus {
    /// Works as asked.
    #[default]
    Active,
    /// Will go on by itself once something else is there.
    Waiting,
    /// Muster is changing something right now.
    Maintenance,
    /// A person must act; the message says how.
    Blocked,
    /// Something failed and is being tried again.
    Error,
}

impl WorkloadStatus {
    /// The status in lower case, as Juju prints it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Waiting => "waiting",
            Self::Maintenance => "maintenance",
            Self::Blocked => "blocked",
            Self::Error => "error",
        }
    }
}

impl fmt::Display for WorkloadStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A status and its message, which says what is wrong and what fixes it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Status {
    /// The kind.
    pub status: WorkloadStatus,
    /// One line for a person. Empty where there is nothing to say.
    #[serde(default)]
    pub message: String,
}

impl Status {
    /// A status with a message.
    pub fn new(status: WorkloadStatus, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }

    /// The worse of two statuses; of two equally bad ones the first.
    #[must_use]
    pub fn worse(self, other: Self) -> Self {
        if other.status > self.status { other } else { self }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.message.is_empty() {
            write!(f, "{}", self.status)
        } else {
            write!(f, "{}: {}", self.status, self.message)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn precedence_is_jujus() {
        use WorkloadStatus::*;
        assert!([Active, Waiting, Maintenance, Blocked, Error].is_sorted());
        let first = Status::new(Blocked, "first");
        assert_eq!(first.clone().worse(Status::new(Blocked, "second")), first);
        assert_eq!(first.clone().worse(Status::new(Error, "crash")).message, "crash");
    }
}
