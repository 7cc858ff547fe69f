//! What `/metrics` and `/readyz` tell of a gateway.

use std::fmt;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use herd_admin::{Readiness, Registry, Sampler, register_process, register_runtime};
use herd_edge::{Doors, Refusals, Tls};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Unit;
use tokio_util::sync::CancellationToken;

use crate::bridge::{Bridge, FriendStatus};
use crate::counts::Counts;
use crate::slow::Slow;
use crate::upstream::{Link, Seconds};

/// Upper bounds, in seconds: a report next door, to an answer that is given up.
const BOUNDS: [f64; 14] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];

/// How long nodes took to answer. Clones share their values.
#[derive(Debug, Clone)]
pub(crate) struct RequestSeconds(Family<RequestLabels, Histogram, fn() -> Histogram>);

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    node: String,
    call: &'static str,
}

impl RequestSeconds {
    pub(crate) fn new() -> Self {
        let histogram: fn() -> Histogram = || Histogram::new(BOUNDS);
        Self(Family::new_with_constructor(histogram))
    }

    /// Where one node's are noted.
    pub(crate) fn of(&self, node: &str) -> Seconds {
        let call = |call| {
            let labels = RequestLabels { node: node.into(), call };
            self.0.get_or_create_owned(&labels)
        };
        Seconds { report: call("report"), search: call("search") }
    }
}

/// What is told.
#[derive(Debug, Clone)]
pub(crate) struct Facts {
    pub(crate) doors: Arc<Doors>,
    pub(crate) refusals: Arc<Refusals>,
    pub(crate) counts: Arc<Counts>,
    pub(crate) slow: Arc<Slow>,
    pub(crate) links: Vec<Link>,
    pub(crate) bridges: Vec<Arc<Bridge>>,
    /// Towards nodes.
    pub(crate) tls: Option<Arc<Tls>>,
    /// Towards text clients.
    pub(crate) text_tls: Option<Arc<Tls>>,
    pub(crate) stopping: CancellationToken,
}

impl Facts {
    /// Ready while it takes connections and some node answers: for all else clients would get
    /// nothing but their own lines.
    pub(crate) fn readiness(&self) -> Readiness {
        let stopping = self.stopping.is_cancelled();
        let down = self.links.iter().filter(|link| !link.is_up());
        let down = down.map(|link| format!("node {} does not answer", link.name()));
        let mut troubles: Vec<_> = down.collect();
        let some = troubles.len() < self.links.len();
        if stopping {
            troubles.insert(0, "the gateway is stopping".into());
        }
        Readiness { ready: some && !stopping, troubles }
    }

    pub(crate) fn registry(&self, seconds: &RequestSeconds) -> Registry {
        let mut registry = Registry::default();
        register_process(&mut registry);
        register_runtime(&mut registry);
        let build = [("version", env!("CARGO_PKG_VERSION")), ("program", "herd-gateway")];
        registry.register("herd_build", "What runs here", Info::new(build));
        registry.register_with_unit(
            "herd_upstream_request",
            "How long nodes took to answer, by node and call: report, for a message of reports of \
             many clients, or search",
            Unit::Seconds,
            seconds.0.clone(),
        );
        registry.register_collector(Box::new(self.clone()));
        registry
    }
}

impl Facts {
    /// What crosses to and from text friends, if there are any.
    fn bridges(&self, to: &mut Sampler<'_>) -> fmt::Result {
        if self.bridges.is_empty() {
            return Ok(());
        }
        let up = self.bridges.iter().filter(|bridge| bridge.is_up()).count() as f64;
        to.gauge("herd_bridges_up", "Bridges to text friends whose node takes part", up)?;
        let heard = self.bridges.iter().map(|bridge| bridge.heard());
        let (heard, news) = heard.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
        let results = [("new", news as f64), ("duplicate", (heard - news) as f64)];
        let results = results.map(|(result, count)| ([("result", result)], count));
        to.counters("herd_bridge_heard_lines", "AT lines of text friends, by result", results)?;
        let friends: Vec<_> = self.bridges.iter().flat_map(|bridge| bridge.friends()).collect();
        let each = |value: fn(&FriendStatus<'_>) -> f64| {
            let of = |friend: &FriendStatus<'_>| {
                ([("friend", friend.address.to_owned())], value(friend))
            };
            friends.iter().map(of).collect::<Vec<_>>()
        };
        let up = each(|friend| f64::from(u8::from(friend.up)));
        to.gauges("herd_bridge_friend_up", "Whether a text friend took the last line", up)?;
        let waiting = each(|friend| friend.waiting as f64);
        to.gauges("herd_bridge_waiting_lines", "Clients of which it has yet to be told", waiting)?;
        let told = each(|friend| friend.told as f64);
        to.counters("herd_bridge_told_lines", "AT lines that a text friend took", told)?;
        let refused = each(|friend| friend.refused as f64);
        let help = "Of these, the ones that it copied back with ? as no command";
        to.counters("herd_bridge_refused_lines", help, refused)?;
        let given_up = each(|friend| friend.given_up as f64);
        let help = "Clients of which it is not told, since too many waited";
        to.counters("herd_bridge_given_up_lines", help, given_up)
    }
}

impl Collector for Facts {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut to = Sampler::new(encoder);
        let truth = |truth: bool| f64::from(u8::from(truth));
        to.gauge("herd_ready", "Whether it takes traffic", truth(self.readiness().ready))?;
        let open = self.doors.open() as f64;
        to.gauge("herd_gateway_connections", "Connections of text clients", open)?;
        let commands = self.counts.iter().map(|(labels, count)| (labels, count as f64));
        let help = "Lines answered, by command (iamat, whatsat, invalid) and outcome (answered, \
                    refused, or unanswered, as no node was there)";
        to.counters("herd_gateway_commands", help, commands)?;
        let slow = self.slow.counts();
        let slow = slow.map(|(command, count)| ([("command", command)], count as f64));
        let help = "Answers of nodes that took slow_command or longer, by command; for iamat of lines \
                    that came together";
        to.counters("herd_gateway_slow_commands", help, slow)?;
        let up = self.links.iter();
        let up = up.map(|link| ([("node", link.name().to_string())], truth(link.is_up())));
        to.gauges("herd_upstream_up", "Whether a node answers", up)?;
        self.bridges(&mut to)?;
        let refusals = self.refusals.iter();
        let refusals = refusals.map(|(reason, count)| ([("reason", reason.label())], count as f64));
        to.counters("herd_refusals", "What was refused or cut off, by reason", refusals)?;
        let ends = [("nodes", &self.tls), ("text", &self.text_tls)];
        let ends = ends.into_iter().filter_map(|(side, tls)| {
            let end = tls.as_ref()?.state().not_after?.duration_since(UNIX_EPOCH).ok()?;
            Some(([("side", side)], end.as_secs_f64()))
        });
        to.gauges(
            "herd_tls_cert_not_after_timestamp_seconds",
            "End of the certificate shown to a side (nodes, text clients), since 1970",
            ends,
        )
    }
}
