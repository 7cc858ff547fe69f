//! Takes in what a client sends, in large pieces and only so much.

use std::io;
use std::time::Duration;

use tokio::time::{self, Instant};

use super::{Connection, Speaker};

/// Room for the first read after a pause: some 200 lines, so that what a client with many lines
/// under way sends comes in with one read.
const FIRST_READ_BYTES: usize = 16 * 1024;

/// Most input taken before it is answered. A client that sends more waits in the kernel's
/// buffers, and in its own.
const INPUT_BYTES_MAX: usize = 64 * 1024;

/// Pause after which a text friend is taken to have said its line: far longer than the parts of one
/// write are apart, and short for a client that the friend does not answer before.
const FRIEND_PAUSE: Duration = Duration::from_millis(50);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Input {
    Some,
    Ended,
}

impl Connection {
    /// Reads, minding how text friends speak: many servers end neither their line nor their direction, and
    /// wait for the end of ours before they go on. What they said is taken when they pause, and our
    /// direction ended; further lines of theirs are still read.
    ///
    /// # Cancel safety
    /// Nothing that was read is lost.
    pub(super) async fn read_as_from_anybody(&mut self) -> io::Result<Input> {
        let complete = self.has_unended_friend_line();
        if complete || self.speaker == Speaker::Friend {
            if let Ok(input) = time::timeout(FRIEND_PAUSE, self.read()).await {
                return input;
            }
            if complete {
                self.decoder.end_line();
                return Ok(Input::Some);
            }
            self.stream.shutdown().await?;
            self.speaker = Speaker::FriendHeardOut;
        }
        self.read().await
    }

    /// Whether all that has come is a friend's line without its end. Those that leave it out say one line a
    /// connection; who has ended one will end the next, however long its parts are apart.
    pub(super) fn has_unended_friend_line(&self) -> bool {
        if self.lines > 0 {
            return false;
        }
        let bridge = self.port.bridge.as_ref();
        bridge.is_some_and(|bridge| bridge.would_take(self.peer, self.decoder.unended_line()))
    }

    /// Waits for input and reads what has arrived, up to the limit. No buffer is held while
    /// nothing arrives.
    ///
    /// # Cancel safety
    /// Nothing that was read is lost.
    pub(super) async fn read(&mut self) -> io::Result<Input> {
        loop {
            if !self.more {
                self.stream.readable().await?;
            }
            let (input, taken) = self.take_in()?;
            if input == Input::Ended || taken > 0 {
                return Ok(input);
            }
            // Whatever keeps a socket readable and empty must not keep others from their turn.
            tokio::task::yield_now().await;
        }
    }

    /// Reads what comes before the client pauses; `None` once it does. An incomplete line that it may
    /// still be typing is left.
    ///
    /// Hanging up in a pause, no line is on its way. At first, only a pause that is longer than the way
    /// to a client and back is one, or the next line of one far away would find nobody. Whoever makes no
    /// such pause is left in a shorter one.
    pub(super) async fn read_unless_quiet(&mut self, end: Instant) -> io::Result<Option<Input>> {
        let farewell = self.port.limits.farewell;
        let late = end.saturating_duration_since(Instant::now()) < farewell / 2;
        let pause = if late { farewell / 100 } else { farewell / 10 };
        time::timeout(pause, self.read()).await.ok().transpose()
    }

    /// Reads what is there, up to the limit, and says how much it was.
    fn take_in(&mut self) -> io::Result<(Input, usize)> {
        let buffer = self.decoder.input();
        let (mut room, mut taken) = (FIRST_READ_BYTES, 0);
        self.more = false;
        loop {
            buffer.reserve(room);
            match self.stream.try_read(buffer) {
                // What came before the end is answered first, such as the lines of a client that closes without
                // TLS's own goodbye. The error is met again at the next reading.
                Err(_) if taken > 0 => {
                    self.more = true;
                    return Ok((Input::Some, taken));
                }
                Err(error) => return Err(error),
                Ok(None) => return Ok((Input::Some, taken)),
                Ok(Some(0)) => return Ok((Input::Ended, taken)),
                // A socket gives all that it has at once, TLS a record at a time.
                Ok(Some(count)) if count < room && !self.stream.may_hold_text() => {
                    return Ok((Input::Some, taken + count));
                }
                Ok(Some(count)) => taken += count,
            }
            if taken >= INPUT_BYTES_MAX {
                self.more = true;
                return Ok((Input::Some, taken));
            }
            room = (room * 2).min(INPUT_BYTES_MAX - taken);
        }
    }
}
