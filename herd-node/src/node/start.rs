//! Starts a node: its state, what it kept, its services, its links.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use futures_util::Stream;
use herd_edge::{Doors, Refusals, Tls};
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::info;

use super::Node;
use super::serve::{self, Connection};
use crate::config::Config;
use crate::discovery::{Discovery, Findings};
use crate::dns::Dns;
use crate::durability::{Durability, Writer};
use crate::error::Error;
use crate::expiry;
use crate::front::{Acceptor, Calls, Tokens};
use crate::health::Health;
use crate::herd::state::Identity;
use crate::limits::Limits;
use crate::link::{self, Connect, Friends, Way};
use crate::places::Places;
use crate::service::{Ages, EmbeddedService, Intake, NodeFacts, Watchers};
use crate::settings::TlsConfig;
use crate::shared::Shared;

/// Connections that may wait to be accepted.
const BACKLOG: u32 = 1024;

/// Connections that may wait between being accepted and being served, which comes at once.
const ACCEPTED: usize = 16;

/// What stands between the network and the node.
#[derive(Debug, Default)]
struct Edge {
    tls: Option<Arc<Tls>>,
    /// Who names the herd's nodes, if it is not the herd file.
    dns: Option<Arc<Dns>>,
    refusals: Arc<Refusals>,
}

impl Node {
    /// Starts a node: it listens when this returns, and is ready once it has heard its friends.
    ///
    /// # Errors
    /// Nothing is left running.
    pub async fn start(config: Config) -> Result<Self, Error> {
        let listener = bind(config.listen)?;
        let address =
            listener.local_addr().map_err(|cause| Error::Bind { address: config.listen, cause })?;
        let tls = match &config.tls {
            None => {
                info!(node = %config.name, "plain text: whoever reaches the port can read, report and gossip");
                None
            }
            Some(TlsConfig { files, clients }) => {
                Some(Tls::load(files.clone(), *clients, Tls::HTTP2).await?)
            }
        };
        let refusals = Arc::new(Refusals::default());
        let Limits { max_connections, max_connections_per_address, .. } = config.limits;
        let max_connection_rate = config.limits.max_connection_rate;
        let acceptor = Acceptor {
            listener,
            tls: tls.clone(),
            doors: Doors::new(max_connections, max_connections_per_address),
            max_connection_rate,
            refusals: Arc::clone(&refusals),
        };
        let (accepted, incoming) = mpsc::channel(ACCEPTED);
        let dns = match &config.peers_dns {
            None => None,
            Some(peers) => {
                let dns = Dns::new(&peers.name, peers.server).map_err(Error::Dns)?;
                Some(Arc::new(dns))
            }
        };
        let connect = link::over_tcp(tls.clone(), dns.as_ref().map(Dns::lookup));
        let edge = Edge { tls, dns, refusals };
        let incoming = ReceiverStream::new(incoming);
        let mut node = Self::start_behind(edge, config, address, incoming, connect).await?;
        let stop = node.stop_listening.clone();
        node.tasks.spawn(async move {
            stop.run_until_cancelled(acceptor.run(accepted)).await;
            Ok(())
        });
        Ok(node)
    }

    /// Starts a node on a network of the caller's: it serves the connections of `incoming`, which
    /// come in at `address`, and reaches its friends by `connect`.
    ///
    /// # Errors
    /// Nothing is left running.
    pub async fn start_over(
        config: Config,
        address: SocketAddr,
        incoming: impl Stream<Item = io::Result<impl Connection>> + Send + 'static,
        connect: Connect,
    ) -> Result<Self, Error> {
        Self::start_behind(Edge::default(), config, address, incoming, connect).await
    }

    async fn start_behind(
        edge: Edge,
        config: Config,
        address: SocketAddr,
        incoming: impl Stream<Item = io::Result<impl Connection>> + Send + 'static,
        connect: Connect,
    ) -> Result<Self, Error> {
        let tokens = match &config.tokens {
            Some(path) => Some(Tokens::load(path).await?),
            None => None,
        };
        let admin = config.admin.map(bind).transpose()?;
        let shared = empty(&config);
        let (durability, writer) = open_store(&shared, &config).await?;
        // After the store, which sees to it that nobody else uses the directory.
        let places = Arc::new(Places::open(config.places.clone(), config.data_dir()).await?);
        let ready = Arc::new(AtomicBool::new(false));
        let (reporter, health_service) = tonic_health::server::health_reporter();
        let health = Health::new(reporter, Arc::clone(&ready)).await;
        let stop = CancellationToken::new();
        let (durable, refusals) = (durability.clone(), Arc::clone(&edge.refusals));
        let intake = Intake { shared: Arc::clone(&shared), durability: durable, refusals };
        let ages = Ages::default();
        let own_ages = ages.clone();
        let embedded = EmbeddedService::new(intake, Arc::clone(&places), own_ages, stop.clone());
        let mut node = Self {
            address,
            admin: admin.as_ref().and_then(|listener| listener.local_addr().ok()),
            shared: Arc::clone(&shared),
            places: Arc::clone(&places),
            refusals: Arc::clone(&edge.refusals),
            embedded,
            health,
            drain_grace: config.drain_grace,
            stop_listening: CancellationToken::new(),
            stop,
            stop_links: CancellationToken::new(),
            abort: CancellationToken::new(),
            stop_server: CancellationToken::new(),
            stop_writing: CancellationToken::new(),
            links: TaskTracker::new(),
            dialers: TaskTracker::new(),
            writers: TaskTracker::new(),
            tasks: JoinSet::new(),
        };
        let watchers = node.watchers(&config.limits, &edge.refusals);
        let Edge { tls, dns, refusals } = edge;
        let way = Way { connect, bearer: config.bearer.clone() };
        let findings = node.find_friends(&config, way.clone(), dns);
        let facts = NodeFacts {
            places,
            durability,
            watchers,
            ready,
            findings,
            tls: tls.clone(),
            refusals: Arc::clone(&refusals),
            calls: Arc::new(Calls::new(config.name.as_str(), config.slow_call)),
            ages,
        };
        if let Some(writer) = writer {
            node.writers.spawn(writer.run(node.stop_writing.clone()));
        } else {
            info!(node = %config.name, "no data directory: locations are kept in memory only");
        }
        let routes = node.routes(&facts, &config.limits);
        let health_service = health_service.max_decoding_message_size(serve::MAX_OPEN_BYTES);
        let mut routes = routes.add_service(health_service);
        if config.reflection {
            routes = serve::with_reflection(routes)?;
        }
        let guard = serve::guard(&config, tokens.clone(), &facts);
        node.serve(incoming, routes, config.limits.max_streams, guard);
        let page = node.page(&config, &facts, tokens.clone(), &way);
        node.serve_operators(admin, &facts, page);
        node.tell_health(facts.durability);
        node.until_the_end(expiry::run(Arc::clone(&node.shared)));
        if let Some(tls) = tls {
            node.until_the_end(async move { tls.follow().await });
        }
        if let Some(tokens) = tokens {
            node.until_the_end(async move { tokens.follow().await });
        }
        info!(node = %config.name, %address, cluster = %config.cluster, "listening");
        Ok(node)
    }

    fn watchers(&mut self, limits: &Limits, refusals: &Arc<Refusals>) -> Arc<Watchers> {
        let watchers = Watchers::new(limits, Arc::clone(refusals));
        self.until_the_end(Arc::clone(&watchers).look_after(Arc::clone(&self.shared)));
        watchers
    }

    /// Dials the friends of the configuration, and those that DNS names.
    fn find_friends(
        &mut self,
        config: &Config,
        way: Way,
        dns: Option<Arc<Dns>>,
    ) -> Option<Findings> {
        let (shared, dialers) = (Arc::clone(&self.shared), self.dialers.clone());
        let (stop_links, abort) = (self.stop_links.clone(), self.abort.clone());
        let mut friends = Friends::new(shared, way, dialers, stop_links, abort);
        for (friend, address) in &config.friends {
            friends.befriend(friend, address);
        }
        let (dns, refresh) = (dns?, config.peers_dns.as_ref()?.refresh);
        let discovery = Discovery::new(&self.shared, dns, refresh, friends);
        let findings = discovery.findings();
        self.until_stopped(discovery.run());
        Some(findings)
    }

    /// Reports the disk's health, and readiness once friends have been heard.
    fn tell_health(&mut self, durability: Durability) {
        let following = self.health.clone().follow_store(durability);
        self.until_the_end(following);
        let waker = self.shared.waker();
        self.shared.with(|state, _| state.watch_peers(waker.token()));
        let join = self.health.clone().join(Arc::clone(&self.shared), waker);
        self.until_stopped(join);
    }
}

/// What outlives the node, and who writes it; without a data directory nothing and nobody.
async fn open_store(
    shared: &Arc<Shared>,
    config: &Config,
) -> Result<(Durability, Option<Writer>), Error> {
    let Some(data) = &config.data else { return Ok((Durability::none(), None)) };
    let (durability, writer) = Durability::open(shared, data).await?;
    Ok((durability, Some(writer)))
}

/// The state of a node that knows nobody yet.
fn empty(config: &Config) -> Arc<Shared> {
    let shared = Shared::new(identity(config));
    shared.with(|state, now| {
        state.set_retention(config.retention);
        state.limit_reports(config.limits.max_clients, config.limits.max_client_rate);
        state.expire(now, 0);
    });
    shared
}

/// What the node is from now on.
fn identity(config: &Config) -> Identity {
    Identity {
        name: config.name.clone(),
        cluster: config.cluster.clone(),
        instance: rand::random_range(1..=u64::MAX),
        index_key: rand::random(),
        max_future: config.max_future,
    }
}

fn bind(address: SocketAddr) -> Result<TcpListener, Error> {
    listen(address).map_err(|cause| Error::Bind { address, cause })
}

/// Listens with SO_REUSEADDR: a node that was just killed must be able to come back.
fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}
