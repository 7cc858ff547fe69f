//! Answers that wait for friends.

use std::time::{Duration, Instant};

use herd_node::Node;
use herd_proto::v1::{ForgetRequest, GetRequest, ReportRequest, ReportStreamRequest};
use tokio_stream::iter;
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::support::{eventually, locations, report, start, status};

fn asking(client: &str, min_peers: u32) -> ReportRequest {
    ReportRequest { min_peers, ..report(client) }
}

/// Bailey, whose friends are Clark and one that is never there; linked with Clark.
async fn pair() -> (Node, Node) {
    let clark = start("Clark", &[]).await;
    let nobody = "127.0.0.1:1".parse().unwrap();
    let bailey = start("Bailey", &[("Clark", clark.address()), ("Ghost", nobody)]).await;
    eventually(async || status(&clark).await.peers, |peers| peers.len() == 1).await;
    (bailey, clark)
}

#[tokio::test]
async fn when_a_report_is_answered_a_friend_has_it() {
    let (bailey, clark) = pair().await;
    let (mut at_bailey, mut at_clark) = (locations(&bailey).await, locations(&clark).await);
    for number in 0..50 {
        let client_id = format!("c{number}");
        at_bailey.report(asking(&client_id, 1)).await.unwrap();
        at_clark.get(GetRequest { client_id }).await.unwrap();
    }
    // Again, which changes nothing anywhere, and is answered all the same.
    assert!(!at_bailey.report(asking("c7", 1)).await.unwrap().into_inner().applied);
    let forget = ForgetRequest { client_id: "c7".into(), min_peers: 1 };
    at_bailey.forget(forget).await.unwrap();
    let gone = at_clark.get(GetRequest { client_id: "c7".into() }).await.unwrap_err();
    assert_eq!(gone.code(), Code::NotFound);
}

#[tokio::test]
async fn a_message_of_a_stream_is_answered_when_a_friend_has_all_of_it() {
    let (bailey, clark) = pair().await;
    let message = |from: u32| ReportStreamRequest {
        reports: (from..from + 300)
            .map(|number| asking(&format!("c{number}"), number % 2))
            .chain([asking("greedy", 3)])
            .collect(),
        ..Default::default()
    };
    let mut client = locations(&bailey).await;
    let mut answers =
        client.report_stream(iter([message(0), message(300)])).await.unwrap().into_inner();
    let mut at_clark = locations(&clark).await;
    for from in [0, 300] {
        let answer = answers.message().await.unwrap().unwrap();
        assert_eq!(answer.applied, 300);
        let [failure] = &*answer.failures else { panic!("{:?}", answer.failures) };
        assert_eq!((failure.index, &*failure.violations[0].field), (300, "min_peers"));
        for number in (from + 1..from + 300).step_by(2) {
            at_clark.get(GetRequest { client_id: format!("c{number}") }).await.unwrap();
        }
    }
}

#[tokio::test]
async fn friends_who_do_not_come_are_waited_for_ten_seconds_and_the_report_is_kept() {
    let (bailey, _clark) = pair().await;
    let mut client = locations(&bailey).await;
    let begun = Instant::now();
    let error = client.report(asking("kiwi", 2)).await.unwrap_err();
    assert!(begun.elapsed() >= Duration::from_secs(10));
    assert_eq!(error.code(), Code::Unavailable, "{error}");
    let details = error.get_error_details();
    assert_eq!(details.error_info().unwrap().reason, "MIN_PEERS_NOT_REACHED");
    client.get(GetRequest { client_id: "kiwi".into() }).await.unwrap();
}

#[tokio::test]
async fn more_friends_than_there_are_is_refused_and_changes_nothing() {
    let (bailey, _clark) = pair().await;
    let mut client = locations(&bailey).await;
    let error = client.report(asking("kiwi", 3)).await.unwrap_err();
    assert_eq!(error.code(), Code::InvalidArgument, "{error}");
    assert!(error.message().contains("min_peers: must be at most 2"), "{error}");
    assert_eq!(status(&bailey).await.clients, 0);
}

#[tokio::test]
async fn a_caller_that_hangs_up_is_waited_for_no_longer() {
    let (bailey, _clark) = pair().await;
    let mut client = locations(&bailey).await;
    let impatient = tokio::time::timeout(Duration::from_millis(50), client.report(asking("a", 2)));
    impatient.await.unwrap_err();
    let awaited = async || bailey.shared().with(|state, _| state.awaited());
    eventually(awaited, |awaited| *awaited == 0).await;
    assert_eq!(status(&bailey).await.clients, 1, "the fault was real: the report arrived");
}
