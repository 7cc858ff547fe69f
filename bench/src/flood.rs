//! How much a herd takes as a whole: reports to all of its nodes, until all of them hold the same.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use herd_proto::{EncodedReports, v1};
use serde::Serialize;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::measured::LoadClock;
use crate::node::{LIMIT, Node, ReportStream};
use crate::population::Population;

/// Reports in a message: what a gateway gathers under load.
const BATCH: u32 = 256;

/// How often the nodes are asked whether they agree.
const POLL: Duration = Duration::from_millis(5);

/// One report of each client, spread over some nodes, as fast as they take them.
#[derive(Debug, Clone)]
pub struct FloodLoad {
    /// All nodes of the herd.
    pub nodes: Vec<Node>,
    /// How many clients report, once each: so no report can be overtaken by a newer one, and each
    /// must reach each node.
    pub clients: u32,
    /// Messages under way to each node.
    pub in_flight: u32,
}

/// What a herd did with a load.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Flooded {
    /// Reports, each of which is on every node.
    pub reports: u64,
    /// From the first report until all nodes held the same.
    pub seconds: f64,
    /// Reports a second, on every node.
    pub rate: f64,
    /// From the last answer until all nodes held the same.
    pub settled_in_seconds: f64,
    /// Records sent between nodes for each report. In a herd of N nodes N - 1 is the least.
    pub copies_a_report: f64,
    /// Cores that the load's own process was busy with.
    pub load_cores: f64,
}

impl FloodLoad {
    /// Puts the load on, and waits for all nodes to hold the same.
    ///
    /// # Errors
    /// A node cannot be reached or does not answer, or the nodes do not agree in time.
    pub async fn run(self) -> anyhow::Result<Flooded> {
        ensure!(!self.nodes.is_empty() && self.in_flight > 0, "nowhere to report to");
        let before = statuses(&self.nodes).await?;
        let mut streams = Vec::new();
        for node in &self.nodes {
            streams.push(node.open_stream(self.in_flight as usize).await?);
        }
        let clock = LoadClock::begin();
        let started = Instant::now();
        let mut parts = JoinSet::new();
        let count = u32::try_from(streams.len())?;
        for (stream, part) in streams.into_iter().zip(0..) {
            let population = Population::new(self.clients, part, count)?;
            parts.spawn(pour(stream, population, self.in_flight as usize));
        }
        while let Some(part) = parts.join_next().await {
            part??;
        }
        let answered = Instant::now();
        loop {
            let now = statuses(&self.nodes).await?;
            if now.iter().all(|status| status.digest == now[0].digest) {
                break;
            }
            ensure!(answered.elapsed() < LIMIT, "the nodes do not agree after {LIMIT:?}");
            sleep(POLL).await;
        }
        let (seconds, reports) = (started.elapsed().as_secs_f64(), u64::from(self.clients));
        let settled_in = answered.elapsed();
        // Copies that reach a node second may still be on their way.
        let after = loop {
            let now = statuses(&self.nodes).await?;
            if now.iter().flat_map(|status| &status.peers).all(|peer| peer.pending == 0) {
                break now;
            }
            ensure!(answered.elapsed() < LIMIT, "copies are under way after {LIMIT:?}");
            sleep(POLL).await;
        };
        let copies = sent(&after).saturating_sub(sent(&before));
        Ok(Flooded {
            reports,
            seconds,
            rate: reports as f64 / seconds,
            settled_in_seconds: settled_in.as_secs_f64(),
            copies_a_report: copies as f64 / reports as f64,
            load_cores: clock.cores(),
        })
    }
}

/// Records sent by all nodes to all peers.
fn sent(statuses: &[v1::GetStatusResponse]) -> u64 {
    let peers = statuses.iter().flat_map(|status| &status.peers);
    peers.filter_map(|peer| peer.records.as_ref()).map(|records| records.sent).sum()
}

async fn statuses(nodes: &[Node]) -> anyhow::Result<Vec<v1::GetStatusResponse>> {
    let mut statuses = Vec::new();
    for node in nodes {
        let status = node.status().await;
        statuses.push(status.with_context(|| format!("no status of {}", node.address))?);
    }
    Ok(statuses)
}

async fn pour(
    mut stream: ReportStream,
    mut population: Population,
    in_flight: usize,
) -> anyhow::Result<()> {
    let mut sent = VecDeque::new();
    let mut clients = 0..population.clients();
    loop {
        while sent.len() < in_flight && !clients.is_empty() {
            let mut reports = EncodedReports::default();
            let batch = clients.by_ref().take(BATCH as usize);
            for client in batch {
                reports.push(&population.report_of(client));
            }
            stream.requests.send(reports).await.context("a node ended the stream")?;
            sent.push_back(());
        }
        if sent.pop_front().is_none() {
            return Ok(());
        }
        let answer = stream.next().await?;
        ensure!(answer.failures.is_empty(), "reports were refused: {:?}", answer.failures);
    }
}
