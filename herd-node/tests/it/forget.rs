//! Forgetting and expiring, on running nodes.

use std::path::Path;
use std::time::Duration;

use herd_node::durability::{AckLevel, DataConfig};
use herd_node::{Config, Node};
use herd_proto::v1::frame::Kind;
use herd_proto::v1::{Batch, ForgetRequest, ForgetResponse, Frame, GetRequest, WatchRequest};
use herd_proto::{LocationRecord, NodeName, Position, Record, Timestamp};
use tokio_stream::StreamExt as _;
use tonic::{Code, Status};

use crate::support::{config, eventually, gossip, hello, locations, report, start, status};

async fn forget(node: &Node, client: &str) -> Result<ForgetResponse, Status> {
    let request = ForgetRequest { client_id: client.into(), ..Default::default() };
    locations(node).await.forget(request).await.map(tonic::Response::into_inner)
}

async fn knows(node: &Node, client: &str) -> bool {
    match locations(node).await.get(GetRequest { client_id: client.into() }).await {
        Ok(_) => true,
        Err(status) => {
            assert_eq!(status.code(), Code::NotFound);
            false
        }
    }
}

fn kept_in(directory: &Path) -> Config {
    let mut config = config("Bailey", &[]);
    let directory = directory.to_path_buf();
    let (ack_level, sync_interval) = (AckLevel::Process, Duration::from_secs(1));
    config.data = Some(DataConfig { directory, ack_level, sync_interval });
    config
}

#[tokio::test]
async fn what_one_node_forgets_all_forget_until_the_client_reports_again() {
    let bailey = start("Bailey", &[]).await;
    let bona = start("Bona", &[("Bailey", bailey.address())]).await;
    let answer = locations(&bailey).await.report(report("kiwi")).await.unwrap().into_inner();
    eventually(async || knows(&bona, "kiwi").await, |known| *known).await;
    let forgotten = forget(&bona, "kiwi").await.unwrap();
    assert_eq!(forgotten, ForgetResponse { known: true, location: answer.location });
    assert!(!knows(&bona, "kiwi").await);
    eventually(async || knows(&bailey, "kiwi").await, |known| !known).await;
    let again = locations(&bailey).await.report(report("kiwi")).await.unwrap().into_inner();
    assert!(again.applied, "the same report, taken after the client was forgotten");
    eventually(async || knows(&bona, "kiwi").await, |known| *known).await;
    assert_eq!(status(&bona).await.digest, status(&bailey).await.digest);
}

#[tokio::test]
async fn a_watcher_hears_who_is_forgotten_and_not_who_was_before() {
    let node = start("Bailey", &[]).await;
    let mut client = locations(&node).await;
    for id in ["kiwi", "plum"] {
        client.report(report(id)).await.unwrap();
    }
    forget(&node, "plum").await.unwrap();
    for client_ids in [vec![], vec!["kiwi".to_owned(), "plum".to_owned()]] {
        let request = WatchRequest { client_ids, include_current: true, ..WatchRequest::default() };
        let mut changes = client.watch(request).await.unwrap().into_inner();
        let present = changes.message().await.unwrap().unwrap();
        assert!(present.current_state_complete);
        assert_eq!((present.locations.len(), present.forgotten.len()), (1, 0));
        forget(&node, "kiwi").await.unwrap();
        let change = changes.message().await.unwrap().unwrap();
        assert_eq!((change.locations.len(), change.forgotten), (0, vec!["kiwi".to_owned()]));
        client.report(report("kiwi")).await.unwrap();
    }
}

#[tokio::test]
async fn a_client_id_that_breaks_a_rule_and_one_that_cannot_be_outdone_are_refused() {
    let node = start("Bailey", &[]).await;
    assert_eq!(forget(&node, "two words").await.unwrap_err().code(), Code::InvalidArgument);
    node.shared().with(|state, now| {
        let origin = state.identity().name.clone();
        let mut record = record_of("kiwi", now.wall, origin);
        record.generation = u32::MAX;
        state.merge(record, None);
    });
    assert_eq!(forget(&node, "kiwi").await.unwrap_err().code(), Code::FailedPrecondition);
    assert!(knows(&node, "kiwi").await);
}

fn record_of(client: &str, moment: Timestamp, origin: NodeName) -> LocationRecord {
    let client = client.parse().unwrap();
    LocationRecord::new(client, Position::default(), moment, moment, origin)
}

#[tokio::test]
async fn a_client_stays_forgotten_when_the_node_starts_again() {
    let home = tempfile::tempdir().unwrap();
    let node = Node::start(kept_in(home.path())).await.unwrap();
    locations(&node).await.report(report("kiwi")).await.unwrap();
    forget(&node, "kiwi").await.unwrap();
    let digest = status(&node).await.digest;
    node.stop().await;
    let node = Node::start(kept_in(home.path())).await.unwrap();
    assert!(!knows(&node, "kiwi").await);
    assert_eq!(status(&node).await.digest, digest);
}

#[tokio::test]
async fn what_has_expired_meanwhile_is_not_restored() {
    let home = tempfile::tempdir().unwrap();
    let mut for_ever = kept_in(home.path());
    for_ever.retention = None;
    let node = Node::start(for_ever).await.unwrap();
    node.shared().with(|state, _| {
        let origin = state.identity().name.clone();
        state.merge(record_of("ancient", Timestamp::EPOCH, origin), None);
    });
    locations(&node).await.report(report("kiwi")).await.unwrap();
    assert!(knows(&node, "ancient").await);
    node.stop().await;
    let node = Node::start(kept_in(home.path())).await.unwrap();
    assert!(!knows(&node, "ancient").await);
    assert!(knows(&node, "kiwi").await, "by its receive time, which is now");
    assert_eq!(status(&node).await.store.unwrap().restored_records, 2);
}

#[tokio::test]
async fn a_peers_records_from_too_far_ahead_and_from_long_ago_are_refused_and_counted() {
    let node = start("Bailey", &[]).await;
    let now = node.shared().now().wall;
    let far = now.saturating_add(Duration::from_hours(49));
    let origin = NodeName::parse("hand").unwrap();
    let records = [("far", far), ("kiwi", now), ("ancient", Timestamp::EPOCH)]
        .map(|(id, moment)| Record::from(&record_of(id, moment, origin.clone())));
    let batch = Batch { number: 1, records: records.into(), ..Default::default() };
    let frames =
        [Kind::Hello(hello("hand")), Kind::Batch(batch)].map(|kind| Frame { kind: Some(kind) });
    // The stream stays open, so that the status still tells of it.
    let frames = tokio_stream::iter(frames).chain(tokio_stream::pending());
    let _answers = gossip(&node).await.propagate(frames).await.unwrap();
    let counts = async || status(&node).await.peers.first().and_then(|peer| peer.records);
    let counts =
        eventually(counts, |counts| counts.is_some_and(|c| c.received == 3)).await.unwrap();
    assert_eq!((counts.applied, counts.bad), (1, 1));
    assert_eq!((counts.too_far_ahead, counts.expired), (1, 1));
    assert_eq!(status(&node).await.clients, 1);
}

#[tokio::test]
async fn what_is_over_goes_and_the_status_counts_it() {
    let node = Node::start(config("Bailey", &[])).await.unwrap();
    node.shared().with(|state, now| {
        let origin = state.identity().name.clone();
        state.merge(record_of("ancient", Timestamp::EPOCH, origin), None);
        state.expire(now, 1);
    });
    let after = status(&node).await;
    assert_eq!((after.clients, after.expired), (0, 1));
}
