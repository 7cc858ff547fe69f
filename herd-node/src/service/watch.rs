//! `Locations.Watch`: an outbox for each watcher.

use std::collections::{HashMap, HashSet};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::Stream;
use futures_util::stream::unfold;
use herd_edge::{Reason, Refusals};
use herd_proto::{ClientId, Violations, invalid_argument, v1};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::draining;
use crate::herd::state::{ConsumerId, Interest};
use crate::shared::{Shared, Waker};

/// The changes of one watcher.
pub(super) type Changes = Pin<Box<dyn Stream<Item = Result<v1::WatchResponse, Status>> + Send>>;

/// Most clients that one watcher may name. Following more than that, it may as well follow all.
const MAX_CLIENTS: usize = 1024;

/// How often watchers are looked at: what they owe grows by 4 bytes a change.
const LOOK: Duration = Duration::from_secs(1);

/// Most changes in one message.
const MAX_CHANGES: usize = 512;

/// Admits watchers up to a limit, since each costs an outbox and a look at every change.
#[derive(Debug)]
pub struct Watchers {
    open: AtomicUsize,
    max: usize,
    max_bytes: usize,
    /// Those that are there, and how each is told that it fell too far behind.
    behind: Mutex<HashMap<ConsumerId, CancellationToken>>,
    refusals: Arc<Refusals>,
}

impl Watchers {
    /// At most `max` at a time, each owing at most `max_bytes`; `refusals` counts the others.
    pub fn new(max: usize, max_bytes: usize, refusals: Arc<Refusals>) -> Arc<Self> {
        let (open, behind) = (AtomicUsize::new(0), Mutex::default());
        Arc::new(Self { open, max, max_bytes, behind, refusals })
    }

    /// Ends watchers that fell too far behind, for ever. A watcher that does not read does not
    /// run, so somebody else has to look.
    pub async fn look_after(self: Arc<Self>, shared: Arc<Shared>) {
        loop {
            sleep(LOOK).await;
            let watchers: Vec<_> =
                self.behind().iter().map(|(id, behind)| (*id, behind.clone())).collect();
            for (consumer, behind) in watchers {
                let ended = shared.with(|state, _| {
                    let ended = state.queued_bytes(consumer) > self.max_bytes;
                    if ended {
                        // At once, and not when the reader comes back: it is memory.
                        state.unsubscribe(consumer);
                    }
                    ended
                });
                if ended && !behind.is_cancelled() {
                    behind.cancel();
                    self.refusals.count(Reason::WatcherBehind);
                }
            }
        }
    }

    fn behind(&self) -> MutexGuard<'_, HashMap<ConsumerId, CancellationToken>> {
        self.behind.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many are there.
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Starts to watch.
    pub fn watch(
        self: &Arc<Self>,
        shared: &Arc<Shared>,
        request: &v1::WatchRequest,
        stop: CancellationToken,
    ) -> Result<Changes, Status> {
        let interest = interest(request).map_err(|violations| invalid_argument(&violations))?;
        let watcher = self.admit(shared, interest, request.include_current)?;
        Ok(Box::pin(unfold(Some((watcher, stop)), async |position| {
            let (mut watcher, stop) = position?;
            let behind = watcher.behind.clone();
            tokio::select! {
                biased;
                () = behind.cancelled() => Some((Err(too_far_behind()), None)),
                response = watcher.next() => Some((Ok(response), Some((watcher, stop)))),
                () = stop.cancelled() => Some((Err(draining()), None)),
            }
        })))
    }

    fn admit(
        self: &Arc<Self>,
        shared: &Arc<Shared>,
        interest: Interest,
        include_current: bool,
    ) -> Result<Watcher, Status> {
        let place = Place::take(self).ok_or_else(|| {
            self.refusals.count(Reason::Watchers);
            Status::resource_exhausted("this node has too many watchers")
        })?;
        let waker = shared.waker();
        let (consumer, current) = shared.with(|state, _| {
            let consumer = state.subscribe(interest, Some(waker.token()));
            let current = include_current.then(|| state.mark_locations(consumer));
            (consumer, current)
        });
        let behind = CancellationToken::new();
        self.behind().insert(consumer, behind.clone());
        Ok(Watcher { shared: Arc::clone(shared), waker, consumer, behind, current, place })
    }
}

fn too_far_behind() -> Status {
    Status::resource_exhausted("this watcher has not read for too long: watch again")
}

fn interest(request: &v1::WatchRequest) -> Result<Interest, Violations> {
    let ids = &request.client_ids;
    if ids.is_empty() {
        return Ok(Interest::Everything);
    }
    let mut wrong = Violations::default();
    if ids.len() > MAX_CLIENTS {
        wrong.add("client_ids", format!("must be at most {MAX_CLIENTS}, got {}", ids.len()));
        return Err(wrong);
    }
    let mut clients = HashSet::new();
    for (index, id) in ids.iter().enumerate() {
        clients.extend(wrong.check(&format!("client_ids[{index}]"), ClientId::parse(id)));
    }
    wrong.into_result(Some(Interest::Clients(clients)))
}

/// One of the places that [`Watchers`] has.
#[derive(Debug)]
struct Place(Arc<Watchers>);

impl Place {
    fn take(watchers: &Arc<Watchers>) -> Option<Self> {
        let below_max = |open| (open < watchers.max).then_some(open + 1);
        watchers.open.fetch_update(Ordering::Relaxed, Ordering::Relaxed, below_max).ok()?;
        Some(Self(Arc::clone(watchers)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

#[derive(Debug)]
struct Watcher {
    shared: Arc<Shared>,
    waker: Waker,
    consumer: ConsumerId,
    behind: CancellationToken,
    /// While the state at the start is being sent: how many of its records stand before all
    /// changes in the outbox.
    current: Option<usize>,
    place: Place,
}

impl Watcher {
    /// The next message.
    ///
    /// # Cancel safety
    /// Locations are taken out only when the message is complete.
    async fn next(&mut self) -> v1::WatchResponse {
        loop {
            if let Some(response) = self.take() {
                return response;
            }
            self.waker.woken().await;
        }
    }

    /// A message, if there is anything to tell. `None` only when the outbox is empty, so that the
    /// next change wakes.
    fn take(&mut self) -> Option<v1::WatchResponse> {
        let consumer = self.consumer;
        let (mut locations, mut forgotten) = (Vec::new(), Vec::new());
        let (sweeping, pending) = self.shared.with(|state, _| {
            while locations.len() + forgotten.len() < MAX_CHANGES
                && let Some((_, record)) = state.pop(consumer)
            {
                if record.forgotten {
                    forgotten.push(record.client.to_string());
                } else {
                    locations.push(v1::Location::from(record));
                }
            }
            (state.is_sweeping(consumer), state.pending(consumer))
        });
        let taken = locations.len() + forgotten.len();
        // Some that were to be sent may have expired meanwhile: then the count is never reached.
        let left = self.current.map(|left| left.saturating_sub(taken).min(pending));
        let current_state_complete = left == Some(0) && !sweeping;
        self.current = left.filter(|_| !current_state_complete);
        (taken > 0 || current_state_complete).then_some(v1::WatchResponse {
            locations,
            current_state_complete,
            forgotten,
        })
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.place.0.behind().remove(&self.consumer);
        self.shared.with(|state, _| state.unsubscribe(self.consumer));
    }
}
