//! `Locations.Watch`: an outbox for each watcher.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::Stream;
use futures_util::stream::unfold;
use herd_edge::{Reason, Refusals};
use herd_proto::{invalid_argument, v1};
use prost::Message as _;
use tokio::task::yield_now;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::draining;
use super::watch_request::{Token, interest};
use crate::herd::state::{ConsumerId, Interest, State, Told, Unmarked};
use crate::limits::Limits;
use crate::shared::{Shared, Waker};

/// The changes of one watcher.
pub(super) type Changes = Pin<Box<dyn Stream<Item = Result<v1::WatchResponse, Status>> + Send>>;

/// How often watchers are looked at: what they owe grows by 4 bytes a change.
const LOOK: Duration = Duration::from_secs(1);

/// Most changes in one message.
const MAX_CHANGES: usize = 512;

/// Bytes after which a message takes no more changes, where longer ones may be sent.
const MAX_BYTES: usize = 768 << 10;

/// What one change may need beyond that: a record and its client's id once more.
const CHANGE_BYTES: usize = 4 << 10;

/// Admits watchers up to a limit, since each costs an outbox and a look at every change.
#[derive(Debug)]
pub struct Watchers {
    open: AtomicUsize,
    max: usize,
    max_bytes: usize,
    /// Bytes after which a message is sent.
    message_bytes: usize,
    /// Those that are there, and how each is told that it fell too far behind.
    behind: Mutex<HashMap<ConsumerId, CancellationToken>>,
    refusals: Arc<Refusals>,
}

impl Watchers {
    /// At most so many at a time as `limits` say, each owing at most so much; `refusals` counts the others.
    pub fn new(limits: &Limits, refusals: Arc<Refusals>) -> Arc<Self> {
        let (open, behind) = (AtomicUsize::new(0), Mutex::default());
        let message_bytes = limits.max_response_bytes.saturating_sub(CHANGE_BYTES).min(MAX_BYTES);
        let (max, max_bytes) = (limits.max_watchers, limits.max_watcher_bytes);
        Arc::new(Self { open, max, max_bytes, message_bytes, behind, refusals })
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
        let watcher = self.admit(shared, interest, &Beginning::of(request))?;
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
        beginning: &Beginning,
    ) -> Result<Watcher, Status> {
        let place = Place::take(self).ok_or_else(|| {
            self.refusals.count(Reason::Watchers);
            Status::resource_exhausted("this node has too many watchers")
        })?;
        let waker = shared.waker();
        let (consumer, instance, current, unmarked) = shared.with(|state, _| {
            let few = matches!(interest, Interest::Clients(_));
            let consumer = state.subscribe(interest, Some(waker.token()));
            let (current, unmarked) = beginning.mark(state, consumer, few);
            (consumer, state.identity().instance, current, unmarked)
        });
        let resumed = unmarked.as_ref().is_some_and(Unmarked::goes_on);
        let behind = CancellationToken::new();
        self.behind().insert(consumer, behind.clone());
        Ok(Watcher {
            shared: Arc::clone(shared),
            waker,
            consumer,
            behind,
            unmarked,
            current,
            resumed,
            resumed_to: None,
            instance,
            place,
        })
    }
}

fn too_far_behind() -> Status {
    Status::resource_exhausted("this watcher has not read for too long: watch again")
}

/// What a stream begins with.
enum Beginning {
    /// The changes from now on.
    Changes,
    /// What is known now.
    Current,
    /// What has changed since the caller was last told.
    Since(Token),
}

impl Beginning {
    fn of(request: &v1::WatchRequest) -> Self {
        // A token that makes no sense is one that this node does not know.
        match request.resume_token.parse() {
            Ok(token) => Self::Since(token),
            Err(_) if request.include_current || !request.resume_token.is_empty() => Self::Current,
            Err(_) => Self::Changes,
        }
    }

    /// Marks what is to be told first, if that is of `few` clients; else the caller has to. Returns how
    /// many records of the current state stand before all changes, if it is told.
    fn mark(
        &self,
        state: &mut State,
        consumer: ConsumerId,
        few: bool,
    ) -> (Option<usize>, Option<Unmarked>) {
        let slots = state.table().slots();
        match self {
            Self::Changes => (None, None),
            Self::Since(token) if token.is_known(state) => {
                (None, Some(Unmarked::since(token.change, slots)))
            }
            Self::Current | Self::Since(_) if few => {
                (Some(state.mark_locations(consumer, slots)), None)
            }
            Self::Current | Self::Since(_) => (Some(0), Some(Unmarked::all(slots))),
        }
    }
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
    unmarked: Option<Unmarked>,
    /// While the state at the start is being sent: how many of its records stand before all
    /// changes in the outbox.
    current: Option<usize>,
    /// Whether the caller has yet to hear that an earlier stream goes on.
    resumed: bool,
    /// The change that the caller can resume after, as last told.
    resumed_to: Option<u64>,
    instance: u64,
    place: Place,
}

impl Watcher {
    /// The next message.
    ///
    /// # Cancel safety
    /// Locations are taken out only when the message is complete.
    async fn next(&mut self) -> v1::WatchResponse {
        while let Some(unmarked) = &mut self.unmarked {
            if !self.shared.with(|state, _| unmarked.mark_part(state, self.consumer)) {
                self.unmarked = None;
            }
            yield_now().await;
        }
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
        let mut message = v1::WatchResponse::default();
        let (taken, sweeping, pending, heard) = self.shared.with(|state, _| {
            let (mut taken, mut bytes) = (0, 0);
            while taken < MAX_CHANGES
                && (taken == 0 || bytes < self.place.0.message_bytes)
                && let Some(told) = state.pop_told(consumer)
            {
                bytes += put(&mut message, told);
                taken += 1;
            }
            message.superseded = state.take_superseded(consumer);
            let (sweeping, pending) = (state.is_sweeping(consumer), state.pending(consumer));
            (taken, sweeping, pending, state.heard(consumer))
        });
        // Some that were to be sent may have expired meanwhile: then the count is never reached.
        let left = self.current.map(|left| left.saturating_sub(taken).min(pending));
        message.current_state_complete = left == Some(0) && !sweeping;
        self.current = left.filter(|_| !message.current_state_complete);
        message.resumed = std::mem::take(&mut self.resumed);
        if taken == 0 && !message.current_state_complete && !message.resumed {
            return None;
        }
        if let Some(change) = heard
            && self.resumed_to != heard
        {
            self.resumed_to = heard;
            message.resume_token = Token { instance: self.instance, change }.to_string();
        }
        Some(message)
    }
}

/// Adds a change. Returns how many bytes it adds at most.
fn put(message: &mut v1::WatchResponse, told: Told<'_>) -> usize {
    let (record, entered) = match told {
        Told::Moved { record, entered } => (record, entered),
        Told::Left(record) => {
            let location = v1::Location::from(record);
            let bytes = field_bytes(location.encoded_len());
            message.left.push(location);
            return bytes;
        }
        Told::Forgotten(record) => {
            message.forgotten.push(record.client.to_string());
            return field_bytes(record.client.as_str().len());
        }
    };
    let location = v1::Location::from(record);
    let mut bytes = field_bytes(location.encoded_len());
    message.locations.push(location);
    if entered {
        message.entered.push(record.client.to_string());
        bytes += field_bytes(record.client.as_str().len());
    }
    bytes
}

/// Bytes of a field with so many bytes in it: a key, a length and these.
fn field_bytes(len: usize) -> usize {
    1 + prost::length_delimiter_len(len) + len
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.place.0.behind().remove(&self.consumer);
        self.shared.with(|state, _| state.unsubscribe(self.consumer));
    }
}
