//! How long is waited after failures.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::key::Key;

/// The wait after the first failure.
const FIRST: Duration = Duration::from_millis(200);
/// The longest wait.
const LONGEST: Duration = Duration::from_secs(60);
/// The longest wait of a watch: an API server that is back should be found soon.
const LONGEST_WATCH: Duration = Duration::from_secs(5);
/// After how long without a failure a watch is taken for well again.
const QUIET: Duration = Duration::from_secs(30);

/// The wait after the given number of failures in a row: doubled each time, and anything between half of it and all of it, so that
/// what failed together is not tried again together.
fn wait(failures: u32, longest: Duration) -> Duration {
    let full = FIRST.saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1).min(16))).min(longest);
    full.mul_f64(0.5 + fastrand::f64() / 2.0)
}

/// The failures of one watch.
#[derive(Debug, Default)]
pub(crate) struct WatchFailures {
    count: u32,
    last: Option<Instant>,
}

impl WatchFailures {
    /// Notes a failure. Answers how long to wait, and whether it is the first of a series. A series ends by time alone: a list that
    /// comes through says nothing about the watch that is to follow it.
    pub(crate) fn failed(&mut self) -> (Duration, bool) {
        let goes_on = self.last.is_some_and(|last| last.elapsed() < QUIET);
        self.count = if goes_on { self.count.saturating_add(1) } else { 1 };
        self.last = Some(Instant::now());
        (wait(self.count, LONGEST_WATCH), !goes_on)
    }
}

/// How often each object failed in a row.
#[derive(Debug, Default)]
pub(crate) struct Failures(Mutex<HashMap<Key, u32>>);

impl Failures {
    /// Notes a failure; answers how long to wait.
    pub(crate) fn failed(&self, key: &Key) -> Duration {
        let mut failures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = failures.entry(key.clone()).or_insert(0);
        *count = count.saturating_add(1);
        wait(*count, LONGEST)
    }

    /// Notes a success.
    pub(crate) fn succeeded(&self, key: &Key) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }

    /// Forgets the objects that are gone.
    pub(crate) fn forget(&self, is_there: impl Fn(&Key) -> bool) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|key, _| is_there(key));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_their_bound_and_start_anew() {
        let failures = Failures::default();
        let (one, other) = (Key::new("n", "one"), Key::new("n", "other"));
        let first = failures.failed(&one);
        assert!((FIRST / 2..=FIRST).contains(&first), "{first:?}");
        for _ in 0..40 {
            failures.failed(&one);
        }
        let late = failures.failed(&one);
        assert!((LONGEST / 2..=LONGEST).contains(&late), "{late:?}");
        assert!(failures.failed(&other) <= FIRST, "one object's failures are not another's");
        failures.succeeded(&one);
        assert!(failures.failed(&one) <= FIRST);
        failures.forget(|key| *key == one);
        assert_eq!(failures.0.lock().unwrap().len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_watch_that_fails_again_and_again_waits_longer_and_says_so_once() {
        let mut failures = WatchFailures::default();
        let mut said = 0;
        let mut late = Duration::ZERO;
        for _ in 0..20 {
            let (wait, first) = failures.failed();
            said += u32::from(first);
            late = wait;
            tokio::time::advance(wait).await;
        }
        assert!((LONGEST_WATCH / 2..=LONGEST_WATCH).contains(&late), "{late:?}");
        assert_eq!(said, 1);
        tokio::time::advance(QUIET).await;
        let (wait, first) = failures.failed();
        assert!(wait <= FIRST && first);
    }
}
