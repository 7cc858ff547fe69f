//! How long to wait before dialling again.

use std::time::Duration;

use rand::RngExt as _;

/// First and shortest upper bound of a wait.
const FIRST: Duration = Duration::from_millis(100);

/// Longest wait while a friend cannot be reached. One attempt a second costs next to nothing and
/// bounds how long a healed network stays unused.
const MAX_UNREACHABLE: Duration = Duration::from_secs(1);

/// Longest wait while a friend refuses us, which only an operator can change.
const MAX_REFUSED: Duration = Duration::from_secs(15);

/// A stream must live this long before its end counts as a first failure again.
const STABLE: Duration = Duration::from_secs(5);

/// Exponential back-off with full jitter: a wait is drawn evenly between nothing and an upper
/// bound that doubles with each failure, so that a herd that lost a node does not dial in step.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The wait after one more failure.
    pub(super) fn after_failure(&mut self, refused: bool) -> Duration {
        let max = if refused { MAX_REFUSED } else { MAX_UNREACHABLE };
        let bound = FIRST.saturating_mul(1 << self.failures.min(10)).min(max);
        self.failures = self.failures.saturating_add(1);
        rand::rng().random_range(Duration::ZERO..=bound)
    }

    /// Notes how long a stream lived.
    pub(super) fn after_stream(&mut self, lived: Duration) {
        if lived >= STABLE {
            self.failures = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_their_limit_and_only_a_stable_stream_resets_them() {
        let mut backoff = Backoff::default();
        assert!(backoff.after_failure(false) <= FIRST);
        let longest = (0..1000).map(|_| backoff.after_failure(false)).max().unwrap();
        assert!(longest <= MAX_UNREACHABLE && longest > MAX_UNREACHABLE / 2);
        let longest = (0..1000).map(|_| backoff.after_failure(true)).max().unwrap();
        assert!(longest <= MAX_REFUSED && longest > MAX_REFUSED / 2);
        backoff.after_stream(STABLE / 2);
        assert_eq!(backoff.failures, 2001);
        backoff.after_stream(STABLE);
        assert!(backoff.after_failure(false) <= FIRST);
    }
}
