//! Request messages that come whole in time: one that was begun is memory, and an awaited one a place among the
//! calls in flight, for as long as it takes.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Buf as _;
use herd_edge::{Reason, Refusals};
use http_body::{Frame, SizeHint};
use tokio::time::{Sleep, sleep};
use tonic::Status;
use tonic::body::Body;

/// Longest wait for the rest of a message that was begun, and for all that a call of one message sends, its end
/// included. The longest message takes it at half a megabit a second.
const MESSAGE_TIME: Duration = Duration::from_secs(20);

/// What a method is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Messages {
    /// One, which is awaited.
    One,
    /// Any number, with pauses between them.
    Many,
    /// A peer's, whom its link looks after.
    Frames,
}

impl Messages {
    /// Those of the method at `path`.
    pub(crate) fn to(path: &str) -> Self {
        match path {
            "/herd.v1.Gossip/Propagate" => Self::Frames,
            "/herd.v1.Locations/ReportStream" => Self::Many,
            _ if path.starts_with("/grpc.reflection.") => Self::Many,
            _ => Self::One,
        }
    }
}

/// A request body that ends with a status when it takes too long.
pub(crate) struct Whole {
    inner: Body,
    framing: Framing,
    /// Whether all of it is awaited: services read a call of one message to its end before they begin.
    awaited: bool,
    /// Runs from when there was first nothing to read.
    timer: Option<Pin<Box<Sleep>>>,
    refusals: Arc<Refusals>,
}

impl Whole {
    /// A body with these messages.
    pub(crate) fn of(messages: Messages, inner: Body, refusals: &Arc<Refusals>) -> Body {
        if messages == Messages::Frames {
            return inner;
        }
        Body::new(Self {
            inner,
            framing: Framing::default(),
            awaited: messages == Messages::One,
            timer: None,
            refusals: Arc::clone(refusals),
        })
    }

    fn is_late(&mut self, cx: &mut Context<'_>) -> bool {
        if !self.awaited && !self.framing.is_inside() {
            return false;
        }
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(MESSAGE_TIME)));
        timer.as_mut().poll(cx).is_ready()
    }
}

impl http_body::Body for Whole {
    type Data = <Body as http_body::Body>::Data;
    type Error = <Body as http_body::Body>::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let this = &mut *self;
        let frame = Pin::new(&mut this.inner).poll_frame(cx);
        if frame.is_pending() && this.is_late(cx) {
            this.refusals.count(Reason::PartialMessage);
            this.inner = Body::empty();
            (this.awaited, this.framing) = (false, Framing::default());
            return Poll::Ready(Some(Err(too_slow())));
        }
        if let Poll::Ready(Some(Ok(frame))) = &frame
            && let Some(data) = frame.data_ref()
            && this.framing.take(data.chunk())
            && !this.awaited
        {
            this.timer = None;
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

fn too_slow() -> Status {
    Status::deadline_exceeded(format!(
        "the request did not come whole within {} s",
        MESSAGE_TIME.as_secs()
    ))
}

/// Where in gRPC's messages, each with a head of a flag and four bytes of length, the bytes have come to.
#[derive(Debug, Default)]
struct Framing {
    head: [u8; 5],
    head_bytes: usize,
    /// Bytes of the present message that are yet to come.
    left: usize,
}

impl Framing {
    /// Takes the next bytes. Returns whether a message has begun or ended in them.
    fn take(&mut self, mut bytes: &[u8]) -> bool {
        let mut moved = false;
        while let Some(&first) = bytes.first() {
            if self.left > 0 {
                let taken = self.left.min(bytes.len());
                (self.left, bytes) = (self.left - taken, &bytes[taken..]);
            } else {
                moved |= self.head_bytes == 0;
                self.head[self.head_bytes] = first;
                (self.head_bytes, bytes) = (self.head_bytes + 1, &bytes[1..]);
                if self.head_bytes < self.head.len() {
                    continue;
                }
                let [_, length @ ..] = self.head;
                (self.left, self.head_bytes) = (u32::from_be_bytes(length) as usize, 0);
            }
            moved |= self.left == 0;
        }
        moved
    }

    fn is_inside(&self) -> bool {
        self.left > 0 || self.head_bytes > 0
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;
    use tokio::time::Instant;
    use tonic::Code;

    use super::*;

    /// What a caller sends: each part a while after the one before, and then its end, or nothing more.
    struct Sent {
        parts: Vec<(Duration, Bytes)>,
        pause: Option<Pin<Box<Sleep>>>,
        ends: bool,
    }

    impl http_body::Body for Sent {
        type Data = Bytes;
        type Error = Status;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
            let Some((wait, _)) = self.parts.first().cloned() else {
                return if self.ends { Poll::Ready(None) } else { Poll::Pending };
            };
            let pause = self.pause.get_or_insert_with(|| Box::pin(sleep(wait)));
            std::task::ready!(pause.as_mut().poll(cx));
            self.pause = None;
            Poll::Ready(Some(Ok(Frame::data(self.parts.remove(0).1))))
        }
    }

    #[derive(Debug, PartialEq, Eq)]
    enum End {
        /// As the caller ended it.
        Good,
        /// With a status, after so many seconds.
        Cut(Code, u64),
        /// Not within an hour.
        Open,
    }

    /// How many parts come, and how the body ends.
    async fn read(path: &str, parts: &[(u64, &'static [u8])], ends: bool) -> (usize, End) {
        let part = |(wait, part): &(u64, &'static [u8])| {
            (Duration::from_secs(*wait), Bytes::from_static(part))
        };
        let parts = Sent { parts: parts.iter().map(part).collect(), pause: None, ends };
        let refusals = Arc::default();
        let body = Whole::of(Messages::to(path), Body::new(parts), &refusals);
        let mut body = std::pin::pin!(body);
        let (mut came, begun) = (0, Instant::now());
        let ending = async {
            loop {
                let next =
                    std::future::poll_fn(|cx| http_body::Body::poll_frame(body.as_mut(), cx));
                match next.await {
                    Some(Ok(_)) => came += 1,
                    Some(Err(status)) => return End::Cut(status.code(), begun.elapsed().as_secs()),
                    None => return End::Good,
                }
            }
        };
        let end = tokio::time::timeout(Duration::from_hours(1), ending).await;
        let end = end.unwrap_or(End::Open);
        let cut = matches!(end, End::Cut(..));
        assert_eq!(refusals.of(Reason::PartialMessage), u64::from(cut));
        (came, end)
    }

    const LATE: End = End::Cut(Code::DeadlineExceeded, 20);

    #[tokio::test(start_paused = true)]
    async fn a_call_of_one_message_has_to_come_whole_with_its_end_in_time() {
        let get = "/herd.v1.Locations/Get";
        assert_eq!(read(get, &[], false).await, (0, LATE));
        assert_eq!(read(get, &[(5, b"\0\0\0\0\x03ab")], false).await, (1, LATE));
        assert_eq!(read(get, &[(5, b"\0\0"), (14, b"\0\0\x01"), (6, b"a")], true).await, (2, LATE));
        assert_eq!(read(get, &[(5, b"\0\0\0\0\x03ab"), (14, b"c")], true).await, (2, End::Good));
        // Whole, and more might follow: no service begins before it knows.
        assert_eq!(read(get, &[(1, b"\0\0\0\0\0")], false).await, (1, LATE));
        let many = [(19, &b"\0\0\0\0\0"[..]), (19, b"\0\0\0\0\0")];
        assert_eq!(read(get, &many, false).await, (1, LATE));
    }

    #[tokio::test(start_paused = true)]
    async fn streams_may_wait_between_messages_and_not_within_one_and_links_are_left_alone() {
        let stream = "/herd.v1.Locations/ReportStream";
        let waits = [(600, &b"\0\0\0\0\x01a"[..]), (600, b"\0\0\0\0\x01a\0\0\0\0\x01b")];
        assert_eq!(read(stream, &waits, false).await, (2, End::Open));
        let begun = [(600, &b"\0\0\0\0\x01a\0"[..]), (19, b"\0\0\0\x02a")];
        assert_eq!(read(stream, &begun, false).await, (2, End::Cut(Code::DeadlineExceeded, 620)));
        let gossip = "/herd.v1.Gossip/Propagate";
        assert_eq!(read(gossip, &[(1, b"\0")], false).await, (1, End::Open));
    }

    proptest! {
        #[test]
        fn the_ends_of_messages_are_found_however_they_are_cut(
            lengths in prop::collection::vec(0..300_usize, 0..8),
            cut in 1..40_usize,
        ) {
            let mut bytes = Vec::new();
            for length in &lengths {
                bytes.push(0);
                bytes.extend((*length as u32).to_be_bytes());
                bytes.extend(vec![7; *length]);
            }
            let mut framing = Framing::default();
            for part in bytes.chunks(cut) {
                framing.take(part);
            }
            prop_assert!(!framing.is_inside());
            prop_assert!(framing.take(&[0]) && framing.is_inside());
        }
    }
}
