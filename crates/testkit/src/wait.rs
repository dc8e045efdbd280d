//! Waiting for a condition, with a deadline.

use std::time::{Duration, Instant};

use anyhow::bail;

/// How long to rest between two looks at the condition.
const INTERVAL: Duration = Duration::from_millis(20);

/// Calls `look` until it returns a value, for `within` at most. `what` says what is waited for.
///
/// # Errors
/// The value did not come in time.
pub async fn wait_until<T>(
    what: &str,
    within: Duration,
    mut look: impl AsyncFnMut() -> Option<T>,
) -> anyhow::Result<T> {
    let deadline = Instant::now() + within;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        // One look may hang; the deadline holds for it too.
        if let Ok(Some(value)) = tokio::time::timeout(left.max(INTERVAL), look()).await {
            return Ok(value);
        }
        if Instant::now() >= deadline {
            bail!("{what}: not within {within:?}");
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_value_is_waited_for_and_its_absence_is_an_error() {
        let mut looks = 0;
        let third = wait_until("third look", Duration::from_secs(10), async || {
            looks += 1;
            (looks == 3).then_some(looks)
        });
        assert_eq!(third.await.unwrap(), 3);
        let never = wait_until("never", Duration::from_millis(30), async || None::<()>).await;
        assert!(never.unwrap_err().to_string().contains("never"));
        let hanging = wait_until("hanging", Duration::from_millis(30), async || {
            std::future::pending::<Option<()>>().await
        });
        assert!(hanging.await.is_err());
    }
}
