use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// At most so many calls a second over time, and a burst of twice as many at once: the generic
/// cell rate algorithm. It keeps tokio's time, so that its waits can stand under a deadline and
/// its tests need none.
#[derive(Debug)]
pub(super) struct RateLimit {
    /// Between two calls.
    interval: Duration,
    /// How far calls may run ahead of the interval.
    tolerance: Duration,
    /// When the next call would be due if calls came evenly.
    due: Mutex<Instant>,
}

impl RateLimit {
    /// For `per_second` calls, which is greater than 0.
    pub(super) fn new(per_second: f64) -> Self {
        let interval = Duration::from_secs_f64(per_second.recip());
        let burst = (2.0 * per_second).max(1.0);
        let tolerance = interval.mul_f64(burst - 1.0);
        Self { interval, tolerance, due: Mutex::new(Instant::now()) }
    }

    /// Waits for a turn, if it comes by `latest`.
    ///
    /// # Errors
    /// How long it would take. No turn is used up.
    ///
    /// # Cancel safety
    /// A turn that was waited for is lost.
    pub(super) async fn turn(&self, latest: Instant) -> Result<(), Duration> {
        let turn = {
            let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
            let now = Instant::now();
            let turn = due.checked_sub(self.tolerance).unwrap_or(now).max(now);
            if turn > latest.max(now) {
                return Err(turn - now);
            }
            *due = (*due).max(now) + self.interval;
            turn
        };
        sleep_until(turn).await;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_burst_passes_and_then_calls_come_at_the_rate() {
        let begin = Instant::now();
        let (rate, latest) = (RateLimit::new(10.0), begin + Duration::from_mins(1));
        for _ in 0..20 {
            rate.turn(latest).await.unwrap();
        }
        assert_eq!(begin.elapsed(), Duration::ZERO);
        for _ in 0..10 {
            rate.turn(latest).await.unwrap();
        }
        assert_eq!(begin.elapsed(), Duration::from_secs(1));
        tokio::time::advance(Duration::from_hours(1)).await;
        let begin = Instant::now();
        for _ in 0..21 {
            rate.turn(begin + Duration::from_mins(1)).await.unwrap();
        }
        assert_eq!(begin.elapsed(), Duration::from_millis(100), "an idle hour saves up one burst");
    }

    #[tokio::test(start_paused = true)]
    async fn a_turn_that_comes_too_late_is_not_used_up() {
        let rate = RateLimit::new(0.5);
        let now = Instant::now();
        rate.turn(now).await.unwrap();
        for _ in 0..3 {
            assert_eq!(rate.turn(now + Duration::from_secs(1)).await, Err(Duration::from_secs(2)));
        }
        rate.turn(now + Duration::from_secs(2)).await.unwrap();
        assert_eq!(now.elapsed(), Duration::from_secs(2));
    }
}
