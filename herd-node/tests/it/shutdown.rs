//! Stopping: in order, and within a bound.

use herd_node::{Drained, Node};
use herd_proto::v1::WatchRequest;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::support::{channel, config, eventually, locations, mute_peer, report, start, status};

#[tokio::test]
async fn health_has_three_names_and_readiness_ends_first() {
    let node = start("Bailey", &[]).await;
    let mut health = HealthClient::new(channel(node.address()).await);
    let request = |name: &str| HealthCheckRequest { service: name.into() };
    for name in ["", "readiness", "liveness"] {
        let check = async || health.check(request(name)).await.unwrap().into_inner().status();
        eventually(check, |status| *status == ServingStatus::Serving).await;
    }
    assert_eq!(health.check(request("nonsense")).await.unwrap_err().code(), Code::NotFound);
    let mut watch = health.watch(request("readiness")).await.unwrap().into_inner();
    assert_eq!(watch.message().await.unwrap().unwrap().status(), ServingStatus::Serving);
    assert_eq!(node.stop().await, Drained::Clean);
    assert_eq!(watch.message().await.unwrap().unwrap().status(), ServingStatus::NotServing);
}

#[tokio::test]
async fn open_streams_are_ended_with_a_word_and_do_not_hold_up_the_stop() {
    let node = start("Bailey", &[]).await;
    let mut client = locations(&node).await;
    let mut changes = client.watch(WatchRequest::default()).await.unwrap().into_inner();
    let (keep_open, requests) = tokio::sync::mpsc::channel(1);
    let requests = tokio_stream::wrappers::ReceiverStream::new(requests);
    let mut answers = client.report_stream(requests).await.unwrap().into_inner();
    assert_eq!(node.stop().await, Drained::Clean);
    assert_eq!(changes.message().await.unwrap_err().code(), Code::Unavailable);
    assert_eq!(answers.message().await.unwrap_err().code(), Code::Unavailable);
    drop(keep_open);
}

#[tokio::test]
async fn a_stopping_node_still_tells_its_friends_what_it_has_just_heard() {
    let bailey = start("Bailey", &[]).await;
    let bona = start("Bona", &[("Bailey", bailey.address())]).await;
    eventually(async || status(&bona).await.peers, |peers| peers[0].state == 2).await;
    let mut client = locations(&bona).await;
    for number in 0..100 {
        client.report(report(&format!("c{number}"))).await.unwrap();
    }
    assert_eq!(bona.stop().await, Drained::Clean);
    assert_eq!(status(&bailey).await.clients, 100);
}

#[tokio::test]
async fn a_peer_that_never_acknowledges_cannot_hold_up_the_stop_for_longer_than_the_grace() {
    let node = start("Bailey", &[]).await;
    locations(&node).await.report(report("kiwi")).await.unwrap();
    let mute = mute_peer(&node).await;
    assert_eq!(node.stop().await, Drained::CutOff);
    drop(mute);
}

#[tokio::test]
async fn a_node_that_takes_over_can_listen_while_the_old_one_still_drains() {
    let local = tokio::task::LocalSet::new();
    Box::pin(local.run_until(take_over())).await;
}

async fn take_over() {
    let node = start("Bailey", &[]).await;
    let address = node.address();
    locations(&node).await.report(report("kiwi")).await.unwrap();
    let mute = mute_peer(&node).await;
    let mut client = locations(&node).await;
    client.report(report("fig")).await.unwrap();
    let old = tokio::task::spawn_local(node.stop());
    let mut settings = config("Bailey", &[]);
    settings.listen = address;
    let start_again = async || Node::start(settings.clone()).await.ok();
    let new = eventually(start_again, Option::is_some).await;
    assert!(!old.is_finished(), "the mute peer holds it up for the whole grace");
    // And whoever still has a connection to the old one is not lied to.
    let refused = client.report(report("plum")).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
    assert_eq!(old.await.unwrap(), Drained::CutOff);
    drop((mute, new));
}

#[tokio::test]
async fn a_friend_that_accepts_and_says_nothing_does_not_hold_up_the_stop() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let node = start("Bailey", &[("Bona", silent.local_addr().unwrap())]).await;
    let connection = silent.accept().await.unwrap();
    assert_eq!(node.stop().await, Drained::Clean);
    drop(connection);
}
