//! What all units of a simulation stand on: the time, the object store, what clients were promised.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use muster_model::{Product, UnitName};

use crate::bug::Bug;
use crate::disk::Write;

/// An invariant that does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Which, in a few words that are always the same.
    pub invariant: &'static str,
    /// What was seen.
    pub what: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.invariant, self.what)
    }
}

/// The surroundings.
#[derive(Debug, Clone)]
pub(crate) struct Ground {
    pub(crate) now: Duration,
    pub(crate) product: Product,
    /// What the object store has.
    pub(crate) bucket: BTreeSet<Write>,
    pub(crate) store_is_up: bool,
    /// What clients were told is safe.
    pub(crate) acknowledged: BTreeSet<Write>,
    /// Units whose places in the ring are taken away now.
    pub(crate) forgotten: BTreeSet<UnitName>,
    pub(crate) bug: Option<Bug>,
    /// The first invariant that was broken.
    pub(crate) fault: Option<Fault>,
}

impl Ground {
    pub(crate) fn new(product: Product, bug: Option<Bug>) -> Self {
        Self {
            now: Duration::ZERO,
            product,
            bucket: BTreeSet::new(),
            store_is_up: true,
            acknowledged: BTreeSet::new(),
            forgotten: BTreeSet::new(),
            bug,
            fault: None,
        }
    }

    pub(crate) fn has(&self, bug: Bug) -> bool {
        bug.is_built_in(self.bug)
    }

    /// Notes that an invariant is broken.
    pub(crate) fn breaks(&mut self, invariant: &'static str, what: impl FnOnce() -> String) {
        if self.fault.is_none() {
            self.fault = Some(Fault { invariant, what: what() });
        }
    }

    /// The first acknowledged write of these that is not in the object store.
    pub(crate) fn only_here<'a>(&self, mut writes: impl Iterator<Item = &'a Write>) -> Option<Write> {
        writes.find(|write| self.acknowledged.contains(write) && !self.bucket.contains(write)).copied()
    }
}
