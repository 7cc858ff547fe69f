//! Reads the frames of a file, and finds the next one behind damage.

use std::io::{self, Read};

use super::frame::{FrameHeader, HEADER_BYTES, Kind, MARKER};

/// How much is read at once: enough that the system calls do not count.
const READ_BYTES: usize = 256 * 1024;

/// Consumed bytes stay in the window up to this many, so that moving the rest to the front is
/// rare. With the longest frame and one read this bounds the window to about 2.3 MiB.
const CONSUMED_BYTES: usize = 1 << 20;

/// What comes next in a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    /// A whole frame.
    Frame(Kind, &'a [u8]),
    /// Something else.
    Gap(Gap),
}

/// Bytes that belong to no whole frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Gap {
    /// How many.
    pub(super) bytes: u64,
    /// Frames whose headers are whole and whose payloads are there but changed.
    pub(super) changed: u64,
    /// Whether the file ends in them.
    pub(super) at_end: bool,
}

/// Goes through a file once.
///
/// The cost is in proportion to the file's length, however damaged it is: a payload's checksum is
/// computed only after its header's holds, and headers hold only at the offset they were written
/// for.
pub(super) struct Scan<R> {
    source: R,
    window: Vec<u8>,
    /// Where in the window the unread part begins.
    start: usize,
    /// Where in the file that is.
    offset: u64,
    ended: bool,
    error: Option<io::Error>,
}

impl<R: Read> Scan<R> {
    pub(super) fn new(source: R) -> Self {
        let window = Vec::new();
        Self { source, window, start: 0, offset: 0, ended: false, error: None }
    }

    /// The next piece; `None` at the end, and where the file cannot be read any further.
    pub(super) fn next(&mut self) -> Option<Piece<'_>> {
        let mut gap = Gap::default();
        loop {
            self.fill(HEADER_BYTES);
            if self.rest().is_empty() {
                gap.at_end = true;
                return (gap.bytes > 0).then_some(Piece::Gap(gap));
            }
            let mut skip = 1;
            if let Some(header) = FrameHeader::decode(self.rest(), self.offset) {
                let end = HEADER_BYTES + header.payload_bytes;
                self.fill(end);
                let payload = self.rest().get(HEADER_BYTES..end);
                if payload.is_some_and(|payload| header.matches(payload)) {
                    if gap.bytes > 0 {
                        return Some(Piece::Gap(gap));
                    }
                    let payload = self.start + HEADER_BYTES..self.start + end;
                    self.advance(end);
                    return Some(Piece::Frame(header.kind, &self.window[payload]));
                }
                gap.changed += u64::from(payload.is_some());
                skip = HEADER_BYTES;
            }
            gap.bytes += self.skip_to_marker(skip);
        }
    }

    /// Why the file could not be read to its end.
    pub(super) fn error(&self) -> Option<&io::Error> {
        self.error.as_ref()
    }

    /// How far the file was read, in bytes.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// Skips `least` bytes and then up to what may be a marker, or to the end of what is in the
    /// window. Returns how many.
    fn skip_to_marker(&mut self, least: usize) -> u64 {
        let rest = self.rest();
        let found = rest.iter().skip(least).position(|&byte| byte == MARKER[0]);
        let bytes = found.map_or(rest.len(), |found| least + found);
        self.advance(bytes);
        bytes as u64
    }

    fn rest(&self) -> &[u8] {
        &self.window[self.start..]
    }

    fn advance(&mut self, bytes: usize) {
        self.start += bytes;
        self.offset += bytes as u64;
    }

    /// Reads on until `bytes` are there, if the file has them.
    fn fill(&mut self, bytes: usize) {
        while self.rest().len() < bytes && !self.ended {
            if self.start >= CONSUMED_BYTES {
                self.window.drain(..self.start);
                self.start = 0;
            }
            let read = self.source.by_ref().take(READ_BYTES as u64).read_to_end(&mut self.window);
            match read {
                Ok(0) => self.ended = true,
                Ok(_) => {}
                Err(error) => {
                    self.error = Some(error);
                    self.ended = true;
                }
            }
        }
    }
}
