//! Reports travel: between nodes, and from a person who feeds a stream by hand.

use std::time::{Duration, SystemTime};

use herd_proto::v1::{Batch, Frame, GetRequest, frame::Kind};
use herd_proto::{NodeName, Record, Report};
use tokio_stream::StreamExt as _;

use crate::support::{
    config, eventually, gossip, hello, locations, mute_peer, report, start, status,
};
use herd_node::Node;

/// The client's origin and words as a node tells them.
async fn told(node: &Node, client: &str) -> Option<(String, String)> {
    let request = GetRequest { client_id: client.into() };
    let found = locations(node).await.get(request).await.ok()?.into_inner().location?;
    Some((found.origin, found.time_text))
}

#[tokio::test]
async fn a_report_reaches_friends_of_friends() {
    let bailey = start("Bailey", &[]).await;
    let bona = start("Bona", &[("Bailey", bailey.address())]).await;
    let clark = start("Clark", &[("Bona", bona.address())]).await;
    locations(&bailey).await.report(report("kiwi")).await.unwrap();
    let expected = Some(("Bailey".to_owned(), "1700000000.5".to_owned()));
    eventually(async || told(&clark, "kiwi").await, |seen| *seen == expected).await;
}

/// Two nodes that are each other's friends.
async fn friends() -> (Node, Node) {
    let first = start("Bailey", &[]).await;
    let address = first.address();
    first.stop().await;
    let bona = start("Bona", &[("Bailey", address)]).await;
    let mut settings = config("Bailey", &[("Bona", bona.address())]);
    settings.listen = address;
    (Node::start(settings).await.unwrap(), bona)
}

#[tokio::test]
async fn two_nodes_that_dial_each_other_end_with_one_stream_that_both_name_alike() {
    let (bailey, bona) = friends().await;
    eventually(
        async || (status(&bailey).await.peers, status(&bona).await.peers),
        |(a, b)| a[0].state == 2 && b[0].state == 2 && a[0].dialled_here != b[0].dialled_here,
    )
    .await;
    locations(&bailey).await.report(report("kiwi")).await.unwrap();
    eventually(async || told(&bona, "kiwi").await, Option::is_some).await;
}

#[tokio::test]
async fn after_a_break_a_friend_is_sent_what_it_missed_and_not_what_it_had() {
    let (bailey, bona) = friends().await;
    let mut client = locations(&bailey).await;
    for number in 0..500 {
        client.report(report(&format!("c{number}"))).await.unwrap();
    }
    let records = async || status(&bona).await.peers[0].records.unwrap();
    eventually(async || records().await.received, |received| *received == 500).await;
    // A stranger that calls itself Bailey takes the place of the stream, and leaves.
    let (frames, outbound) = tokio::sync::mpsc::channel(1);
    frames.send(Frame { kind: Some(Kind::Hello(hello("Bailey"))) }).await.unwrap();
    let outbound = tokio_stream::wrappers::ReceiverStream::new(outbound);
    let stranger = gossip(&bona).await.propagate(outbound).await.unwrap();
    let bailey_hears = async || status(&bailey).await.peers[0].last_error.clone();
    eventually(bailey_hears, |error| error.contains("another stream")).await;
    client.report(report("missed")).await.unwrap();
    drop((frames, stranger));
    eventually(async || told(&bona, "missed").await, Option::is_some).await;
    assert!(records().await.received < 520, "{:?}", records().await);
}

#[tokio::test]
async fn a_node_that_comes_back_empty_is_told_everything() {
    let bailey = start("Bailey", &[]).await;
    let mut client = locations(&bailey).await;
    for number in 0..2000 {
        client.report(report(&format!("c{number}"))).await.unwrap();
    }
    let bona = start("Bona", &[("Bailey", bailey.address())]).await;
    let digests = async || (status(&bailey).await.digest, status(&bona).await.digest);
    eventually(digests, |(a, b)| a == b && *a != 0).await;
    let address = bona.address();
    bona.stop().await;
    let mut again = config("Bona", &[("Bailey", bailey.address())]);
    again.listen = address;
    let bona = Node::start(again).await.unwrap();
    let digests = async || (status(&bailey).await.digest, status(&bona).await.digest);
    eventually(digests, |(a, b)| a == b && *a != 0).await;
}

#[tokio::test]
async fn a_person_can_feed_a_stream_by_hand_and_is_answered() {
    let bailey = start("Bailey", &[]).await;
    let bona = start("Bona", &[("Bailey", bailey.address())]).await;
    let origin = NodeName::parse("hand").unwrap();
    let record = Report::from_operands("kiwi", "+12-118", "1700000000.5").unwrap().into_record(
        origin,
        SystemTime::now().into(),
        0,
    );
    let batch = Batch {
        number: 1,
        records: vec![Record::from(&record), Record::default()],
        ..Default::default()
    };
    let frames =
        [Kind::Hello(hello("hand")), Kind::Batch(batch)].map(|kind| Frame { kind: Some(kind) });
    let answers = gossip(&bona).await.propagate(tokio_stream::iter(frames)).await.unwrap();
    let answers: Vec<_> = answers.into_inner().collect::<Result<_, _>>().await.unwrap();
    let kinds: Vec<_> = answers.into_iter().filter_map(|frame| frame.kind).collect();
    assert!(matches!(&kinds[0], Kind::Hello(hello) if hello.node == "Bona"));
    assert!(kinds.iter().any(|kind| matches!(kind, Kind::Ack(ack) if ack.number == 1)));
    eventually(async || told(&bailey, "kiwi").await, Option::is_some).await;
}

#[tokio::test]
async fn another_herd_is_refused_with_the_reason_in_the_status() {
    let bailey = start("Bailey", &[]).await;
    let mut stranger = config("Bona", &[("Bailey", bailey.address())]);
    stranger.cluster = "other".into();
    let stranger = Node::start(stranger).await.unwrap();
    let peers =
        eventually(async || status(&stranger).await.peers, |peers| !peers[0].last_error.is_empty())
            .await;
    // Both ends see it; whoever is first says it.
    let error = &peers[0].last_error;
    assert!(error.contains("\"test\"") && error.contains("\"other\""), "{error}");
    locations(&bailey).await.report(report("kiwi")).await.unwrap();
    assert_eq!(status(&stranger).await.clients, 0);
}

#[tokio::test]
async fn friends_with_other_settings_link_and_both_say_what_differs() {
    let mut hasty = config("Bailey", &[]);
    (hasty.retention, hasty.max_future) = (None, Duration::from_mins(5));
    let bailey = Node::start(hasty).await.unwrap();
    let bona = start("Bona", &[("Bailey", bailey.address())]).await;
    locations(&bailey).await.report(report("kiwi")).await.unwrap();
    eventually(async || told(&bona, "kiwi").await, Option::is_some).await;
    let told = async |node| status(node).await.peers[0].disagreement.clone();
    assert_eq!(
        told(&bona).await,
        "retention is none there and 30days here, max_future is 5m there and 1day here"
    );
    assert_eq!(
        told(&bailey).await,
        "retention is 30days there and none here, max_future is 1day there and 5m here"
    );
    // Whoever does not tell, an older node or a person, is not held to anything.
    let clark = start("Clark", &[]).await;
    let _mute = mute_peer(&clark).await;
    assert_eq!(told(&clark).await, "");
}
