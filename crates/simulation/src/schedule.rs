//! A schedule: where a cluster starts and what happens to it, from a seed or from a script.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use muster_model::Product;

use crate::bug::Bug;
use crate::dice::Dice;
use crate::ground::Fault;
use crate::layout::Start;
use crate::step::{NoStep, Step};
use crate::world::{Rest, World};

/// How many steps a schedule has.
const STEPS: u32 = 70;
/// How often a schedule is run at most to find a shorter one that fails in the same way.
const SHORTER: u32 = 3000;

/// A schedule. Prints as a script, and reads as it prints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    /// Where it starts.
    pub start: Start,
    /// What happens.
    pub steps: Vec<Step>,
}

/// How fresh clusters with the same documents end, as far as it was worked out.
pub type Ends = BTreeMap<String, Rest>;

impl Schedule {
    /// The schedule of a seed.
    #[must_use]
    pub fn of(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let product = *dice.pick(&[Product::Mimir, Product::Loki, Product::Tempo]);
        let start = Start { product, layout: dice.below(6), copies: *dice.pick(&[1, 3, 3]) };
        // Most clusters are up before anything goes wrong.
        let mut steps = Vec::new();
        if dice.below(8) > 0 {
            for _ in 0..3 {
                steps.extend([Step::Round, Step::Pass(1000), Step::Round, Step::Pass(5000)]);
            }
            steps.extend([Step::Round, Step::Push(2)]);
        }
        steps.extend((0..STEPS).map(|_| Step::draw(&mut dice)));
        Self { start, steps }
    }

    /// Runs it, and says which invariant was broken first.
    ///
    /// # Errors
    /// An invariant was broken.
    pub fn run(&self, bug: Option<Bug>, ends: &mut Ends) -> Result<(), Fault> {
        let mut world = World::new(self.start, bug);
        for step in &self.steps {
            world.step(*step);
            if let Some(fault) = world.fault() {
                return Err(fault.clone());
            }
        }
        end(&mut world, ends)
    }

    /// What stands where after every step.
    #[must_use]
    pub fn trace(&self) -> String {
        let mut world = World::new(self.start, None);
        let mut text = String::new();
        for step in &self.steps {
            world.step(*step);
            text.push_str(&format!("{step}: {}\n", world.describe()));
        }
        world.heal();
        for _ in 0..20 {
            world.round();
            text.push_str(&format!("round: {}\n", world.describe()));
            world.pass(std::time::Duration::from_secs(1));
        }
        text
    }

    /// A short schedule that breaks the same invariant.
    #[must_use]
    pub fn shortened(&self, bug: Option<Bug>, invariant: &str, ends: &mut Ends) -> Self {
        let mut short = self.clone();
        let mut tries = 0;
        let mut size = short.steps.len() / 2;
        while size > 0 {
            let mut from = 0;
            let mut removed = false;
            while from < short.steps.len() && tries < SHORTER {
                let mut shorter = short.clone();
                shorter.steps.drain(from..(from + size).min(short.steps.len()));
                tries += 1;
                if shorter.run(bug, ends).is_err_and(|fault| fault.invariant == invariant) {
                    short = shorter;
                    removed = true;
                } else {
                    from += size;
                }
            }
            if size > 1 || !removed || tries >= SHORTER {
                size /= 2;
            }
        }
        short
    }
}

/// Every fault ends: the cluster must come to rest, serve all that was acknowledged, and be as a fresh one would be.
fn end(world: &mut World, ends: &mut Ends) -> Result<(), Fault> {
    let fault = |invariant, what| Fault { invariant, what };
    world.heal();
    let mut rest = settle(world)?;
    if rest.status.contains("halted") {
        // What failed while faults lasted is remembered for as long as the same is asked for.
        world.step(Step::Set(3));
        rest = settle(world)?;
    }
    if let Some(name) = world.temporary() {
        return Err(fault("temporary workers go", format!("all is at rest, and {name} is still there")));
    }
    if let Some(message) = world.transition() {
        return Err(fault("honest status", format!("all is at rest, and {message:?}")));
    }
    if let Some(write) = world.unreadable() {
        return Err(fault("acknowledged writes", format!("nobody can read write {write} in the end")));
    }
    if world.keeps_old_roles() {
        // Such units keep what they ran last, which depends on the path.
        return Ok(());
    }
    let key = world.documents();
    let expected = match ends.get(&key) {
        Some(expected) => expected.clone(),
        None => {
            let expected = settle(&mut world.afresh())?;
            ends.insert(key, expected.clone());
            expected
        }
    };
    if rest != expected {
        return Err(fault(
            "same end from every path",
            format!("it ends with {rest:#?} where a fresh cluster ends with {expected:#?}"),
        ));
    }
    Ok(())
}

fn settle(world: &mut World) -> Result<Rest, Fault> {
    let outcome = world.settle();
    match (outcome, world.fault()) {
        (_, Some(fault)) => Err(fault.clone()),
        (Ok(rest), None) => Ok(rest),
        (Err(what), None) => Err(Fault { invariant: "quiet in the end", what }),
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Start { product, layout, copies } = self.start;
        writeln!(f, "start {product} {layout} {copies}")?;
        self.steps.iter().try_for_each(|step| writeln!(f, "{step}"))
    }
}

impl FromStr for Schedule {
    type Err = NoStep;

    fn from_str(text: &str) -> Result<Self, NoStep> {
        let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let first = lines.next().unwrap_or_default();
        let none = || NoStep(first.to_owned());
        let start = match &*first.split_whitespace().collect::<Vec<_>>() {
            ["start", product, layout, copies] => Start {
                product: product.parse().map_err(|_| none())?,
                layout: layout.parse().map_err(|_| none())?,
                copies: copies.parse().map_err(|_| none())?,
            },
            _ => return Err(none()),
        };
        let steps: Result<Vec<_>, _> = lines.map(Step::from_str).collect();
        Ok(Self { start, steps: steps? })
    }
}
