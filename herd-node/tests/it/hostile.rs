//! Callers that mean harm, or act as if they did: each ends in a clear error, and the node goes on.

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use herd_proto::v1::locations_client::LocationsClient;
use herd_proto::v1::{
    Batch, Frame, GetRequest, ReportRequest, ReportStreamRequest, WatchRequest, frame::Kind,
};
use herd_proto::{MAX_BATCH, MAX_MESSAGE_BYTES, Record};
use prost::Message as _;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tonic::{Code, Streaming};

use crate::support::{channel, eventually, gossip, hello, locations, report, start, status};

/// Nobody may take this long to be refused.
const SOON: Duration = Duration::from_secs(10);

#[tokio::test]
async fn two_thousand_cancelled_calls_harm_neither_their_connection_nor_others() {
    let node = start("Bailey", &[]).await;
    let shared = channel(node.address()).await;
    let mut calls = JoinSet::new();
    for _ in 0..2000 {
        let mut client = LocationsClient::new(shared.clone());
        calls.spawn(async move {
            let call = client.get(GetRequest { client_id: "kiwi".into() });
            // Long enough to be sent now and then, too short to be answered always.
            let _ = tokio::time::timeout(Duration::from_micros(50), call).await;
        });
    }
    calls.join_all().await;
    let others = async || locations(&node).await.report(report("kiwi")).await.is_ok();
    assert!(others().await);
    // Whoever trips the guard of HTTP/2 against resets loses the connection, and gets a new one.
    let again = async || {
        let mut client = LocationsClient::new(shared.clone());
        client.get(GetRequest { client_id: "kiwi".into() }).await.is_ok()
    };
    eventually(again, |answered| *answered).await;
}

/// A request of some 60 bytes on the wire.
fn small() -> ReportStreamRequest {
    let padded = ReportRequest { client_id: "k".repeat(28).into(), ..report("kiwi") };
    ReportStreamRequest { reports: vec![padded], ..Default::default() }
}

#[tokio::test]
async fn a_hundred_thousand_small_messages_to_a_slow_reader_all_arrive() {
    const ALL: usize = 100_000;
    assert_eq!(small().encoded_len() + 5, 60);
    let node = start("Bailey", &[]).await;
    let sent = Arc::new(AtomicUsize::new(0));
    let counting = Arc::clone(&sent);
    let messages = tokio_stream::iter((0..ALL).map(move |_| {
        counting.fetch_add(1, Ordering::Relaxed);
        small()
    }));
    let mut answers = locations(&node).await.report_stream(messages).await.unwrap().into_inner();
    // Answers are left unread until everything on the way is full: the node does not read on,
    // and what waits is thousands of frames far smaller than HTTP/2 would have them.
    let stuck = async || {
        let before = sent.load(Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(200)).await;
        (before > 0 && before == sent.load(Ordering::Relaxed)).then_some(before)
    };
    let waiting = eventually(stuck, Option::is_some).await.unwrap();
    assert!(waiting < ALL, "nothing held the sender back");
    let mut answered = 0;
    while let Some(answer) = answers.message().await.unwrap() {
        assert!(answer.failures.is_empty());
        answered += 1;
    }
    assert_eq!(answered, ALL);
}

/// What a node answers to bytes on a connection of their own, until it closes or says enough.
async fn told(node: &herd_node::Node, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(node.address()).await.unwrap();
    let mut answer = vec![0; 64 << 10];
    let exchange = async {
        // The node may close before it has read everything.
        let _ = stream.write_all(bytes).await;
        let _ = stream.shutdown().await;
        let mut length = 0;
        while let Ok(count @ 1..) = stream.read(&mut answer[length..]).await {
            length += count;
        }
        length
    };
    let length = tokio::time::timeout(SOON, exchange).await.expect("the node holds on");
    answer.truncate(length);
    answer
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

#[tokio::test]
async fn a_frame_of_http_2_that_claims_16_mib_is_refused_unread() {
    let node = start("Bailey", &[]).await;
    let claim = [PREFACE, &[0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 1]].concat();
    let answer = told(&node, &claim).await;
    // GOAWAY with FRAME_SIZE_ERROR.
    assert!(answer.windows(4).any(|code| code == [0, 0, 0, 6]), "{answer:?}");
    assert!(locations(&node).await.report(report("kiwi")).await.is_ok());
}

#[tokio::test]
async fn a_message_that_claims_100_mb_is_refused_before_it_comes() {
    let node = start("Bailey", &[]).await;
    let refused = raw_call(&node, &[], &[&[0], &100_000_000_u32.to_be_bytes()[..]].concat()).await;
    assert_eq!(refused, Some(Code::OutOfRange));
    assert_eq!(status(&node).await.clients, 0);
}

#[tokio::test]
async fn a_zip_bomb_is_not_unpacked() {
    let node = start("Bailey", &[]).await;
    let mut bomb = GzEncoder::new(Vec::new(), Compression::best());
    let zeros = vec![0; 1 << 20];
    for _ in 0..64 {
        bomb.write_all(&zeros).unwrap();
    }
    let bomb = bomb.finish().unwrap();
    assert!(bomb.len() < 128 << 10);
    let message = [&[1], &(bomb.len() as u32).to_be_bytes()[..], &bomb].concat();
    let refused = raw_call(&node, &[("grpc-encoding", "gzip")], &message).await;
    assert_eq!(refused, Some(Code::Unimplemented));
}

/// Calls Locations/Report with a body of one's own, and returns the status.
async fn raw_call(node: &herd_node::Node, headers: &[(&str, &str)], body: &[u8]) -> Option<Code> {
    let stream = TcpStream::connect(node.address()).await.unwrap();
    let (client, connection) = h2::client::handshake(stream).await.unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { drop(connection.await) });
    let mut client = client.ready().await.unwrap();
    let mut request = http::Request::post("http://x/herd.v1.Locations/Report")
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let (response, mut outbound) = client.send_request(request.body(()).unwrap(), false).unwrap();
    outbound.send_data(body.to_vec().into(), true).unwrap();
    let response = tokio::time::timeout(SOON, response).await.expect("no answer").unwrap();
    let code = response.headers().get("grpc-status").cloned();
    let code = if code.is_some() {
        code
    } else {
        let mut body = response.into_body();
        while let Some(Ok(_)) = body.data().await {}
        body.trailers().await.unwrap().and_then(|trailers| trailers.get("grpc-status").cloned())
    };
    code.map(|code| Code::from_bytes(code.as_bytes()))
}

#[tokio::test]
async fn a_batch_of_too_many_records_ends_the_stream_with_the_reason() {
    // 4,097 of the smallest fit into a message, a million do not.
    let node = start("Bailey", &[]).await;
    let records = vec![Record::default(); MAX_BATCH + 1];
    let frames = [
        Kind::Hello(hello("Bona")),
        Kind::Batch(Batch { number: 1, records, ..Default::default() }),
    ];
    let frames = frames.map(|kind| Frame { kind: Some(kind) });
    let stream = gossip(&node).await.propagate(tokio_stream::iter(frames)).await;
    let said = goodbye(stream.unwrap().into_inner()).await;
    assert!(said.contains("4097"), "{said:?}");
    assert!(locations(&node).await.report(report("kiwi")).await.is_ok());
}

/// What a node says when it ends a link.
async fn goodbye(mut inbound: Streaming<Frame>) -> String {
    loop {
        match inbound.message().await.expect("the stream broke").and_then(|frame| frame.kind) {
            Some(Kind::Goodbye(goodbye)) => return goodbye.detail,
            Some(_) => {}
            None => return "nothing".into(),
        }
    }
}

#[tokio::test]
async fn a_batch_of_a_million_records_is_refused_by_its_size() {
    let node = start("Bailey", &[]).await;
    let records = vec![Record::default(); 1_000_000];
    let frames = [
        Kind::Hello(hello("Bona")),
        Kind::Batch(Batch { number: 1, records, ..Default::default() }),
    ];
    let frames = frames.map(|kind| Frame { kind: Some(kind) });
    let stream = gossip(&node).await.propagate(tokio_stream::iter(frames)).await;
    let said = goodbye(stream.unwrap().into_inner()).await;
    assert!(said.contains(&MAX_MESSAGE_BYTES.to_string()), "{said:?}");
    assert_eq!(status(&node).await.clients, 0);
}

#[tokio::test]
async fn random_bytes_at_the_port_end_and_leave_the_node_well() {
    let node = start("Bailey", &[]).await;
    let mut random = StdRng::seed_from_u64(7);
    for round in 0..100 {
        let length = random.random_range(1..20_000);
        let noise: Vec<u8> = (0..length).map(|_| random.random()).collect();
        // Half of it goes past the first look.
        let bytes = if round % 2 == 0 { noise } else { [PREFACE, &noise].concat() };
        told(&node, &bytes).await;
    }
    assert!(locations(&node).await.report(report("kiwi")).await.is_ok());
}

#[tokio::test]
async fn a_watcher_gets_nothing_of_clients_that_it_did_not_name() {
    let node = start("Bailey", &[]).await;
    let mut client = locations(&node).await;
    let request = WatchRequest {
        client_ids: vec!["kiwi".into()],
        include_current: true,
        ..WatchRequest::default()
    };
    let mut changes = client.watch(request).await.unwrap().into_inner();
    for other in ["moa", "emu", "kiwi2", "kiwi"] {
        client.report(report(other)).await.unwrap();
    }
    let seen = loop {
        let message = changes.message().await.unwrap().unwrap();
        if let Some(location) = message.locations.first() {
            break location.client_id.clone();
        }
    };
    assert_eq!(seen, "kiwi");
}
