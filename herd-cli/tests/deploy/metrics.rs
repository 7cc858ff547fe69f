//! Dashboard and alerts ask for metrics that there are.

use std::collections::BTreeSet;
use std::net::{SocketAddr, TcpListener};

use herd_edge::testing::TestCa;
use herd_gateway::Gateway;
use herd_gateway::args::Args;
use herd_node::settings::TlsSettings;
use herd_node::{Config, Node, Settings};
use herd_proto::NodeName;
use herd_proto::topology::Topology;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::files::{document, text};

/// What Prometheus itself adds.
const OWN: [&str; 1] = ["up"];

async fn scrape(address: SocketAddr) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = b"GET /metrics HTTP/1.1\r\nhost: herd\r\nconnection: close\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    answer
}

/// The names of all samples in an exposition.
fn samples(exposition: &str) -> BTreeSet<String> {
    let (_, body) = exposition.split_once("\r\n\r\n").unwrap();
    let lines = body.lines().filter(|line| !line.starts_with('#') && line.contains(' '));
    lines.map(|line| line.split(['{', ' ']).next().unwrap().to_owned()).collect()
}

/// Everything that a node and a gateway tell when all that is optional is on.
async fn told() -> BTreeSet<String> {
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
    let mut told = BTreeSet::new();
    for mut settings in [with_friends, by_dns] {
        settings.places.provider = Some("wikipedia".into());
        settings.places.contact = Some("herd@example.org".into());
        let config = Config::new(&herd, &name, settings).unwrap();
        let node = Node::start(config).await.unwrap();
        told.extend(samples(&scrape(node.admin_address().unwrap()).await));
        node.stop().await;
    }
    let args = Args {
        admin,
        listen: Some("127.0.0.1:0".into()),
        upstream: vec![nobody.to_string()],
        ..Args::default()
    };
    let settings = herd_gateway::settings::Settings::new(&args, &Topology::seed()).unwrap();
    let gateway = Gateway::start(settings.config).await.unwrap();
    told.extend(samples(&scrape(gateway.admin_address().unwrap()).await));
    told
}

/// The metrics in an expression.
fn asked(expression: &str) -> Vec<String> {
    // Not what stands in quotes, which are labels' values.
    let quoted = regex::Regex::new(r#""[^"]*""#).unwrap();
    let name =
        regex::Regex::new(r"\b(herd|process|up)\b[a-z0-9_]*|\b(herd|process)_[a-z0-9_]+").unwrap();
    let bare = quoted.replace_all(expression, "");
    name.find_iter(&bare).map(|found| found.as_str().to_owned()).collect()
}

#[tokio::test]
async fn every_metric_that_is_asked_for_is_told() {
    let told = told().await;
    let rules = document("components/monitoring/rules.yaml");
    let groups = rules["spec"]["groups"].as_array().unwrap().iter();
    let alerts = groups.flat_map(|group| group["rules"].as_array().unwrap());
    let alerts = alerts.map(|rule| (rule["alert"].clone(), rule["expr"].clone()));
    let dashboard: serde_json::Value =
        serde_json::from_str(&text("components/monitoring/dashboard.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let panels = panels.flat_map(|panel| {
        let targets = panel["targets"].as_array().cloned().unwrap_or_default();
        targets.into_iter().map(|target| (panel["title"].clone(), target["expr"].clone()))
    });
    let mut expressions = 0;
    for (whose, expression) in alerts.chain(panels) {
        let metrics = asked(expression.as_str().unwrap());
        assert!(!metrics.is_empty(), "{whose} asks for nothing: {expression}");
        for metric in metrics {
            let there = told.contains(&metric) || OWN.contains(&&*metric);
            assert!(there, "{whose} asks for {metric}, and nobody tells it: {told:#?}");
        }
        expressions += 1;
    }
    assert!(expressions > 40, "{expressions} expressions: some were not found");
}

#[test]
fn each_alert_has_its_section_in_the_readme() {
    let (rules, readme) = (text("components/monitoring/rules.yaml"), text("README.md"));
    let alerts: Vec<_> =
        rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(alerts.len() > 10);
    for alert in alerts {
        assert!(readme.contains(&format!("| `{alert}` |")), "{alert} is not in the README");
    }
}
