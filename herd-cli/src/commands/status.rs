mod check;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Duration;

use herd_cli::{Client, Error};
use herd_proto::v1;
use serde::Serialize;
use serde_json::Value;

use self::check::Check;
use super::Target;
use super::survey::{Asked, ask_all, meant};
use crate::args::StatusArgs;
use crate::exit_code::ExitCode;
use crate::failure::Failure;
use crate::output::{Answer, Output, printable, table};

pub(super) async fn run(
    args: StatusArgs,
    target: Target,
    output: &mut Output,
) -> Result<ExitCode, Failure> {
    let ask = |client: Client| async move { client.status().await };
    let asked = ask_all(meant(&target, args.all)?, &target, ask).await;
    let herd = Herd::new(asked.into_iter().map(NodeView::new).collect());
    if args.check {
        let check = Check::of(&herd);
        output.answer(&check)?;
        return Ok(check.exit_code());
    }
    output.answer(&herd)?;
    Ok(match herd.up {
        0 if herd.refused > 0 => ExitCode::Permission,
        0 => ExitCode::Unavailable,
        up if up < herd.nodes.len() => ExitCode::Partial,
        _ => ExitCode::Success,
    })
}

/// The state of a node that is there and turns the caller down.
const REFUSED: &str = "refused";

/// Of one that cannot be reached, or does not answer.
const DOWN: &str = "down";

/// Of one that answers, and takes no traffic yet or any more.
const NOT_READY: &str = "not_ready";

#[derive(Serialize)]
struct Herd {
    /// How many of the nodes answered.
    up: usize,
    /// How many are there and refuse to tell this caller.
    refused: usize,
    /// Whether all nodes that answered hold the same; null when none did.
    digests_equal: Option<bool>,
    nodes: Vec<NodeView>,
}

/// One node; what only it can tell is null when it tells nothing.
#[derive(Serialize)]
struct NodeView {
    name: String,
    address: String,
    /// ready, not_ready, refused (it is there, and wants a token or TLS, say) or down.
    state: &'static str,
    error: Option<String>,
    /// What the caller can do about it.
    hint: Option<String>,
    status: Option<StatusView>,
}

#[derive(Serialize)]
struct StatusView {
    cluster: String,
    version: String,
    uptime_seconds: f64,
    clients: u64,
    /// 16 hexadecimal digits.
    digest: String,
    peers_up: usize,
    peers: Vec<PeerView>,
    /// Records that wait to be sent or acknowledged, over all peers.
    pending: u64,
    watchers: u32,
    reports_taken: u64,
    reports_applied: u64,
    reports_refused: u64,
    places_provider: String,
    places_healthy: bool,
    places_error: Option<String>,
    /// memory, process or disk: what answers to reports wait for.
    ack_level: &'static str,
    persistent: bool,
    store_healthy: bool,
    store_error: Option<String>,
    /// Differences that had stayed while both nodes ran, over all peers: 0 unless something is
    /// wrong.
    divergent: u64,
}

#[derive(Serialize)]
struct PeerView {
    name: String,
    address: String,
    up: bool,
    friend: bool,
    pending: u64,
    in_flight: u64,
    clients: u64,
    digest: String,
    round_trip_seconds: Option<f64>,
    clock_skew_seconds: Option<f64>,
    records_sent: u64,
    records_received: u64,
    records_bad: u64,
    records_repaired: u64,
    records_divergent: u64,
    last_error: Option<String>,
    /// Which settings it has otherwise than the node; null if none.
    disagreement: Option<String>,
}

impl Herd {
    fn new(nodes: Vec<NodeView>) -> Self {
        let mut digests = nodes.iter().filter_map(|node| Some(&node.status.as_ref()?.digest));
        let up = digests.clone().count();
        let first = digests.next();
        let digests_equal = first.map(|first| digests.all(|digest| digest == first));
        let refused = nodes.iter().filter(|node| node.state == REFUSED).count();
        Self { up, refused, digests_equal, nodes }
    }

    /// What became of those that told nothing.
    fn silent(&self) -> String {
        let (refused, down) = (self.refused, self.nodes.len() - self.up - self.refused);
        let counts = [(refused, "refused"), (down, "down")].into_iter();
        counts.filter(|(count, _)| *count > 0).fold(String::new(), |mut text, (count, what)| {
            let _ = write!(text, "; {count} {what}");
            text
        })
    }

    fn verdict(&self) -> String {
        let (up, all) = (self.up, self.nodes.len());
        let who = match up {
            _ if up == all && up > 1 => format!("all {up} nodes"),
            1 => "the one node that is up".into(),
            _ => format!("the {up} nodes that are up"),
        };
        match self.digests_equal {
            None if self.refused == 0 => "no node is up".into(),
            None => format!("nothing is told: {} of {all} nodes refuse this caller", self.refused),
            Some(true) if up == 1 && all == 1 => "the node is up".into(),
            Some(true) if up == 1 => format!("only 1 of {all} nodes is up{}", self.silent()),
            Some(true) if up < all => {
                format!("digests equal: {who} hold the same{}", self.silent())
            }
            Some(true) => format!("digests equal: {who} hold the same"),
            Some(false) => format!("digests differ: {who} do not hold the same (yet)"),
        }
    }
}

impl NodeView {
    fn new(asked: Asked<v1::GetStatusResponse>) -> Self {
        match asked.answer {
            Ok(status) => Self::up(asked.address, &status),
            Err(error) => Self::without_status(asked.name, asked.address, &error),
        }
    }

    fn without_status(name: String, address: String, error: &Error) -> Self {
        let state = if error.is_refusal() { REFUSED } else { DOWN };
        Self {
            name,
            address,
            state,
            error: Some(error.to_string()),
            hint: error.hint(),
            status: None,
        }
    }

    fn up(address: String, status: &v1::GetStatusResponse) -> Self {
        Self {
            name: status.name.clone(),
            address,
            state: if status.ready { "ready" } else { NOT_READY },
            error: None,
            hint: None,
            status: Some(StatusView::from(status)),
        }
    }

    fn row(&self) -> [String; 10] {
        let (name, state) = (printable(&self.name), self.state.to_owned());
        let Some(status) = &self.status else {
            let mut row = std::array::from_fn(|_| "-".to_owned());
            [row[0], row[1]] = [name, state];
            return row;
        };
        let health = |healthy| if healthy { "" } else { " (failing)" };
        let store = if status.persistent { status.ack_level } else { "memory" };
        let uptime = Duration::from_secs(status.uptime_seconds.max(0.0) as u64);
        [
            name,
            state,
            status.clients.to_string(),
            status.digest.clone(),
            format!("{}/{}", status.peers_up, status.peers.len()),
            status.pending.to_string(),
            humantime::format_duration(uptime).to_string(),
            printable(&status.version),
            store.to_owned() + health(status.store_healthy),
            printable(&status.places_provider) + health(status.places_healthy),
        ]
    }
}

impl StatusView {
    /// What an operator should look at, one sentence each.
    fn troubles(&self) -> Vec<String> {
        let store = self.store_error.iter().map(|error| format!("the store fails: {error}"));
        let places = self.places_error.iter().map(|error| format!("places fail: {error}"));
        let diverged = (self.divergent > 0).then(|| {
            format!("{} records differed from a running peer's and were mended", self.divergent)
        });
        let peers = self.peers.iter().filter(|peer| peer.friend && !peer.up).filter_map(|peer| {
            let error = peer.last_error.as_ref()?;
            Some(format!("no link with {}: {error}", peer.name))
        });
        let disagreements = self.peers.iter().filter_map(|peer| {
            let disagreement = peer.disagreement.as_ref()?;
            Some(format!("{} is configured otherwise: {disagreement}", peer.name))
        });
        store.chain(places).chain(diverged).chain(peers).chain(disagreements).collect()
    }
}

impl From<&v1::GetStatusResponse> for StatusView {
    fn from(status: &v1::GetStatusResponse) -> Self {
        let places = status.places.clone().unwrap_or_default();
        let reports = status.reports.unwrap_or_default();
        let store = status.store.clone().unwrap_or_default();
        let divergent = status.peers.iter().filter_map(|peer| peer.records);
        Self {
            cluster: status.cluster.clone(),
            version: status.version.clone(),
            uptime_seconds: status.uptime.as_ref().map_or(0.0, seconds),
            clients: status.clients,
            digest: hex(status.digest),
            peers_up: status.peers.iter().filter(|peer| is_up(peer)).count(),
            peers: status.peers.iter().map(PeerView::from).collect(),
            pending: status.peers.iter().map(|peer| peer.pending + peer.in_flight).sum(),
            watchers: status.watchers,
            reports_taken: reports.taken,
            reports_applied: reports.applied,
            reports_refused: reports.refused,
            places_provider: places.provider,
            places_healthy: places.healthy,
            places_error: said(&places.last_error),
            ack_level: match store.ack_level() {
                v1::AckLevel::Disk => "disk",
                v1::AckLevel::Process => "process",
                v1::AckLevel::Memory | v1::AckLevel::Unspecified => "memory",
            },
            persistent: store.persistent,
            store_healthy: store.healthy,
            store_error: said(&store.last_error),
            divergent: divergent.map(|records| records.divergent).sum(),
        }
    }
}

impl From<&v1::PeerStatus> for PeerView {
    fn from(peer: &v1::PeerStatus) -> Self {
        let records = peer.records.unwrap_or_default();
        Self {
            name: peer.name.clone(),
            address: peer.address.clone(),
            up: is_up(peer),
            friend: peer.friend,
            pending: peer.pending,
            in_flight: peer.in_flight,
            clients: peer.clients,
            digest: hex(peer.digest),
            round_trip_seconds: peer.round_trip.as_ref().map(seconds),
            clock_skew_seconds: peer.clock_skew.as_ref().map(seconds),
            records_sent: records.sent,
            records_received: records.received,
            records_bad: records.bad,
            records_repaired: records.repaired,
            records_divergent: records.divergent,
            last_error: said(&peer.last_error),
            disagreement: said(&peer.disagreement),
        }
    }
}

fn is_up(peer: &v1::PeerStatus) -> bool {
    peer.state() == v1::LinkState::Up
}

fn hex(digest: u64) -> String {
    format!("{digest:016x}")
}

fn said(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

fn seconds(duration: &prost_types::Duration) -> f64 {
    duration.seconds as f64 + f64::from(duration.nanos) / 1e9
}

impl Answer for Herd {
    const KIND: &'static str = "status";

    fn text(&self) -> String {
        let heading = [
            "NAME", "STATE", "CLIENTS", "DIGEST", "PEERS", "PENDING", "UPTIME", "VERSION", "STORE",
            "PLACES",
        ];
        let rows: Vec<_> = self.nodes.iter().map(NodeView::row).collect();
        let mut text = table(heading, &rows);
        for node in &self.nodes {
            if let Some(error) = &node.error {
                let _ = writeln!(text, "{}: {}", printable(&node.name), printable(error));
            }
            for trouble in node.status.iter().flat_map(StatusView::troubles) {
                let _ = writeln!(text, "{}: {}", printable(&node.name), printable(&trouble));
            }
        }
        // Mostly the same for all.
        let refused = self.nodes.iter().filter(|node| node.state == REFUSED);
        let hints: BTreeSet<_> = refused.filter_map(|node| node.hint.as_ref()).collect();
        for hint in hints {
            let _ = writeln!(text, "hint: {hint}");
        }
        text + &self.verdict() + "\n"
    }

    fn parts(&self) -> Option<Vec<(&'static str, Value)>> {
        let nodes = self.nodes.iter().filter_map(|node| serde_json::to_value(node).ok());
        let verdict = serde_json::json!({
            "up": self.up, "refused": self.refused, "digests_equal": self.digests_equal
        });
        Some(nodes.map(|node| ("node", node)).chain([("summary", verdict)]).collect())
    }
}
