//! Faults that are built in on purpose, each against one invariant.

use std::fmt;

/// A deliberate bug.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bug {
    /// The coordinator takes a unit away as soon as it has told it to stop.
    RemovesEarly,
    /// The agent takes an orderly end for a proof that nothing is left.
    TrustsTheExit,
    /// The agent runs other roles over a disk that still holds data.
    StrandsData,
    /// The coordinator lets a unit go as soon as it has uploaded what it held.
    GoesEarly,
    /// The coordinator restarts all units with a new config at once.
    RestartsAll,
    /// The coordinator stops the units that have a role before others are ready with it.
    BreaksBeforeMake,
    /// The coordinator takes the temporary worker away while others still are to change.
    DismissesEarly,
    /// The coordinator begins a unit's epochs anew.
    ForgetsEpochs,
    /// The agent obeys what is older than what it obeyed.
    ObeysTheOld,
    /// The coordinator says that it is active whatever units say.
    SaysActive,
    /// The coordinator changes something in every plan.
    NeverQuiet,
    /// The coordinator forgets to tell one unit of a new config.
    SkipsOne,
    /// The coordinator never takes a stopped unit away.
    NeverRemoves,
    /// The agent says that a unit has no place in the ring, and has not looked.
    LeavesPlaces,
}

impl Bug {
    /// All of them.
    pub const ALL: &'static [Self] = &[
        Self::RemovesEarly,
        Self::TrustsTheExit,
        Self::StrandsData,
        Self::GoesEarly,
        Self::RestartsAll,
        Self::BreaksBeforeMake,
        Self::DismissesEarly,
        Self::ForgetsEpochs,
        Self::ObeysTheOld,
        Self::SaysActive,
        Self::NeverQuiet,
        Self::SkipsOne,
        Self::NeverRemoves,
        Self::LeavesPlaces,
    ];

    /// What it breaks, in the words of the report.
    #[must_use]
    pub fn breaks(self) -> &'static [&'static str] {
        match self {
            Self::RemovesEarly | Self::TrustsTheExit => &["acknowledged writes"],
            Self::StrandsData => &["stranded data"],
            Self::GoesEarly => &["found before it goes"],
            Self::RestartsAll => &["quorum budget"],
            Self::BreaksBeforeMake | Self::DismissesEarly => &["coherence"],
            Self::ForgetsEpochs | Self::ObeysTheOld => &["monotone epochs"],
            Self::SaysActive => &["honest status"],
            Self::NeverQuiet => &["quiet in the end"],
            Self::LeavesPlaces => &["places in rings"],
            Self::SkipsOne | Self::NeverRemoves => &["same end from every path"],
        }
    }

    /// Whether the bug is built in.
    #[must_use]
    pub fn is_built_in(self, chosen: Option<Self>) -> bool {
        cfg!(feature = "deliberate-bugs") && chosen == Some(self)
    }
}

impl fmt::Display for Bug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::RemovesEarly => "a unit is taken away as soon as it is told to stop",
            Self::TrustsTheExit => "an agent takes the end of a process for a proof that all is uploaded",
            Self::StrandsData => "an agent runs other roles over a disk that holds data",
            Self::GoesEarly => "a unit goes as soon as it has uploaded what it held",
            Self::RestartsAll => "all units are restarted with a new config at once",
            Self::BreaksBeforeMake => "a role's units stop before others are ready with it",
            Self::DismissesEarly => "the temporary worker is taken away while others still are to change",
            Self::ForgetsEpochs => "a coordinator begins a unit's epochs anew",
            Self::ObeysTheOld => "an agent obeys an assignment that is older than its own",
            Self::SaysActive => "the status is active whatever units say",
            Self::NeverQuiet => "every plan changes something",
            Self::SkipsOne => "one unit is never told of a new config",
            Self::NeverRemoves => "stopped units are never taken away",
            Self::LeavesPlaces => "an agent says that a unit has left the ring, and has not looked",
        })
    }
}
