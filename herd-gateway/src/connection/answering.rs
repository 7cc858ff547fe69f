//! Answers lines: reports that follow one another together, all in their order.

use std::{io, mem};

use bytes::Bytes;
use herd_edge::Reason;
use herd_proto::Report;
use herd_trace::{Kind, Span};
use tokio::time::{self, Instant};

use super::{Connection, Speaker};
use crate::counts::{Asked, Outcome};
use crate::line::{Command, Echo, Iamat, Piece, Whatsat, answer};
use crate::line_log::Direction;
use crate::slow::{Asked as SlowAsked, Asking};
use crate::translate::{Found, Recorded};
use crate::upstream::Query;

/// Lines that one connection may have answered before others get their turn, and reports in its
/// chunks: some tens of microseconds of work. A client that sends without end must not put its
/// whole backlog before a line of another.
const PIECES_PER_TURN: usize = 256;

/// Answers are written when there are this many bytes of them, or nothing more to answer.
const OUTPUT_BYTES: usize = 64 * 1024;

/// About how much longer than its line an answer is: a name and a difference in place of `IAMAT`.
const ANSWER_LONGER_BYTES: usize = 24;

/// A line of a run of reports, in its place among them.
#[derive(Debug)]
enum Line {
    Report(Echo),
    /// Refused here; only its answer has to wait for those before it.
    Invalid(Bytes),
}

/// Lines whose answers are written together.
#[derive(Debug, Default)]
struct Run {
    lines: Vec<Line>,
    reports: Vec<Report>,
    /// Length of the lines that are reports.
    bytes: usize,
}

impl Connection {
    pub(super) async fn answer_all(&mut self) -> io::Result<()> {
        let (mut run, mut pieces) = (Run::default(), 0_usize);
        while let Some(piece) = self.decoder.next_piece() {
            pieces += 1;
            if pieces.is_multiple_of(PIECES_PER_TURN) {
                // Lines that need no node never wait by themselves.
                tokio::task::yield_now().await;
            }
            match piece {
                Piece::Line(line) => self.answer_line(&mut run, line).await?,
                Piece::LongStart => {
                    self.settle(&mut run).await?;
                    self.port.refusals.count(Reason::LineBytes);
                    self.out.extend_from_slice(answer::REFUSED);
                    self.port.log(self.id, Direction::Note, b"refuses a line that is too long");
                }
                Piece::LongPart(part) => {
                    self.port.log(self.id, Direction::In, &part);
                    self.out.extend_from_slice(&part);
                    self.flush_if_large().await?;
                }
                Piece::LongEnd => {
                    self.lines = self.lines.wrapping_add(1);
                    self.port.counts.add(Asked::Invalid, Outcome::Refused, 1);
                    self.out.push(b'\n');
                }
            }
        }
        self.settle(&mut run).await?;
        self.flush().await?;
        tokio::task::yield_now().await;
        Ok(())
    }

    async fn answer_line(&mut self, run: &mut Run, line: Bytes) -> io::Result<()> {
        self.lines = self.lines.wrapping_add(1);
        self.port.log(self.id, Direction::In, &line);
        let bridge = self.port.bridge.as_ref();
        if bridge.is_some_and(|bridge| bridge.takes(self.peer, &line)) {
            // Friends expect no answer.
            if self.speaker == Speaker::Client {
                self.speaker = Speaker::Friend;
            }
            return Ok(());
        }
        match Command::parse(&line) {
            Command::Blank => return Ok(()),
            Command::Iamat(iamat) => run.push(iamat),
            Command::Invalid => run.lines.push(Line::Invalid(line)),
            Command::Whatsat(query) => {
                self.settle(run).await?;
                self.flush().await?;
                // Boxed: a waiting connection should not carry room for a call it does not make.
                return Box::pin(self.answer_query(&line, &query)).await;
            }
        }
        if run.is_full() { self.settle(run).await } else { Ok(()) }
    }

    /// Has the reports of a run recorded and answers its lines.
    async fn settle(&mut self, run: &mut Run) -> io::Result<()> {
        let recorded = if run.reports.is_empty() {
            None
        } else {
            let (asked, span) = (Instant::now(), self.span("IAMAT"));
            let reporting = self.port.choice.report(&run.reports, run.bytes, span.context());
            let recorded = Box::pin(reporting).await;
            self.note_reports(asked, span, run, recorded.as_ref());
            recorded
        };
        self.answer_run(run, recorded.as_ref());
        run.clear();
        self.flush_if_large().await
    }

    fn answer_run(&mut self, run: &Run, recorded: Option<&Recorded>) {
        self.out.reserve(run.bytes + run.lines.len() * ANSWER_LONGER_BYTES);
        let mut refused =
            recorded.iter().flat_map(|recorded| &recorded.refused).copied().peekable();
        let mut index = 0;
        for line in &run.lines {
            let start = self.out.len();
            match (line, recorded) {
                (Line::Report(echo), Some(Recorded { receive_time, origin, .. })) => {
                    if refused.next_if_eq(&index).is_some() {
                        answer::refused(&mut self.out, echo.line());
                    } else {
                        let difference = receive_time.since(echo.time);
                        answer::recorded(&mut self.out, origin.as_str(), difference, echo);
                    }
                    index += 1;
                }
                (Line::Report(echo), None) => answer::refused(&mut self.out, echo.line()),
                (Line::Invalid(line), _) => answer::refused(&mut self.out, line),
            }
            self.log_answer(start);
        }
        self.count(run, recorded);
    }

    /// Begins a trace, where traces are sent: text clients have none of their own.
    fn span(&self, command: &'static str) -> Span {
        let mut span = Span::begin(Kind::Server, None, || command.into());
        if span.is_recorded() {
            span.set("client.address", self.peer.to_string());
        }
        span
    }

    fn note_reports(&self, asked: Instant, mut span: Span, run: &Run, recorded: Option<&Recorded>) {
        let all_refused = recorded.is_some_and(|found| found.refused.len() == run.reports.len());
        let outcome = match recorded {
            None => Outcome::Unanswered,
            Some(_) if all_refused => Outcome::Refused,
            Some(_) => Outcome::Answered,
        };
        let asked_for = SlowAsked {
            what: Asking::Iamat,
            client: self.peer,
            lines: run.reports.len(),
            outcome,
            node: recorded.map(|recorded| &recorded.origin),
            id: None,
            trace: span.context(),
        };
        self.port.slow.note(asked.elapsed(), &asked_for);
        span.set("herd.lines", run.reports.len() as i64);
        end(span, outcome);
    }

    fn count(&self, run: &Run, recorded: Option<&Recorded>) {
        let (counts, reports) = (&self.port.counts, run.reports.len() as u64);
        match recorded.map(|recorded| recorded.refused.len() as u64) {
            Some(refused) => {
                counts.add(Asked::Iamat, Outcome::Answered, reports.saturating_sub(refused));
                counts.add(Asked::Iamat, Outcome::Refused, refused);
            }
            None => counts.add(Asked::Iamat, Outcome::Unanswered, reports),
        }
        counts.add(Asked::Invalid, Outcome::Refused, run.lines.len() as u64 - reports);
    }

    async fn answer_query(&mut self, line: &[u8], query: &Whatsat) -> io::Result<()> {
        let start = self.out.len();
        let (asked, mut span) = (Instant::now(), self.span("WHATSAT"));
        let id = format!("{:016x}", rand::random::<u64>());
        let query = Query { what: query, id: &id, trace: span.context() };
        let (found, node) = self.port.choice.search(&query).await.unzip();
        let took = asked.elapsed();
        let outcome = match found {
            Some(Found::Places(location, json)) => {
                answer::places(&mut self.out, &location, &json);
                Outcome::Answered
            }
            Some(Found::Nothing) => Outcome::Refused,
            None => Outcome::Unanswered,
        };
        if outcome != Outcome::Answered {
            answer::refused(&mut self.out, line);
        }
        self.port.counts.add(Asked::Whatsat, outcome, 1);
        let asked_for = SlowAsked {
            what: Asking::Whatsat,
            client: self.peer,
            lines: 1,
            outcome,
            node,
            id: Some(&id),
            trace: span.context(),
        };
        self.port.slow.note(took, &asked_for);
        if span.is_recorded() {
            span.set("herd.request_id", id);
        }
        end(span, outcome);
        self.log_answer(start);
        self.flush_if_large().await
    }

    fn log_answer(&self, start: usize) {
        self.port.log(self.id, Direction::Out, self.out[start..].trim_ascii_end());
    }

    async fn flush_if_large(&mut self) -> io::Result<()> {
        if self.out.len() >= OUTPUT_BYTES { self.flush().await } else { Ok(()) }
    }

    /// Writes all answers so far, and gives their memory back.
    async fn flush(&mut self) -> io::Result<()> {
        let out = mem::take(&mut self.out);
        if self.speaker == Speaker::FriendHeardOut {
            // Nobody reads it; what the friend says next is read all the same.
            return Ok(());
        }
        let mut rest = &out[..];
        while !rest.is_empty() {
            let written = time::timeout(self.port.limits.write_stall, self.stream.write(rest))
                .await
                .map_err(|_| {
                    self.port.refusals.count(Reason::WriteStall);
                    io::Error::new(io::ErrorKind::TimedOut, "client does not read")
                })??;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            rest = &rest[written..];
        }
        Ok(())
    }
}

/// Ends a command's part of a trace. That nobody answered is the herd's fault, a refusal the client's.
fn end(mut span: Span, outcome: Outcome) {
    span.set("herd.outcome", outcome.label());
    if outcome == Outcome::Unanswered {
        span.fail("no node answered");
    }
}

impl Run {
    fn push(&mut self, iamat: Iamat) {
        self.bytes += iamat.echo.line().len();
        self.lines.push(Line::Report(iamat.echo));
        self.reports.push(iamat.report);
    }

    fn is_full(&self) -> bool {
        self.lines.len() >= PIECES_PER_TURN
    }

    /// Keeps the room for the next run.
    fn clear(&mut self) {
        self.lines.clear();
        self.reports.clear();
        self.bytes = 0;
    }
}
