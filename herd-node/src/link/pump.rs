//! Carries frames between one gRPC stream and one link.

use std::future::Future;
use std::time::Duration;

use herd_proto::v1::Frame;
use tokio::sync::mpsc;
use tokio::time::{sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tracing::info;

use crate::herd::link::{Ended, Link};
use crate::shared::{Shared, Waker};

/// Frames that may wait between a link and the transport. One is being written while the next is
/// made; more would only let records grow stale.
pub const PIPE_FRAMES: usize = 1;

/// How long the other end may take to close its direction after a Goodbye.
const FAREWELL: Duration = Duration::from_secs(1);

/// Where frames come from: a server's or a client's stream.
pub trait Frames: Send {
    /// The next frame; `None` at the end of the stream.
    ///
    /// # Cancel safety
    /// Dropping the future loses no frame.
    fn next(&mut self) -> impl Future<Output = Result<Option<Frame>, Status>> + Send;
}

impl Frames for tonic::Streaming<Frame> {
    async fn next(&mut self) -> Result<Option<Frame>, Status> {
        self.message().await
    }
}

/// Runs a link over a stream until either ends, and logs when the peer came and went. Once
/// `stop` is cancelled the link sends what the peer lacks and says Goodbye; the caller bounds how
/// long that may take.
pub async fn pump(
    shared: &Shared,
    mut link: Link,
    waker: &Waker,
    mut inbound: impl Frames,
    outbound: mpsc::Sender<Frame>,
    stop: &CancellationToken,
) -> Ended {
    let node = shared.with(|state, _| state.identity().name.clone());
    let mut met = None;
    let why = loop {
        let pipe_full = match fill(shared, &mut link, &outbound) {
            Fill::Idle => false,
            Fill::Full => true,
            Fill::Gone => break "the stream was reset".to_owned(),
        };
        if met.is_none()
            && let Some(peer) = link.peer()
        {
            info!(%node, %peer, dialled_here = link.dialled_here(), "peer connected");
            met = Some(peer.clone());
        }
        if link.is_finished() {
            break String::new();
        }
        tokio::select! {
            frame = inbound.next() => match frame {
                Ok(Some(frame)) => shared.with(|state, now| link.receive(state, now, frame)),
                Ok(None) => {
                    flush(shared, &mut link, &outbound).await;
                    break "the peer closed the stream".to_owned();
                }
                Err(status) => break describe(&status),
            },
            permit = outbound.reserve(), if pipe_full => {
                // The permit goes back at once: what to send is decided when it is sent.
                drop(permit);
            }
            () = waker.woken() => {}
            () = sleep_until(shared.deadline(link.next_tick())) => {
                shared.with(|state, now| link.tick(state, now));
            }
            () = stop.cancelled(), if !link.is_draining() => link.drain(),
        }
    };
    let ended = shared.with(|state, now| link.close(state, now, &why));
    if let Some(peer) = met {
        info!(%node, %peer, reason = %ended.detail, "peer disconnected");
    }
    drop(outbound);
    let last_frames = async { while let Ok(Some(_)) = inbound.next().await {} };
    let _ = timeout(FAREWELL, last_frames).await;
    ended
}

/// Sends what the link has to say to a peer that has said all: its acknowledgement above all.
async fn flush(shared: &Shared, link: &mut Link, outbound: &mpsc::Sender<Frame>) {
    let say_all = async {
        while let Ok(permit) = outbound.reserve().await
            && let Some(frame) = shared.with(|state, now| link.poll_transmit(state, now))
        {
            permit.send(frame);
        }
    };
    let _ = timeout(FAREWELL, say_all).await;
}

enum Fill {
    Idle,
    Full,
    Gone,
}

/// Hands frames to the transport while it has room and the link has any.
fn fill(shared: &Shared, link: &mut Link, outbound: &mpsc::Sender<Frame>) -> Fill {
    loop {
        let permit = match outbound.try_reserve() {
            Ok(permit) => permit,
            Err(mpsc::error::TrySendError::Full(())) => return Fill::Full,
            Err(mpsc::error::TrySendError::Closed(())) => return Fill::Gone,
        };
        match shared.with(|state, now| link.poll_transmit(state, now)) {
            Some(frame) => permit.send(frame),
            None => return Fill::Idle,
        }
    }
}

/// A transport error in words, with its causes.
pub(super) fn describe(status: &Status) -> String {
    format!("{}: {}", status.code(), with_causes(status.message(), status))
}

/// An error's `message` and what caused it.
pub(super) fn with_causes(message: &str, error: &dyn std::error::Error) -> String {
    let mut text = message.to_owned();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
