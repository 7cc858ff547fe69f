//! What `/metrics` tells of a node, read from its state at each scrape: nothing is counted twice,
//! and a node that nobody scrapes spends nothing on it. Places count for themselves.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, UNIX_EPOCH};

use herd_admin::{Registry, Sampler, register_process, register_runtime};
use herd_proto::NodeName;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::info::Info;

use crate::herd::Now;
use crate::herd::latencies::Latencies;
use crate::herd::peers::{Counts, Heard};
use crate::herd::state::{ReportCounts, State};
use crate::service::NodeFacts;
use crate::shared::Shared;

/// The metrics of a node.
pub(crate) fn registry(shared: &Arc<Shared>, facts: &NodeFacts) -> Registry {
    let mut registry = Registry::default();
    register_process(&mut registry);
    register_runtime(&mut registry);
    let (name, cluster) = shared
        .with(|state, _| (state.identity().name.to_string(), state.identity().cluster.clone()));
    let build =
        [("version", env!("CARGO_PKG_VERSION").to_owned()), ("node", name), ("cluster", cluster)];
    registry.register("herd_build", "What runs here", Info::new(build));
    let node = NodeCollector { shared: Arc::clone(shared), facts: facts.clone() };
    registry.register_collector(Box::new(node));
    facts.places.register(&mut registry);
    facts.calls.register(&mut registry);
    facts.ages.register(&mut registry);
    registry
}

#[derive(Debug)]
struct NodeCollector {
    shared: Arc<Shared>,
    facts: NodeFacts,
}

/// What is copied from the state, so that its lock is not held while text is written.
struct Snapshot {
    clients: usize,
    digest: u64,
    reports: ReportCounts,
    expired: u64,
    awaited: usize,
    friends: Vec<Friend>,
    guests: usize,
    propagation: Latencies,
    hops: Latencies,
    /// Of all peers, guests included.
    gossip: Vec<Counts>,
    queued: usize,
}

struct Friend {
    name: NodeName,
    up: bool,
    pending: usize,
    lag: Duration,
    in_flight: usize,
    counts: Counts,
    heard: Heard,
}

impl Snapshot {
    fn of(state: &State, now: Now) -> Self {
        let peers = state.peers();
        let friends = peers.iter().filter(|(_, peer)| peer.is_friend());
        let friends: Vec<_> = friends
            .map(|(name, peer)| Friend {
                name: name.clone(),
                up: peer.active.is_some(),
                pending: state.pending(peer.consumer),
                lag: state.lag(now, peer),
                in_flight: peer.active.map_or(0, |active| active.in_flight),
                counts: peer.counts,
                heard: peer.heard,
            })
            .collect();
        Self {
            clients: state.table().len(),
            digest: state.table().digest(),
            reports: state.reports(),
            expired: state.expired(),
            awaited: state.awaited(),
            guests: peers.iter().count() - friends.len(),
            propagation: state.propagation().clone(),
            hops: state.hops().clone(),
            gossip: peers.iter().map(|(_, peer)| peer.counts).collect(),
            queued: peers.iter().map(|(_, peer)| state.pending(peer.consumer)).sum(),
            friends,
        }
    }

    /// One value a friend. Guests choose their own names, so they are only counted.
    fn each<'a>(
        &'a self,
        value: impl Fn(&Friend) -> f64 + 'a,
    ) -> impl Iterator<Item = ([(&'static str, String); 1], f64)> + 'a {
        self.friends.iter().map(move |friend| ([("peer", friend.name.to_string())], value(friend)))
    }
}

impl Collector for NodeCollector {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let snapshot = self.shared.with(|state, now| Snapshot::of(state, now));
        let mut to = Sampler::new(encoder);
        let started = self.shared.started_at().duration_since(UNIX_EPOCH).unwrap_or_default();
        to.gauge("herd_start_time_seconds", "Start, since 1970", started.as_secs_f64())?;
        let ready = self.facts.ready.load(Ordering::Relaxed);
        to.gauge("herd_ready", "Whether it takes traffic", f64::from(u8::from(ready)))?;
        to.gauge("herd_watchers", "Watch streams", self.facts.watchers.open() as f64)?;
        holdings(&mut to, &snapshot)?;
        links(&mut to, &snapshot)?;
        records(&mut to, &snapshot)?;
        self.dns(&mut to)?;
        let help = "From a report at any node to its application here, by the two nodes' clocks";
        let (name, all) = ("herd_gossip_propagation_seconds", &snapshot.propagation);
        to.histogram(name, help, all.sum(), all.buckets())?;
        let help = "From sending a batch to a peer to hearing that it has applied it";
        let (name, all) = ("herd_gossip_hop_latency_seconds", &snapshot.hops);
        to.histogram(name, help, all.sum(), all.buckets())?;
        self.edge(&mut to)?;
        self.store(&mut to)
    }
}

fn holdings(to: &mut Sampler<'_>, snapshot: &Snapshot) -> fmt::Result {
    to.gauge("herd_clients", "Clients known, forgotten marks included", snapshot.clients as f64)?;
    // Exact in a double, and enough to see in one look whether nodes agree.
    let digest = snapshot.digest >> 11;
    to.gauge("herd_digest", "The upper 53 bits of the digest", digest as f64)?;
    let reports = snapshot.reports;
    let outcomes = [
        ("applied", reports.applied),
        ("older", reports.taken - reports.applied),
        ("refused", reports.refused),
    ];
    let outcomes = outcomes.map(|(outcome, count)| ([("outcome", outcome)], count as f64));
    let help = "Reports that are answered once friends have applied them";
    to.gauge("herd_awaited_reports", help, snapshot.awaited as f64)?;
    to.counters("herd_reports", "Reports of clients, by outcome", outcomes)?;
    to.counter(
        "herd_expired_clients",
        "Clients let go for want of reports",
        snapshot.expired as f64,
    )
}

fn links(to: &mut Sampler<'_>, snapshot: &Snapshot) -> fmt::Result {
    to.gauge("herd_guests", "Peers that are no friends", snapshot.guests as f64)?;
    let up = snapshot.friends.iter().filter(|friend| friend.up).count();
    let states = [("up", up), ("down", snapshot.friends.len() - up)];
    let states = states.map(|(state, count)| ([("state", state)], count as f64));
    to.gauges("herd_peers", "Friends, by the state of the link", states)?;
    let up = snapshot.each(|friend| f64::from(u8::from(friend.up)));
    to.gauges("herd_peer_up", "Whether the link is up", up)?;
    let lag = snapshot.each(|friend| friend.lag.as_secs_f64());
    let help = "For how long it has lacked something; 0 while it lacks nothing";
    to.gauges("herd_peer_lag_seconds", help, lag)?;
    let lag = snapshot.each(|friend| (friend.pending + friend.in_flight) as f64);
    to.gauges("herd_peer_lag_records", "Records that wait or are not acknowledged", lag)?;
    let pending = snapshot.each(|friend| friend.pending as f64);
    to.gauges("herd_peer_pending_records", "Records that wait to be sent", pending)?;
    let in_flight = snapshot.each(|friend| friend.in_flight as f64);
    to.gauges("herd_peer_in_flight_records", "Records sent, not acknowledged", in_flight)?;
    let agrees =
        snapshot.each(|friend| f64::from(u8::from(friend.heard.digest == snapshot.digest)));
    to.gauges("herd_peer_agrees", "Whether its last digest is this node's of now", agrees)?;
    let round_trip =
        |friend: &Friend| friend.heard.round_trip.map_or(f64::NAN, |time| time.as_secs_f64());
    let help = "Round trip through both programs";
    to.gauges("herd_peer_round_trip_seconds", help, snapshot.each(round_trip))?;
    let skew = |friend: &Friend| friend.heard.clock_skew_nanos.map_or(f64::NAN, |n| n as f64 / 1e9);
    to.gauges("herd_peer_clock_skew_seconds", "Its clock minus this node's", snapshot.each(skew))
}

/// What became of a record, and how many such there were.
type Result = (&'static str, fn(&Counts) -> u64);

fn records(to: &mut Sampler<'_>, snapshot: &Snapshot) -> fmt::Result {
    let sum = |part: fn(&Counts) -> u64| snapshot.gossip.iter().map(part).sum::<u64>() as f64;
    let messages = [
        ("sent", "sent", sum(|counts| counts.sent)),
        ("received", "new", sum(|counts| counts.applied)),
        ("received", "duplicate", sum(|counts| counts.known)),
        ("received", "dropped", sum(|counts| counts.bad + counts.expired)),
    ];
    let messages = messages
        .map(|(direction, result, count)| ([("direction", direction), ("result", result)], count));
    let help = "Records that crossed links with all peers, by what became of them; a duplicate was \
                known, or older than what was";
    to.counters("herd_gossip_messages", help, messages)?;
    let help = "Records that wait for all peers; none is ever dropped, the newest of a client goes";
    to.gauge("herd_gossip_queue_depth", help, snapshot.queued as f64)?;
    let sent = snapshot.each(|friend| friend.counts.sent as f64);
    to.counters("herd_gossip_sent_records", "Records sent to a friend", sent)?;
    let results: [Result; 4] = [
        ("new", |counts| counts.applied),
        ("known", |counts| counts.known),
        ("bad", |counts| counts.bad),
        ("expired", |counts| counts.expired),
    ];
    let received = snapshot.friends.iter().flat_map(|friend| {
        results.map(|(result, count)| {
            let labels = [("peer", friend.name.to_string()), ("result", result.to_owned())];
            (labels, count(&friend.counts) as f64)
        })
    });
    to.counters("herd_gossip_received_records", "Records of a friend, by result", received)?;
    let repaired = snapshot.each(|friend| friend.counts.repaired as f64);
    to.counters("herd_gossip_repaired_records", "Records found by comparing trees", repaired)?;
    let divergent = snapshot.each(|friend| friend.counts.divergent as f64);
    let help = "Differences that had stayed while both ran; 0 unless something is wrong";
    to.counters("herd_gossip_divergent_records", help, divergent)?;
    let unknown = snapshot.each(|friend| friend.counts.unknown_frames as f64);
    to.counters("herd_gossip_unknown_frames", "Frames of a newer kind, skipped", unknown)
}

impl NodeCollector {
    fn dns(&self, to: &mut Sampler<'_>) -> fmt::Result {
        let Some(findings) = &self.facts.findings else { return Ok(()) };
        let found = findings.now();
        let help = "Nodes that DNS has named and that are not let go of, this one included";
        to.gauge("herd_dns_members", help, found.members as f64)?;
        let outcomes = [
            ("whole", found.whole),
            ("partial", found.partial),
            ("empty", found.empty),
            ("failed", found.failed),
        ];
        let outcomes = outcomes.map(|(outcome, count)| ([("outcome", outcome)], count as f64));
        to.counters("herd_dns_lookups", "Questions for the herd's nodes, by outcome", outcomes)
    }

    fn edge(&self, to: &mut Sampler<'_>) -> fmt::Result {
        let refusals = self.facts.refusals.iter();
        let refusals = refusals.map(|(reason, count)| ([("reason", reason.label())], count as f64));
        to.counters("herd_refusals", "What was refused or cut off, by reason", refusals)?;
        let end = self.facts.tls.as_ref().and_then(|tls| tls.state().not_after);
        let end = end.and_then(|end| end.duration_since(UNIX_EPOCH).ok());
        match end {
            None => Ok(()),
            Some(end) => to.gauge(
                "herd_tls_cert_not_after_timestamp_seconds",
                "End of the certificate in use, since 1970",
                end.as_secs_f64(),
            ),
        }
    }

    fn store(&self, to: &mut Sampler<'_>) -> fmt::Result {
        let store = self.facts.durability.status();
        let truth = |truth: bool| f64::from(u8::from(truth));
        to.gauge(
            "herd_store_persistent",
            "Whether there is a data directory",
            truth(store.persistent),
        )?;
        to.gauge(
            "herd_store_healthy",
            "Whether the disk takes records, syncs them and begins snapshots",
            truth(store.healthy),
        )?;
        let losses = [
            ("damaged_frame", store.damaged_frames),
            ("bad_record", store.bad_records),
            ("missing_file", store.missing_files),
        ];
        let losses = losses.map(|(kind, count)| ([("kind", kind)], count as f64));
        to.gauges("herd_store_losses", "What was damaged in the store at the start", losses)?;
        let restored = store.restored_records as f64;
        to.gauge("herd_store_restored_records", "Records read at the start", restored)
    }
}
