//! The node's state as its tasks share it: one lock, held for one batch of work and never across
//! an await, and somebody woken for each token the state names.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::herd::state::{Identity, State};
use crate::herd::{Now, Token};

/// The state, its clock, and whom to wake.
#[derive(Debug)]
pub struct Shared {
    inner: Mutex<Inner>,
    started: Instant,
    started_at: SystemTime,
}

#[derive(Debug)]
struct Inner {
    state: State,
    wakers: HashMap<Token, Arc<Notify>>,
}

impl Shared {
    /// The state of a node that starts now.
    pub fn new(identity: Identity) -> Arc<Self> {
        Arc::new(Self {
            inner: Mutex::new(Inner { state: State::new(identity), wakers: HashMap::new() }),
            started: Instant::now(),
            started_at: SystemTime::now(),
        })
    }

    /// Runs `work` on the state, then wakes whom it concerns. `work` must be short: it holds up
    /// everybody else.
    pub fn with<R>(&self, work: impl FnOnce(&mut State, Now) -> R) -> R {
        let mut inner = self.lock();
        let now = self.now();
        let result = work(&mut inner.state, now);
        for token in inner.state.take_woken() {
            if let Some(waker) = inner.wakers.get(&token) {
                waker.notify_one();
            }
        }
        result
    }

    /// The present.
    pub fn now(&self) -> Now {
        Now { wall: SystemTime::now().into(), monotonic: self.started.elapsed() }
    }

    /// When the node started.
    pub fn started_at(&self) -> SystemTime {
        self.started_at
    }

    /// A moment of [`Now::monotonic`] on tokio's clock.
    pub fn deadline(&self, monotonic: Duration) -> Instant {
        self.started + monotonic
    }

    /// A token of the state and its waker, until the guard is dropped.
    pub fn waker(self: &Arc<Self>) -> Waker {
        let mut inner = self.lock();
        let token = inner.state.new_token();
        let notify = Arc::new(Notify::new());
        inner.wakers.insert(token, Arc::clone(&notify));
        Waker { token, notify, shared: Arc::clone(self) }
    }

    /// A panic while the lock was held would be a bug that is reported where it happened; the
    /// state is changed in whole steps, so everybody else may go on.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Hears when the state wakes its token.
#[derive(Debug)]
pub struct Waker {
    token: Token,
    notify: Arc<Notify>,
    shared: Arc<Shared>,
}

impl Waker {
    /// The token to give to the state.
    pub fn token(&self) -> Token {
        self.token
    }

    /// Waits until the token is woken, if it was not since the last call.
    ///
    /// # Cancel safety
    /// Dropping the future loses no wake-up.
    pub async fn woken(&self) {
        self.notify.notified().await;
    }
}

impl Drop for Waker {
    fn drop(&mut self) {
        self.shared.lock().wakers.remove(&self.token);
    }
}
