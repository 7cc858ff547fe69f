//! What the page is told, as JSON. Times are milliseconds since 1970, as browsers have them.

use axum::body::Bytes;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use herd_proto::{Area, ClientId, LocationRecord, NodeName, Timestamp, Violations, v1};
use serde::Serialize;

use super::survey::Seen;
use crate::herd::latencies::Latencies;

/// One server-sent event.
pub(super) fn event(name: &str, data: &impl Serialize) -> Bytes {
    // Fails for maps with keys that are no text only, and there are none.
    let data = serde_json::to_string(data).unwrap_or_default();
    format!("event: {name}\ndata: {data}\n\n").into()
}

/// An answer in JSON.
pub(super) fn json(data: &impl Serialize) -> Response {
    match serde_json::to_string(data) {
        Ok(text) => {
            let headers =
                [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
            (headers, text).into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// Reads `south,west,north,east`.
pub(super) fn area(text: &str) -> Result<Area, Violations> {
    let rule = || Violations::one("area", "must be south,west,north,east in degrees");
    let edges: Vec<f64> =
        text.split(',').map(str::parse).collect::<Result<_, _>>().map_err(|_| rule())?;
    let [south, west, north, east] = *edges else { return Err(rule()) };
    let shape = Some(v1::area::Shape::Box(v1::Box { south, west, north, east }));
    let mut wrong = Violations::default();
    let area = Area::from_request(&mut wrong, "area", &v1::Area { shape });
    wrong.into_result(area)
}

#[derive(Serialize)]
pub(super) struct Hello<'a> {
    node: String,
    cluster: String,
    version: &'static str,
    tiles: Option<&'a str>,
    /// Most clients that are shown.
    limit: usize,
}

pub(super) fn hello(
    (node, cluster): (String, String),
    tiles: Option<&str>,
    limit: usize,
) -> Hello<'_> {
    Hello { node, cluster, version: env!("CARGO_PKG_VERSION"), tiles, limit }
}

/// Some changes.
#[derive(Default, Serialize)]
pub(super) struct Frame {
    /// Id, latitude, longitude, receive time, origin.
    moved: Vec<(String, f64, f64, i64, String)>,
    gone: Vec<String>,
    /// Changes that are not told, because others of the same clients followed.
    pub(super) superseded: u64,
    /// Changes of clients that are not shown, since the stream began.
    pub(super) hidden: u64,
    /// Whether all that was known when the stream began has been told.
    pub(super) complete: bool,
}

impl Frame {
    pub(super) fn moved(&mut self, record: &LocationRecord) {
        let (at, origin) = (record.position, record.origin.to_string());
        let received = millis(record.receive_time);
        let id = record.client.to_string();
        self.moved.push((id, at.latitude(), at.longitude(), received, origin));
    }

    pub(super) fn gone(&mut self, client: &ClientId) {
        self.gone.push(client.to_string());
    }

    pub(super) fn is_empty(&self) -> bool {
        self.moved.is_empty() && self.gone.is_empty()
    }
}

fn millis(time: Timestamp) -> i64 {
    time.unix_nanos() / 1_000_000
}

#[derive(Serialize)]
pub(super) struct Status {
    /// The node's clock, against which ages are shown.
    now: i64,
    /// All nodes of the herd, this one first.
    nodes: Vec<NodeView>,
    propagation: PropagationView,
}

#[derive(Serialize)]
struct PropagationView {
    /// Records of other nodes that were applied.
    count: u64,
    /// Seconds from the report at any node to here: half of them took no longer; 99 of 100.
    p50: Option<f64>,
    p99: Option<f64>,
}

#[derive(Serialize)]
struct NodeView {
    name: String,
    address: String,
    /// Why nothing is known of it.
    error: Option<String>,
    status: Option<StatusView>,
}

#[derive(Serialize)]
struct StatusView {
    version: String,
    ready: bool,
    uptime: f64,
    clients: u64,
    digest: String,
    taken: u64,
    applied: u64,
    refused: u64,
    watchers: u32,
    troubles: Vec<String>,
    peers: Vec<PeerView>,
}

#[derive(Serialize)]
struct PeerView {
    name: String,
    up: bool,
    friend: bool,
    pending: u64,
    in_flight: u64,
    round_trip: Option<f64>,
    clock_skew: Option<f64>,
    sent: u64,
    received: u64,
    known: u64,
    error: String,
}

pub(super) fn status(
    own: &v1::GetStatusResponse,
    others: &[Seen],
    propagation: &Latencies,
) -> Status {
    let this = NodeView {
        name: own.name.clone(),
        address: String::new(),
        error: None,
        status: Some(status_view(own)),
    };
    let others = others.iter().map(|seen| NodeView {
        name: seen.name.to_string(),
        address: seen.address.clone(),
        error: seen.status.as_ref().err().cloned(),
        status: seen.status.as_ref().ok().map(status_view),
    });
    Status {
        now: millis(std::time::SystemTime::now().into()),
        nodes: std::iter::once(this).chain(others).collect(),
        propagation: PropagationView {
            count: propagation.count(),
            p50: propagation.quantile(0.5),
            p99: propagation.quantile(0.99),
        },
    }
}

fn status_view(status: &v1::GetStatusResponse) -> StatusView {
    let reports = status.reports.unwrap_or_default();
    let store = status.store.as_ref().filter(|store| !store.healthy);
    let places = status.places.as_ref().filter(|places| !places.healthy);
    let troubles = store.map(|store| format!("store: {}", store.last_error));
    let troubles =
        troubles.into_iter().chain(places.map(|places| format!("places: {}", places.last_error)));
    StatusView {
        version: status.version.clone(),
        ready: status.ready,
        uptime: status.uptime.map_or(0.0, seconds),
        clients: status.clients,
        digest: format!("{:016x}", status.digest),
        taken: reports.taken,
        applied: reports.applied,
        refused: reports.refused,
        watchers: status.watchers,
        troubles: troubles.collect(),
        peers: status.peers.iter().map(peer_view).collect(),
    }
}

fn peer_view(peer: &v1::PeerStatus) -> PeerView {
    let records = peer.records.unwrap_or_default();
    PeerView {
        name: peer.name.clone(),
        up: peer.state() == v1::LinkState::Up,
        friend: peer.friend,
        pending: peer.pending,
        in_flight: peer.in_flight,
        round_trip: peer.round_trip.map(seconds),
        clock_skew: peer.clock_skew.map(seconds),
        sent: records.sent,
        received: records.received,
        known: records.known,
        error: peer.last_error.clone(),
    }
}

fn seconds(duration: prost_types::Duration) -> f64 {
    duration.seconds as f64 + f64::from(duration.nanos) / 1e9
}

#[derive(Serialize)]
pub(super) struct Trace<'a> {
    id: &'a str,
    /// One a node, this one first.
    nodes: Vec<TraceView>,
}

#[derive(Serialize)]
struct TraceView {
    name: String,
    error: Option<String>,
    location: Option<LocationView>,
}

#[derive(Serialize)]
struct LocationView {
    latitude: f64,
    longitude: f64,
    /// The client's clock.
    time: Option<f64>,
    received: Option<f64>,
    origin: String,
    /// When the node learnt it; null if it was there when the node started.
    applied: Option<f64>,
    /// From which peer; empty for a report of the client itself.
    from: String,
}

pub(super) fn trace<'a>(
    id: &'a str,
    own_name: &str,
    own: Option<v1::GetResponse>,
    others: Vec<(NodeName, Result<v1::GetResponse, String>)>,
) -> Trace<'a> {
    let own = own.ok_or_else(|| "does not know the client".to_owned());
    let all = std::iter::once((own_name.to_owned(), own))
        .chain(others.into_iter().map(|(name, answer)| (name.to_string(), answer)));
    let nodes = all.map(|(name, answer)| {
        let (error, location) = match answer {
            Ok(answer) => (None, answer.location.clone().map(|location| view(location, &answer))),
            Err(error) => (Some(error), None),
        };
        TraceView { name, error, location }
    });
    Trace { id, nodes: nodes.collect() }
}

fn view(location: v1::Location, answer: &v1::GetResponse) -> LocationView {
    let millis =
        |time: prost_types::Timestamp| time.seconds as f64 * 1e3 + f64::from(time.nanos) / 1e6;
    let position = location.position.unwrap_or_default();
    LocationView {
        latitude: position.latitude,
        longitude: position.longitude,
        time: location.time.map(millis),
        received: location.receive_time.map(millis),
        origin: location.origin,
        applied: answer.applied_time.map(millis),
        from: answer.applied_from.clone(),
    }
}

#[derive(Serialize)]
pub(super) struct Near {
    /// Id and distance in metres, nearest first.
    neighbors: Vec<(String, f64)>,
    truncated: bool,
}

pub(super) fn near(answer: v1::NearResponse) -> Near {
    let neighbors = answer.neighbors.into_iter().map(|neighbor| {
        (neighbor.location.unwrap_or_default().client_id, neighbor.distance_meters)
    });
    Near { neighbors: neighbors.collect(), truncated: answer.truncated }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_area_has_four_edges_in_degrees() {
        assert!(area("-1,170,1,-170").is_ok());
        for text in ["", "1,2,3", "1,2,3,4,5", "a,b,c,d", "NaN,0,1,1", "1,0,-1,0", "0,181,1,1"] {
            assert!(area(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_id_cannot_end_an_event() {
        let text = event("x", &"a\nb\r\n\nevent: evil");
        let text = std::str::from_utf8(&text).unwrap();
        assert_eq!(text, "event: x\ndata: \"a\\nb\\r\\n\\nevent: evil\"\n\n");
    }
}
