//! Who gets in by certificate, and what changes when the files do.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use herd_edge::testing::TestCa;
use herd_edge::{ClientAuth, Dialler, Pair, Tls, TlsFiles};
use herd_node::settings::TlsConfig;
use herd_node::{Config, Node};
use herd_proto::NodeName;
use herd_proto::v1::gossip_client::GossipClient;
use herd_proto::v1::locations_client::LocationsClient;
use herd_proto::v1::node_client::NodeClient;
use herd_proto::v1::{
    Frame, GetRequest, GetStatusRequest, GetStatusResponse, Reason, WatchRequest, frame::Kind,
};
use tonic::Code;
use tonic::transport::{self, Channel, Endpoint};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::support::{config, eventually, hello, report};

/// A node whose herd has these names, with a certificate.
fn with_tls(name: &str, friends: &[(&str, std::net::SocketAddr)], files: TlsFiles) -> Config {
    let mut config = config(name, friends);
    config.nodes = ["Bailey", "Bona"]
        .map(|name| (NodeName::parse(name).unwrap(), "127.0.0.1:1".to_owned()))
        .into();
    config.tls = Some(TlsConfig { files, clients: ClientAuth::Optional });
    config
}

async fn dial(node: &Node, files: TlsFiles) -> Result<Channel, transport::Error> {
    let tls = Tls::load(files, ClientAuth::None, Tls::HTTP2).await.unwrap();
    let endpoint = Endpoint::from_shared(format!("http://{}", node.address())).unwrap();
    Dialler::new(Some(tls)).for_node("Bailey").connect(&endpoint).await
}

/// A client that knows the CA and has nothing to show.
fn only(ca: &TestCa) -> TlsFiles {
    TlsFiles { pair: None, ca: Some(ca.ca()) }
}

async fn status(node: &Node, ca: &TestCa) -> GetStatusResponse {
    let mut client = NodeClient::new(dial(node, only(ca)).await.unwrap());
    client.get_status(GetStatusRequest {}).await.unwrap().into_inner()
}

async fn gossip_as(channel: Channel, name: &str) -> Result<Vec<Frame>, tonic::Status> {
    let frames = [Frame { kind: Some(Kind::Hello(hello(name))) }];
    let mut client = GossipClient::new(channel);
    let mut inbound = client.propagate(tokio_stream::iter(frames)).await?.into_inner();
    let mut heard = Vec::new();
    while let Some(frame) = inbound.message().await? {
        heard.push(frame);
    }
    Ok(heard)
}

fn end(heard: &[Frame]) -> Option<Reason> {
    heard.iter().find_map(|frame| match &frame.kind {
        Some(Kind::Goodbye(goodbye)) => Some(goodbye.reason()),
        _ => None,
    })
}

#[tokio::test]
async fn friends_with_certificates_link_and_a_report_crosses() {
    let ca = TestCa::new("herd");
    let bailey = with_tls("Bailey", &[], ca.files("bailey", &["Bailey"]));
    let bailey = Node::start(bailey).await.unwrap();
    let friends = [("Bailey", bailey.address())];
    let bona = Node::start(with_tls("Bona", &friends, ca.files("bona", &["Bona"]))).await.unwrap();
    let mut client = LocationsClient::new(dial(&bailey, only(&ca)).await.unwrap());
    client.report(report("kiwi")).await.unwrap();
    // Bona's certificate does not bear the name that `dial` asks for.
    let shared = bona.shared();
    eventually(async || shared.with(|state, _| state.table().len()), |held| *held == 1).await;
    let tls = status(&bailey, &ca).await.tls.unwrap();
    assert!(tls.healthy && tls.not_after.unwrap().seconds > 4_000_000_000);
}

#[tokio::test]
async fn peers_may_gossip_and_nothing_else_and_clients_may_not_gossip() {
    let ca = TestCa::new("herd");
    let node = with_tls("Bailey", &[], ca.files("bailey", &["Bailey"]));
    let node = Node::start(node).await.unwrap();

    let nobody = dial(&node, only(&ca)).await.unwrap();
    let refused = gossip_as(nobody.clone(), "Bona").await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated, "{refused}");
    assert!(LocationsClient::new(nobody).report(report("kiwi")).await.is_ok());

    let client = dial(&node, ca.files("client", &["phone-7"])).await.unwrap();
    let refused = gossip_as(client.clone(), "Bona").await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied, "{refused}");
    assert!(LocationsClient::new(client).report(report("kiwi")).await.is_ok());

    let peer = dial(&node, ca.files("bona", &["bona"])).await.unwrap();
    let get = GetRequest { client_id: "kiwi".into() };
    let refused = LocationsClient::new(peer.clone()).get(get).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied, "{refused}");
    assert!(HealthClient::new(peer.clone()).check(HealthCheckRequest::default()).await.is_ok());
    assert_eq!(end(&gossip_as(peer.clone(), "Bona").await.unwrap()), None);
    // Nor may it speak in another's name, known or not.
    for name in ["Bailey2", "Clark"] {
        let heard = gossip_as(peer.clone(), name).await.unwrap();
        assert_eq!(end(&heard), Some(Reason::NotAllowed), "{heard:?}");
    }
}

#[tokio::test]
async fn a_friend_of_another_ca_or_with_an_expired_certificate_is_refused_with_the_reason() {
    let (ca, other) = (TestCa::new("herd"), TestCa::new("other"));
    let strange = other.files("bona", &["Bona"]);
    let expired = ca.expired("expired", &["Bona"]);
    for (files, word) in [(strange, "UnknownIssuer"), (expired, "expired")] {
        let bona = Node::start(with_tls("Bona", &[], files)).await.unwrap();
        let friends = [("Bona", bona.address())];
        let bailey = with_tls("Bailey", &friends, ca.files("bailey", &["Bailey"]));
        let bailey = Node::start(bailey).await.unwrap();
        let error = async || status(&bailey, &ca).await.peers[0].last_error.clone();
        eventually(error, |error| error.contains(word)).await;
    }
}

#[tokio::test]
async fn a_node_that_is_refused_dials_seldom() {
    let (ca, other) = (TestCa::new("herd"), TestCa::new("other"));
    // It trusts the herd's CA, and the herd does not trust its own.
    let mut files = other.files("bona", &["Bona"]);
    files.ca = Some(ca.ca());
    let bailey = with_tls("Bailey", &[], ca.files("bailey", &["Bailey"]));
    let bailey = Node::start(bailey).await.unwrap();
    let friends = [("Bailey", bailey.address())];
    let bona = Node::start(with_tls("Bona", &friends, files)).await.unwrap();
    let error = async || {
        let of = |state: &mut herd_node::herd::state::State, _| {
            state.peers().iter().next().map(|(_, peer)| peer.last_error.clone())
        };
        bona.shared().with(of).unwrap_or_default()
    };
    eventually(error, |error| error.contains("UnknownCA") || error.contains("certificate")).await;
}

#[tokio::test]
async fn plain_text_and_tls_do_not_mix() {
    let ca = TestCa::new("herd");
    let node = with_tls("Bailey", &[], ca.files("bailey", &["Bailey"]));
    let node = Node::start(node).await.unwrap();
    let plain = Endpoint::from_shared(format!("http://{}", node.address())).unwrap();
    let plain = async || match plain.connect().await {
        Ok(channel) => LocationsClient::new(channel).report(report("kiwi")).await.is_ok(),
        Err(_) => false,
    };
    assert!(!plain().await);
    let open = Node::start(config("Bona", &[])).await.unwrap();
    let error = dial(&open, only(&ca)).await.unwrap_err();
    assert!(herd_edge::is_refused(&error), "{error:?}");
}

#[tokio::test]
async fn a_herd_may_want_a_certificate_of_everybody() {
    let ca = TestCa::new("herd");
    let mut node = with_tls("Bailey", &[], ca.files("bailey", &["Bailey"]));
    node.tls.as_mut().unwrap().clients = ClientAuth::Required;
    let node = Node::start(node).await.unwrap();
    let answered = async |files| match dial(&node, files).await {
        Ok(channel) => LocationsClient::new(channel).report(report("kiwi")).await.is_ok(),
        Err(_) => false,
    };
    assert!(!answered(only(&ca)).await);
    assert!(answered(ca.files("client", &["phone-7"])).await);
}

/// As the kubelet does it: files behind a link to a folder, which is replaced as a whole.
fn publish(directory: &Path, version: &str, files: &TlsFiles) {
    let Pair { cert, key } = files.pair.as_ref().unwrap();
    let data = directory.join(version);
    fs::create_dir(&data).unwrap();
    fs::copy(cert, data.join("tls.crt")).unwrap();
    fs::copy(key, data.join("tls.key")).unwrap();
    fs::copy(files.ca.as_ref().unwrap(), data.join("ca.crt")).unwrap();
    symlink(version, directory.join("..data_tmp")).unwrap();
    fs::rename(directory.join("..data_tmp"), directory.join("..data")).unwrap();
}

#[tokio::test]
async fn certificates_are_replaced_under_way_and_no_stream_breaks() {
    let (old, new) = (TestCa::new("old"), TestCa::new("new"));
    let mount = tempfile::tempdir().unwrap();
    publish(mount.path(), "..1", &old.files("bailey", &["Bailey"]));
    for name in ["tls.crt", "tls.key", "ca.crt"] {
        symlink(Path::new("..data").join(name), mount.path().join(name)).unwrap();
    }
    let at = |name: &str| mount.path().join(name);
    let pair = Pair { cert: at("tls.crt"), key: at("tls.key") };
    let files = TlsFiles { pair: Some(pair), ca: Some(at("ca.crt")) };
    let node = Node::start(with_tls("Bailey", &[], files)).await.unwrap();

    let before = dial(&node, only(&old)).await.unwrap();
    let mut client = LocationsClient::new(before);
    let mut changes = client.watch(WatchRequest::default()).await.unwrap().into_inner();
    assert!(dial(&node, only(&new)).await.is_err());

    publish(mount.path(), "..2", &new.files("bailey", &["Bailey"]));
    let mut calls = 0;
    let replaced = async || {
        // The load under which it happens.
        client.report(report("kiwi")).await.unwrap();
        calls += 1;
        dial(&node, only(&new)).await.is_ok()
    };
    eventually(replaced, |replaced| *replaced).await;
    assert!(calls > 1 && dial(&node, only(&old)).await.is_err());
    assert!(changes.message().await.unwrap().is_some(), "the old stream lives on");

    // A certificate whose key is another's: the last good pair stays, and the status says so.
    let torn = new.files("torn", &["Bailey"]);
    fs::copy(new.directory().join("bailey.key"), new.directory().join("torn.key")).unwrap();
    publish(mount.path(), "..3", &torn);
    let healthy = async || status(&node, &new).await.tls.unwrap();
    let tls = eventually(healthy, |tls| !tls.healthy).await;
    assert!(tls.last_error.contains("tls.crt"), "{}", tls.last_error);
}

#[tokio::test]
async fn a_node_without_a_sound_certificate_does_not_start_and_names_the_file() {
    let ca = TestCa::new("herd");
    let files = ca.files("bailey", &["Bailey"]);
    fs::write(ca.directory().join("bailey.key"), "no key").unwrap();
    let error = Node::start(with_tls("Bailey", &[], files)).await.unwrap_err().to_string();
    assert!(error.contains("bailey.key: holds no private key"), "{error}");
}

#[tokio::test]
async fn a_connection_that_says_nothing_is_no_bar_to_others() {
    let ca = TestCa::new("herd");
    let node = with_tls("Bailey", &[], ca.files("bailey", &["Bailey"]));
    let node = Node::start(node).await.unwrap();
    let silent = tokio::net::TcpStream::connect(node.address()).await.unwrap();
    let begun = std::time::Instant::now();
    assert!(dial(&node, only(&ca)).await.is_ok());
    assert!(begun.elapsed() < Duration::from_secs(5));
    drop(silent);
}
