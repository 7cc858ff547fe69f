//! What operators see of a node over HTTP.

use std::net::SocketAddr;

use herd_node::{Config, Node};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::{config, eventually, locations, report};

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
    let sent = "herd_gossip_sent_records_total{peer=\"Clark\"} 1.0\n";
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
        "herd_store_persistent 0.0\n",
        "herd_store_healthy 1.0\n",
        "process_resident_memory_bytes ",
    ] {
        assert!(metrics.contains(line), "{line} is not in {metrics}");
    }
    clark.stop().await;
    let down = "herd_peer_up{peer=\"Clark\"} 0.0\n";
    eventually(async || get(admin, "/metrics").await, |text| text.contains(down)).await;
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
