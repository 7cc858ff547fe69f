//! A peer of a release that could not compare trees yet.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::SystemTime;

use herd_node::Node;
use herd_node::herd::state::State;
use herd_proto::v1::{Batch, Frame, Hello, frame::Kind};
use herd_proto::{NodeName, Record, Report, Timestamp};

use crate::support::{Hand, eventually, frame, report, start, told};

const CLIENTS: u32 = 50;

/// Says Hello as the older release does: without features, and without any field that came later.
fn hello(instance: u64, clients: u64) -> Frame {
    frame(Kind::Hello(Hello {
        protocol_min: 1,
        protocol_max: 1,
        features: 0,
        cluster: "test".into(),
        node: "old".into(),
        instance,
        digest: 1,
        clients,
        ..Hello::default()
    }))
}

/// The older release would skip a frame of repair, but it must never wait for one.
fn no_repair(kind: &Kind) {
    let repair = matches!(kind, Kind::Compare(_) | Kind::Leaves(_) | Kind::Want(_));
    assert!(!repair, "a peer that cannot compare was sent {kind:?}");
}

fn clients(records: &[Record]) -> BTreeSet<String> {
    records.iter().map(|record| record.client_id.to_string()).collect()
}

/// A node whose friend is the old peer, which only ever dials in.
async fn node_with_old_friend() -> Node {
    let nowhere: SocketAddr = ([127, 0, 0, 1], 1).into();
    let node = start("Bona", &[("old", nowhere)]).await;
    for client in 0..CLIENTS {
        report(&node, &format!("c{client}"), 1_700_000_000).await;
    }
    node
}

#[tokio::test]
async fn an_older_friend_that_lost_its_memory_is_sent_everything_and_never_asked_to_compare() {
    let node = node_with_old_friend().await;
    let mut old = Hand::open(&node, hello(1, 0)).await;
    let first = old.take_records(CLIENTS as usize, no_repair).await;
    assert_eq!(clients(&first).len(), CLIENTS as usize);
    drop(old);
    report(&node, "c7", 1_700_000_001).await;
    // As many clients as the node has: a friend that can compare would be asked to.
    let mut old = Hand::open(&node, hello(2, u64::from(CLIENTS))).await;
    let again = old.take_records(CLIENTS as usize, no_repair).await;
    assert_eq!(clients(&again), clients(&first));
    let moved = again.iter().find(|record| record.client_id == "c7").unwrap();
    assert_eq!(moved.time_unix_nanos, 1_700_000_001_000_000_000);
}

#[tokio::test]
async fn an_older_friend_that_was_away_and_the_node_end_with_the_same_records() {
    let node = node_with_old_friend().await;
    let mut old = Hand::open(&node, hello(1, 0)).await;
    old.take_records(CLIENTS as usize, no_repair).await;
    let name = NodeName::parse("old").unwrap();
    let link = |state: &State| state.peers().get(&name).unwrap().active;
    let unacknowledged =
        async || node.shared().with(|state, _| link(state).map(|active| active.in_flight));
    eventually(unacknowledged, |records| *records == Some(0)).await;
    drop(old);
    eventually(unacknowledged, Option::is_none).await;
    report(&node, "news", 1_700_000_001).await;
    // The same run of the old peer comes back: it gets what it missed, and tells what it took.
    let old_record = Report::from_operands("other", "+1-1", "1700000002").unwrap().into_record(
        NodeName::parse("old").unwrap(),
        Timestamp::from(SystemTime::now()),
        0,
    );
    let mut old = Hand::open(&node, hello(1, u64::from(CLIENTS) + 1)).await;
    let batch = Batch { number: 1, records: vec![Record::from(&old_record)], ..Default::default() };
    old.say(frame(Kind::Batch(batch))).await;
    let missed = old.take_records(1, no_repair).await;
    assert_eq!(clients(&missed), BTreeSet::from(["news".to_owned()]));
    eventually(async || told(&node, "other").await, Option::is_some).await;
}
