//! Waits that grow.

use std::time::Duration;

/// The first wait before a process that ended by itself is started again. Pebble's number.
pub const FIRST: Duration = Duration::from_millis(500);
/// The longest wait, without jitter. Pebble's number.
pub const LIMIT: Duration = Duration::from_secs(30);
/// The factor from one wait to the next. Pebble's number.
pub const FACTOR: u32 = 2;

/// A wait that doubles with each failure, up to [`LIMIT`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Backoff {
    last: Option<Duration>,
}

/// What is added to a wait so that units which failed together do not start together: 0 to 10 %, as in Pebble.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Jitter(u16);

impl Jitter {
    /// Takes any number; its remainder decides.
    #[must_use]
    pub fn new(random: u64) -> Self {
        Self(u16::try_from(random % 1001).unwrap_or_default())
    }

    fn add_to(self, wait: Duration) -> Duration {
        wait + wait * u32::from(self.0) / 10_000
    }
}

impl Backoff {
    /// The next wait.
    pub fn next(&mut self, jitter: Jitter) -> Duration {
        let wait = self.last.map_or(FIRST, |last| (last * FACTOR).min(LIMIT));
        self.last = Some(wait);
        jitter.add_to(wait)
    }

    /// Forgets earlier failures.
    pub fn reset(&mut self) {
        self.last = None;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn waits_grow_to_the_limit_and_start_again_after_a_reset(jitters: Vec<u64>) {
            let mut backoff = Backoff::default();
            let mut bare = Backoff::default();
            let mut previous = Duration::ZERO;
            for jitter in jitters {
                let base = bare.next(Jitter::default());
                let wait = backoff.next(Jitter::new(jitter));
                prop_assert!(base >= previous && base <= LIMIT);
                prop_assert!(wait >= base && wait <= base + base / 10);
                previous = base;
            }
            backoff.reset();
            prop_assert_eq!(backoff.next(Jitter::default()), FIRST);
        }
    }

    #[test]
    fn the_waits_are_those_of_pebble() {
        let mut backoff = Backoff::default();
        let waits: Vec<_> = (0..8).map(|_| backoff.next(Jitter::default()).as_millis()).collect();
        assert_eq!(waits, [500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000]);
    }
}
