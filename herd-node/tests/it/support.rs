//! Starts nodes on free ports and waits for what must come.

use std::fmt::Debug;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use herd_node::{Config, Node, Settings};
use herd_proto::v1::gossip_client::GossipClient;
use herd_proto::v1::locations_client::LocationsClient;
use herd_proto::v1::node_client::NodeClient;
use herd_proto::v1::{
    Frame, GetStatusRequest, GetStatusResponse, Hello, ReportRequest, frame::Kind,
};
use herd_proto::{NodeName, topology::Topology};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// The configuration of one node on a free port, with these friends.
pub(crate) fn config(name: &str, friends: &[(&str, SocketAddr)]) -> Config {
    let file = format!("cluster = 'test'\n[[nodes]]\nname = '{name}'\naddress = '127.0.0.1:0'");
    let topology = Topology::parse(&file).unwrap();
    let own = NodeName::parse(name).unwrap();
    let mut config = Config::new(&topology, &own, Settings::default()).unwrap();
    config.friends = friends
        .iter()
        .map(|(name, address)| (NodeName::parse(name).unwrap(), address.to_string()))
        .collect();
    config.drain_grace = Duration::from_secs(3);
    config
}

pub(crate) async fn start(name: &str, friends: &[(&str, SocketAddr)]) -> Node {
    Node::start(config(name, friends)).await.unwrap()
}

pub(crate) async fn channel(address: SocketAddr) -> Channel {
    Endpoint::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap()
}

pub(crate) async fn locations(node: &Node) -> LocationsClient<Channel> {
    LocationsClient::new(channel(node.address()).await)
}

pub(crate) async fn gossip(node: &Node) -> GossipClient<Channel> {
    GossipClient::new(channel(node.address()).await)
}

pub(crate) async fn status(node: &Node) -> GetStatusResponse {
    let mut client = NodeClient::new(channel(node.address()).await);
    client.get_status(GetStatusRequest {}).await.unwrap().into_inner()
}

/// The Hello of a peer of the test's own.
pub(crate) fn hello(node: &str) -> Hello {
    Hello {
        protocol_min: 1,
        protocol_max: 1,
        cluster: "test".into(),
        node: node.into(),
        ..Hello::default()
    }
}

/// A peer that says Hello and never again anything, until it is dropped.
pub(crate) async fn mute_peer(node: &Node) -> impl Sized + use<> {
    let (frames, outbound) = mpsc::channel(1);
    frames.send(Frame { kind: Some(Kind::Hello(hello("mute"))) }).await.unwrap();
    let inbound = gossip(node).await.propagate(ReceiverStream::new(outbound)).await.unwrap();
    eventually(async || status(node).await.peers, |peers| peers.len() == 1).await;
    (frames, inbound)
}

pub(crate) fn report(client: &str) -> ReportRequest {
    ReportRequest {
        client_id: client.into(),
        position_text: "+12-118".into(),
        time_text: "1700000000.5".into(),
        ..ReportRequest::default()
    }
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
