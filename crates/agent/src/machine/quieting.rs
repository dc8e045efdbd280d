//! How far a process is with taking nothing new.

use muster_relation::Quiet;

/// What a process was told of taking data. Its ring may remember what another process of the unit was told, so at first nobody knows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) enum Quieting {
    /// This process was told nothing yet.
    #[default]
    Untold,
    /// It is being told to take data.
    Resuming,
    /// It takes data.
    Takes,
    /// It is being told to take nothing new and to upload what it holds.
    Begun,
    /// It takes nothing new, and all that it took is in the object store.
    Quiet(Quiet),
}

impl Quieting {
    /// Whether it must be told something, so that it quiesces or does not.
    pub(super) fn is_due(&self, quiesces: bool) -> bool {
        match self {
            Self::Untold => true,
            Self::Resuming | Self::Takes => quiesces,
            Self::Begun | Self::Quiet(_) => !quiesces,
        }
    }
}
