//! The steps and their words.

use std::fmt::Write as _;

use muster_model::{Finding, Status, UnitName};
use serde::{Deserialize, Serialize};

/// What will be done if nothing fails.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Forecast {
    /// What a person would have to act on or wait for at the beginning.
    pub findings: Vec<Finding>,
    /// In the order in which they begin.
    pub steps: Vec<Step>,
    /// Units that stay as they are, because nobody can tell what they would do.
    pub obstacles: Vec<Obstacle>,
    /// How often each load balancer takes up another document. No reload cuts a request.
    pub reloads: usize,
    /// Whether nothing more is asked for after the last step. Else there are more steps than were looked at.
    pub comes_to_rest: bool,
    /// The coordinator's status after the last step.
    pub end: Status,
    /// Whether nothing of the coordinator is left then.
    pub is_gone: bool,
}

/// What one or several units of an application do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Step {
    /// What each of the units does, one thing after the other.
    pub acts: Vec<Act>,
    /// The units in their order: those of one wave together, and a wave after the one before it.
    pub waves: Vec<Vec<UnitName>>,
    /// What the first wave waits for.
    pub waits_for: Vec<Wait>,
    /// What becomes of writes meanwhile.
    pub writes: Service,
    /// What becomes of queries meanwhile.
    pub reads: Service,
    /// What becomes of the data that the units hold.
    pub data: Data,
}

/// One thing that a unit does. Roles are named as people switch them on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "act", rename_all = "kebab-case", rename_all_fields = "camelCase")]
pub enum Act {
    /// It was told before, and becomes ready.
    ComeUp,
    /// It was told before, and ends what it began.
    End,
    /// It is made.
    Make,
    /// Its process starts. A load balancer has no roles.
    Start {
        /// With these.
        roles: Vec<String>,
    },
    /// It takes up another document without a gap: a load balancer.
    Reload,
    /// The load balancer sends it nothing new.
    LeaveBalancer,
    /// What carries it is made anew. Its disk stays.
    Renew,
    /// Its process is started again, on the same disk.
    Restart {
        /// With these roles.
        roles: Vec<String>,
        /// Whether they are others than before.
        new_roles: bool,
        /// Whether its config is another one.
        new_config: bool,
    },
    /// It uploads what it holds and goes on to answer queries.
    Quiesce {
        /// Whether it takes nothing new from then on.
        takes_nothing: bool,
    },
    /// It takes data again.
    Resume,
    /// It uploads what it holds, leaves its rings and starts again without the role that held it.
    GiveUp {
        /// With these roles.
        roles: Vec<String>,
    },
    /// It stops for good.
    Stop {
        /// Whether it uploads what it holds and leaves its rings first.
        drains: bool,
    },
    /// It is removed.
    Remove,
}

/// Something that units came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wait {
    /// All of them.
    pub units: Vec<UnitName>,
    /// What they came to.
    pub until: Until,
}

/// What a unit comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Until {
    /// It is ready.
    Ready,
    /// It has stopped, and holds nothing any more.
    Stopped,
    /// What it uploaded is found by everybody.
    Found,
}

/// What clients notice of a step.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(tag = "effect", rename_all = "kebab-case")]
pub enum Service {
    /// Others serve, or nobody did before.
    #[default]
    None,
    /// Queries come back without what the unit holds until it is back.
    Short,
    /// Queries may come back without what the unit uploaded until they find it in the object store, about a minute.
    Late,
    /// Requests fail.
    Fails {
        /// Until these are ready. Empty: until the same units are.
        until: Vec<UnitName>,
        /// Whether there is an end to it.
        ends: bool,
    },
}

impl Service {
    /// How bad it is.
    pub(super) fn rank(&self) -> u8 {
        match self {
            Self::None => 0,
            Self::Short => 1,
            Self::Late => 2,
            Self::Fails { .. } => 3,
        }
    }
}

/// What becomes of the data that a unit holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Data {
    /// It holds none, or nothing happens to it.
    #[default]
    None,
    /// It stays on the unit's disk.
    Stays,
    /// It goes to the object store first.
    Uploaded,
    /// It is given up: there is no object store that it could go to.
    GivenUp,
}

/// A unit that stays as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Obstacle {
    /// Which.
    pub unit: UnitName,
    /// Why, in one line.
    pub why: String,
}

/// How many units of a step are changed at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// All at once.
    Together,
    /// One after the other.
    OneByOne,
    /// At most so many.
    AtMost(usize),
}

impl Step {
    /// All units, in their order.
    pub fn units(&self) -> impl Iterator<Item = &UnitName> {
        self.waves.iter().flatten()
    }

    /// How many are changed at a time.
    #[must_use]
    pub fn pace(&self) -> Pace {
        match self.waves.iter().map(Vec::len).max().unwrap_or(0) {
            _ if self.waves.len() <= 1 => Pace::Together,
            1 => Pace::OneByOne,
            most => Pace::AtMost(most),
        }
    }

    /// What is done, in one line.
    #[must_use]
    pub fn what(&self) -> String {
        let many = self.units().count() > 1;
        let mut phrases: Vec<String> = Vec::new();
        for act in &self.acts {
            phrases.extend(act.phrases(many));
        }
        let mut text = spans(self.units());
        let last = phrases.len().saturating_sub(1);
        for (place, phrase) in phrases.iter().enumerate() {
            let joint = if place == 0 {
                " "
            } else if place == last {
                " and "
            } else {
                ", "
            };
            let _ = write!(text, "{joint}{phrase}");
        }
        match self.pace() {
            Pace::Together => {}
            Pace::OneByOne => text.push_str(", one after the other"),
            Pace::AtMost(most) => {
                let _ = write!(text, ", at most {most} at a time");
            }
        }
        text
    }

    /// What the step waits for, in words.
    #[must_use]
    pub fn waits(&self) -> String {
        let each = match self.pace() {
            Pace::Together => "",
            _ => ", then each for the one before",
        };
        if self.waits_for.is_empty() {
            return format!("nothing{each}");
        }
        let waits: Vec<String> = self.waits_for.iter().map(ToString::to_string).collect();
        format!("{}{each}", waits.join(" and "))
    }

    /// What becomes of writes, if anything.
    #[must_use]
    pub fn on_writes(&self) -> Option<String> {
        self.said("writes", &self.writes)
    }

    /// What becomes of reads, if anything.
    #[must_use]
    pub fn on_reads(&self) -> Option<String> {
        self.said("queries", &self.reads)
    }

    fn said(&self, who: &str, service: &Service) -> Option<String> {
        let units = spans(self.units());
        let away = if self.units().count() > 1 { "are away" } else { "is away" };
        Some(match service {
            Service::None => return None,
            Service::Short => format!("{who} miss what {units} held last while it is away"),
            Service::Late => {
                format!("{who} may miss what {units} uploaded until they find it in the object store")
            }
            Service::Fails { ends: false, .. } => format!("{who} fail from then on"),
            Service::Fails { until, .. } if until.is_empty() => format!("{who} fail while {units} {away}"),
            Service::Fails { until, .. } => format!("{who} fail until {} answer", spans(until.iter())),
        })
    }

    /// What becomes of the data that the units hold, if they hold any.
    #[must_use]
    pub fn on_data(&self) -> Option<String> {
        let units = spans(self.units());
        Some(match self.data {
            Data::None => return None,
            Data::Stays => format!("what {units} held stays on disk"),
            Data::Uploaded => format!("what {units} held goes to the object store first"),
            Data::GivenUp => {
                format!("what {units} held and did not upload is given up: there is no object store")
            }
        })
    }
}

impl Act {
    fn phrases(&self, many: bool) -> Vec<String> {
        let verb = |one: &str, all: &str| if many { all.to_owned() } else { one.to_owned() };
        let with = |verb: String, roles: &[String]| {
            if roles.is_empty() { verb } else { format!("{verb} with {}", roles.join(", ")) }
        };
        let leave = || {
            vec![
                if many { "upload what they hold".to_owned() } else { "uploads what it holds".to_owned() },
                if many { "leave their rings".to_owned() } else { "leaves its rings".to_owned() },
            ]
        };
        match self {
            Self::ComeUp => vec![verb("becomes ready", "become ready")],
            Self::End => vec![verb("ends what it began", "end what they began")],
            Self::Make => vec![verb("is made", "are made")],
            Self::Start { roles } => vec![with(verb("starts", "start"), roles)],
            Self::Reload => vec![verb("reloads its config", "reload their config")],
            Self::LeaveBalancer => vec![verb("leaves the load balancer", "leave the load balancer")],
            Self::Renew => vec![verb("is made anew on its disk", "are made anew on their disks")],
            Self::Restart { roles, new_roles, new_config } => {
                let verb = verb("restarts", "restart");
                let config = if *new_config { "the new config" } else { "" };
                vec![match (new_roles, config) {
                    (true, "") => with(verb, roles),
                    (true, config) => format!("{} and {config}", with(verb, roles)),
                    (false, "") => verb,
                    (false, config) => format!("{verb} with {config}"),
                }]
            }
            Self::Quiesce { takes_nothing } => {
                let first = takes_nothing.then(|| verb("takes nothing new", "take nothing new"));
                let rest = [
                    verb("uploads what it holds", "upload what they hold"),
                    verb("answers queries until others find it", "answer queries until others find it"),
                ];
                first.into_iter().chain(rest).collect()
            }
            Self::Resume => vec![verb("takes data again", "take data again")],
            Self::GiveUp { roles } => {
                let mut phrases = leave();
                phrases.push(with(verb("restarts", "restart"), roles));
                phrases
            }
            Self::Stop { drains } => {
                let mut phrases = if *drains { leave() } else { Vec::new() };
                phrases.push(verb("stops", "stop"));
                phrases
            }
            Self::Remove => vec![verb("is removed", "are removed")],
        }
    }
}

impl std::fmt::Display for Wait {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let units = spans(self.units.iter());
        match self.until {
            Until::Ready => write!(f, "{units} ready"),
            Until::Stopped => write!(f, "{units} stopped"),
            Until::Found => write!(f, "what {units} uploaded to be found"),
        }
    }
}

/// The names of units, those of one application as a span where they follow each other: `w/0…/2, w/7`.
pub(crate) fn spans<'a>(units: impl Iterator<Item = &'a UnitName>) -> String {
    let mut sorted: Vec<&UnitName> = units.collect();
    sorted.sort_unstable();
    sorted.dedup();
    let mut spans: Vec<(&UnitName, &UnitName)> = Vec::new();
    for unit in sorted {
        match spans.last_mut() {
            Some((_, last))
                if last.application() == unit.application() && last.number() + 1 == unit.number() =>
            {
                *last = unit;
            }
            _ => spans.push((unit, unit)),
        }
    }
    let span = |(first, last): &(&UnitName, &UnitName)| match last.number() - first.number() {
        0 => first.to_string(),
        1 => format!("{first}, {last}"),
        _ => format!("{first}…/{}", last.number()),
    };
    spans.iter().map(span).collect::<Vec<_>>().join(", ")
}
