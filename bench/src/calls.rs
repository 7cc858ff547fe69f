//! Loads of single calls.

use std::time::Instant;

use anyhow::ensure;
use herd_proto::v1::locations_client::LocationsClient;
use herd_proto::v1::places_client::PlacesClient;
use herd_proto::{Report, v1};
use tokio::task::JoinSet;

use crate::measured::{LoadClock, Measured, Notes, Timing};
use crate::node::{Calls, Node};
use crate::population::Population;

/// What is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// `Report`.
    Report,
    /// `Search`, 10 km and five places. The clients must have reported before.
    Search,
}

/// Calls over some channels, so many at a time over all of them.
#[derive(Debug, Clone)]
pub struct CallLoad {
    /// Who answers.
    pub node: Node,
    /// What is called.
    pub call: Call,
    /// How many connections.
    pub channels: u32,
    /// How many calls wait for answers, on all channels together.
    pub in_flight: u32,
    /// How many clients report.
    pub clients: u32,
    /// When it is measured.
    pub timing: Timing,
}

impl CallLoad {
    /// Puts the load on.
    ///
    /// # Errors
    /// The node cannot be reached, or a call fails.
    pub async fn run(self) -> anyhow::Result<Measured> {
        ensure!(self.channels > 0 && self.in_flight > 0, "nothing to call");
        let clock = LoadClock::begin();
        let mut channels = Vec::new();
        for _ in 0..self.channels {
            channels.push(self.node.connect().await?);
        }
        let notes = Notes::begin(self.timing);
        let mut parts = JoinSet::new();
        for (channel, part) in channels.iter().cycle().zip(0..self.in_flight) {
            let population = Population::new(self.clients, part, self.in_flight)?;
            parts.spawn(call(self.call, channel.clone(), population, notes.part()));
        }
        let mut done = Vec::new();
        while let Some(part) = parts.join_next().await {
            done.push(part??);
        }
        notes.join(done, &clock)
    }
}

async fn call(
    call: Call,
    channel: Calls,
    mut population: Population,
    mut notes: Notes,
) -> anyhow::Result<Notes> {
    let mut locations = LocationsClient::new(channel.clone());
    let mut places = PlacesClient::new(channel);
    let mut now = Instant::now();
    while notes.goes_on(now) {
        let report = population.report();
        match call {
            Call::Report => {
                locations.report(report.into_request()).await?;
            }
            Call::Search => {
                places.search(query(&report)).await?;
            }
        }
        let done = Instant::now();
        notes.answered(now, done, 1);
        now = done;
    }
    Ok(notes)
}

fn query(report: &Report) -> v1::SearchRequest {
    v1::SearchRequest {
        client_id: report.client.as_str().into(),
        radius_meters: Some(10_000.0),
        max_results: Some(5),
        ..v1::SearchRequest::default()
    }
}
