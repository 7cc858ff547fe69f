use std::sync::{Mutex, PoisonError};
use std::time::Duration;

const DAY: Duration = Duration::from_hours(24);

/// At most so many calls a day of UTC, counted since the node started: what bounds the bill.
#[derive(Debug)]
pub(super) struct Quota {
    limit: u64,
    /// The day, counted from 1970, and the calls on it.
    used: Mutex<(u64, u64)>,
}

impl Quota {
    pub(super) fn new(limit: u64) -> Self {
        Self { limit, used: Mutex::default() }
    }

    /// Takes one call; `unix_time` tells the day. Returns how many are left.
    ///
    /// # Errors
    /// How long the day lasts, when none is left.
    pub(super) fn take(&self, unix_time: Duration) -> Result<u64, Duration> {
        let day = unix_time.as_secs() / DAY.as_secs();
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        if used.0 != day {
            *used = (day, 0);
        }
        if used.1 >= self.limit {
            let passed = Duration::from_secs(unix_time.as_secs() % DAY.as_secs());
            return Err(DAY.saturating_sub(passed));
        }
        used.1 += 1;
        Ok(self.limit - used.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_calls_of_a_day_are_counted_and_the_next_day_has_its_own() {
        let quota = Quota::new(2);
        let noon = DAY * 20_000 + DAY / 2;
        assert_eq!(quota.take(noon), Ok(1));
        assert_eq!(quota.take(noon), Ok(0));
        assert_eq!(quota.take(noon), Err(DAY / 2));
        assert_eq!(quota.take(DAY * 20_001), Ok(1), "another day");
    }
}
