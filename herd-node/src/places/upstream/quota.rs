use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Mutex as AsyncMutex;

use super::ledger::Ledger;

const DAY: Duration = Duration::from_hours(24);

/// Longest wait for the disk before a call. A disk that hangs holds nobody up for longer: the
/// count is in memory too, and only a restart would miss what was not written.
const MAX_LEDGER_WAIT: Duration = Duration::from_secs(1);

/// At most so many calls a day of UTC: what bounds the bill. Where there is a directory to keep
/// the count in, a call is written down before it is made, so that a node that is killed over and
/// over spends no more than one that runs.
#[derive(Debug)]
pub(super) struct Quota {
    limit: u64,
    used: Mutex<Used>,
    ledger: Option<Arc<AsyncMutex<Ledger>>>,
}

/// The calls of one day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Used {
    /// Counted from 1970.
    pub(super) day: u64,
    pub(super) calls: u64,
}

impl Used {
    /// Whether whoever wrote this down has written `other` down too.
    fn covers(self, other: Self) -> bool {
        self.day == other.day && self.calls >= other.calls
    }
}

impl Quota {
    /// Goes on from what `directory` says was used, if there is one.
    pub(super) fn new(limit: u64, directory: Option<&Path>) -> Self {
        let Some(directory) = directory else {
            tracing::warn!("no data directory: a restart forgets the places requests of the day");
            return Self { limit, used: Mutex::default(), ledger: None };
        };
        let ledger = Ledger::open(directory);
        let used = Mutex::new(ledger.written());
        Self { limit, used, ledger: Some(Arc::new(AsyncMutex::new(ledger))) }
    }

    /// Takes one call; `unix_time` tells the day.
    ///
    /// # Errors
    /// How long the day lasts, when none is left.
    ///
    /// # Cancel safety
    /// Once it was polled, the call counts as used.
    pub(super) async fn take(&self, unix_time: Duration) -> Result<(), Duration> {
        let used = self.count(unix_time)?;
        if let Some(ledger) = &self.ledger {
            // An error means that the disk is slow, or that writing was given up at a stop.
            let _ = tokio::time::timeout(MAX_LEDGER_WAIT, self.write_down(ledger, used)).await;
        }
        Ok(())
    }

    /// How many calls are left of the day.
    pub(super) fn left(&self, unix_time: Duration) -> u64 {
        let used = *self.used();
        self.limit.saturating_sub(if used.day == day(unix_time) { used.calls } else { 0 })
    }

    /// Waits until what is being written down is written.
    pub(super) async fn settle(&self) {
        if let Some(ledger) = &self.ledger {
            drop(ledger.lock().await);
        }
    }

    fn count(&self, unix_time: Duration) -> Result<Used, Duration> {
        let today = day(unix_time);
        let mut used = self.used();
        if used.day != today {
            *used = Used { day: today, calls: 0 };
        }
        if used.calls >= self.limit {
            let passed = Duration::from_secs(unix_time.as_secs() % DAY.as_secs());
            return Err(DAY.saturating_sub(passed));
        }
        used.calls += 1;
        Ok(*used)
    }

    /// One write covers all who wait for it.
    async fn write_down(&self, ledger: &Arc<AsyncMutex<Ledger>>, used: Used) {
        let mut ledger = Arc::clone(ledger).lock_owned().await;
        if ledger.written().covers(used) {
            return;
        }
        let latest = *self.used();
        // The thread keeps the lock until it is done, also when nobody waits any more.
        let _ = tokio::task::spawn_blocking(move || ledger.write(latest)).await;
    }

    fn used(&self) -> std::sync::MutexGuard<'_, Used> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn day(unix_time: Duration) -> u64 {
    unix_time.as_secs() / DAY.as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// At noon.
    const TODAY: Duration = Duration::from_hours(20_000 * 24 + 12);

    #[tokio::test(start_paused = true)]
    async fn the_calls_of_a_day_are_counted_and_the_next_day_has_its_own() {
        let quota = Quota::new(2, None);
        assert_eq!(quota.left(TODAY), 2);
        assert_eq!(quota.take(TODAY).await, Ok(()));
        assert_eq!(quota.take(TODAY).await, Ok(()));
        assert_eq!((quota.take(TODAY).await, quota.left(TODAY)), (Err(DAY / 2), 0));
        assert_eq!(quota.left(TODAY + DAY / 2), 2, "midnight needs no call to be noticed");
        assert_eq!(quota.take(TODAY + DAY / 2).await, Ok(()));
        assert_eq!(quota.left(TODAY + DAY / 2), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_is_written_down_before_it_is_made_and_a_restart_goes_on_from_there() {
        let folder = tempfile::tempdir().unwrap();
        for left in (0..3).rev() {
            // Nothing is done at its end, as when it is killed.
            let quota = Quota::new(3, Some(folder.path()));
            assert_eq!(quota.take(TODAY).await, Ok(()));
            assert_eq!(quota.left(TODAY), left);
        }
        let quota = Quota::new(3, Some(folder.path()));
        assert_eq!((quota.left(TODAY), quota.take(TODAY).await), (0, Err(DAY / 2)));
        assert_eq!(quota.take(TODAY + DAY).await, Ok(()));
        let smaller = Quota::new(1, Some(folder.path()));
        assert_eq!(smaller.left(TODAY + DAY), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn calls_at_the_same_time_are_all_written_down() {
        let folder = tempfile::tempdir().unwrap();
        let quota = Arc::new(Quota::new(100, Some(folder.path())));
        let mut callers = tokio::task::JoinSet::new();
        for _ in 0..50 {
            let quota = Arc::clone(&quota);
            callers.spawn(async move { quota.take(TODAY).await });
        }
        while let Some(taken) = callers.join_next().await {
            assert_eq!(taken.unwrap(), Ok(()));
        }
        quota.settle().await;
        assert_eq!(Quota::new(100, Some(folder.path())).left(TODAY), 50);
    }

    #[tokio::test(start_paused = true)]
    async fn a_disk_that_cannot_be_written_stops_nobody_and_the_count_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let gone = folder.path().join("gone");
        let quota = Quota::new(3, Some(&gone));
        assert_eq!((quota.take(TODAY).await, quota.left(TODAY)), (Ok(()), 2));
        std::fs::create_dir(&gone).unwrap();
        assert_eq!((quota.take(TODAY).await, quota.left(TODAY)), (Ok(()), 1));
        assert_eq!(Quota::new(3, Some(&gone)).left(TODAY), 1, "both are in it");
    }
}
