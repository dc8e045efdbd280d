//! What can happen in a schedule, in a form that people can read and edit.

use std::fmt;
use std::str::FromStr;

use crate::dice::Dice;

/// One step. Numbers of units, workers and roles count round, so that a step has a meaning in every state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The coordinator does one thing: it carries out the next effect of its last plan, or plans.
    Plan,
    /// The coordinator carries out what is left of its last plan, plans, and carries that out.
    Round,
    /// Time passes, in milliseconds.
    Pass(u32),
    /// Clients send that many writes.
    Push(u32),
    /// A unit puts what is in its log into a block and uploads what it can.
    Ship(u32),
    /// A unit's process is killed.
    KillProcess(u32),
    /// A unit's agent is killed; the process goes on, and a new agent comes.
    KillAgent(u32),
    /// Agent and process of a unit are killed; both come back to the same disk.
    KillUnit(u32),
    /// A unit's agent is asked to end, and comes back to the same disk.
    Restart(u32),
    /// The coordinator is killed between two effects, and forgets what it had not saved.
    KillCoordinator,
    /// The coordinator can't reach a unit's agent.
    Cut(u32),
    /// It can again.
    Mend(u32),
    /// What a unit says arrives no more; the coordinator goes by what it heard last.
    Freeze(u32),
    /// It arrives again.
    Thaw(u32),
    /// What a unit said last is lost.
    Forget(u32),
    /// The API is away: the coordinator sees nothing and tells nothing, nobody edits.
    ApiDown,
    /// It is back.
    ApiUp,
    /// The object store is away.
    StoreDown,
    /// It is back.
    StoreUp,
    /// A unit's uploads fail, though the object store answers others.
    FailUploads(u32),
    /// A unit's uploads take a minute and a half.
    SlowUploads(u32),
    /// A unit's uploads work again.
    MendUploads(u32),
    /// A user gives a worker that many units.
    Scale(u32, u32),
    /// A user switches a worker's role, on or off.
    Toggle(u32, u32),
    /// A user removes a worker.
    Remove(u32),
    /// A user asks for another layout of the product: workers come, change and go.
    Become(u32),
    /// A user gives two workers each other's roles.
    Trade(u32, u32),
    /// A user removes the temporary worker.
    Dismiss,
    /// A user sets an option.
    Set(u32),
    /// A user takes all edits back.
    EditBack,
}

impl Step {
    /// Draws a step.
    pub fn draw(dice: &mut Dice) -> Self {
        let unit = dice.below(16);
        match dice.below(100) {
            0..=13 => Self::Plan,
            14..=33 => Self::Round,
            34..=58 => Self::Pass(*dice.pick(&[20, 300, 1000, 1000, 2500, 5000, 30_000])),
            59..=66 => Self::Push(1 + dice.below(3)),
            67..=68 => Self::Ship(unit),
            69..=70 => Self::KillProcess(unit),
            71..=72 => Self::KillAgent(unit),
            73 => Self::KillUnit(unit),
            74 => Self::Restart(unit),
            75..=76 => Self::KillCoordinator,
            77 => Self::Cut(unit),
            78..=79 => Self::Mend(unit),
            80 => Self::Freeze(unit),
            81..=82 => Self::Thaw(unit),
            83 => Self::Forget(unit),
            84 => *dice.pick(&[Self::ApiDown, Self::ApiUp, Self::ApiUp]),
            85..=86 => *dice.pick(&[Self::StoreDown, Self::StoreUp]),
            87 => Self::FailUploads(unit),
            88 => Self::SlowUploads(unit),
            89 => Self::MendUploads(unit),
            90..=91 => Self::Scale(unit, dice.below(5)),
            92 => Self::Toggle(unit, dice.below(16)),
            93 => *dice.pick(&[Self::Remove(unit), Self::Remove(unit), Self::Dismiss]),
            94..=95 => Self::Trade(unit, dice.below(16)),
            96 => Self::Become(dice.below(6)),
            97..=98 => Self::Set(dice.below(3)),
            _ => Self::EditBack,
        }
    }

    fn words(self) -> (&'static str, Vec<u32>) {
        match self {
            Self::Plan => ("plan", vec![]),
            Self::Round => ("round", vec![]),
            Self::Pass(n) => ("pass", vec![n]),
            Self::Push(n) => ("push", vec![n]),
            Self::Ship(u) => ("ship", vec![u]),
            Self::KillProcess(u) => ("kill-process", vec![u]),
            Self::KillAgent(u) => ("kill-agent", vec![u]),
            Self::KillUnit(u) => ("kill-unit", vec![u]),
            Self::Restart(u) => ("restart", vec![u]),
            Self::KillCoordinator => ("kill-coordinator", vec![]),
            Self::Cut(u) => ("cut", vec![u]),
            Self::Mend(u) => ("mend", vec![u]),
            Self::Freeze(u) => ("freeze", vec![u]),
            Self::Thaw(u) => ("thaw", vec![u]),
            Self::Forget(u) => ("forget", vec![u]),
            Self::ApiDown => ("api-down", vec![]),
            Self::ApiUp => ("api-up", vec![]),
            Self::StoreDown => ("store-down", vec![]),
            Self::StoreUp => ("store-up", vec![]),
            Self::FailUploads(u) => ("fail-uploads", vec![u]),
            Self::SlowUploads(u) => ("slow-uploads", vec![u]),
            Self::MendUploads(u) => ("mend-uploads", vec![u]),
            Self::Scale(w, n) => ("scale", vec![w, n]),
            Self::Toggle(w, r) => ("toggle", vec![w, r]),
            Self::Remove(w) => ("remove", vec![w]),
            Self::Become(k) => ("become", vec![k]),
            Self::Trade(w, v) => ("trade", vec![w, v]),
            Self::Dismiss => ("dismiss", vec![]),
            Self::Set(n) => ("set", vec![n]),
            Self::EditBack => ("edit-back", vec![]),
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (word, numbers) = self.words();
        f.write_str(word)?;
        numbers.iter().try_for_each(|number| write!(f, " {number}"))
    }
}

/// The line is no step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoStep(pub String);

impl fmt::Display for NoStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is no step", self.0)
    }
}

impl FromStr for Step {
    type Err = NoStep;

    fn from_str(line: &str) -> Result<Self, NoStep> {
        let mut parts = line.split_whitespace();
        let word = parts.next().unwrap_or_default();
        let numbers: Result<Vec<u32>, _> = parts.map(str::parse).collect();
        let numbers = numbers.map_err(|_| NoStep(line.to_owned()))?;
        Ok(match (word, &*numbers) {
            ("plan", []) => Self::Plan,
            ("round", []) => Self::Round,
            ("pass", [n]) => Self::Pass(*n),
            ("push", [n]) => Self::Push(*n),
            ("ship", [u]) => Self::Ship(*u),
            ("kill-process", [u]) => Self::KillProcess(*u),
            ("kill-agent", [u]) => Self::KillAgent(*u),
            ("kill-unit", [u]) => Self::KillUnit(*u),
            ("restart", [u]) => Self::Restart(*u),
            ("kill-coordinator", []) => Self::KillCoordinator,
            ("cut", [u]) => Self::Cut(*u),
            ("mend", [u]) => Self::Mend(*u),
            ("freeze", [u]) => Self::Freeze(*u),
            ("thaw", [u]) => Self::Thaw(*u),
            ("forget", [u]) => Self::Forget(*u),
            ("api-down", []) => Self::ApiDown,
            ("api-up", []) => Self::ApiUp,
            ("store-down", []) => Self::StoreDown,
            ("store-up", []) => Self::StoreUp,
            ("fail-uploads", [u]) => Self::FailUploads(*u),
            ("slow-uploads", [u]) => Self::SlowUploads(*u),
            ("mend-uploads", [u]) => Self::MendUploads(*u),
            ("scale", [w, n]) => Self::Scale(*w, *n),
            ("toggle", [w, r]) => Self::Toggle(*w, *r),
            ("remove", [w]) => Self::Remove(*w),
            ("become", [k]) => Self::Become(*k),
            ("trade", [w, v]) => Self::Trade(*w, *v),
            ("dismiss", []) => Self::Dismiss,
            ("set", [n]) => Self::Set(*n),
            ("edit-back", []) => Self::EditBack,
            _ => return Err(NoStep(line.to_owned())),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_reads_as_it_prints() {
        let mut dice = Dice::new(1);
        for _ in 0..2000 {
            let step = Step::draw(&mut dice);
            assert_eq!(step.to_string().parse(), Ok(step));
        }
        assert!("pass".parse::<Step>().is_err() && "plan 3".parse::<Step>().is_err());
    }
}
