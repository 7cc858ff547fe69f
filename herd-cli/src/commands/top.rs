use std::pin::pin;
use std::time::{Duration, Instant};

use anstyle::Style;
use herd_cli::{Client, Error};
use herd_proto::v1;
use serde::Serialize;
use serde_json::Value;
use tokio::time::sleep;

use super::Target;
use super::survey::{Asked, ask_all, meant};
use crate::args::TopArgs;
use crate::exit_code::ExitCode;
use crate::failure::Failure;
use crate::output::{Answer, Output, printable, table};

/// Shortest interval: more often than this nobody can read.
const MIN_INTERVAL: Duration = Duration::from_millis(100);

/// Goes to the upper left corner, as terminals have it.
const HOME: &str = "\u{1b}[H";
/// Clears what is left of the line.
const CLEAR_LINE: &str = "\u{1b}[K";
/// Clears what is left of the screen.
const CLEAR_BELOW: &str = "\u{1b}[J";

type Answers = Vec<Asked<v1::GetStatusResponse>>;

pub(super) async fn run(
    args: TopArgs,
    target: Target,
    output: &mut Output,
) -> Result<ExitCode, Failure> {
    let interval = args.interval.max(MIN_INTERVAL);
    let nodes = meant(&target, false)?;
    let redraw = output.is_terminal() && !args.once;
    let ask = async || {
        let ask = |client: Client| async move { client.status().await };
        (Instant::now(), ask_all(nodes.clone(), &target, ask).await)
    };
    let mut interrupted = pin!(tokio::signal::ctrl_c());
    let (mut at, mut before) = ask().await;
    if redraw {
        output.raw(CLEAR_BELOW)?;
    }
    loop {
        tokio::select! {
            biased;
            _ = &mut interrupted => return Ok(ExitCode::Interrupted),
            () = sleep(interval) => {}
        }
        let (now, after) = ask().await;
        let view = Top::new(&before, &after, (now - at).as_secs_f64());
        if redraw {
            let text = view.text().replace('\n', &format!("{CLEAR_LINE}\n"));
            output.raw(&format!("{HOME}{text}{CLEAR_BELOW}"))?;
        } else {
            output.answer(&view)?;
        }
        output.flush()?;
        if args.once {
            return Ok(if view.up == 0 { ExitCode::Unavailable } else { ExitCode::Success });
        }
        (at, before) = (now, after);
    }
}

#[derive(Serialize)]
struct Top {
    /// How many nodes answered.
    up: usize,
    /// Reports taken by all nodes, a second.
    reports_per_second: f64,
    /// Whether all nodes that answered hold the same; null when none did.
    digests_equal: Option<bool>,
    nodes: Vec<NodeView>,
}

#[derive(Serialize)]
struct NodeView {
    name: String,
    /// ready, not_ready or down.
    state: &'static str,
    clients: u64,
    peers_up: usize,
    peers: usize,
    /// Reports taken, a second.
    reports_per_second: f64,
    /// Reports refused, a second.
    refused_per_second: f64,
    /// Records sent to peers, a second.
    sent_per_second: f64,
    /// Records received from peers, a second.
    received_per_second: f64,
    /// Of those received, the ones that were known already, from 0 to 1.
    known_ratio: f64,
    /// Records that wait for peers.
    pending: u64,
    /// The slowest peer's round trip.
    round_trip_seconds: Option<f64>,
    watchers: u32,
    error: Option<String>,
}

/// What only goes up, of one node.
#[derive(Default, Clone, Copy)]
struct Counters {
    taken: u64,
    refused: u64,
    sent: u64,
    received: u64,
    known: u64,
}

impl Counters {
    fn of(status: &v1::GetStatusResponse) -> Self {
        let reports = status.reports.unwrap_or_default();
        let mut sum = Self { taken: reports.taken, refused: reports.refused, ..Self::default() };
        for records in status.peers.iter().filter_map(|peer| peer.records) {
            sum.sent += records.sent;
            sum.received += records.received;
            sum.known += records.known;
        }
        sum
    }
}

impl Top {
    fn new(before: &Answers, after: &Answers, seconds: f64) -> Self {
        let status = |asked: &Asked<v1::GetStatusResponse>| asked.answer.as_ref().ok().cloned();
        let nodes: Vec<_> = before
            .iter()
            .zip(after)
            .map(|(before, after)| match &after.answer {
                Ok(now) => NodeView::up(status(before).as_ref(), now, seconds),
                Err(error) => NodeView::down(&after.name, error),
            })
            .collect();
        let mut digests = after.iter().filter_map(|node| Some(node.answer.as_ref().ok()?.digest));
        let first = digests.next();
        Self {
            up: nodes.iter().filter(|node| node.state != "down").count(),
            reports_per_second: nodes.iter().map(|node| node.reports_per_second).sum(),
            digests_equal: first.map(|first| digests.all(|digest| digest == first)),
            nodes,
        }
    }
}

impl NodeView {
    fn up(
        before: Option<&v1::GetStatusResponse>,
        now: &v1::GetStatusResponse,
        seconds: f64,
    ) -> Self {
        let last = Counters::of(before.unwrap_or(now));
        let this = Counters::of(now);
        // A node that restarted counts from 0 again.
        let rate = |last: u64, this: u64| this.saturating_sub(last) as f64 / seconds.max(1e-3);
        let trips = now.peers.iter().filter_map(|peer| peer.round_trip);
        let trips = trips.map(|trip| trip.seconds as f64 + f64::from(trip.nanos) / 1e9);
        let received = this.received.saturating_sub(last.received);
        let known = this.known.saturating_sub(last.known);
        Self {
            name: now.name.clone(),
            state: if now.ready { "ready" } else { "not_ready" },
            clients: now.clients,
            peers_up: now.peers.iter().filter(|p| p.state() == v1::LinkState::Up).count(),
            peers: now.peers.len(),
            reports_per_second: rate(last.taken, this.taken),
            refused_per_second: rate(last.refused, this.refused),
            sent_per_second: rate(last.sent, this.sent),
            received_per_second: rate(last.received, this.received),
            known_ratio: if received == 0 { 0.0 } else { known as f64 / received as f64 },
            pending: now.peers.iter().map(|peer| peer.pending + peer.in_flight).sum(),
            round_trip_seconds: trips.reduce(f64::max),
            watchers: now.watchers,
            error: None,
        }
    }

    fn down(name: &str, error: &Error) -> Self {
        Self {
            name: name.to_owned(),
            state: "down",
            clients: 0,
            peers_up: 0,
            peers: 0,
            reports_per_second: 0.0,
            refused_per_second: 0.0,
            sent_per_second: 0.0,
            received_per_second: 0.0,
            known_ratio: 0.0,
            pending: 0,
            round_trip_seconds: None,
            watchers: 0,
            error: Some(error.to_string()),
        }
    }

    fn row(&self) -> [String; 10] {
        if self.state == "down" {
            let mut row = std::array::from_fn(|_| "-".to_owned());
            [row[0], row[1]] = [printable(&self.name), "down".to_owned()];
            return row;
        }
        let trip =
            self.round_trip_seconds.map_or("-".into(), |trip| format!("{:.1} ms", trip * 1e3));
        [
            printable(&self.name),
            self.state.to_owned(),
            self.clients.to_string(),
            format!("{:.0}", self.reports_per_second),
            format!("{:.0}", self.sent_per_second),
            format!("{:.0}", self.received_per_second),
            format!("{:.0} %", self.known_ratio * 100.0),
            self.pending.to_string(),
            trip,
            format!("{}/{}", self.peers_up, self.peers),
        ]
    }
}

impl Answer for Top {
    const KIND: &'static str = "top";

    fn text(&self) -> String {
        let heading = [
            "NODE",
            "STATE",
            "CLIENTS",
            "REPORTS/S",
            "SENT/S",
            "RECEIVED/S",
            "KNOWN",
            "PENDING",
            "ROUND TRIP",
            "PEERS",
        ];
        let agree = match self.digests_equal {
            None => "no node answers",
            Some(true) => "digests equal",
            Some(false) => "digests differ",
        };
        let bold = Style::new().bold();
        let rate = self.reports_per_second;
        let head = format!(
            "{bold}{rate:.0} reports/s{bold:#}  {} of {} nodes up  {agree}\n\n",
            self.up,
            self.nodes.len()
        );
        let rows: Vec<_> = self.nodes.iter().map(NodeView::row).collect();
        head + &table(heading, &rows)
    }

    fn parts(&self) -> Option<Vec<(&'static str, Value)>> {
        let nodes = self.nodes.iter().filter_map(|node| serde_json::to_value(node).ok());
        Some(nodes.map(|node| ("node", node)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(taken: u64) -> Answers {
        let reports = Some(v1::ReportCounts { taken, ..Default::default() });
        let status = v1::GetStatusResponse { name: "A".into(), reports, ..Default::default() };
        vec![
            Asked { name: "A".into(), address: "h:1".into(), answer: Ok(status) },
            Asked {
                name: "B".into(),
                address: "h:2".into(),
                answer: Err(Error::Address { address: "h:2".into() }),
            },
        ]
    }

    #[test]
    fn rates_are_differences_over_the_interval_and_never_negative() {
        let rate = |last, this| Top::new(&answers(last), &answers(this), 2.0).reports_per_second;
        assert!((rate(100, 300) - 100.0).abs() < 1e-9);
        assert!(rate(300, 100).abs() < 1e-9, "it restarted");
        let top = Top::new(&answers(0), &answers(0), 1.0);
        assert_eq!((top.up, top.nodes[1].state, top.digests_equal), (1, "down", Some(true)));
    }
}
