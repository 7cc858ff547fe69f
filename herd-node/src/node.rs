//! Starts a node, owns all its tasks, and stops it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::time::Duration;

use futures_util::{Stream, StreamExt as _, stream};
use herd_edge::{Doors, Refusals, Tls, names};
use herd_proto::v1::gossip_server::GossipServer;
use herd_proto::v1::locations_server::LocationsServer;
use herd_proto::v1::node_server::NodeServer;
use herd_proto::v1::places_server::PlacesServer;
use herd_proto::{FILE_DESCRIPTOR_SET, MAX_MESSAGE_BYTES};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::service::Routes;
use tonic::transport::Server;
use tonic::transport::server::Connected;
use tracing::{info, warn};

use crate::config::Config;
use crate::discovery::{Discovery, Findings};
use crate::dns::Dns;
use crate::durability::{Durability, Writer};
use crate::error::Error;
use crate::expiry;
use crate::front::{Acceptor, Access, Calls, FrontLayer, Guard, Nodes, Tokens};
use crate::health::Health;
use crate::herd::state::Identity;
use crate::limits::Limits;
use crate::link::{self, Connect, Friends, Way};
use crate::metrics;
use crate::page::{self, Page, Survey};
use crate::places::Places;
use crate::service::{
    Ages, EmbeddedService, GossipService, Intake, LocationsService, NodeFacts, NodeService,
    PlacesService, Watchers,
};
use crate::settings::TlsConfig;
use crate::shared::Shared;

/// Connections that may wait to be accepted.
const BACKLOG: u32 = 1024;

/// Connections that may wait between being accepted and being served, which comes at once.
const ACCEPTED: usize = 16;

/// HTTP/2 windows of a stream and of a connection.
const WINDOWS: (u32, u32) = (1 << 20, 4 << 20);

/// HTTP/2 ping interval and patience, to let go of clients that vanished.
const KEEP_ALIVE: (Duration, Duration) = (Duration::from_mins(1), Duration::from_secs(20));

/// A running node.
#[derive(Debug)]
pub struct Node {
    address: SocketAddr,
    admin: Option<SocketAddr>,
    shared: Arc<Shared>,
    places: Arc<Places>,
    refusals: Arc<Refusals>,
    embedded: EmbeddedService,
    health: Health,
    drain_grace: Duration,
    /// Closes the port.
    stop_listening: CancellationToken,
    /// Tells services to take nothing more.
    stop: CancellationToken,
    /// Tells links to send what is left and to finish.
    stop_links: CancellationToken,
    /// Tells links to end at once.
    abort: CancellationToken,
    /// Tells the server to let go of connections.
    stop_server: CancellationToken,
    /// Tells the writer to write the rest and to finish.
    stop_writing: CancellationToken,
    links: TaskTracker,
    dialers: TaskTracker,
    writers: TaskTracker,
    tasks: JoinSet<Result<(), String>>,
}

/// What stands between the network and the node.
#[derive(Debug, Default)]
struct Edge {
    tls: Option<Arc<Tls>>,
    /// Who names the herd's nodes, if it is not the herd file.
    dns: Option<Arc<Dns>>,
    refusals: Arc<Refusals>,
}

/// How a stop went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drained {
    /// All links and calls finished in time.
    Clean,
    /// Some were cut off when the grace was over.
    CutOff,
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
    pub async fn start_over<C>(
        config: Config,
        address: SocketAddr,
        incoming: impl Stream<Item = io::Result<C>> + Send + 'static,
        connect: Connect,
    ) -> Result<Self, Error>
    where
        C: AsyncRead
            + AsyncWrite
            + Connected<ConnectInfo: Clone + Send + Sync>
            + Unpin
            + Send
            + 'static,
    {
        Self::start_behind(Edge::default(), config, address, incoming, connect).await
    }

    async fn start_behind<C>(
        edge: Edge,
        config: Config,
        address: SocketAddr,
        incoming: impl Stream<Item = io::Result<C>> + Send + 'static,
        connect: Connect,
    ) -> Result<Self, Error>
    where
        C: AsyncRead
            + AsyncWrite
            + Connected<ConnectInfo: Clone + Send + Sync>
            + Unpin
            + Send
            + 'static,
    {
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
        let mut routes = routes.add_service(health_service);
        if config.reflection {
            routes = with_reflection(routes)?;
        }
        let guard = guard(&config, tokens.clone(), &facts);
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

    /// Where the node serves gRPC.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where the node serves HTTP to operators, if it does.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin
    }

    /// The node's state, for whoever runs in the same process.
    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// The node's places, to [reload](Places::reload) them.
    pub fn places(&self) -> &Arc<Places> {
        &self.places
    }

    /// What was refused or cut off so far.
    pub fn refusals(&self) -> &Refusals {
        &self.refusals
    }

    /// The node for callers in the same process.
    pub fn embedded(&self) -> &EmbeddedService {
        &self.embedded
    }

    /// Closes the node's port when it is cancelled, and nothing else: a node that takes its place
    /// can listen there while this one finishes.
    pub fn stop_listening(&self) -> CancellationToken {
        self.stop_listening.clone()
    }

    /// Waits until the node fails; for as long as all is well, for ever.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub async fn failed(&mut self) -> Error {
        loop {
            match self.tasks.join_next().await {
                Some(Ok(Ok(()))) => {}
                Some(Ok(Err(reason))) => return Error::Ended(reason),
                Some(Err(panic)) => return Error::Ended(panic.to_string()),
                None => return Error::Ended("all tasks ended".into()),
            }
        }
    }

    /// Stops: closes the port, becomes not ready, ends streams, lets links send what their peers lack and say
    /// goodbye, and closes, all within the configured grace.
    pub async fn stop(mut self) -> Drained {
        let name = self.shared.with(|state, _| state.identity().name.clone());
        let deadline = Instant::now() + self.drain_grace;
        self.stop_listening.cancel();
        info!(node = %name, "stopping");
        // Whatever is answered from here on is a refusal, so that the links, which finish after
        // this, have heard of all that was acknowledged.
        self.stop.cancel();
        self.health.set_ready(false).await;
        self.stop_links.cancel();
        self.links.close();
        self.dialers.close();
        let links_done = async { tokio::join!(self.links.wait(), self.dialers.wait()) };
        let in_time = timeout_at(deadline, links_done).await.is_ok();
        self.stop_writing.cancel();
        self.writers.close();
        let in_time = timeout_at(deadline, self.writers.wait()).await.is_ok() && in_time;
        self.health.close().await;
        self.places.stop().await;
        self.stop_server.cancel();
        let server_done = async { while self.tasks.join_next().await.is_some() {} };
        let in_time = timeout_at(deadline, server_done).await.is_ok() && in_time;
        self.abort.cancel();
        tokio::join!(self.links.wait(), self.dialers.wait(), self.tasks.shutdown());
        if in_time {
            info!(node = %name, "stopped");
            return Drained::Clean;
        }
        warn!(node = %name, "stopped, some calls were cut off");
        Drained::CutOff
    }

    fn watchers(&mut self, limits: &Limits, refusals: &Arc<Refusals>) -> Arc<Watchers> {
        let Limits { max_watchers, max_watcher_bytes, .. } = *limits;
        let watchers = Watchers::new(max_watchers, max_watcher_bytes, Arc::clone(refusals));
        self.until_the_end(Arc::clone(&watchers).look_after(Arc::clone(&self.shared)));
        watchers
    }

    fn routes(&self, facts: &NodeFacts, limits: &Limits) -> Routes {
        let (shared, stop) = (&self.shared, &self.stop);
        let (inward, outward) = (limits.max_request_bytes, limits.max_response_bytes);
        let between_nodes = MAX_MESSAGE_BYTES;
        let intake = Intake {
            shared: Arc::clone(shared),
            durability: facts.durability.clone(),
            refusals: Arc::clone(&facts.refusals),
        };
        let watchers = Arc::clone(&facts.watchers);
        let locations = LocationsService::new(intake, watchers, facts.ages.clone(), stop.clone());
        let places =
            PlacesService::new(Arc::clone(shared), Arc::clone(&facts.places), facts.ages.clone());
        let gossip = self.gossip();
        let node = NodeService::new(Arc::clone(shared), facts.clone());
        Routes::default()
            .add_service(
                LocationsServer::new(locations)
                    .max_decoding_message_size(inward)
                    .max_encoding_message_size(outward),
            )
            .add_service(
                PlacesServer::new(places)
                    .max_decoding_message_size(inward)
                    .max_encoding_message_size(outward),
            )
            .add_service(
                GossipServer::new(gossip)
                    .max_decoding_message_size(between_nodes)
                    .max_encoding_message_size(between_nodes),
            )
            .add_service(
                NodeServer::new(node)
                    .max_decoding_message_size(inward)
                    .max_encoding_message_size(outward),
            )
    }

    fn gossip(&self) -> GossipService {
        GossipService::new(
            Arc::clone(&self.shared),
            self.links.clone(),
            self.stop_links.clone(),
            self.abort.clone(),
        )
    }

    fn serve<C>(
        &mut self,
        incoming: impl Stream<Item = io::Result<C>> + Send + 'static,
        routes: Routes,
        max_streams: u32,
        guard: Arc<Guard>,
    ) where
        C: AsyncRead
            + AsyncWrite
            + Connected<ConnectInfo: Clone + Send + Sync>
            + Unpin
            + Send
            + 'static,
    {
        // When the port is closed the server goes on with the connections it has.
        let closed = self.stop_listening.clone().cancelled_owned();
        let incoming = incoming.take_until(closed).chain(stream::pending());
        let stop = self.stop_server.clone();
        let server = Server::builder()
            .http2_keepalive_interval(Some(KEEP_ALIVE.0))
            .http2_keepalive_timeout(Some(KEEP_ALIVE.1))
            .max_concurrent_streams(max_streams)
            .initial_stream_window_size(WINDOWS.0)
            .initial_connection_window_size(WINDOWS.1)
            .layer(FrontLayer(guard))
            .add_routes(routes)
            .serve_with_incoming_shutdown(incoming, stop.clone().cancelled_owned());
        self.tasks.spawn(async move {
            let result = server.await;
            match result {
                Ok(()) if stop.is_cancelled() => Ok(()),
                Ok(()) => Err("the server ended".into()),
                Err(error) => Err(error.to_string()),
            }
        });
    }

    /// Serves metrics and health over HTTP until the very end, so that a node that drains is seen
    /// to.
    fn serve_operators(
        &mut self,
        listener: Option<TcpListener>,
        facts: &NodeFacts,
        page: Option<Page>,
    ) {
        let Some(listener) = listener else { return };
        if let Some(address) = self.admin {
            let node = self.shared.with(|state, _| state.identity().name.clone());
            info!(%node, %address, "serving operators");
        }
        let registry = metrics::registry(&self.shared, facts);
        let facts = facts.clone();
        let mut routes = herd_admin::router(registry, move || facts.readiness());
        if let Some(page) = page {
            self.until_the_end(Arc::clone(&page.survey).run());
            routes = routes.merge(page::routes(page));
        }
        let serving = herd_admin::serve(listener, routes, self.stop_server.clone());
        self.tasks.spawn(async move {
            serving.await;
            Ok(())
        });
    }

    fn page(
        &self,
        config: &Config,
        facts: &NodeFacts,
        tokens: Option<Arc<Tokens>>,
        way: &Way,
    ) -> Option<Page> {
        let listed = |name| config.nodes.iter().any(|(other, _)| other == name);
        let friends = config.friends.iter().filter(|(name, _)| !listed(name));
        let others = config.nodes.iter().filter(|(name, _)| *name != config.name);
        let nodes = others.chain(friends).cloned().collect();
        config.page.then(|| Page {
            shared: Arc::clone(&self.shared),
            facts: facts.clone(),
            survey: Survey::new(nodes, way.clone()),
            access: access(config, tokens),
            tiles_url: config.tiles_url.clone(),
            stop: self.stop_server.clone(),
            viewers: AtomicUsize::new(0),
        })
    }

    /// Runs work for as long as the node serves.
    fn until_the_end(&mut self, work: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop_server.clone();
        self.tasks.spawn(async move {
            stop.run_until_cancelled(work).await;
            Ok(())
        });
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

    /// Runs work until the node is asked to stop.
    fn until_stopped(&mut self, work: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            stop.run_until_cancelled(work).await;
            Ok(())
        });
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

impl Drop for Node {
    /// A node that is dropped without [`Node::stop`] stops at once.
    fn drop(&mut self) {
        self.stop.cancel();
        self.abort.cancel();
        self.stop_writing.cancel();
        self.stop_server.cancel();
    }
}

fn bind(address: SocketAddr) -> Result<TcpListener, Error> {
    listen(address).map_err(|cause| Error::Bind { address, cause })
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

/// Who may call what. With mTLS the herd's nodes are known by their certificates.
fn access(config: &Config, tokens: Option<Arc<Tokens>>) -> Access {
    let nodes = config.tls.as_ref().map(|_| {
        if let Some(peers) = &config.peers_dns {
            return Nodes::Under(peers.domain().to_owned());
        }
        let nodes = config.nodes.iter();
        let nodes =
            nodes.map(|(name, at)| (name.clone(), names::of_node(name.as_str(), at))).collect();
        Nodes::Listed(nodes)
    });
    Access { tokens, nodes }
}

/// Who decides about each call.
fn guard(config: &Config, tokens: Option<Arc<Tokens>>, facts: &NodeFacts) -> Arc<Guard> {
    let (refusals, calls) = (Arc::clone(&facts.refusals), Arc::clone(&facts.calls));
    Arc::new(Guard::new(access(config, tokens), config.limits.max_in_flight, refusals, calls))
}

/// Listens with SO_REUSEADDR: a node that was just killed must be able to come back.
fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Adds both versions of reflection: older tools only know `v1alpha`. With the descriptors of
/// health and of error details, tools can show those too.
fn with_reflection(routes: Routes) -> Result<Routes, Error> {
    let builder = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
    };
    Ok(routes.add_service(builder().build_v1()?).add_service(builder().build_v1alpha()?))
}
