//! Starts a node, owns all its tasks, and stops it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use futures_util::{Stream, StreamExt as _, stream};
use herd_proto::v1::gossip_server::GossipServer;
use herd_proto::v1::locations_server::LocationsServer;
use herd_proto::v1::node_server::NodeServer;
use herd_proto::v1::places_server::PlacesServer;
use herd_proto::{FILE_DESCRIPTOR_SET, MAX_MESSAGE_BYTES};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::service::Routes;
use tonic::transport::Server;
use tonic::transport::server::{Connected, TcpIncoming};
use tracing::{info, warn};

use crate::config::Config;
use crate::durability::Durability;
use crate::error::Error;
use crate::expiry;
use crate::health::Health;
use crate::herd::state::Identity;
use crate::link::{self, Connect};
use crate::metrics;
use crate::places::Places;
use crate::service::{
    GossipService, LocationsService, NodeFacts, NodeService, PlacesService, Watchers,
};
use crate::shared::Shared;

/// Connections that may wait to be accepted.
const BACKLOG: u32 = 1024;

/// HTTP/2 streams on one connection. A gateway needs a few; a person's tool one.
const MAX_STREAMS: u32 = 1024;

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
        let listener =
            listen(config.listen).map_err(|cause| Error::Bind { address: config.listen, cause })?;
        let address =
            listener.local_addr().map_err(|cause| Error::Bind { address: config.listen, cause })?;
        // TcpIncoming, because the builder's own setting is ignored for a listener made here.
        let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
        Self::start_over(config, address, incoming, link::over_tcp()).await
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
        let admin = match config.admin {
            None => None,
            Some(address) => Some(listen(address).map_err(|cause| Error::Bind { address, cause })?),
        };
        let places = Arc::new(Places::new(config.places.clone())?);
        let shared = Shared::new(Identity {
            name: config.name.clone(),
            cluster: config.cluster.clone(),
            instance: rand::random_range(1..=u64::MAX),
            index_key: rand::random(),
            max_future: config.max_future,
        });
        shared.with(|state, now| {
            state.set_retention(config.retention);
            state.expire(now, 0);
        });
        let (durability, writer) = match &config.data {
            None => (Durability::none(), None),
            Some(data) => {
                let (durability, writer) = Durability::open(&shared, data).await?;
                (durability, Some(writer))
            }
        };
        let ready = Arc::new(AtomicBool::new(false));
        let (reporter, health_service) = tonic_health::server::health_reporter();
        let health = Health::new(reporter, Arc::clone(&ready)).await;
        let mut node = Self {
            address,
            admin: admin.as_ref().and_then(|listener| listener.local_addr().ok()),
            shared: Arc::clone(&shared),
            health,
            drain_grace: config.drain_grace,
            stop_listening: CancellationToken::new(),
            stop: CancellationToken::new(),
            stop_links: CancellationToken::new(),
            abort: CancellationToken::new(),
            stop_server: CancellationToken::new(),
            stop_writing: CancellationToken::new(),
            links: TaskTracker::new(),
            dialers: TaskTracker::new(),
            writers: TaskTracker::new(),
            tasks: JoinSet::new(),
        };
        let watchers = Watchers::new(config.max_watchers);
        let facts = NodeFacts { places, durability, watchers, ready };
        if let Some(writer) = writer {
            node.writers.spawn(writer.run(node.stop_writing.clone()));
        } else {
            info!(node = %config.name, "no data directory: locations are kept in memory only");
        }
        let mut routes = node.routes(&facts).add_service(health_service);
        if config.reflection {
            routes = with_reflection(routes)?;
        }
        node.serve(incoming, routes);
        node.serve_operators(admin, &facts);
        let (stop, following) = (node.stop_server.clone(), node.health.clone());
        let following = following.follow_store(facts.durability);
        node.tasks.spawn(async move {
            stop.run_until_cancelled(following).await;
            Ok(())
        });
        node.dial_friends(&config, &connect);
        node.expire();
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

    fn routes(&self, facts: &NodeFacts) -> Routes {
        let (shared, stop) = (&self.shared, &self.stop);
        let limit = MAX_MESSAGE_BYTES;
        let (watchers, durability) = (Arc::clone(&facts.watchers), facts.durability.clone());
        let locations =
            LocationsService::new(Arc::clone(shared), watchers, durability, stop.clone());
        let places = PlacesService::new(Arc::clone(shared), Arc::clone(&facts.places));
        let gossip = self.gossip();
        let node = NodeService::new(Arc::clone(shared), facts.clone());
        Routes::default()
            .add_service(
                LocationsServer::new(locations)
                    .max_decoding_message_size(limit)
                    .max_encoding_message_size(limit),
            )
            .add_service(PlacesServer::new(places).max_decoding_message_size(limit))
            .add_service(
                GossipServer::new(gossip)
                    .max_decoding_message_size(limit)
                    .max_encoding_message_size(limit),
            )
            .add_service(NodeServer::new(node).max_decoding_message_size(limit))
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
            .max_concurrent_streams(MAX_STREAMS)
            .initial_stream_window_size(WINDOWS.0)
            .initial_connection_window_size(WINDOWS.1)
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
    fn serve_operators(&mut self, listener: Option<TcpListener>, facts: &NodeFacts) {
        let Some(listener) = listener else { return };
        if let Some(address) = self.admin {
            let node = self.shared.with(|state, _| state.identity().name.clone());
            info!(%node, %address, "serving operators");
        }
        let registry = metrics::registry(&self.shared, facts);
        let facts = facts.clone();
        let routes = herd_admin::router(registry, move || facts.readiness());
        let serving = herd_admin::serve(listener, routes, self.stop_server.clone());
        self.tasks.spawn(async move {
            serving.await;
            Ok(())
        });
    }

    fn expire(&mut self) {
        let (expiry, stop) = (expiry::run(Arc::clone(&self.shared)), self.stop_server.clone());
        self.tasks.spawn(async move {
            stop.run_until_cancelled(expiry).await;
            Ok(())
        });
    }

    fn dial_friends(&mut self, config: &Config, connect: &Connect) {
        for (friend, address) in &config.friends {
            let waker = self.shared.waker();
            self.shared.with(|state, now| {
                state.add_friend(now, friend.clone(), address.clone(), waker.token());
            });
            let (shared, stop) = (Arc::clone(&self.shared), self.stop_links.clone());
            let (friend, address, connect) = (friend.clone(), address.clone(), Arc::clone(connect));
            let dialler = link::dial(shared, friend, address, connect, waker, stop);
            self.dialers.spawn(self.abort.clone().run_until_cancelled_owned(dialler));
        }
        let waker = self.shared.waker();
        self.shared.with(|state, _| state.watch_peers(waker.token()));
        let join = self.health.clone().join(Arc::clone(&self.shared), waker);
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            stop.run_until_cancelled(join).await;
            Ok(())
        });
    }
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
