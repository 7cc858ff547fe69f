//! How soon a report is everywhere.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use herd_proto::v1::locations_client::LocationsClient;
use herd_proto::{EncodedReports, MAX_MESSAGE_BYTES, Timestamp, v1};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tonic::Streaming;

use crate::measured::{LoadClock, Measured, Notes, Timing};
use crate::node::{LIMIT, Node, ReportStream};
use crate::population::Population;

/// How often due reports are sent.
const TICK: Duration = Duration::from_millis(1);

/// Messages under way to each node.
const IN_FLIGHT: usize = 256;

/// Noted answers and arrivals that may wait to be looked at.
const EVENTS: usize = 64 << 10;

/// Reports at a steady rate to all nodes in turn, each followed to its arrival at every node.
///
/// Arrivals are seen by `Watch`, so a latency includes the way from the node to this process: it is
/// an upper bound.
#[derive(Debug, Clone)]
pub struct PropagationLoad {
    /// All nodes of the herd.
    pub nodes: Vec<Node>,
    /// Reports a second, to all nodes together.
    pub rate: u32,
    /// How many clients report, one after the other. Who reports again before its last report has
    /// arrived may hide it, so there should be more than reports in a few seconds.
    pub clients: u32,
    /// When it is measured.
    pub timing: Timing,
}

#[derive(Debug, Clone, Copy)]
enum Event {
    /// The report of this time stamp was answered.
    Answered(i64, Instant),
    /// It is on one more node.
    Arrived(i64, Instant),
}

#[derive(Debug, Default)]
struct Seen {
    answered: Option<Instant>,
    arrivals: usize,
    last: Option<Instant>,
}

impl PropagationLoad {
    /// Puts the load on. A latency is the time from a report's answer to its arrival at the last
    /// node, 0 where that came first.
    ///
    /// # Errors
    /// A node cannot be reached, or ends a stream.
    pub async fn run(self) -> anyhow::Result<Measured> {
        ensure!(!self.nodes.is_empty() && self.rate > 0, "nowhere or nothing to report");
        let clock = LoadClock::begin();
        let (events, mut seen) = mpsc::channel(EVENTS);
        let mut tasks = JoinSet::new();
        let mut outgoing = Vec::new();
        for node in &self.nodes {
            let mut client = LocationsClient::new(node.connect().await?)
                .max_decoding_message_size(MAX_MESSAGE_BYTES);
            let watching = client.watch(v1::WatchRequest::default());
            let changes = timeout(LIMIT, watching).await.context("a node is silent")??;
            tasks.spawn(watch(changes.into_inner(), events.clone()));
            let stream = node.open_stream(IN_FLIGHT).await?;
            let (reports, queue) = mpsc::channel(IN_FLIGHT);
            tasks.spawn(send(stream, queue, events.clone()));
            outgoing.push(reports);
        }
        let mut notes = Notes::begin(self.timing);
        let mut population = Population::new(self.clients, 0, 1)?;
        let mut under_way: HashMap<i64, Seen> = HashMap::new();
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let (started, mut sent) = (Instant::now(), 0);
        while notes.goes_on(Instant::now()) {
            tokio::select! {
                _ = ticks.tick() => {
                    let due = (started.elapsed().as_secs_f64() * f64::from(self.rate)) as u64;
                    let mut messages: Vec<_> =
                        outgoing.iter().map(|_| (EncodedReports::default(), Vec::new())).collect();
                    while sent < due {
                        let report = population.report_of((sent % u64::from(self.clients)) as u32);
                        let count = messages.len() as u64;
                        let (message, times) = &mut messages[(sent % count) as usize];
                        message.push(&report);
                        times.extend(report.time.map(Timestamp::unix_nanos));
                        sent += 1;
                    }
                    for (queue, message) in outgoing.iter().zip(messages) {
                        if !message.1.is_empty() {
                            queue.try_send(message).context("a node does not keep up")?;
                        }
                    }
                }
                event = seen.recv() => {
                    let Some(event) = event else { bail!("all streams ended") };
                    note(event, self.nodes.len(), &mut under_way, &mut notes);
                }
                Some(ended) = tasks.join_next() => {
                    ended??;
                    bail!("a node ended a stream");
                }
            }
        }
        notes.join([], &clock)
    }
}

fn note(event: Event, everywhere: usize, under_way: &mut HashMap<i64, Seen>, notes: &mut Notes) {
    let (Event::Answered(time, _) | Event::Arrived(time, _)) = event;
    let seen = under_way.entry(time).or_default();
    match event {
        Event::Answered(_, at) => seen.answered = Some(at),
        Event::Arrived(_, at) => {
            seen.arrivals += 1;
            seen.last = seen.last.max(Some(at));
        }
    }
    if let (Some(answered), Some(last)) = (seen.answered, seen.last)
        && seen.arrivals == everywhere
    {
        notes.answered(answered.min(last), last, 1);
        under_way.remove(&time);
    }
}

async fn watch(
    mut changes: Streaming<v1::WatchResponse>,
    events: mpsc::Sender<Event>,
) -> anyhow::Result<()> {
    while let Some(change) = changes.message().await? {
        let now = Instant::now();
        for location in change.locations {
            let time = location.time.as_ref().map(Timestamp::try_from);
            if let Some(Ok(time)) = time {
                events.send(Event::Arrived(time.unix_nanos(), now)).await?;
            }
        }
    }
    Ok(())
}

/// Sends messages, and notes for each report when it was answered.
async fn send(
    mut stream: ReportStream,
    mut queue: mpsc::Receiver<(EncodedReports, Vec<i64>)>,
    events: mpsc::Sender<Event>,
) -> anyhow::Result<()> {
    let mut unanswered = std::collections::VecDeque::new();
    loop {
        tokio::select! {
            Some((message, times)) = queue.recv(), if unanswered.len() < IN_FLIGHT => {
                stream.requests.send(message).await.context("a node ended the stream")?;
                unanswered.push_back(times);
            }
            answer = stream.next(), if !unanswered.is_empty() => {
                answer?;
                let now = Instant::now();
                for time in unanswered.pop_front().unwrap_or_default() {
                    events.send(Event::Answered(time, now)).await?;
                }
            }
            else => return Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_counts_once_it_is_answered_and_on_every_node() {
        let second = Duration::from_secs(1);
        let mut notes = Notes::begin(Timing { warm_up: Duration::ZERO, lasts: 10 * second });
        let (mut under_way, start) = (HashMap::new(), Instant::now());
        let at = |millis| start + Duration::from_millis(millis);
        for event in [Event::Arrived(7, at(5)), Event::Answered(7, at(1)), Event::Arrived(7, at(4))]
        {
            note(event, 2, &mut under_way, &mut notes);
        }
        assert!(under_way.is_empty());
        note(Event::Answered(8, at(1)), 2, &mut under_way, &mut notes);
        assert_eq!(under_way.len(), 1);
        let measured = notes.join([], &LoadClock::begin()).unwrap();
        assert_eq!(measured.operations, 1);
        assert!((3990.0..4010.0).contains(&measured.latency.max), "{}", measured.latency.max);
    }
}
