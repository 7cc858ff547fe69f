use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

/// Runs one fetch for all who ask the same at the same time.
///
/// A fetch has a task of its own: whoever asked first may leave, and the others still get their
/// answer. All fetches end when this is dropped.
pub(super) struct SingleFlight<T> {
    flights: Flights<T>,
    max_flights: usize,
    tasks: TaskTracker,
    stop: CancellationToken,
    _stops_when_dropped: DropGuard,
}

type Flights<T> = Arc<Mutex<HashMap<String, Flight<T>>>>;

/// What a caller waits for; `None` when the fetch was given up.
type Flight<T> = Shared<BoxFuture<'static, Option<T>>>;

/// A place in a flight.
pub(super) struct Seat<T> {
    /// The outcome. Dropping it harms nobody else.
    pub(super) outcome: Flight<T>,
    /// Whether somebody else had asked before.
    pub(super) shared: bool,
}

impl<T: Clone + Send + Sync + 'static> SingleFlight<T> {
    /// At most `max_flights` fetches at a time, waiting ones included.
    pub(super) fn new(max_flights: usize) -> Self {
        let stop = CancellationToken::new();
        let guard = stop.clone().drop_guard();
        Self {
            flights: Flights::default(),
            max_flights,
            tasks: TaskTracker::new(),
            stop,
            _stops_when_dropped: guard,
        }
    }

    /// Joins the flight for `identity`, or starts it with what `fetch` makes. `None` when there
    /// are too many.
    pub(super) fn join<F>(&self, identity: &str, fetch: impl FnOnce() -> F) -> Option<Seat<T>>
    where
        F: Future<Output = T> + Send + 'static,
    {
        let mut flights = self.flights.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(flight) = flights.get(identity) {
            return Some(Seat { outcome: flight.clone(), shared: true });
        }
        if flights.len() >= self.max_flights {
            return None;
        }
        let landing = Landing { flights: Arc::clone(&self.flights), identity: identity.into() };
        let fetch = self.stop.clone().run_until_cancelled_owned(fetch());
        let task = self.tasks.spawn(async move {
            // Also when the fetch panics, or else all who ask the same later would find that.
            let _landing = landing;
            fetch.await
        });
        let outcome = async move { task.await.ok().flatten() }.boxed().shared();
        flights.insert(identity.into(), outcome.clone());
        Some(Seat { outcome, shared: false })
    }

    /// Gives up all fetches, and waits until they have ended.
    pub(super) async fn stop(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// Takes a flight off the list when it is dropped.
struct Landing<T> {
    flights: Flights<T>,
    identity: String,
}

impl<T> Drop for Landing<T> {
    fn drop(&mut self) {
        self.flights.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.identity);
    }
}

impl<T> fmt::Debug for SingleFlight<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SingleFlight").field("tasks", &self.tasks).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    use super::*;

    fn slow(fetches: &Arc<AtomicU32>) -> impl Future<Output = u32> + Send + use<> {
        let number = fetches.fetch_add(1, Ordering::Relaxed);
        async move {
            tokio::time::sleep(Duration::from_secs(1)).await;
            number
        }
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_asks_at_the_same_time_shares_and_whoever_asks_later_does_not() {
        let (flights, fetches) = (SingleFlight::new(8), Arc::default());
        let seats: Vec<_> =
            (0..200).map(|_| flights.join("a", || slow(&fetches)).unwrap()).collect();
        assert_eq!(seats.iter().filter(|seat| seat.shared).count(), 199);
        // The first and every other caller leave.
        for seat in seats.into_iter().skip(1).step_by(2) {
            assert_eq!(seat.outcome.await, Some(0));
        }
        assert_eq!(fetches.load(Ordering::Relaxed), 1);
        let later = flights.join("a", || slow(&fetches)).unwrap();
        assert_eq!((later.shared, later.outcome.await), (false, Some(1)));
    }

    #[tokio::test(start_paused = true)]
    async fn there_are_at_most_so_many_flights_and_one_that_landed_makes_room() {
        let (flights, fetches) = (SingleFlight::new(2), Arc::default());
        let first = flights.join("a", || slow(&fetches)).unwrap();
        let _second = flights.join("b", || slow(&fetches)).unwrap();
        assert!(flights.join("c", || slow(&fetches)).is_none());
        assert!(flights.join("b", || slow(&fetches)).is_some_and(|seat| seat.shared));
        first.outcome.await;
        tokio::task::yield_now().await;
        assert!(flights.join("c", || slow(&fetches)).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_fetch_that_panics_or_is_stopped_gives_nothing_and_leaves_nothing() {
        let flights = SingleFlight::<u32>::new(8);
        let seat = flights.join("a", || async { panic!("on purpose") }).unwrap();
        assert_eq!(seat.outcome.await, None);
        let fetches = Arc::default();
        let seat = flights.join("a", || slow(&fetches)).unwrap();
        assert!(!seat.shared);
        drop(flights);
        assert_eq!(seat.outcome.await, None);
    }
}
