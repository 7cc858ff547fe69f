//! One text connection: a single loop, so that commands take effect one after the other.

mod answering;
mod reading;

use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use herd_edge::{Pace, Reason};
use tokio::time::{self, Instant};
use tokio_util::sync::CancellationToken;

use self::reading::Input;
use crate::gateway::Port;
use crate::line::Decoder;
use crate::line_log::Direction;
use crate::stream::Stream;

/// One client's connection.
#[derive(Debug)]
pub(crate) struct Connection {
    id: u64,
    stream: Stream,
    port: Arc<Port>,
    /// Whence the client comes, or the friend.
    peer: IpAddr,
    speaker: Speaker,
    decoder: Decoder,
    out: Vec<u8>,
    /// Whether the last reading ended at its limit, or there was none yet, so that more may be there
    /// already.
    more: bool,
    /// Lines that have ended.
    lines: u32,
    pace: Option<Pace>,
}

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Speaker {
    /// A client, as far as is known.
    Client,
    /// A text friend: a line of it was taken.
    Friend,
    /// A text friend that was shown, by the end of our direction, that it gets no answer.
    FriendHeardOut,
}

impl Connection {
    pub(crate) fn new(id: u64, stream: Stream, peer: IpAddr, port: Arc<Port>) -> Self {
        let decoder = Decoder::new(port.limits.max_line_bytes);
        let pace = port.limits.max_line_rate.map(Pace::new);
        let more = stream.may_hold_text();
        let (speaker, out) = (Speaker::Client, Vec::new());
        Self { id, stream, port, peer, speaker, decoder, out, more, lines: 0, pace }
    }

    /// Answers until the client has sent everything or is gone, or until `stop`; then what was
    /// received by that time, or comes until the client pauses, is answered first.
    ///
    /// # Errors
    /// The connection broke, or the client did not read for longer than the write limit.
    pub(crate) async fn serve(mut self, stop: &CancellationToken) -> io::Result<()> {
        let mut farewell = None;
        let (mut heard, mut begun) = (Instant::now(), None);
        loop {
            let limits = self.port.limits;
            let input = if let Some(end) = farewell {
                match self.read_unless_quiet(end).await? {
                    Some(input) => input,
                    None if self.has_unended_friend_line() => Input::Ended,
                    None => break,
                }
            } else {
                let (end, reason) = match begun {
                    Some(begun) => (begun + limits.partial_line, Reason::PartialLine),
                    None => (heard + limits.idle, Reason::Idle),
                };
                let read = time::timeout_at(end, self.read_as_from_anybody());
                match stop.run_until_cancelled(read).await {
                    Some(Ok(input)) => input?,
                    Some(Err(_)) => {
                        self.port.refusals.count(reason);
                        self.port.log(self.id, Direction::Note, b"said nothing for too long");
                        break;
                    }
                    None => {
                        farewell = Some(Instant::now() + limits.farewell);
                        continue;
                    }
                }
            };
            if input == Input::Ended {
                self.decoder.end_line();
            }
            let lines_before = self.lines;
            self.answer_all().await?;
            self.decoder.compact();
            heard = Instant::now();
            begun = if self.decoder.is_inside_line() {
                // A line that was begun before stays begun until it ends.
                begun.filter(|_| self.lines == lines_before).or(Some(heard))
            } else {
                None
            };
            if input == Input::Ended || farewell.is_some_and(|end| heard >= end) {
                break;
            }
            self.keep_pace(stop, self.lines.wrapping_sub(lines_before)).await;
        }
        if self.speaker == Speaker::FriendHeardOut { Ok(()) } else { self.stream.shutdown().await }
    }

    /// Pauses after lines that came too fast. What the client sends meanwhile waits in the
    /// kernel's buffers, and in its own.
    async fn keep_pace(&mut self, stop: &CancellationToken, lines: u32) {
        if let Some(pause) = self.pace.as_mut().and_then(|pace| pace.came(lines)) {
            self.port.refusals.count(Reason::ConnectionRate);
            stop.run_until_cancelled(time::sleep_until(pause)).await;
        }
    }
}
