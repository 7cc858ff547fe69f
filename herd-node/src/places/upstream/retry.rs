use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use rand::RngExt as _;
use tokio::time::{Instant, Sleep, sleep};
use tower::retry::Policy;
use tower::retry::budget::{Budget as _, TpsBudget};

use super::attempt::{Ask, Told};
use super::verdict::Verdict;
use crate::places::metrics::Metrics;

/// Most times that one question is asked again.
const MAX_RETRIES: u32 = 2;

/// Upper bound of the first wait; it doubles up to [`MAX_DELAY`].
const FIRST_DELAY: Duration = Duration::from_millis(100);

const MAX_DELAY: Duration = Duration::from_secs(1);

/// How long a question counts towards what may be asked again.
const BUDGET_WINDOW: Duration = Duration::from_secs(10);

/// Retries a second that are always allowed, so that a quiet node can retry at all.
const MIN_RETRIES_PER_SECOND: u32 = 3;

/// Retries for each question beyond that. When everything fails, retries must not double the load.
const RETRIES_PER_QUESTION: f32 = 0.1;

/// Decides what is asked again, and when. A clone is about one question; all share the budget.
#[derive(Debug, Clone)]
pub(super) struct RetryPolicy {
    budget: Arc<TpsBudget>,
    /// Of this question so far.
    retries: u32,
    provider: &'static str,
    metrics: Metrics,
}

impl Policy<Ask, Told, Infallible> for RetryPolicy {
    type Future = Sleep;

    fn retry(&mut self, ask: &mut Ask, told: &mut Result<Told, Infallible>) -> Option<Sleep> {
        let verdict = told.as_ref().ok()?.verdict;
        let delay = self.delay(verdict, ask.deadline.duration_since(Instant::now()))?;
        self.metrics.retried(self.provider);
        // What the provider said is known by now, and a turn that does not come must not take its place.
        ask.latest = ask.deadline;
        Some(sleep(delay))
    }

    fn clone_request(&mut self, ask: &Ask) -> Option<Ask> {
        Some(ask.clone())
    }
}

impl RetryPolicy {
    pub(super) fn new(provider: &'static str, metrics: Metrics) -> Self {
        let budget = TpsBudget::new(BUDGET_WINDOW, MIN_RETRIES_PER_SECOND, RETRIES_PER_QUESTION);
        Self { budget: Arc::new(budget), retries: 0, provider, metrics }
    }

    /// How long to wait before asking again after `retries` retries; `None` to give up. The wait is
    /// drawn evenly below its bound, so that nodes that failed together do not ask together.
    ///
    /// `time_left` is what the question may still take.
    fn delay(&mut self, verdict: Verdict, time_left: Duration) -> Option<Duration> {
        let retries = self.retries;
        if retries == 0 {
            self.budget.deposit();
        }
        let wanted = match verdict {
            Verdict::Failed { again: true, retry_after } => {
                let bound = FIRST_DELAY.saturating_mul(1 << retries.min(10)).min(MAX_DELAY);
                retry_after.unwrap_or_else(|| rand::rng().random_range(Duration::ZERO..=bound))
            }
            Verdict::Throttled { retry_after: Some(asked) } => asked,
            _ => return None,
        };
        let allowed = retries < MAX_RETRIES && wanted < time_left && self.budget.withdraw();
        allowed.then(|| {
            self.retries += 1;
            wanted
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AGAIN: Verdict = Verdict::Failed { again: true, retry_after: None };
    const LONG: Duration = Duration::from_secs(4);

    fn policy() -> RetryPolicy {
        RetryPolicy::new("test", Metrics::new())
    }

    #[tokio::test(start_paused = true)]
    async fn two_retries_after_jittered_waits_and_no_more() {
        let mut longest = [Duration::ZERO; 2];
        for _ in 0..200 {
            let mut policy = policy();
            for longest in &mut longest {
                let delay = policy.delay(AGAIN, LONG).unwrap();
                *longest = delay.max(*longest);
            }
            assert_eq!(policy.delay(AGAIN, LONG), None);
        }
        for (longest, bound) in longest.into_iter().zip([FIRST_DELAY, FIRST_DELAY * 2]) {
            assert!(longest <= bound && longest > bound / 2, "{longest:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn only_what_may_go_better_is_asked_again_and_only_in_time() {
        let failed = Verdict::Failed { again: false, retry_after: None };
        let silent = Verdict::Throttled { retry_after: None };
        for verdict in [Verdict::Answered, Verdict::Unjudged, Verdict::Refused, failed, silent] {
            assert_eq!(policy().delay(verdict, LONG), None, "{verdict:?}");
        }
        let asked = Some(Duration::from_secs(2));
        for verdict in [
            Verdict::Throttled { retry_after: asked },
            Verdict::Failed { again: true, retry_after: asked },
        ] {
            assert_eq!(policy().delay(verdict, LONG), asked);
            assert_eq!(policy().delay(verdict, Duration::from_secs(2)), None, "too late");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn when_everything_fails_retries_run_out() {
        let policy = policy();
        let retries = (0..1000).filter(|_| policy.clone().delay(AGAIN, LONG).is_some()).count();
        // A tenth of the questions, and the reserve of one window.
        assert!((100..=160).contains(&retries), "{retries} of 1000");
    }
}
