//! What a node serves: gRPC on one port, operators on another.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use futures_util::{Stream, StreamExt as _, stream};
use herd_edge::names;
use herd_proto::v1::gossip_server::GossipServer;
use herd_proto::v1::locations_server::LocationsServer;
use herd_proto::v1::node_server::NodeServer;
use herd_proto::v1::places_server::PlacesServer;
use herd_proto::{FILE_DESCRIPTOR_SET, MAX_MESSAGE_BYTES};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tonic::service::Routes;
use tonic::transport::Server;
use tonic::transport::server::Connected;
use tracing::info;

use super::Node;
use crate::config::Config;
use crate::error::Error;
use crate::front::{Access, FrontLayer, Guard, Nodes, Tokens};
use crate::limits::Limits;
use crate::link::Way;
use crate::metrics;
use crate::page::{self, Page, Survey};
use crate::service::{
    GossipService, Intake, LocationsService, NodeFacts, NodeService, PlacesService,
};

/// HTTP/2 windows of a stream and of a connection.
const WINDOWS: (u32, u32) = (1 << 20, 4 << 20);

/// HTTP/2 ping interval and patience, to let go of clients that vanished.
const KEEP_ALIVE: (Duration, Duration) = (Duration::from_mins(1), Duration::from_secs(20));

/// Longest message to what needs no token: names of services and of methods.
pub(super) const MAX_OPEN_BYTES: usize = 4 << 10;

/// What a network hands over for each connection.
pub trait Connection:
    AsyncRead + AsyncWrite + Connected<ConnectInfo: Clone + Send + Sync> + Unpin + Send + 'static
{
}

impl<C> Connection for C where
    C: AsyncRead
        + AsyncWrite
        + Connected<ConnectInfo: Clone + Send + Sync>
        + Unpin
        + Send
        + 'static
{
}

impl Node {
    pub(super) fn routes(&self, facts: &NodeFacts, limits: &Limits) -> Routes {
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

    pub(super) fn serve(
        &mut self,
        incoming: impl Stream<Item = io::Result<impl Connection>> + Send + 'static,
        routes: Routes,
        max_streams: u32,
        guard: Arc<Guard>,
    ) {
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
    pub(super) fn serve_operators(
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

    pub(super) fn page(
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
pub(super) fn guard(config: &Config, tokens: Option<Arc<Tokens>>, facts: &NodeFacts) -> Arc<Guard> {
    let (refusals, calls) = (Arc::clone(&facts.refusals), Arc::clone(&facts.calls));
    Arc::new(Guard::new(access(config, tokens), config.limits.max_in_flight, refusals, calls))
}

/// Adds both versions of reflection: older tools only know `v1alpha`. With the descriptors of
/// health and of error details, tools can show those too.
pub(super) fn with_reflection(routes: Routes) -> Result<Routes, Error> {
    let builder = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
    };
    let v1 = builder().build_v1()?.max_decoding_message_size(MAX_OPEN_BYTES);
    let v1alpha = builder().build_v1alpha()?.max_decoding_message_size(MAX_OPEN_BYTES);
    Ok(routes.add_service(v1).add_service(v1alpha))
}
