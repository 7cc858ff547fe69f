//! One viewer's server-sent events: an outbox like any watcher's, read a few times a second.
//!
//! Nothing is queued for a viewer: the stream is asked for its next frame when the connection has
//! room, and what has happened meanwhile is told as it is then.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use futures_util::stream::unfold;
use herd_proto::{Area, ClientId, v1};
use tokio::task::yield_now;
use tokio::time::{Instant, sleep_until};
use tonic::Request;

use super::frame::{self, Frame};
use super::{Page, Place};
use crate::herd::state::{ConsumerId, Filter, Interest, Told, Unmarked};
use crate::service::NodeService;
use crate::shared::Waker;

/// Shortest time between two frames, unless one was full: smooth to the eye, and each client is told
/// once however often it reports in between.
const FRAME_EVERY: Duration = Duration::from_millis(250);

/// How often the numbers and the herd are told, and that there is nothing new.
const STATUS_EVERY: Duration = Duration::from_secs(1);

/// How often it is looked whether those that are shown are still known: some milliseconds for all.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Most changes in a frame: some 64 KiB.
const MAX_CHANGES: usize = 768;

/// Most clients that one viewer is shown. A browser draws them without effort, and nobody sees more.
const MAX_SHOWN: usize = 20_000;

/// The stream of one viewer.
pub(super) fn answer(page: Arc<Page>, place: Place, area: Option<Area>) -> Response {
    let stop = page.stop.clone();
    let viewer = Viewer::new(page, place, area);
    let frames = unfold(Some(viewer), move |viewer| {
        let stop = stop.clone();
        async move {
            let mut viewer = viewer?;
            // A node that stops ends its streams; the page says so and tries again.
            let frame = stop.run_until_cancelled(viewer.next()).await?;
            Some((Ok::<_, std::convert::Infallible>(frame), Some(viewer)))
        }
    });
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-store"),
        // For proxies that would rather gather an answer than pass it on.
        (header::HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    (headers, Body::from_stream(frames)).into_response()
}

struct Viewer {
    page: Arc<Page>,
    waker: Waker,
    consumer: ConsumerId,
    begun: bool,
    unmarked: Option<Unmarked>,
    /// Whether the state at the start is still being sent.
    filling: bool,
    /// Whether more had changed than the last frame took.
    more: bool,
    shown: HashSet<ClientId>,
    /// Clients of which a change was not told because there is no more room.
    hidden: u64,
    next_frame: Instant,
    next_status: Instant,
    next_look: Instant,
    _place: Place,
}

impl Viewer {
    fn new(page: Arc<Page>, place: Place, area: Option<Area>) -> Self {
        let waker = page.shared.waker();
        let (consumer, unmarked) = page.shared.with(|state, _| {
            let interest = match area {
                None => Interest::Everything,
                Some(area) => Interest::Filtered(Filter { area: Some(area), ..Filter::default() }),
            };
            (state.subscribe(interest, Some(waker.token())), Unmarked::all(state.table().slots()))
        });
        let now = Instant::now();
        Self {
            page,
            waker,
            consumer,
            begun: false,
            unmarked: Some(unmarked),
            filling: true,
            more: false,
            shown: HashSet::new(),
            hidden: 0,
            next_frame: now,
            next_status: now,
            next_look: now + LOOK_EVERY,
            _place: place,
        }
    }

    async fn next(&mut self) -> Bytes {
        if !self.begun {
            self.begun = true;
            return self.hello();
        }
        while let Some(unmarked) = &mut self.unmarked {
            if !self.page.shared.with(|state, _| unmarked.mark_part(state, self.consumer)) {
                self.unmarked = None;
            }
            yield_now().await;
        }
        loop {
            let now = Instant::now();
            if now >= self.next_status {
                self.next_status = now + STATUS_EVERY;
                return self.status().await;
            }
            if now >= self.next_look {
                self.next_look = now + LOOK_EVERY;
                if let Some(frame) = self.expired() {
                    return frame;
                }
            }
            if now >= self.next_frame {
                if let Some(frame) = self.changes(now) {
                    return frame;
                }
                if self.more {
                    // Nothing of it is shown; only an outbox that was emptied wakes.
                    yield_now().await;
                    continue;
                }
            }
            // Changes before the next frame may wait for it.
            let frame_is_due = now >= self.next_frame;
            tokio::select! {
                () = self.waker.woken(), if frame_is_due => {}
                () = sleep_until(self.next_frame), if !frame_is_due => {}
                () = sleep_until(self.next_status) => {}
            }
        }
    }

    fn hello(&self) -> Bytes {
        let identity = self
            .page
            .shared
            .with(|state, _| (state.identity().name.to_string(), state.identity().cluster.clone()));
        frame::event("hello", &frame::hello(identity, self.page.tiles_url.as_deref(), MAX_SHOWN))
    }

    /// What has changed, if anything has.
    fn changes(&mut self, now: Instant) -> Option<Bytes> {
        let consumer = self.consumer;
        let mut frame = Frame::default();
        let (shown, hidden) = (&mut self.shown, &mut self.hidden);
        let (taken, sweeping) = self.page.shared.with(|state, _| {
            let mut taken = 0;
            while taken < MAX_CHANGES
                && let Some(told) = state.pop_told(consumer)
            {
                taken += 1;
                match told {
                    Told::Moved { record, .. } => {
                        if shown.contains(&record.client) {
                            frame.moved(record);
                        } else if shown.len() < MAX_SHOWN {
                            shown.insert(record.client.clone());
                            frame.moved(record);
                        } else {
                            *hidden += 1;
                        }
                    }
                    Told::Left(record) | Told::Forgotten(record) => {
                        if shown.remove(&record.client) {
                            frame.gone(&record.client);
                        }
                    }
                }
            }
            frame.superseded = state.take_superseded(consumer);
            (taken, state.is_sweeping(consumer))
        });
        self.more = taken == MAX_CHANGES;
        let filled = self.filling && !sweeping && taken < MAX_CHANGES;
        self.filling &= !filled;
        if taken < MAX_CHANGES {
            self.next_frame = now + FRAME_EVERY;
        }
        if frame.is_empty() && !filled {
            return None;
        }
        frame.complete = !self.filling;
        frame.hidden = self.hidden;
        Some(frame::event("clients", &frame))
    }

    /// Those that are shown and no longer known: that a location is too old is told to nobody.
    fn expired(&mut self) -> Option<Bytes> {
        let mut frame = Frame::default();
        let shown = &mut self.shown;
        self.page.shared.with(|state, _| {
            shown.retain(|client| {
                let known = state.location(client).is_some();
                if !known {
                    frame.gone(client);
                }
                known
            });
        });
        frame.complete = !self.filling;
        frame.hidden = self.hidden;
        (!frame.is_empty()).then(|| frame::event("clients", &frame))
    }

    async fn status(&self) -> Bytes {
        let node = NodeService::new(Arc::clone(&self.page.shared), self.page.facts.clone());
        let own = v1::node_server::Node::get_status(&node, Request::new(v1::GetStatusRequest {}));
        let own = own.await.map(tonic::Response::into_inner).unwrap_or_default();
        let propagation = self.page.shared.with(|state, _| state.propagation().clone());
        let status = frame::status(&own, &self.page.survey.seen(), &propagation);
        frame::event("status", &status)
    }
}

impl Drop for Viewer {
    fn drop(&mut self) {
        self.page.shared.with(|state, _| state.unsubscribe(self.consumer));
    }
}
