//! How many statuses are written that nobody waits for: where very many deployments change at once, the API server has better things
//! to do.

use std::sync::Mutex;

use tokio::time::Instant;

use crate::context::locked;

/// In the long run.
const PER_SECOND: f64 = 10.0;
/// After a quiet time: one deployment never waits for the others.
const BURST: f64 = 100.0;

/// The budget of all deployments together.
#[derive(Debug)]
pub(crate) struct Pace(Mutex<Left>);

#[derive(Debug)]
struct Left {
    writes: f64,
    at: Instant,
}

impl Pace {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(Left { writes: BURST, at: Instant::now() }))
    }

    /// Whether one more may be written now.
    pub(crate) fn take(&self) -> bool {
        let (mut left, now) = (locked(&self.0), Instant::now());
        left.writes = (left.writes + now.duration_since(left.at).as_secs_f64() * PER_SECOND).min(BURST);
        left.at = now;
        let may = left.writes >= 1.0;
        if may {
            left.writes -= 1.0;
        }
        may
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_burst_is_free_and_the_rest_is_paced() {
        let pace = Pace::new();
        let taken = || std::iter::repeat_with(|| pace.take()).take_while(|may| *may).count();
        assert_eq!(taken(), 100);
        advance(Duration::from_millis(550)).await;
        assert_eq!(taken(), 5);
        advance(Duration::from_secs(3600)).await;
        assert_eq!(taken(), 100, "what was not used is not kept for ever");
    }
}
