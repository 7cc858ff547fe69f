//! Keeps one node's `ReportStream` open.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use herd_proto::NodeName;
use prometheus_client::metrics::histogram::Histogram;
use tokio::time::{self, Instant};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::LinkError;
use super::backoff::Backoff;
use super::endpoint::Way;
use super::queue::Queue;
use super::session::Session;

/// Shortest distance of two dials: a flood of lines to a node that is down makes at most fifty
/// dials a second, and the first line after its return waits no longer than this.
const DIALS_APART: Duration = Duration::from_millis(20);

/// A failed dial that took longer was not refused but ignored, and the next one would be, too.
const PROMPT: Duration = Duration::from_millis(500);

/// A stream that lived this long counts as a success; shorter ones keep the pauses growing.
const STABLE: Duration = Duration::from_secs(5);

/// How a link is, for everyone who chooses among links.
#[derive(Debug, Default)]
pub(super) struct LinkState {
    now: AtomicU8,
    /// When an open stream ended last.
    lost: Mutex<Option<Instant>>,
}

impl LinkState {
    const DOWN: u8 = 0;
    const UP: u8 = 1;
    const SILENT: u8 = 2;

    /// Whether the stream is open.
    pub(super) fn is_up(&self) -> bool {
        self.now.load(Ordering::Relaxed) == Self::UP
    }

    /// Whether the node was last found to swallow what is sent to it. Nobody should wait for it
    /// until a dial in the background has succeeded.
    pub(super) fn is_silent(&self) -> bool {
        self.now.load(Ordering::Relaxed) == Self::SILENT
    }

    /// Whether the stream was open within this time, and has ended.
    pub(super) fn was_lost_within(&self, time: Duration) -> bool {
        let lost = *self.lost.lock().unwrap_or_else(PoisonError::into_inner);
        lost.is_some_and(|lost| lost.elapsed() < time)
    }

    fn lose(&self, state: u8) {
        *self.lost.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        self.set(state);
    }

    fn set(&self, state: u8) -> u8 {
        self.now.swap(state, Ordering::Relaxed)
    }
}

#[derive(Debug)]
pub(super) struct LinkTask {
    pub(super) name: NodeName,
    pub(super) way: Way,
    pub(super) queue: Queue,
    pub(super) state: Arc<LinkState>,
    pub(super) answer_timeout: Duration,
    /// How long messages of reports took.
    pub(super) seconds: Histogram,
}

impl LinkTask {
    /// Dials, serves and redials until told to stop. Whoever waits then is told.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        stop.run_until_cancelled(self.keep_open()).await;
        self.queue.fail_all(LinkError::Unreachable);
    }

    async fn keep_open(&mut self) {
        let mut backoff = Backoff::new();
        let mut first = true;
        loop {
            let dialled = Instant::now();
            match Session::open(&self.way, self.answer_timeout).await {
                Ok(session) => {
                    self.state.set(LinkState::UP);
                    info!(node = %self.name, address = %self.address(), "node reached");
                    let ended = session.run(&mut self.queue, &self.seconds).await;
                    let silent = ended.error == LinkError::Silent;
                    self.state.lose(if silent { LinkState::SILENT } else { LinkState::DOWN });
                    warn!(node = %self.name, reason = ended.reason, "node lost");
                    if silent {
                        self.queue.fail_all(LinkError::Silent);
                    }
                    if dialled.elapsed() >= STABLE {
                        backoff = Backoff::new();
                    }
                }
                Err(failed) => {
                    let silent = failed.error == LinkError::Silent || dialled.elapsed() >= PROMPT;
                    let now = if silent { LinkState::SILENT } else { LinkState::DOWN };
                    let before = self.state.set(now);
                    if first || before != now {
                        let address = self.address();
                        warn!(node = %self.name, %address, reason = failed.reason, "node not reached");
                    }
                    self.queue.fail_all(LinkError::Unreachable);
                }
            }
            first = false;
            self.pause(backoff.next_pause(), dialled + DIALS_APART).await;
        }
    }

    /// Waits for the next dial: until `pause` is over or somebody has something to send, but not
    /// before `earliest`.
    async fn pause(&mut self, pause: Duration, earliest: Instant) {
        let _ = time::timeout(pause, self.queue.filled()).await;
        time::sleep_until(earliest).await;
    }

    fn address(&self) -> &str {
        self.way.endpoint.uri().authority().map_or("", |authority| authority.as_str())
    }
}
