use bytes::{BufMut as _, Bytes, BytesMut};

/// Longest line that is looked at as a command unless set otherwise, in bytes, without its end.
///
/// The longest operands that are ever taken (an id of 1,024 bytes, two texts of 128) make a line
/// of some 1,300 bytes; the rest is room for generous white space. A longer line is refused
/// unread, so that nobody can make the gateway keep it: its copy is passed back as it arrives.
pub const MAX_COMMAND_BYTES: usize = 8 * 1024;

/// What the decoder found next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// A line that may be a command, without its LF and without one CR before that.
    Line(Bytes),
    /// A longer line begins.
    LongStart,
    /// The next bytes of the longer line; never empty.
    LongPart(Bytes),
    /// The longer line has ended; its line end was in no part.
    LongEnd,
}

/// Cuts a stream of bytes into lines, however the stream was split into packets.
///
/// It holds at most one incomplete line and what was put into [`Decoder::input`] since the
/// pieces were last taken. Every byte is searched for a line end once.
#[derive(Debug)]
pub struct Decoder {
    max_command_bytes: usize,
    buffer: BytesMut,
    /// How much of the buffer is known to hold no LF.
    scanned: usize,
    state: State,
    /// Whether a line was cut off the allocation behind `buffer` since the last compaction.
    shared: bool,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    Short,
    Long,
    LongEnds,
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new(MAX_COMMAND_BYTES)
    }
}

impl Decoder {
    /// A decoder that looks at lines of at most `max_command_bytes` as commands.
    pub fn new(max_command_bytes: usize) -> Self {
        let (buffer, state) = (BytesMut::new(), State::default());
        Self { max_command_bytes, buffer, scanned: 0, state, shared: false }
    }

    /// Whether a line was begun and has not ended, once all pieces were taken.
    pub fn is_inside_line(&self) -> bool {
        self.state != State::Short || !self.buffer.is_empty()
    }

    /// The buffer to which arriving bytes are appended; nothing else may be done to it.
    pub fn input(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    /// What was begun of a line that may be a command, once all pieces were taken.
    pub fn unended_line(&self) -> &[u8] {
        if self.state == State::Short { &self.buffer } else { &[] }
    }

    /// Declares the input complete, or a pause in it the end of a line: text without a line end is a line,
    /// too.
    pub fn end_line(&mut self) {
        if self.state == State::Long || !self.buffer.is_empty() {
            self.buffer.put_u8(b'\n');
        }
    }

    /// The next piece, or `None` until more input arrives.
    pub fn next_piece(&mut self) -> Option<Piece> {
        match self.state {
            State::Short => self.next_line(),
            State::Long => self.next_part(),
            State::LongEnds => {
                self.state = State::Short;
                Some(Piece::LongEnd)
            }
        }
    }

    /// Gives back memory that a waiting connection does not need.
    pub fn compact(&mut self) {
        if self.buffer.is_empty() {
            self.buffer = BytesMut::new();
        } else if self.shared {
            self.buffer = BytesMut::from(&self.buffer[..]);
        }
        self.shared = false;
    }

    fn next_line(&mut self) -> Option<Piece> {
        match self.line_end() {
            Some(end) if end <= self.max_command_bytes => Some(Piece::Line(self.take_line(end))),
            None if self.buffer.len() <= self.max_command_bytes => {
                self.scanned = self.buffer.len();
                None
            }
            _ => {
                self.state = State::Long;
                self.scanned = 0;
                Some(Piece::LongStart)
            }
        }
    }

    fn next_part(&mut self) -> Option<Piece> {
        if let Some(end) = self.line_end() {
            let rest = self.take_line(end);
            if rest.is_empty() {
                self.state = State::Short;
                return Some(Piece::LongEnd);
            }
            self.state = State::LongEnds;
            return Some(Piece::LongPart(rest));
        }
        // A CR may turn out to belong to the line end; it stays until the next byte tells.
        let held = usize::from(self.buffer.last() == Some(&b'\r'));
        let part = self.buffer.split_to(self.buffer.len() - held).freeze();
        self.scanned = held;
        self.shared = true;
        (!part.is_empty()).then_some(Piece::LongPart(part))
    }

    fn line_end(&self) -> Option<usize> {
        memchr::memchr(b'\n', &self.buffer[self.scanned..]).map(|at| self.scanned + at)
    }

    fn take_line(&mut self, end: usize) -> Bytes {
        let mut line = self.buffer.split_to(end + 1).freeze();
        self.scanned = 0;
        self.shared = true;
        line.truncate(end);
        if line.last() == Some(&b'\r') {
            line.truncate(end - 1);
        }
        line
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Lines as text, a longer line as its parts joined; the parts' own borders depend on how
    /// the input arrived and mean nothing.
    fn decode<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> Vec<(bool, Vec<u8>)> {
        let (mut decoder, mut lines) = (Decoder::default(), Vec::new());
        let mut collect = |decoder: &mut Decoder| {
            while let Some(piece) = decoder.next_piece() {
                match piece {
                    Piece::Line(line) => lines.push((false, line.to_vec())),
                    Piece::LongStart => lines.push((true, Vec::new())),
                    Piece::LongPart(part) => {
                        assert!(!part.is_empty());
                        lines.last_mut().unwrap().1.extend_from_slice(&part);
                    }
                    Piece::LongEnd => assert!(lines.last().unwrap().0),
                }
            }
            decoder.compact();
            assert!(decoder.buffer.len() <= MAX_COMMAND_BYTES);
        };
        for chunk in chunks {
            decoder.input().extend_from_slice(chunk);
            collect(&mut decoder);
        }
        decoder.end_line();
        collect(&mut decoder);
        lines
    }

    fn lines(input: &[u8]) -> Vec<Vec<u8>> {
        decode([input]).into_iter().map(|(_, line)| line).collect()
    }

    #[test]
    fn lf_ends_a_line_and_one_cr_before_it_goes_too() {
        assert_eq!(lines(b"a\nb\r\n\nc\r\r\n"), [&b"a"[..], b"b", b"", b"c\r"]);
    }

    #[test]
    fn text_at_the_end_of_input_is_a_line() {
        assert_eq!(lines(b"a\nb"), [b"a", b"b"]);
        assert_eq!(lines(b"a\n"), [b"a"]);
        assert!(lines(b"").is_empty());
    }

    #[test]
    fn a_line_of_exactly_the_limit_is_a_command_and_one_more_byte_is_not() {
        for (length, long) in [(MAX_COMMAND_BYTES, false), (MAX_COMMAND_BYTES + 1, true)] {
            let mut input = vec![b'x'; length];
            input.push(b'\n');
            for split in [0, 1, length - 1, length, length + 1] {
                let (head, tail) = input.split_at(split);
                assert_eq!(decode([head, tail]), [(long, vec![b'x'; length])], "{split}");
            }
        }
    }

    #[test]
    fn an_endless_line_is_never_kept() {
        let mut decoder = Decoder::default();
        let mut copied = 0;
        for _ in 0..1000 {
            decoder.input().extend_from_slice(&[b'z'; 4096]);
            while let Some(piece) = decoder.next_piece() {
                if let Piece::LongPart(part) = piece {
                    copied += part.len();
                }
            }
            assert!(decoder.buffer.len() <= MAX_COMMAND_BYTES);
        }
        assert_eq!(copied, 4096 * 1000);
    }

    #[test]
    fn a_waiting_decoder_keeps_nothing_it_does_not_need() {
        let mut decoder = Decoder::default();
        decoder.input().extend_from_slice(&vec![b'\n'; 60_000]);
        while decoder.next_piece().is_some() {}
        decoder.compact();
        assert_eq!(decoder.buffer.capacity(), 0);
        decoder.input().extend_from_slice(&[vec![b'\n'; 60_000], b"IAM".to_vec()].concat());
        while decoder.next_piece().is_some() {}
        decoder.compact();
        assert!(decoder.buffer.capacity() < 64, "{}", decoder.buffer.capacity());
    }

    /// Bytes with many line ends, and now and then a run long enough to be a long line.
    fn input() -> impl Strategy<Value = Vec<u8>> {
        let run = prop_oneof![
            8 => prop::collection::vec(prop_oneof![Just(b'\n'), Just(b'\r'), any::<u8>()], 0..40),
            1 => (8000..9000usize).prop_map(|length| vec![b'y'; length]),
            1 => (8190..8195usize).prop_map(|length| vec![b'\r'; length]),
        ];
        prop::collection::vec(run, 0..8).prop_map(|runs| runs.concat())
    }

    proptest! {
        #[test]
        fn any_split_of_the_bytes_decodes_alike(
            input in input(),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
        ) {
            let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(input.len() + 1)).collect();
            cuts.extend([0, input.len()]);
            cuts.sort_unstable();
            let chunks = cuts.windows(2).map(|pair| &input[pair[0]..pair[1]]);
            prop_assert_eq!(decode(chunks), decode([&input[..]]));
        }

        #[test]
        fn lines_and_their_ends_make_up_the_input(input in input()) {
            let mut expected: Vec<_> = input.split(|byte| *byte == b'\n').collect();
            if expected.last().is_some_and(|last| last.is_empty()) {
                expected.pop();
            }
            let expected: Vec<_> = expected
                .into_iter()
                .map(|line| line.strip_suffix(b"\r").unwrap_or(line).to_vec())
                .collect();
            prop_assert_eq!(lines(&input), expected);
        }
    }
}
