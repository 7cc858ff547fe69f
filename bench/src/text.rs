//! Loads of lines: the herd's text protocol, and Redis' protocol for the peers that speak it.

use std::collections::VecDeque;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream as BlockingStream};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::measured::{LoadClock, Measured, Notes, Timing};
use crate::population::{Next, Population};

/// Room for answers; as much as a socket's buffer holds by default.
const READ_BYTES: usize = 128 << 10;

/// Lines sent together when a target is only to be filled.
const FILL_LINES: u32 = 1024;

/// Longest wait for an answer before the peer is given up.
const ANSWER_LIMIT: Duration = Duration::from_secs(20);

/// What is asked in which words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// `IAMAT` lines.
    Iamat,
    /// `WHATSAT` lines, 10 km and five places. The clients must have reported before.
    Whatsat,
    /// Redis' `GEOADD`: a position, without a time.
    Geoadd,
    /// Tile38's `SET ... FIELD ... POINT`, with the time as a field.
    Tile38,
}

/// Lines over some connections, each with so many that wait for answers.
#[derive(Debug, Clone, Copy)]
pub struct TextLoad {
    /// Who answers.
    pub target: SocketAddr,
    /// In which words.
    pub dialect: Dialect,
    /// How many connections.
    pub connections: u32,
    /// How many lines wait for answers on each.
    pub in_flight: u32,
    /// How many clients report.
    pub clients: u32,
    /// When it is measured.
    pub timing: Timing,
}

impl TextLoad {
    /// Puts the load on. One connection with one line under way is driven by a thread that blocks,
    /// which is as quick as a client can be.
    ///
    /// # Errors
    /// The target cannot be reached, hangs up, or does not answer.
    pub async fn run(self) -> anyhow::Result<Measured> {
        ensure!(self.connections > 0 && self.in_flight > 0, "no connections or nothing in flight");
        let clock = LoadClock::begin();
        if (self.connections, self.in_flight) == (1, 1) {
            let population = Population::new(self.clients, 0, 1)?;
            let notes = tokio::task::spawn_blocking(move || self.ping_pong(population)).await??;
            return notes.join([], &clock);
        }
        let mut streams = Vec::new();
        for _ in 0..self.connections {
            let stream = TcpStream::connect(self.target).await.context("no connection")?;
            stream.set_nodelay(true)?;
            streams.push(stream);
        }
        let notes = Notes::begin(self.timing);
        let mut parts = JoinSet::new();
        for (stream, part) in streams.into_iter().zip(0..) {
            let population = Population::new(self.clients, part, self.connections)?;
            parts.spawn(self.converse(stream, population, notes.part()));
        }
        let mut done = Vec::new();
        while let Some(part) = parts.join_next().await {
            done.push(part??);
        }
        notes.join(done, &clock)
    }

    /// Sends one line of each client, and measures how long that takes.
    ///
    /// # Errors
    /// As [`TextLoad::run`].
    pub async fn fill(self) -> anyhow::Result<Measured> {
        let clock = LoadClock::begin();
        let mut stream = TcpStream::connect(self.target).await.context("no connection")?;
        stream.set_nodelay(true)?;
        let mut notes = Notes::until_done();
        let (mut out, mut read) = (Vec::new(), vec![0; READ_BYTES]);
        let mut answers = Answers::new(self.dialect);
        let mut population = Population::new(self.clients, 0, 1)?;
        let mut sent = VecDeque::new();
        for first in (0..self.clients).step_by(FILL_LINES as usize) {
            out.clear();
            let last = self.clients.min(first + FILL_LINES);
            for client in first..last {
                self.dialect.put(population.next_of(client), &mut out);
            }
            sent.push_back((Instant::now(), last - first));
            stream.write_all(&out).await.context("the target hung up")?;
            while !sent.is_empty() {
                let answer = tokio::time::timeout(ANSWER_LIMIT, stream.read(&mut read));
                let count = answer.await.context("no answer in time")??;
                ensure!(count > 0, "the target hung up");
                note(&mut notes, &mut sent, answers.count(&read[..count])?)?;
            }
        }
        notes.refused(answers.refused);
        notes.join([], &clock)
    }

    async fn converse(
        self,
        mut stream: TcpStream,
        mut population: Population,
        mut notes: Notes,
    ) -> anyhow::Result<Notes> {
        let (mut out, mut read) = (Vec::new(), vec![0; READ_BYTES]);
        let mut answers = Answers::new(self.dialect);
        // When so many lines were sent together.
        let mut sent = VecDeque::new();
        let mut due = self.in_flight;
        while due > 0 || !sent.is_empty() {
            let now = Instant::now();
            if due > 0 {
                if !notes.goes_on(now) {
                    due = 0;
                    continue;
                }
                out.clear();
                for _ in 0..due {
                    self.dialect.put(population.next(), &mut out);
                }
                stream.write_all(&out).await.context("the target hung up")?;
                sent.push_back((Instant::now(), due));
            }
            let answer = tokio::time::timeout(ANSWER_LIMIT, stream.read(&mut read));
            let count = answer.await.context("no answer in time")??;
            ensure!(count > 0, "the target hung up");
            let answered = answers.count(&read[..count])?;
            note(&mut notes, &mut sent, answered)?;
            due = answered;
        }
        notes.refused(answers.refused);
        Ok(notes)
    }

    fn ping_pong(self, mut population: Population) -> anyhow::Result<Notes> {
        let mut stream = BlockingStream::connect(self.target).context("no connection")?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ANSWER_LIMIT))?;
        let (mut out, mut read) = (Vec::new(), vec![0; READ_BYTES]);
        let mut answers = Answers::new(self.dialect);
        let mut notes = Notes::begin(self.timing);
        let mut now = Instant::now();
        while notes.goes_on(now) {
            out.clear();
            self.dialect.put(population.next(), &mut out);
            let mut sent = VecDeque::from([(now, 1)]);
            stream.write_all(&out).context("the target hung up")?;
            while !sent.is_empty() {
                let count = stream.read(&mut read).context("no answer in time")?;
                ensure!(count > 0, "the target hung up");
                let answered = answers.count(&read[..count])?;
                note(&mut notes, &mut sent, answered)?;
            }
            now = Instant::now();
        }
        notes.refused(answers.refused);
        Ok(notes)
    }
}

/// Notes that the oldest `answered` lines are answered now.
fn note(
    notes: &mut Notes,
    sent: &mut VecDeque<(Instant, u32)>,
    mut answered: u32,
) -> anyhow::Result<()> {
    let now = Instant::now();
    while answered > 0 {
        let (at, count) = sent.front_mut().context("an answer to nothing")?;
        let taken = answered.min(*count);
        notes.answered(*at, now, taken.into());
        answered -= taken;
        *count -= taken;
        if *count == 0 {
            sent.pop_front();
        }
    }
    Ok(())
}

impl Dialect {
    /// Writes a line.
    pub(crate) fn put(self, next: Next<'_>, out: &mut Vec<u8>) {
        let mut words = |words: &[&[u8]]| {
            for word in words {
                out.extend_from_slice(word);
            }
        };
        match self {
            Self::Iamat => {
                words(&[b"IAMAT ", next.id, b" ", next.iso6709(), b" ", next.time_text, b"\n"]);
            }
            Self::Whatsat => words(&[b"WHATSAT ", next.id, b" 10 5\n"]),
            Self::Geoadd => {
                words(&[b"*5\r\n$6\r\nGEOADD\r\n$5\r\nfleet"]);
                for word in [next.longitude(), next.latitude(), next.id] {
                    put_bulk(word, out);
                }
                out.extend_from_slice(b"\r\n");
            }
            Self::Tile38 => {
                words(&[b"*9\r\n$3\r\nSET\r\n$5\r\nfleet"]);
                put_bulk(next.id, out);
                out.extend_from_slice(b"\r\n$5\r\nFIELD\r\n$1\r\nt");
                put_bulk(next.time_text, out);
                out.extend_from_slice(b"\r\n$5\r\nPOINT");
                put_bulk(next.latitude(), out);
                put_bulk(next.longitude(), out);
                // SET fleet <id> FIELD t <time> POINT <lat> <lon>: nine words.
                out.extend_from_slice(b"\r\n");
            }
        }
    }
}

/// Ends the word before, and writes one of Redis' counted strings without its own end.
fn put_bulk(word: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(format!("\r\n${}\r\n", word.len()).as_bytes());
    out.extend_from_slice(word);
}

/// Counts answers in what arrives, however it was split.
#[derive(Debug)]
struct Answers {
    dialect: Dialect,
    /// The first byte of a line that has begun and not ended.
    begun: Option<u8>,
    refused: u64,
}

impl Answers {
    fn new(dialect: Dialect) -> Self {
        Self { dialect, begun: None, refused: 0 }
    }

    fn count(&mut self, bytes: &[u8]) -> anyhow::Result<u32> {
        let (mut answers, mut start) = (0, 0);
        for end in memchr::memchr_iter(b'\n', bytes) {
            let line = &bytes[start..end];
            start = end + 1;
            answers += match (self.dialect, self.begun.take().or(line.first().copied())) {
                (Dialect::Whatsat | Dialect::Iamat, Some(b'?')) => {
                    self.refused += 1;
                    1
                }
                // A query's answer ends with an empty line.
                (Dialect::Whatsat, first) => u32::from(first.is_none()),
                (Dialect::Geoadd | Dialect::Tile38, Some(b'-')) => {
                    bail!("the target says {}", line.escape_ascii());
                }
                _ => 1,
            };
        }
        self.begun = self.begun.or(bytes.get(start).copied());
        Ok(answers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(dialect: Dialect) -> String {
        let mut out = Vec::new();
        dialect.put(Population::new(1, 0, 1).unwrap().next(), &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn each_dialect_says_it_in_its_words() {
        let iamat = put(Dialect::Iamat);
        assert!(iamat.starts_with("IAMAT client00000000000000 +34.05"), "{iamat}");
        assert_eq!(put(Dialect::Whatsat), "WHATSAT client00000000000000 10 5\n");
        let geoadd = put(Dialect::Geoadd);
        assert!(
            geoadd.starts_with("*5\r\n$6\r\nGEOADD\r\n$5\r\nfleet\r\n$11\r\n-118.2"),
            "{geoadd}"
        );
        assert!(geoadd.ends_with("\r\n$20\r\nclient00000000000000\r\n"), "{geoadd}");
        let words = |text: &str| text.matches('$').count();
        assert_eq!((words(&geoadd), words(&put(Dialect::Tile38))), (5, 9));
    }

    #[test]
    fn answers_are_counted_however_they_are_split() {
        for (dialect, text, count) in [
            (Dialect::Iamat, "AT Bailey +0.1 a +1-1 1\n? IAMAT\nAT", 2),
            (Dialect::Whatsat, "AT Bailey +0.1 a +1-1 1\n{\n   \"x\" : []\n}\n\n? WHATSAT b\n", 2),
            (Dialect::Geoadd, ":1\r\n:0\r\n", 2),
            (Dialect::Tile38, "+OK\r\n", 1),
        ] {
            for cut in 0..text.len() {
                let (head, tail) = text.as_bytes().split_at(cut);
                let mut answers = Answers::new(dialect);
                let counted = answers.count(head).unwrap() + answers.count(tail).unwrap();
                assert_eq!(counted, count, "{text:?} at {cut}");
            }
        }
        let error = Answers::new(Dialect::Geoadd).count(b"-ERR wrong\r\n").unwrap_err();
        assert!(error.to_string().contains("ERR wrong"));
    }
}
