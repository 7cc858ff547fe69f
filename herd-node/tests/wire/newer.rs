//! A peer of a release that knows more than this one.

use std::time::SystemTime;

use herd_proto::v1::{Frame, Hello, frame::Kind};
use herd_proto::{NodeName, Record, Timestamp};
use prost::Message as _;

use crate::support::{Hand, eventually, frame, start};

/// A frame as a later release may define it.
#[derive(Clone, PartialEq, prost::Message)]
struct NewerFrame {
    #[prost(oneof = "NewerKind", tags = "1, 2, 20")]
    kind: Option<NewerKind>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum NewerKind {
    #[prost(message, tag = "1")]
    Hello(NewerHello),
    #[prost(message, tag = "2")]
    Batch(NewerBatch),
    /// A kind that this release has never heard of.
    #[prost(message, tag = "20")]
    Later(Later),
}

#[derive(Clone, PartialEq, prost::Message)]
struct NewerHello {
    #[prost(uint32, tag = "1")]
    protocol_min: u32,
    #[prost(uint32, tag = "2")]
    protocol_max: u32,
    #[prost(uint64, tag = "3")]
    features: u64,
    #[prost(string, tag = "4")]
    cluster: String,
    #[prost(string, tag = "5")]
    node: String,
    #[prost(fixed64, tag = "6")]
    instance: u64,
    #[prost(string, tag = "40")]
    region: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct NewerBatch {
    #[prost(uint64, tag = "1")]
    number: u64,
    #[prost(message, repeated, tag = "2")]
    records: Vec<NewerRecord>,
    #[prost(bytes = "vec", tag = "9")]
    signature: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct NewerRecord {
    #[prost(string, tag = "1")]
    client_id: String,
    #[prost(sfixed32, tag = "2")]
    latitude_e7: i32,
    #[prost(sfixed64, tag = "4")]
    time_unix_nanos: i64,
    #[prost(sfixed64, tag = "5")]
    receive_time_unix_nanos: i64,
    #[prost(string, tag = "6")]
    origin: String,
    #[prost(double, tag = "11")]
    altitude: f64,
    #[prost(string, tag = "300")]
    note: String,
    #[prost(sint64, tag = "301")]
    number: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Later {
    #[prost(string, tag = "1")]
    words: String,
}

fn newer(kind: NewerKind) -> NewerFrame {
    NewerFrame { kind: Some(kind) }
}

#[tokio::test]
async fn what_only_a_newer_node_knows_of_a_record_passes_through_nodes_that_do_not() {
    let clark = start("Clark", &[]).await;
    let bona = start("Bona", &[("Clark", clark.address())]).await;
    let hello = NewerHello {
        protocol_min: 1,
        protocol_max: 3,
        features: u64::MAX,
        cluster: "test".into(),
        node: "new".into(),
        instance: 9,
        region: "eu-west".into(),
    };
    let hand = Hand::open(&bona, newer(NewerKind::Hello(hello))).await;
    hand.say(newer(NewerKind::Later(Later { words: "what is this".into() }))).await;
    let record = NewerRecord {
        client_id: "kiwi".into(),
        latitude_e7: 120_000_000,
        time_unix_nanos: 1_700_000_000_000_000_000,
        receive_time_unix_nanos: Timestamp::from(SystemTime::now()).unix_nanos(),
        origin: "new".into(),
        altitude: 1234.5,
        note: "later".into(),
        number: -7,
    };
    let batch = NewerBatch { number: 1, records: vec![record.clone()], signature: vec![1, 2, 3] };
    hand.say(newer(NewerKind::Batch(batch))).await;

    // A third node, behind one that had never heard of any of this.
    let hello = Hello {
        protocol_min: 1,
        protocol_max: 1,
        cluster: "test".into(),
        node: "third".into(),
        ..Hello::default()
    };
    let mut third: Hand<Frame> = Hand::open(&clark, frame(Kind::Hello(hello))).await;
    let received: Vec<Record> = third.take_records(1, |_| ()).await;
    let arrived = NewerRecord::decode(&*received[0].encode_to_vec()).unwrap();
    assert_eq!(arrived, record);

    let name = NodeName::parse("new").unwrap();
    let counts = async || {
        bona.shared().with(|state, _| {
            let counts = state.peers().get(&name).map(|peer| peer.counts);
            counts.map(|counts| (counts.unknown_frames, counts.applied, counts.bad))
        })
    };
    eventually(counts, |seen| *seen == Some((1, 1, 0))).await;
}

#[tokio::test]
async fn a_peer_that_speaks_only_later_versions_is_told_which_are_spoken_here() {
    let bona = start("Bona", &[]).await;
    let hello = NewerHello {
        protocol_min: 2,
        protocol_max: 3,
        cluster: "test".into(),
        node: "new".into(),
        ..NewerHello::default()
    };
    let mut hand = Hand::open(&bona, newer(NewerKind::Hello(hello))).await;
    let goodbye = loop {
        if let Kind::Goodbye(goodbye) = hand.hear().await {
            break goodbye;
        }
    };
    assert_eq!(goodbye.reason().as_str_name(), "REASON_WRONG_VERSION");
    assert!(goodbye.detail.contains("protocol 1"), "{}", goodbye.detail);
}
