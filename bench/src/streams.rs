//! Loads of reports over `ReportStream`.

use std::collections::VecDeque;
use std::time::Instant;

use anyhow::{Context as _, ensure};
use herd_proto::{EncodedReports, MAX_BATCH};
use tokio::task::JoinSet;

use crate::measured::{LoadClock, Measured, Notes, Timing};
use crate::node::{Node, ReportStream};
use crate::population::Population;

/// Reports in a message, and messages under way, when a node is only to be filled.
const FILL_BATCH: u32 = 1024;
const FILL_IN_FLIGHT: usize = 4;

/// Messages of reports over some streams, each with so many that wait for answers.
#[derive(Debug, Clone)]
pub struct StreamLoad {
    /// Who answers.
    pub node: Node,
    /// How many streams, each on a connection of its own.
    pub streams: u32,
    /// How many reports in a message.
    pub batch: u32,
    /// How many messages wait for answers on each stream.
    pub in_flight: u32,
    /// How many clients report.
    pub clients: u32,
    /// When it is measured.
    pub timing: Timing,
}

impl StreamLoad {
    /// Puts the load on. Latencies are those of messages, counted once for each of their reports.
    ///
    /// # Errors
    /// The node cannot be reached, ends a stream, or does not answer.
    pub async fn run(self) -> anyhow::Result<Measured> {
        ensure!(self.streams > 0 && self.in_flight > 0 && self.batch > 0, "nothing to send");
        ensure!(self.batch as usize <= MAX_BATCH, "a message takes at most {MAX_BATCH} reports");
        let clock = LoadClock::begin();
        let mut streams = Vec::new();
        for _ in 0..self.streams {
            streams.push(self.node.open_stream(self.in_flight as usize).await?);
        }
        let notes = Notes::begin(self.timing);
        let mut parts = JoinSet::new();
        for (stream, part) in streams.into_iter().zip(0..) {
            let population = Population::new(self.clients, part, self.streams)?;
            parts.spawn(converse(self.batch, self.in_flight, stream, population, notes.part()));
        }
        let mut done = Vec::new();
        while let Some(part) = parts.join_next().await {
            done.push(part??);
        }
        notes.join(done, &clock)
    }
}

async fn converse(
    batch: u32,
    in_flight: u32,
    mut stream: ReportStream,
    mut population: Population,
    mut notes: Notes,
) -> anyhow::Result<Notes> {
    let mut sent = VecDeque::new();
    loop {
        while sent.len() < in_flight as usize && notes.goes_on(Instant::now()) {
            let mut reports = EncodedReports::default();
            for _ in 0..batch {
                reports.push(&population.report());
            }
            sent.push_back(Instant::now());
            stream.requests.send(reports).await.context("the node ended the stream")?;
        }
        let Some(at) = sent.pop_front() else { return Ok(notes) };
        let answer = stream.next().await?;
        notes.answered(at, Instant::now(), batch.into());
        notes.refused(answer.failures.len() as u64);
    }
}

/// Sends one report of each of `clients`, as fast as the node takes them.
///
/// # Errors
/// The node cannot be reached, ends the stream, or does not answer.
pub async fn fill(node: &Node, clients: u32) -> anyhow::Result<Measured> {
    let clock = LoadClock::begin();
    let mut stream = node.open_stream(FILL_IN_FLIGHT).await?;
    let mut population = Population::new(clients, 0, 1)?;
    let mut notes = Notes::until_done();
    let (mut sent, mut next) = (VecDeque::new(), 0);
    loop {
        while sent.len() < FILL_IN_FLIGHT && next < clients {
            let mut reports = EncodedReports::default();
            let end = clients.min(next + FILL_BATCH);
            for client in next..end {
                reports.push(&population.report_of(client));
            }
            sent.push_back((Instant::now(), end - next));
            next = end;
            stream.requests.send(reports).await.context("the node ended the stream")?;
        }
        let Some((at, count)) = sent.pop_front() else { return notes.join([], &clock) };
        let answer = stream.next().await?;
        notes.answered(at, Instant::now(), count.into());
        notes.refused(answer.failures.len() as u64);
    }
}
