use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use herd_edge::{Bearer, ClientAuth, Dialler, Doors, Refusals, Tls, TlsFiles};
use herd_proto::NodeName;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::bridge::Bridge;
use crate::config::{Config, Limits, Upstream, UpstreamNode};
use crate::counts::Counts;
use crate::embedded::EmbeddedNode;
use crate::error::Error;
use crate::line_log::{Direction, LineLog};
use crate::listener::{self, Listener};
use crate::metrics::{Facts, RequestSeconds};
use crate::slow::Slow;
use crate::upstream::{self, Choice, EmbeddedLink, Link, LinkLimits, NodeLink, Way};

/// What all connections of one text port share.
#[derive(Debug)]
pub(crate) struct Port {
    pub(crate) choice: Choice,
    pub(crate) limits: Limits,
    pub(crate) refusals: Arc<Refusals>,
    pub(crate) counts: Arc<Counts>,
    log: Option<LineLog>,
    /// What took too long.
    pub(crate) slow: Arc<Slow>,
    /// Where text friends' lines go, if there are any such friends.
    pub(crate) bridge: Option<Arc<Bridge>>,
}

impl Port {
    pub(crate) fn new(
        choice: Choice,
        limits: Limits,
        refusals: Arc<Refusals>,
        counts: Arc<Counts>,
        log: Option<LineLog>,
    ) -> Self {
        Self { choice, limits, refusals, counts, log, slow: Arc::default(), bridge: None }
    }

    /// The same, which notes there what takes too long.
    pub(crate) fn noting(self, slow: Arc<Slow>) -> Self {
        Self { slow, ..self }
    }

    /// The same, whose node has text friends.
    pub(crate) fn with_bridge(self, bridge: Option<Arc<Bridge>>) -> Self {
        Self { bridge, ..self }
    }

    /// Writes to the line log, if there is one.
    pub(crate) fn log(&self, connection: u64, direction: Direction, line: &[u8]) {
        if let Some(log) = &self.log {
            log.record(connection, direction, line);
        }
    }
}

/// A running gateway. Dropping it cuts everything off; [`Gateway::stop`] is the polite way.
///
/// Its tasks: one a text port, which owns the tasks of the port's connections, one a node, and one
/// for operators.
#[derive(Debug)]
pub struct Gateway {
    addresses: Vec<(Upstream, SocketAddr)>,
    admin: Option<SocketAddr>,
    listeners: JoinSet<()>,
    links: JoinSet<()>,
    stop_listening: CancellationToken,
    stop_links: CancellationToken,
    doors: Arc<Doors>,
    refusals: Arc<Refusals>,
    drain_grace: Duration,
}

/// How a gateway stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drained {
    /// Connections that were not done when the grace was over, and were cut off.
    pub connections_cut: usize,
}

impl Gateway {
    /// Binds all ports, or none, and starts to serve. Nodes need not be there yet.
    ///
    /// # Cancel safety
    /// Dropping the future leaves nothing behind.
    pub async fn start(config: Config) -> Result<Self, Error> {
        Self::start_with(config, &BTreeMap::new()).await
    }

    /// The same, with nodes in this process, which are asked there and not dialled.
    ///
    /// # Cancel safety
    /// Dropping the future leaves nothing behind.
    pub async fn start_with(
        config: Config,
        embedded: &BTreeMap<NodeName, Arc<dyn EmbeddedNode>>,
    ) -> Result<Self, Error> {
        let (stop_listening, stop_links) = (CancellationToken::new(), CancellationToken::new());
        let mut links = JoinSet::new();
        let bearer =
            Bearer::new(config.token_file.as_deref(), config.token.as_ref().map(|t| &*t.0))?;
        let tls = nodes_tls(&config).await?;
        let dialler = Dialler::new(tls.clone());
        let admin = config.admin.map(bind_admin).transpose()?;
        let seconds = RequestSeconds::new();
        let way = |node: &UpstreamNode| way(node, &dialler, &bearer);
        let nodes = link_all(&config, embedded, way, &seconds, &mut links, &stop_links)?;
        let text_tls = text_tls(&config).await?;
        follow([&tls, &text_tls], &mut links, &stop_links);
        let limits = config.limits.fitting(config.drain_grace);
        let Limits { max_connections, max_connections_per_address, .. } = limits;
        let doors = Doors::new(max_connections, max_connections_per_address);
        let (refusals, counts) = (Arc::new(Refusals::default()), Arc::new(Counts::default()));
        let slow = Arc::new(Slow::new(config.slow_command));
        let bridges = bridges(&config, way, &mut links, &stop_links)?;
        let mut bound = Vec::new();
        for port in &config.ports {
            let socket = listener::bind(port.listen).map_err(|source| Error::Bind {
                address: port.listen,
                upstream: port.upstream.clone(),
                source,
            })?;
            let address = socket.local_addr().map_or(port.listen, |address| address);
            let choice = choice(&nodes, &port.upstream)?;
            let log = line_log(&config, &port.upstream)?;
            let (refusals, counts) = (Arc::clone(&refusals), Arc::clone(&counts));
            let bridge = bridges.get(port.upstream.label()).cloned();
            let served = Port::new(choice, limits, refusals, counts, log);
            let listener = Listener {
                socket,
                port: Arc::new(served.noting(Arc::clone(&slow)).with_bridge(bridge)),
                doors: Arc::clone(&doors),
                tls: text_tls.clone(),
                proxied: config.proxy_protocol,
            };
            bound.push((port.upstream.clone(), address, listener));
        }
        let mut listeners = JoinSet::new();
        let mut addresses = Vec::new();
        for (upstream, address, listener) in bound {
            info!(%upstream, %address, "serving text");
            listeners.spawn(listener.serve(stop_listening.clone()));
            addresses.push((upstream, address));
        }
        let facts = Facts {
            doors: Arc::clone(&doors),
            refusals: Arc::clone(&refusals),
            counts,
            slow,
            links: nodes.into_values().collect(),
            bridges: bridges.into_values().collect(),
            tls,
            text_tls,
            stopping: stop_listening.clone(),
        };
        let admin = admin.map(|(listener, address)| {
            info!(%address, "serving operators");
            let registry = facts.registry(&seconds);
            let routes = herd_admin::router(registry, move || facts.readiness());
            // Until the very end, so that a gateway that drains is seen to.
            links.spawn(herd_admin::serve(listener, routes, stop_links.clone()));
            address
        });
        Ok(Self {
            addresses,
            admin,
            listeners,
            links,
            stop_listening,
            stop_links,
            doors,
            refusals,
            drain_grace: config.drain_grace,
        })
    }

    /// Where each port listens, in the order of the configuration.
    pub fn addresses(&self) -> Vec<(Upstream, SocketAddr)> {
        self.addresses.clone()
    }

    /// Where it serves HTTP to operators, if it does.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin
    }

    /// What was refused or cut off so far.
    pub fn refusals(&self) -> &Refusals {
        &self.refusals
    }

    /// Stops accepting, answers what was received and what clients in mid-talk still send
    /// ([`Limits::farewell`]), closes. Takes at most the drain grace.
    pub async fn stop(mut self) -> Drained {
        self.stop_listening.cancel();
        let all = async { while self.listeners.join_next().await.is_some() {} };
        let drained = time::timeout(self.drain_grace, all).await.is_ok();
        let connections_cut = if drained { 0 } else { self.doors.open() };
        if connections_cut > 0 {
            warn!(connections_cut, "drain grace is over");
        }
        self.listeners.shutdown().await;
        // Last, because connections need them to finish.
        self.stop_links.cancel();
        self.links.shutdown().await;
        Drained { connections_cut }
    }
}

/// Reads certificates again when their files change.
fn follow(all: [&Option<Arc<Tls>>; 2], tasks: &mut JoinSet<()>, stop: &CancellationToken) {
    for tls in all.into_iter().flatten() {
        let (tls, stop) = (Arc::clone(tls), stop.clone());
        tasks.spawn(async move {
            stop.run_until_cancelled(tls.follow()).await;
        });
    }
}

/// How nodes are known; `None` for plain text.
async fn nodes_tls(config: &Config) -> Result<Option<Arc<Tls>>, Error> {
    if config.tls.ca.is_none() {
        return Ok(None);
    }
    Ok(Some(Tls::load(config.tls.clone(), ClientAuth::None, Tls::HTTP2).await?))
}

/// The certificate of text ports.
async fn text_tls(config: &Config) -> Result<Option<Arc<Tls>>, Error> {
    let Some(pair) = config.text_tls.clone() else { return Ok(None) };
    let files = TlsFiles { pair: Some(pair), ca: None };
    Ok(Some(Tls::load(files, ClientAuth::None, &[]).await?))
}

fn line_log(config: &Config, upstream: &Upstream) -> Result<Option<LineLog>, Error> {
    let Some(directory) = &config.log_lines else { return Ok(None) };
    let log = LineLog::open(directory, upstream.label());
    log.map(Some).map_err(|source| Error::LineLog { directory: directory.clone(), source })
}

fn bind_admin(address: SocketAddr) -> Result<(TcpListener, SocketAddr), Error> {
    let bound = listener::bind(address);
    let bound = bound.and_then(|listener| Ok((listener.local_addr()?, listener)));
    let (at, listener) = bound.map_err(|source| Error::BindAdmin { address, source })?;
    Ok((listener, at))
}

fn way(node: &UpstreamNode, dialler: &Dialler, bearer: &Bearer) -> Result<Way, Error> {
    let endpoint = upstream::endpoint(&node.address).map_err(|source| Error::Address {
        node: node.name.to_string(),
        address: node.address.clone(),
        source,
    })?;
    let dialler = dialler.clone().for_node(node.name.as_str());
    Ok(Way { endpoint, dialler, bearer: bearer.clone() })
}

/// Starts a bridge for each port whose node has text friends, by the port's label.
fn bridges(
    config: &Config,
    way: impl Fn(&UpstreamNode) -> Result<Way, Error>,
    tasks: &mut JoinSet<()>,
    stop: &CancellationToken,
) -> Result<BTreeMap<String, Arc<Bridge>>, Error> {
    let mut bridges = BTreeMap::new();
    for port in &config.ports {
        let of = config.friends.iter().filter(|friend| friend.of == port.upstream);
        let friends: Vec<_> = of.map(|friend| friend.address.clone()).collect();
        if friends.is_empty() {
            continue;
        }
        let serves = |node: &&UpstreamNode| match &port.upstream {
            Upstream::Named(name) => node.name == *name,
            Upstream::AnyHealthy => true,
        };
        let ways = config.nodes.iter().filter(serves).map(&way).collect::<Result<_, _>>()?;
        let bridge = Bridge::start(&friends, ways, tasks, stop);
        bridges.extend(bridge.map(|bridge| (port.upstream.label().to_owned(), bridge)));
    }
    Ok(bridges)
}

/// Makes or starts the links to all nodes that some port needs; ports share them.
fn link_all(
    config: &Config,
    embedded: &BTreeMap<NodeName, Arc<dyn EmbeddedNode>>,
    way: impl Fn(&UpstreamNode) -> Result<Way, Error>,
    seconds: &RequestSeconds,
    links: &mut JoinSet<()>,
    stop: &CancellationToken,
) -> Result<BTreeMap<String, Link>, Error> {
    let limits = LinkLimits {
        report_timeout: config.limits.report_timeout,
        search_timeout: config.limits.search_timeout,
    };
    let any = config.ports.iter().any(|port| port.upstream == Upstream::AnyHealthy);
    let mut nodes = BTreeMap::new();
    for node in &config.nodes {
        let named = Upstream::Named(node.name.clone());
        if !any && !config.ports.iter().any(|port| port.upstream == named) {
            continue;
        }
        let (name, seconds) = (node.name.clone(), seconds.of(node.name.as_str()));
        if let Some(own) = embedded.get(&node.name) {
            let link = EmbeddedLink::new(name, Arc::clone(own), limits, seconds);
            nodes.insert(node.name.to_string(), Link::Embedded(Arc::new(link)));
            continue;
        }
        let (link, task) = NodeLink::new(name, way(node)?, limits, seconds, stop.clone());
        links.spawn(task);
        nodes.insert(node.name.to_string(), Link::Remote(Arc::new(link)));
    }
    Ok(nodes)
}

fn choice(nodes: &BTreeMap<String, Link>, upstream: &Upstream) -> Result<Choice, Error> {
    let choice = match upstream {
        Upstream::Named(name) => nodes.get(name.as_str()).cloned().map(Choice::only),
        Upstream::AnyHealthy if nodes.is_empty() => None,
        Upstream::AnyHealthy => Some(Choice::any(nodes.values().cloned().collect())),
    };
    choice.ok_or_else(|| Error::NoNode(upstream.clone()))
}
