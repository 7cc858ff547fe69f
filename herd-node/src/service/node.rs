use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use herd_admin::{Readiness, log_filter};
use herd_edge::{Refusals, Tls, TlsState};
use herd_proto::{NodeName, Timestamp, Violations, invalid_argument, v1};
use tonic::{Request, Response, Status};

use super::ages::Ages;
use super::watch::Watchers;
use crate::discovery::Findings;
use crate::durability::Durability;
use crate::front::Calls;
use crate::herd::Now;
use crate::herd::peers::Peer;
use crate::herd::state::State;
use crate::places::Places;
use crate::shared::Shared;

/// What the status tells beside the shared state.
#[derive(Debug, Clone)]
pub struct NodeFacts {
    /// The node's places.
    pub places: Arc<Places>,
    /// The node's disk.
    pub durability: Durability,
    /// The node's watchers.
    pub watchers: Arc<Watchers>,
    /// Whether the node takes traffic.
    pub ready: Arc<AtomicBool>,
    /// What DNS says of the herd; `None` where the herd file does.
    pub(crate) findings: Option<Findings>,
    /// The node's certificates; `None` for plain text.
    pub tls: Option<Arc<Tls>>,
    /// What was refused.
    pub refusals: Arc<Refusals>,
    /// What was called.
    pub(crate) calls: Arc<Calls>,
    /// How old locations were that were asked for.
    pub(crate) ages: Ages,
}

impl NodeFacts {
    /// Whether the node takes traffic, and what is wrong with it.
    pub fn readiness(&self) -> Readiness {
        let (store, places) = (self.durability.status(), self.places.status());
        let store = (!store.healthy).then(|| format!("store: {}", store.last_error));
        let places = (!places.healthy).then(|| format!("places: {}", places.last_error));
        let dns = self.findings.as_ref().map(|findings| findings.now().trouble);
        let dns =
            dns.filter(|trouble| !trouble.is_empty()).map(|trouble| format!("dns: {trouble}"));
        Readiness {
            ready: self.ready.load(Ordering::Relaxed),
            troubles: store.into_iter().chain(places).chain(dns).collect(),
        }
    }
}

/// `herd.v1.Node`.
#[derive(Debug)]
pub struct NodeService {
    shared: Arc<Shared>,
    facts: NodeFacts,
}

impl NodeService {
    /// Tells of `shared` and `facts`.
    pub fn new(shared: Arc<Shared>, facts: NodeFacts) -> Self {
        Self { shared, facts }
    }
}

#[tonic::async_trait]
impl v1::node_server::Node for NodeService {
    async fn get_status(
        &self,
        _request: Request<v1::GetStatusRequest>,
    ) -> Result<Response<v1::GetStatusResponse>, Status> {
        let start_time = Timestamp::from(self.shared.started_at());
        let mut status = self.shared.with(|state, now| {
            let mut status = status_of(state, now);
            status.uptime = wire_duration(now.monotonic);
            status
        });
        status.start_time = Some(start_time.into());
        status.places = Some(self.facts.places.status());
        status.store = Some(self.facts.durability.status());
        status.tls = self.facts.tls.as_ref().map(|tls| tls_status(&tls.state()));
        status.watchers = self.facts.watchers.open() as u32;
        status.ready = self.facts.ready.load(Ordering::Relaxed);
        Ok(Response::new(status))
    }

    async fn set_log_filter(
        &self,
        request: Request<v1::SetLogFilterRequest>,
    ) -> Result<Response<v1::SetLogFilterResponse>, Status> {
        let (filter, before) = log_filter::change(&request.get_ref().filter).map_err(not_set)?;
        Ok(Response::new(v1::SetLogFilterResponse { filter, before }))
    }
}

fn not_set(error: log_filter::Error) -> Status {
    match error {
        log_filter::Error::Fixed => Status::failed_precondition(error.to_string()),
        _ => invalid_argument(&Violations::one("filter", error)),
    }
}

fn status_of(state: &State, now: Now) -> v1::GetStatusResponse {
    let (identity, reports) = (state.identity(), state.reports());
    v1::GetStatusResponse {
        name: identity.name.to_string(),
        cluster: identity.cluster.clone(),
        version: env!("CARGO_PKG_VERSION").into(),
        clients: state.table().len() as u64,
        digest: state.table().digest(),
        reports: Some(v1::ReportCounts {
            taken: reports.taken,
            applied: reports.applied,
            refused: reports.refused,
        }),
        expired: state.expired(),
        peers: state
            .peers()
            .iter()
            .map(|(name, peer)| peer_status(state, now, name, peer))
            .collect(),
        ..Default::default()
    }
}

fn peer_status(state: &State, now: Now, name: &NodeName, peer: &Peer) -> v1::PeerStatus {
    let link = if peer.active.is_some() { v1::LinkState::Up } else { v1::LinkState::Down };
    let counts = peer.counts;
    v1::PeerStatus {
        name: name.to_string(),
        address: peer.address.clone().unwrap_or_default(),
        state: link.into(),
        dialled_here: peer.active.is_some_and(|active| active.dialled_here),
        friend: peer.is_friend(),
        since: Some(peer.since.into()),
        pending: state.pending(peer.consumer) as u64,
        in_flight: peer.active.map_or(0, |active| active.in_flight) as u64,
        lag: wire_duration(state.lag(now, peer)),
        records: Some(v1::RecordCounts {
            sent: counts.sent,
            received: counts.received,
            applied: counts.applied,
            known: counts.known,
            bad: counts.bad,
            unknown_frames: counts.unknown_frames,
            repaired: counts.repaired,
            divergent: counts.divergent,
            too_far_ahead: counts.too_far_ahead,
            expired: counts.expired,
        }),
        digest: peer.heard.digest,
        clients: peer.heard.clients,
        round_trip: peer.heard.round_trip.and_then(wire_duration),
        clock_skew: peer.heard.clock_skew_nanos.map(signed_duration),
        last_error: peer.last_error.clone(),
        disagreement: peer.disagreement.clone(),
    }
}

fn tls_status(state: &TlsState) -> v1::TlsStatus {
    v1::TlsStatus {
        not_after: state.not_after.map(Into::into),
        healthy: state.last_error.is_empty(),
        last_error: state.last_error.clone(),
    }
}

fn wire_duration(duration: Duration) -> Option<prost_types::Duration> {
    duration.try_into().ok()
}

fn signed_duration(nanos: i64) -> prost_types::Duration {
    let second = 1_000_000_000;
    prost_types::Duration { seconds: nanos / second, nanos: (nanos % second) as i32 }
}
