//! What stands before the first line: TLS, and a balancer's word for whom it speaks.

use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;

use herd_edge::Reason;
use herd_edge::testing::TestCa;
use herd_gateway::{Config, Limits};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::fake_node::{FakeNode, Script};
use crate::support::{Client, ask, eventually, iamat, in_time, named, recorded, start};

fn connector(ca: &TestCa) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca.ca()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    TlsConnector::from(Arc::new(config))
}

async fn ask_in_tls(address: SocketAddr, ca: &TestCa, input: &str) -> String {
    let stream = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from("text.example").unwrap();
    let mut stream = connector(ca).connect(name, stream).await.unwrap();
    let mut answer = String::new();
    let exchange = async {
        // More than one record, and more than is read at once.
        for part in input.as_bytes().chunks(10_000) {
            stream.write_all(part).await.unwrap();
        }
        stream.shutdown().await.unwrap();
        stream.read_to_string(&mut answer).await.unwrap();
    };
    in_time("an answer in TLS", exchange).await;
    answer
}

#[tokio::test]
async fn text_clients_may_speak_tls_and_then_must() {
    let ca = TestCa::new("text");
    let node = FakeNode::start(&Script::new("Bailey"));
    let mut config = named(node.address);
    config.text_tls = ca.files("text", &["text.example"]).pair;
    let (gateway, address) = start(config).await;
    assert_eq!(ask_in_tls(address, &ca, &iamat("kiwi")).await, recorded("kiwi"));
    let many = iamat("kiwi").repeat(3000);
    assert_eq!(ask_in_tls(address, &ca, &many).await, recorded("kiwi").repeat(3000));
    let mut plain = Client::connect(address).await;
    plain.send(iamat("kiwi")).await;
    let mut answer = Vec::new();
    let _ = in_time("the end", plain.0.read_to_end(&mut answer)).await;
    assert!(!answer.starts_with(b"AT"));
    eventually("counted", || gateway.refusals().of(Reason::Handshake) == 1).await;
}

#[tokio::test]
async fn text_that_comes_with_the_end_of_the_handshake_is_answered() {
    let ca = TestCa::new("text");
    let node = FakeNode::start(&Script::new("Bailey"));
    let mut config = named(node.address);
    config.text_tls = ca.files("text", &["text.example"]).pair;
    let (_gateway, address) = start(config).await;
    let name = ServerName::try_from("text.example").unwrap();
    let stream = TcpStream::connect(address).await.unwrap();
    // In one packet with the client's last word of the handshake, as many clients do.
    let early = |session: &mut ClientConnection| {
        session.writer().write_all(iamat("kiwi").as_bytes()).unwrap();
    };
    let mut stream = connector(&ca).connect_with(name, stream, early).await.unwrap();
    let mut answer = vec![0; recorded("kiwi").len()];
    in_time("an answer", stream.read_exact(&mut answer)).await.unwrap();
    assert_eq!(String::from_utf8(answer).unwrap(), recorded("kiwi"));
}

#[tokio::test]
async fn what_came_before_an_end_without_goodbye_is_reported() {
    let ca = TestCa::new("text");
    let script = Script::new("Bailey");
    let node = FakeNode::start(&script);
    let mut config = named(node.address);
    config.text_tls = ca.files("text", &["text.example"]).pair;
    let (_gateway, address) = start(config).await;
    for round in 1..=20 {
        let name = ServerName::try_from("text.example").unwrap();
        let stream = TcpStream::connect(address).await.unwrap();
        let mut stream = connector(&ca).connect(name, stream).await.unwrap();
        stream.write_all(iamat("kiwi").as_bytes()).await.unwrap();
        stream.flush().await.unwrap();
        // The end of the TCP connection alone.
        let (mut stream, _) = stream.into_inner();
        stream.shutdown().await.unwrap();
        eventually("a report", || script.reported().len() == round).await;
    }
}

/// A header of version 2 for TCP over IPv4, from `client`.
fn header(client: [u8; 4]) -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".to_vec();
    header.extend(client);
    header.extend([127, 0, 0, 1]);
    header.extend([0x30, 0x39, 0x27, 0x10]);
    header
}

#[tokio::test]
async fn a_balancer_tells_for_whom_it_speaks_and_limits_hold_for_them() {
    let node = FakeNode::start(&Script::new("Bailey"));
    let config = named(node.address);
    let limits = Limits { max_connections_per_address: 1, ..config.limits };
    let (gateway, address) = start(Config { limits, proxy_protocol: true, ..config }).await;
    let mut first = Client::connect(address).await;
    first.send(header([192, 0, 2, 1])).await;
    first.send(iamat("kiwi")).await;
    first.expect(&recorded("kiwi")).await;
    let mut same = Client::connect(address).await;
    same.send(header([192, 0, 2, 1])).await;
    same.expect_end().await;
    assert_eq!(gateway.refusals().of(Reason::ConnectionsPerAddress), 1);
    let other = [header([192, 0, 2, 2]), iamat("moa").into_bytes()].concat();
    assert_eq!(ask(address, other).await, recorded("moa"));
}

#[tokio::test]
async fn without_a_header_nobody_gets_past_a_port_for_balancers() {
    let node = FakeNode::start(&Script::new("Bailey"));
    let config = Config { proxy_protocol: true, ..named(node.address) };
    let (gateway, address) = start(config).await;
    let version_1 = "PROXY TCP4 192.0.2.1 127.0.0.1 5 6\r\n";
    for (count, wrong) in (1..).zip([&*iamat("kiwi"), version_1]) {
        let mut client = Client::connect(address).await;
        client.send(wrong).await;
        client.expect_end().await;
        let counted = || gateway.refusals().of(Reason::ProxyHeader) == count;
        eventually("counted", counted).await;
    }
}
