//! Nodes that find each other by DNS, and what they say of themselves.

use std::fmt::Debug;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use herd_node::settings::TlsSettings;
use herd_node::{Config, Node, Settings};
use herd_proto::v1::locations_client::LocationsClient;
use herd_proto::v1::node_client::NodeClient;
use herd_proto::v1::{GetStatusRequest, GetStatusResponse, LinkState, ReportRequest};
use herd_proto::{NodeName, topology::Topology};
use tonic::transport::Endpoint;

use crate::server::{NameServer, PEERS};

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// How often the nodes ask, so that the tests are quick.
pub(crate) const REFRESH: &str = "100ms";

/// Starts `node-{number}`, which asks `server`.
pub(crate) async fn start(number: usize, server: &NameServer) -> Node {
    start_with(number, server, TlsSettings::default()).await
}

/// The same of a node with certificates.
pub(crate) async fn start_with(number: usize, server: &NameServer, tls: TlsSettings) -> Node {
    let settings = Settings {
        peers_dns: Some(PEERS.into()),
        peers_refresh: Some(REFRESH.into()),
        dns_server: Some(server.address.to_string()),
        drain_grace: Some("5s".into()),
        admin: Some("127.0.0.1:0".into()),
        tls,
        ..Settings::default()
    };
    let file = Topology::parse(&format!("cluster = 'test'\n[node]\npeers_dns = '{PEERS}'"));
    let name = NodeName::parse(&node(number)).unwrap();
    let mut config = Config::new(&file.unwrap(), &name, settings).unwrap();
    config.listen = "127.0.0.1:0".parse().unwrap();
    Node::start(config).await.unwrap()
}

pub(crate) fn node(number: usize) -> String {
    format!("node-{number}")
}

/// What DNS says of these nodes.
pub(crate) fn entries<'a>(nodes: impl IntoIterator<Item = &'a Node>) -> Vec<(String, SocketAddr)> {
    let name = |node: &Node| node.shared().with(|state, _| state.identity().name.to_string());
    nodes.into_iter().map(|node| (name(node), node.address())).collect()
}

/// The friends to which a node has a stream, in order.
pub(crate) fn linked(node: &Node) -> Vec<String> {
    node.shared().with(|state, _| {
        let friends = state.peers().iter().filter(|(_, peer)| peer.is_friend());
        let up = friends.filter(|(_, peer)| peer.active.is_some());
        up.map(|(name, _)| name.to_string()).collect()
    })
}

/// All friends of a node, linked or not.
pub(crate) fn friends(node: &Node) -> Vec<String> {
    node.shared().with(|state, _| {
        let friends = state.peers().iter().filter(|(_, peer)| peer.is_friend());
        friends.map(|(name, _)| name.to_string()).collect()
    })
}

pub(crate) fn clients(node: &Node) -> usize {
    node.shared().with(|state, _| state.table().len())
}

/// Tells the node at `address` where a client is.
pub(crate) async fn report(address: SocketAddr, client: &str) {
    let channel = Endpoint::from_shared(format!("http://{address}")).unwrap();
    let mut locations = LocationsClient::new(channel.connect().await.unwrap());
    let request = ReportRequest {
        client_id: client.into(),
        position_text: "+12-118".into(),
        ..ReportRequest::default()
    };
    locations.report(request).await.unwrap();
}

/// What a process says of itself; `None` while it says nothing.
pub(crate) async fn status(address: SocketAddr) -> Option<GetStatusResponse> {
    let channel = Endpoint::from_shared(format!("http://{address}")).unwrap();
    let channel = channel.connect_timeout(Duration::from_secs(2)).connect().await.ok()?;
    let answer = NodeClient::new(channel).get_status(GetStatusRequest {}).await;
    answer.ok().map(tonic::Response::into_inner)
}

/// The peers in a status that are linked, and all of them.
pub(crate) fn peers(status: &GetStatusResponse) -> (usize, usize) {
    let up = status.peers.iter().filter(|peer| peer.state() == LinkState::Up);
    (up.count(), status.peers.len())
}

/// Asks again and again until the answer is right; says what it saw last when it never is.
pub(crate) async fn eventually<T: Debug>(
    mut ask: impl AsyncFnMut() -> T,
    right: impl Fn(&T) -> bool,
) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let seen = ask().await;
        if right(&seen) {
            return seen;
        }
        assert!(Instant::now() < deadline, "never came right, seen last: {seen:#?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
