//! Tells the state the time, so that records whose time is over go.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::yield_now;
use tokio::time::sleep;

use crate::shared::Shared;

/// Slots looked at under the state's lock at a time: some hundred microseconds.
const SLICE: usize = 512;

/// Longest pause. The clock of day may be set while nothing is due, and records end at whole
/// minutes.
const LONGEST_PAUSE: Duration = Duration::from_mins(1);

/// Removes records whose time is over, for ever.
///
/// # Cancel safety
/// Dropping the future loses nothing.
pub(crate) async fn run(shared: Arc<Shared>) {
    loop {
        let pause = shared.with(|state, now| {
            let next = state.expire(now, SLICE)?;
            let nanos = next.since(now.wall).nanos();
            Some(Duration::from_nanos(u64::try_from(nanos).unwrap_or(0)))
        });
        match pause.unwrap_or(LONGEST_PAUSE) {
            Duration::ZERO => yield_now().await,
            pause => sleep(pause.min(LONGEST_PAUSE)).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use herd_proto::{NodeName, Report, Timestamp};
    use tokio::task::JoinSet;
    use tokio::time::Instant;

    use super::*;
    use crate::herd::state::Identity;

    #[tokio::test(start_paused = true)]
    async fn what_is_over_goes_within_a_minute_however_much_it_is() {
        let name = NodeName::parse("Bailey").unwrap();
        let shared = Shared::new(Identity {
            name: name.clone(),
            cluster: "test".into(),
            instance: 1,
            index_key: (1, 2),
            max_future: Duration::ZERO,
        });
        shared.with(|state, _| state.set_retention(Some(Duration::from_hours(1))));
        let mut tasks = JoinSet::new();
        tasks.spawn(run(Arc::clone(&shared)));
        yield_now().await;
        shared.with(|state, now| {
            for client in 0..10 * SLICE {
                let report = Report::from_operands(&format!("c{client}"), "+1-1", "1").unwrap();
                state.merge(report.into_record(name.clone(), Timestamp::EPOCH, 0), None);
            }
            let report = Report::from_operands("kiwi", "+1-1", "1").unwrap();
            state.report(now, report).unwrap();
        });
        let begun = Instant::now();
        while shared.with(|state, _| state.table().len()) > 1 {
            sleep(Duration::from_secs(1)).await;
            assert!(begun.elapsed() <= LONGEST_PAUSE + Duration::from_secs(1));
        }
        assert_eq!(shared.with(|state, _| state.expired()), 10 * SLICE as u64);
    }
}
