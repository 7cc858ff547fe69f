//! Carries frames between one gRPC stream and one link.

use std::error::Error as _;
use std::future::Future;
use std::time::Duration;

use herd_proto::NodeName;
use herd_proto::v1::Frame;
use tokio::sync::mpsc;
use tokio::time::{sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};
use tracing::{info, warn};

use super::hops::Hops;
use crate::herd::Now;
use crate::herd::link::{Ended, Link};
use crate::herd::state::State;
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
///
/// # Cancel safety
/// Dropping the future ends the link as if the stream had broken.
pub async fn pump(
    shared: &Shared,
    link: Link,
    waker: &Waker,
    mut inbound: impl Frames,
    outbound: mpsc::Sender<Frame>,
    stop: &CancellationToken,
) -> Ended {
    let node = shared.with(|state, _| state.identity().name.clone());
    let mut link = Running { shared, link: Some(link) };
    let mut met = None;
    let why = loop {
        let has_room = match link.fill(&outbound) {
            Fill::Idle => true,
            Fill::Full => false,
            Fill::Gone => break "the stream was reset".to_owned(),
        };
        if met.is_none()
            && let Some(peer) = link.peer()
        {
            info!(%node, %peer, dialled_here = link.dialled_here(), "peer connected");
            if let Some(disagreement) = shared.with(|state, _| disagreement(state, &peer)) {
                warn!(%node, %peer, %disagreement, "the peer is configured otherwise");
            }
            met = Some(peer);
        }
        if link.has_ended() {
            link.say_all(&outbound).await;
            break String::new();
        }
        tokio::select! {
            frame = inbound.next() => match frame {
                Ok(Some(mut frame)) => {
                    let mut hops = Hops::begin(&mut frame);
                    link.with(|link, state, now| {
                        hops.watch(state, |state| link.receive(state, now, frame));
                    });
                    hops.end(&node, met.as_ref(), || shared.now());
                }
                Ok(None) => {
                    link.with(|link, _, _| link.peer_closed());
                    link.say_all(&outbound).await;
                    break "the peer closed the stream".to_owned();
                }
                Err(status) if is_no_frame(&status) && !link.dialled_here() => {
                    link.with(|link, state, now| link.refuse(state, now, describe(&status)));
                }
                Err(status) => break describe(&status),
            },
            permit = outbound.reserve(), if !has_room => {
                // The permit goes back at once: what to send is decided when it is sent.
                drop(permit);
            }
            // Whoever woke the link may be about to answer a client, which goes first: a batch to
            // a friend takes longer to write than an answer.
            () = waker.woken(), if has_room => tokio::task::yield_now().await,
            () = sleep_until(shared.deadline(link.next_tick(has_room))) => {
                link.with(Link::tick);
            }
            () = stop.cancelled(), if !link.is_draining() => link.drain(),
        }
    };
    let ended = link.close(&why);
    if let Some(peer) = met {
        info!(%node, %peer, reason = %ended.detail, "peer disconnected");
    }
    drop(outbound);
    let last_frames = async { while let Ok(Some(_)) = inbound.next().await {} };
    let _ = timeout(FAREWELL, last_frames).await;
    ended
}

/// A link that is closed however its pump ends, by a panic too: a peer whose link is dead and not
/// closed would be refused for ever.
struct Running<'a> {
    shared: &'a Shared,
    link: Option<Link>,
}

impl Running<'_> {
    fn with<R: Default>(&mut self, work: impl FnOnce(&mut Link, &mut State, Now) -> R) -> R {
        let Some(link) = &mut self.link else { return R::default() };
        self.shared.with(|state, now| work(link, state, now))
    }

    fn peer(&self) -> Option<NodeName> {
        self.link.as_ref()?.peer().cloned()
    }

    fn dialled_here(&self) -> bool {
        self.link.as_ref().is_some_and(Link::dialled_here)
    }

    fn has_ended(&self) -> bool {
        self.link.as_ref().is_none_or(Link::has_ended)
    }

    fn is_draining(&self) -> bool {
        self.link.as_ref().is_none_or(Link::is_draining)
    }

    fn drain(&mut self) {
        self.with(|link, _, _| link.drain());
    }

    fn next_tick(&self, has_room: bool) -> Duration {
        self.link.as_ref().map_or(Duration::ZERO, |link| link.next_tick(has_room))
    }

    /// Hands frames to the transport while it has room and the link has any.
    fn fill(&mut self, outbound: &mpsc::Sender<Frame>) -> Fill {
        loop {
            let permit = match outbound.try_reserve() {
                Ok(permit) => permit,
                Err(mpsc::error::TrySendError::Full(())) => return Fill::Full,
                Err(mpsc::error::TrySendError::Closed(())) => return Fill::Gone,
            };
            match self.with(Link::poll_transmit) {
                Some(frame) => permit.send(frame),
                None => return Fill::Idle,
            }
        }
    }

    /// Sends what the link still has to say when the stream is about to end: an acknowledgement to
    /// a peer that has said all, or a Goodbye. Within a limit, as nobody may be reading.
    async fn say_all(&mut self, outbound: &mpsc::Sender<Frame>) {
        let say_all = async {
            while let Ok(permit) = outbound.reserve().await
                && let Some(frame) = self.with(Link::poll_transmit)
            {
                permit.send(frame);
            }
        };
        let _ = timeout(FAREWELL, say_all).await;
    }

    fn close(&mut self, why: &str) -> Ended {
        let Some(link) = self.link.take() else { return Ended::broken(why.into()) };
        self.shared.with(|state, now| link.close(state, now, why))
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.close("the link was dropped");
    }
}

enum Fill {
    Idle,
    Full,
    Gone,
}

/// Whether a message came that cannot be read: too long, say, or no protobuf. What the transport
/// itself reports has a cause.
fn is_no_frame(status: &Status) -> bool {
    matches!(status.code(), Code::OutOfRange | Code::Internal | Code::ResourceExhausted)
        && status.source().is_none()
}

/// Which settings a peer has otherwise than this node, if any.
fn disagreement(state: &State, peer: &NodeName) -> Option<String> {
    let peer = state.peers().get(peer)?;
    (!peer.disagreement.is_empty()).then(|| peer.disagreement.clone())
}

/// A transport error in words, with its causes.
pub(super) fn describe(status: &Status) -> String {
    format!("{}: {}", status.code(), with_causes(status.message(), status))
}

/// An error's `message` and what caused it; some wrappers say only what their cause says.
pub(super) fn with_causes(message: &str, error: &dyn std::error::Error) -> String {
    let mut text = message.to_owned();
    let mut source = error.source();
    while let Some(cause) = source {
        let said = cause.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    use herd_proto::Report;
    use herd_proto::v1::{Hello, Reason, frame::Kind};

    use super::*;
    use crate::herd::state::Identity;

    /// Says Hello and then nothing, and counts how often it is asked.
    struct Mute<'a> {
        hello: Option<Hello>,
        asked: &'a AtomicU32,
    }

    impl Frames for Mute<'_> {
        async fn next(&mut self) -> Result<Option<Frame>, Status> {
            self.asked.fetch_add(1, Ordering::Relaxed);
            match self.hello.take() {
                Some(hello) => Ok(Some(Frame { kind: Some(Kind::Hello(hello)) })),
                None => pending().await,
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_does_not_read_costs_nothing_and_is_let_go() {
        let shared = Shared::new(Identity {
            name: NodeName::parse("Bailey").unwrap(),
            cluster: "test".into(),
            instance: 1,
            index_key: (1, 2),
            max_future: Duration::ZERO,
        });
        for client in 0..2000 {
            let report = Report::from_operands(&format!("c{client}"), "+1-1", "1").unwrap();
            shared.with(|state, now| state.report(now, report)).unwrap();
        }
        let hello = Hello {
            protocol_min: 1,
            protocol_max: 1,
            cluster: "test".into(),
            node: "mute".into(),
            ..Hello::default()
        };
        let asked = AtomicU32::new(0);
        let inbound = Mute { hello: Some(hello), asked: &asked };
        // Nobody takes the frames out.
        let (outbound, _full) = mpsc::channel(PIPE_FRAMES);
        let waker = shared.waker();
        let link = Link::accepted(waker.token(), shared.now());
        let stop = CancellationToken::new();
        let begun = tokio::time::Instant::now();
        let ended = pump(&shared, link, &waker, inbound, outbound, &stop).await;
        assert_eq!(ended.reason, Reason::Silent);
        assert!(begun.elapsed() < Duration::from_secs(10));
        assert!(asked.load(Ordering::Relaxed) < 20, "asked {asked:?} times: it spins");
        assert_eq!(shared.with(|state, _| state.peers().iter().count()), 0);
    }
}
