//! What operators see of a node over HTTP.

use std::net::SocketAddr;

use herd_node::{Config, Node};
use herd_proto::v1::locations_client::LocationsClient;
use herd_proto::v1::node_client::NodeClient;
use herd_proto::v1::{GetRequest, SetLogFilterRequest, WatchRequest};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::{channel, config, eventually, locations, report, start};

/// Asks the admin port; the whole answer, head included.
pub(crate) async fn get(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: herd\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

fn with_admin(name: &str, friends: &[(&str, SocketAddr)]) -> Config {
    let mut config = config(name, friends);
    config.admin = Some("127.0.0.1:0".parse().unwrap());
    config
}

#[tokio::test]
async fn metrics_tell_of_reports_links_and_what_crossed_them() {
    let clark = Node::start(config("Clark", &[])).await.unwrap();
    let node = Node::start(with_admin("Bailey", &[("Clark", clark.address())])).await.unwrap();
    let mut client = locations(&node).await;
    client.report(report("kiwi")).await.unwrap();
    client.report(report("kiwi")).await.unwrap();
    let mut nonsense = report("plum");
    nonsense.position_text = "nowhere".into();
    client.report(nonsense).await.unwrap_err();
    let admin = node.admin_address().unwrap();
    let sent = "herd_gossip_hop_latency_seconds_count 1\n";
    let metrics = eventually(async || get(admin, "/metrics").await, |text| text.contains(sent));
    let metrics = metrics.await;
    for line in [
        "herd_build_info{version=\"",
        "node=\"Bailey\",cluster=\"test\"} 1\n",
        "herd_ready 1.0\n",
        "herd_clients 1.0\n",
        "herd_reports_total{outcome=\"applied\"} 1.0\n",
        "herd_reports_total{outcome=\"older\"} 1.0\n",
        "herd_reports_total{outcome=\"refused\"} 1.0\n",
        "herd_peer_up{peer=\"Clark\"} 1.0\n",
        "herd_gossip_received_records_total{peer=\"Clark\",result=\"new\"} 0.0\n",
        "herd_gossip_divergent_records_total{peer=\"Clark\"} 0.0\n",
        "herd_peers{state=\"up\"} 1.0\n",
        "herd_peer_lag_records{peer=\"Clark\"} 0.0\n",
        "herd_peer_lag_seconds{peer=\"Clark\"} 0.0\n",
        "herd_gossip_messages_total{direction=\"sent\",result=\"sent\"} 1.0\n",
        "herd_gossip_hop_latency_seconds_count 1\n",
        "grpc_server_started_total{grpc_service=\"herd.v1.Locations\",grpc_method=\"Report\"} 3\n",
        "grpc_method=\"Report\",grpc_code=\"Ok\"} 2\n",
        "grpc_method=\"Report\",grpc_code=\"InvalidArgument\"} 1\n",
        "grpc_server_handling_seconds_count{grpc_service=\"herd.v1.Locations\",grpc_method=\"Report\"} 3\n",
        "tokio_alive_tasks ",
        "herd_store_persistent 0.0\n",
        "herd_store_healthy 1.0\n",
        "process_resident_memory_bytes ",
    ] {
        assert!(metrics.contains(line), "{line} is not in {metrics}");
    }
    clark.stop().await;
    let down = "herd_peer_up{peer=\"Clark\"} 0.0\n";
    eventually(async || get(admin, "/metrics").await, |text| text.contains(down)).await;
    client.report(report("plum")).await.unwrap();
    let metrics = get(admin, "/metrics").await;
    assert!(metrics.contains("herd_peer_lag_records{peer=\"Clark\"} 1.0\n"), "{metrics}");
    assert!(!metrics.contains("herd_peer_lag_seconds{peer=\"Clark\"} 0.0\n"), "{metrics}");
    assert!(metrics.contains("herd_peers{state=\"down\"} 1.0\n"), "{metrics}");
}

#[tokio::test]
async fn callers_cannot_fill_the_metrics_with_names_and_those_who_leave_are_counted() {
    let node = Node::start(with_admin("Bailey", &[])).await.unwrap();
    let mut channel = channel(node.address()).await;
    for number in 0..3 {
        let mut grpc = tonic::client::Grpc::new(channel.clone());
        grpc.ready().await.unwrap();
        let path = format!("/herd.v1.Made/Up{number}").parse().unwrap();
        let codec = tonic_prost::ProstCodec::<(), ()>::default();
        let status = grpc.unary(tonic::Request::new(()), path, codec).await.unwrap_err();
        assert_eq!(status.code(), tonic::Code::Unimplemented);
    }
    let watch = LocationsClient::new(&mut channel).watch(WatchRequest::default()).await.unwrap();
    drop(watch);
    let left = "grpc_method=\"Watch\",grpc_code=\"Cancelled\"} 1\n";
    let admin = node.admin_address().unwrap();
    let metrics = eventually(async || get(admin, "/metrics").await, |text| text.contains(left));
    let metrics = metrics.await;
    let other = "grpc_service=\"other\",grpc_method=\"other\",grpc_code=\"Unimplemented\"} 3\n";
    assert!(metrics.contains(other) && !metrics.contains("Made"), "{metrics}");
}

#[tokio::test]
async fn ages_of_locations_that_were_asked_for_are_told() {
    let node = Node::start(with_admin("Bailey", &[])).await.unwrap();
    let mut client = locations(&node).await;
    client.report(report("kiwi")).await.unwrap();
    client.get(GetRequest { client_id: "kiwi".into() }).await.unwrap();
    client.get(GetRequest { client_id: "ghost".into() }).await.unwrap_err();
    let metrics = get(node.admin_address().unwrap(), "/metrics").await;
    assert!(metrics.contains("herd_location_age_seconds_count 1\n"), "{metrics}");
}

#[tokio::test]
async fn a_node_within_another_program_leaves_that_programs_log_alone() {
    let node = start("Bailey", &[]).await;
    let mut client = NodeClient::new(channel(node.address()).await);
    let ask = |filter: &str| SetLogFilterRequest { filter: filter.into() };
    let status = client.set_log_filter(ask("debug")).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::FailedPrecondition);
    let status = client.set_log_filter(ask("herd=loud")).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::InvalidArgument);
}

#[tokio::test]
async fn readyz_follows_readiness_and_the_port_closes_with_the_node() {
    let node = Node::start(with_admin("Bailey", &[])).await.unwrap();
    let admin = node.admin_address().unwrap();
    eventually(async || get(admin, "/readyz").await, |text| text.starts_with("HTTP/1.1 200")).await;
    assert!(get(admin, "/livez").await.starts_with("HTTP/1.1 200"));
    node.stop().await;
    assert!(TcpStream::connect(admin).await.is_err(), "nobody is left to answer");
}

#[tokio::test]
async fn a_port_that_is_taken_is_named() {
    let node = Node::start(with_admin("Bailey", &[])).await.unwrap();
    let mut second = config("Clark", &[]);
    second.admin = node.admin_address();
    let error = Node::start(second).await.unwrap_err().to_string();
    assert!(error.contains(&node.admin_address().unwrap().to_string()), "{error}");
}
