//! How long is waited after failures.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use kube::runtime::utils::Backoff;

use crate::key::Key;

/// The wait after the first failure.
const FIRST: Duration = Duration::from_millis(200);
/// The longest wait.
const LONGEST: Duration = Duration::from_secs(60);
/// The longest wait of a watch: an API server that is back should be found soon.
const LONGEST_WATCH: Duration = Duration::from_secs(5);

/// The wait after the given number of failures in a row: doubled each time, and anything between half of it and all of it, so that
/// what failed together is not tried again together.
fn wait(failures: u32, longest: Duration) -> Duration {
    let full = FIRST.saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1).min(16))).min(longest);
    full.mul_f64(0.5 + fastrand::f64() / 2.0)
}

/// The waits of one watch.
pub(crate) fn watch_backoff() -> impl Backoff {
    WatchBackoff { failures: 0 }
}

struct WatchBackoff {
    failures: u32,
}

impl Iterator for WatchBackoff {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        self.failures = self.failures.saturating_add(1);
        Some(wait(self.failures, LONGEST_WATCH))
    }
}

impl Backoff for WatchBackoff {
    fn reset(&mut self) {
        self.failures = 0;
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
    }
}
