//! Reports at a chosen rate, to all nodes at once, each acknowledgement noted.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use herd_proto::v1::locations_client::LocationsClient;
use herd_proto::v1::{ReportRequest, ReportStreamRequest, ReportStreamResponse};
use herd_proto::{MAX_BATCH, MAX_MESSAGE_BYTES};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, sleep, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::Endpoint;

use crate::ledger::Ledger;

/// Most messages of one stream that wait for an answer. At 20,000 reports a second one node's
/// worker sends 200 a second, so this is what a node may be late by before others get its share.
const MAX_IN_FLIGHT: usize = 32;

/// Most reports of one message: well below the limit, so that a node that comes back is not met
/// with one huge message.
const MAX_REPORTS: usize = 1024;
const _: () = assert!(MAX_REPORTS <= MAX_BATCH);

/// How often a worker looks for reports that are due.
const TICK: Duration = Duration::from_millis(5);

/// What was due longer ago than this is not made up for: a herd that was down as a whole is not
/// met with a flood.
const MAX_DEBT: Duration = Duration::from_millis(500);

/// Longest wait for an answer before the stream is given up. Longer than any fault lasts, so that
/// a stopped node's late answers are counted as the promises that they are.
const ANSWER_LIMIT: Duration = Duration::from_secs(15);

/// Longest wait for a connection.
const CONNECT_LIMIT: Duration = Duration::from_secs(2);

/// Pause before a node that does not answer is tried again.
const REDIAL: Duration = Duration::from_millis(100);

/// How long answers under way are waited for at the end.
const LAST_ANSWERS: Duration = Duration::from_secs(5);

/// Most latencies kept: an hour of 1,000 messages a second.
const MAX_LATENCIES: usize = 3_600_000;

/// Running workers, one for each node.
#[derive(Debug)]
pub(crate) struct Load {
    shared: Arc<Shared>,
    workers: JoinSet<()>,
    stop: CancellationToken,
    started: Instant,
    /// Reports acknowledged before this load.
    before: u64,
}

/// What a load came to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Outcome {
    /// Acknowledged reports a second.
    pub rate: f64,
    /// 99 of 100 messages were answered within this.
    pub p99: Duration,
    /// Half of the messages were answered within this.
    pub p50: Duration,
    /// Streams that broke.
    pub broken_streams: u64,
}

#[derive(Debug)]
struct Shared {
    ledger: Arc<Ledger>,
    min_peers: u32,
    pace: Mutex<Pace>,
    latencies: Mutex<Vec<Duration>>,
    broken_streams: AtomicU64,
}

impl Load {
    /// Starts to send `rate` reports a second of clients chosen at random by `seed`, each to be
    /// answered when so many friends of the node have applied it.
    pub(crate) fn start(
        ledger: &Arc<Ledger>,
        nodes: &[SocketAddr],
        rate: u32,
        seed: u64,
        min_peers: u32,
    ) -> Self {
        let started = Instant::now();
        let shared = Arc::new(Shared {
            ledger: Arc::clone(ledger),
            min_peers,
            pace: Mutex::new(Pace::new(rate, started)),
            latencies: Mutex::default(),
            broken_streams: AtomicU64::new(0),
        });
        let stop = CancellationToken::new();
        let mut workers = JoinSet::new();
        for (index, node) in nodes.iter().enumerate() {
            let random = StdRng::seed_from_u64(seed.wrapping_add(index as u64));
            workers.spawn(work(Arc::clone(&shared), *node, random, stop.clone()));
        }
        Self { shared, workers, stop, started, before: ledger.reports().1 }
    }

    /// Ends the load; answers under way are still waited for and noted.
    pub(crate) async fn stop(mut self) -> Outcome {
        let lasted = self.started.elapsed();
        let (_, acknowledged, _) = self.shared.ledger.reports();
        self.stop.cancel();
        while self.workers.join_next().await.is_some() {}
        let mut latencies = std::mem::take(
            &mut *self.shared.latencies.lock().unwrap_or_else(PoisonError::into_inner),
        );
        latencies.sort_unstable();
        let quantile = |part: f64| {
            let index = (latencies.len() as f64 * part) as usize;
            latencies.get(index.min(latencies.len().saturating_sub(1))).copied().unwrap_or_default()
        };
        Outcome {
            rate: (acknowledged - self.before) as f64 / lasted.as_secs_f64(),
            p99: quantile(0.99),
            p50: quantile(0.5),
            broken_streams: self.shared.broken_streams.load(Ordering::Relaxed),
        }
    }
}

/// Sends one report of each of `clients`, as fast as the node takes them, each to be answered when
/// so many friends have applied it.
pub(crate) async fn fill(
    ledger: &Ledger,
    node: SocketAddr,
    clients: impl Iterator<Item = usize>,
    min_peers: u32,
) -> anyhow::Result<()> {
    let mut stream = Stream::open(node, min_peers).await?;
    let mut clients = clients.peekable();
    while clients.peek().is_some() || !stream.in_flight.is_empty() {
        if clients.peek().is_some() && stream.has_room() {
            let chosen: Vec<_> = clients.by_ref().take(MAX_REPORTS).collect();
            stream.send(ledger, chosen)?;
        } else {
            let answer = timeout(ANSWER_LIMIT, stream.answers.message()).await;
            stream.note(ledger, answer.context("no answer in time")??)?;
        }
    }
    Ok(())
}

async fn work(shared: Arc<Shared>, node: SocketAddr, mut random: StdRng, stop: CancellationToken) {
    while !stop.is_cancelled() {
        let session = session(&shared, node, &mut random, &stop).await;
        if session.is_err() && !stop.is_cancelled() {
            shared.broken_streams.fetch_add(1, Ordering::Relaxed);
            sleep(REDIAL).await;
        }
    }
}

/// One stream to one node, until it breaks or the load ends.
async fn session(
    shared: &Shared,
    node: SocketAddr,
    random: &mut StdRng,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let ledger = &shared.ledger;
    let opened = stop.run_until_cancelled(Stream::open(node, shared.min_peers)).await;
    let Some(mut stream) = opened.transpose()? else { return Ok(()) };
    let mut ticks = interval(TICK);
    loop {
        tokio::select! {
            answer = stream.answers.message() => {
                let took = stream.note(ledger, answer?)?;
                shared.note_latency(took);
            }
            _ = ticks.tick() => {
                ensure!(stream.oldest() < ANSWER_LIMIT, "no answer in time");
                if stream.has_room() {
                    let due = shared.take_due();
                    let chosen = (0..due).map(|_| random.random_range(0..ledger.clients()));
                    let chosen: Vec<_> = chosen.collect();
                    if !chosen.is_empty() {
                        stream.send(ledger, chosen)?;
                    }
                }
            }
            () = stop.cancelled() => break,
        }
    }
    let last = async {
        while !stream.in_flight.is_empty() {
            let answer = stream.answers.message().await?;
            stream.note(ledger, answer)?;
        }
        anyhow::Ok(())
    };
    timeout(LAST_ANSWERS, last).await?
}

impl Shared {
    fn take_due(&self) -> usize {
        let mut pace = self.pace.lock().unwrap_or_else(PoisonError::into_inner);
        pace.take(Instant::now(), MAX_REPORTS)
    }

    fn note_latency(&self, took: Duration) {
        let mut latencies = self.latencies.lock().unwrap_or_else(PoisonError::into_inner);
        if latencies.len() < MAX_LATENCIES {
            latencies.push(took);
        }
    }
}

/// How many reports are due: what one worker does not send, another does.
#[derive(Debug)]
struct Pace {
    rate: u32,
    paid_until: Instant,
}

impl Pace {
    fn new(rate: u32, now: Instant) -> Self {
        Self { rate, paid_until: now }
    }

    /// Takes what is due, at most `limit`.
    fn take(&mut self, now: Instant, limit: usize) -> usize {
        let oldest = now.checked_sub(MAX_DEBT).unwrap_or(now);
        self.paid_until = self.paid_until.max(oldest);
        let due = now.duration_since(self.paid_until).as_secs_f64() * f64::from(self.rate);
        let taken = (due as usize).min(limit);
        self.paid_until += Duration::from_secs_f64(taken as f64 / f64::from(self.rate));
        taken
    }
}

/// An open `ReportStream` and the messages on it that are not answered yet.
struct Stream {
    requests: mpsc::Sender<ReportStreamRequest>,
    answers: tonic::Streaming<ReportStreamResponse>,
    in_flight: VecDeque<Message>,
    min_peers: u32,
}

struct Message {
    sent: Instant,
    /// Each report's client and time stamp.
    reports: Vec<(usize, i64)>,
}

impl Stream {
    async fn open(node: SocketAddr, min_peers: u32) -> anyhow::Result<Self> {
        let endpoint = Endpoint::from_shared(format!("http://{node}"))?
            .connect_timeout(CONNECT_LIMIT)
            .tcp_nodelay(true);
        let (requests, queue) = mpsc::channel(MAX_IN_FLIGHT);
        let opened = async {
            let channel = endpoint.connect().await?;
            let mut client =
                LocationsClient::new(channel).max_decoding_message_size(MAX_MESSAGE_BYTES);
            anyhow::Ok(client.report_stream(ReceiverStream::new(queue)).await?.into_inner())
        };
        // A stopped process still has its kernel take connections.
        let answers = timeout(CONNECT_LIMIT, opened).await.context("the node is silent")??;
        Ok(Self { requests, answers, in_flight: VecDeque::new(), min_peers })
    }

    fn has_room(&self) -> bool {
        self.in_flight.len() < MAX_IN_FLIGHT
    }

    fn oldest(&self) -> Duration {
        self.in_flight.front().map_or(Duration::ZERO, |message| message.sent.elapsed())
    }

    /// Sends a report of each client; needs room.
    fn send(&mut self, ledger: &Ledger, clients: Vec<usize>) -> anyhow::Result<()> {
        let (mut reports, mut requests) = (Vec::new(), Vec::new());
        for client in clients {
            let (time, report) = ledger.next_report(client);
            reports.push((client, time));
            let min_peers = self.min_peers;
            requests.push(ReportRequest { min_peers, ..report.into_request() });
        }
        // The queue is as long as what may be in flight, so it is full only when it is closed.
        self.requests.try_send(ReportStreamRequest { reports: requests, ..Default::default() })?;
        self.in_flight.push_back(Message { sent: Instant::now(), reports });
        Ok(())
    }

    /// Notes the answer to the oldest message; returns how long that took.
    fn note(
        &mut self,
        ledger: &Ledger,
        answer: Option<ReportStreamResponse>,
    ) -> anyhow::Result<Duration> {
        let answer = answer.context("the node ended the stream")?;
        let message = self.in_flight.pop_front().context("an answer to nothing")?;
        let mut refused = answer.failures.iter().map(|failure| failure.index as usize).peekable();
        for (index, (client, time)) in message.reports.into_iter().enumerate() {
            if refused.next_if_eq(&index).is_some() {
                ledger.refuse();
            } else {
                ledger.acknowledge(client, time);
            }
        }
        Ok(message.sent.elapsed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_due_grows_with_time_and_is_given_out_once() {
        let start = Instant::now();
        let mut pace = Pace::new(10_000, start);
        assert_eq!(pace.take(start, 1000), 0);
        let later = start + Duration::from_millis(10);
        assert_eq!(pace.take(later, 60), 60);
        assert!((39..=40).contains(&pace.take(later, 1000)));
        assert_eq!(pace.take(later, 1000), 0);
    }

    #[test]
    fn a_pause_is_not_made_up_for_beyond_half_a_second() {
        let start = Instant::now();
        let mut pace = Pace::new(1000, start);
        let taken = pace.take(start + Duration::from_mins(1), usize::MAX);
        assert!((499..=500).contains(&taken), "{taken}");
    }
}
