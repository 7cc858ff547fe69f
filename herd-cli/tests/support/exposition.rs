//! What the programs tell Prometheus.

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use herd_cli::Client;
use herd_edge::testing::TestCa;
use herd_gateway::Gateway;
use herd_gateway::args::Args;
use herd_node::settings::TlsSettings;
use herd_node::{Config, Node, Settings};
use herd_proto::NodeName;
use herd_proto::topology::Topology;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Who tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Program {
    Node,
    Gateway,
}

async fn scrape(address: SocketAddr) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = b"GET /metrics HTTP/1.1\r\nhost: herd\r\nconnection: close\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    body.to_owned()
}

/// What nodes and a gateway tell when all that is optional is on.
pub(crate) async fn expositions() -> Vec<(Program, String)> {
    let herd = "[[nodes]]\nname = 'a'\naddress = '127.0.0.1:0'\nfriends = ['b']\n\
                [[nodes]]\nname = 'b'\naddress = '127.0.0.1:1'";
    let herd = Topology::parse(herd).unwrap();
    let name = NodeName::parse("a").unwrap();
    let ca = TestCa::new("herd CA");
    let files = ca.files("a", &["a"]);
    let pair = files.pair.unwrap();
    let admin = Some("127.0.0.1:0".to_owned());
    let tls = TlsSettings {
        cert: Some(pair.cert),
        key: Some(pair.key),
        ca: files.ca.clone(),
        client_auth: None,
    };
    let with_friends = Settings { admin: admin.clone(), tls, ..Settings::default() };
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let by_dns = Settings {
        admin: admin.clone(),
        peers_dns: Some("_grpc._tcp.herd-node-peers".into()),
        dns_server: Some(nobody.to_string()),
        ..Settings::default()
    };
    let mut told = Vec::new();
    for mut settings in [with_friends, by_dns] {
        settings.places.provider = Some("wikipedia".into());
        settings.places.contact = Some("herd@example.org".into());
        let config = Config::new(&herd, &name, settings).unwrap();
        let plain = config.tls.is_none();
        let node = Node::start(config).await.unwrap();
        if plain {
            // Calls are told of once there were some.
            let address = node.address().to_string();
            let client = Client::connect(&address, Duration::from_secs(20)).await.unwrap();
            client.status().await.unwrap();
        }
        told.push((Program::Node, scrape(node.admin_address().unwrap()).await));
        node.stop().await;
    }
    let args = Args {
        admin,
        listen: Some("127.0.0.1:0".into()),
        upstream: vec![nobody.to_string()],
        at_friend: vec![nobody.to_string()],
        ..Args::default()
    };
    let settings = herd_gateway::settings::Settings::new(&args, &Topology::seed()).unwrap();
    let gateway = Gateway::start(settings.config).await.unwrap();
    told.push((Program::Gateway, scrape(gateway.admin_address().unwrap()).await));
    told
}
