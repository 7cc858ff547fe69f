//! Every limit, hit.

use herd_node::Node;
use herd_proto::v1::{ReportStreamRequest, WatchRequest};
use tonic::Code;

use crate::support::{config, eventually, locations, report, start};

#[tokio::test]
async fn one_watcher_too_many_is_refused_until_another_leaves() {
    let mut settings = config("Bailey", &[]);
    settings.limits.max_watchers = 1;
    let node = Node::start(settings).await.unwrap();
    let mut client = locations(&node).await;
    let first = client.watch(WatchRequest::default()).await.unwrap();
    let refused = client.watch(WatchRequest::default()).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    drop(first);
    let watch = async || locations(&node).await.watch(WatchRequest::default()).await.is_ok();
    eventually(watch, |admitted| *admitted).await;
}

#[tokio::test]
async fn a_watcher_may_name_1024_clients() {
    let node = start("Bailey", &[]).await;
    let mut client = locations(&node).await;
    let request = |count: usize| WatchRequest {
        client_ids: (0..count).map(|n| format!("c{n}")).collect(),
        include_current: false,
    };
    assert!(client.watch(request(1024)).await.is_ok());
    assert_eq!(client.watch(request(1025)).await.unwrap_err().code(), Code::InvalidArgument);
    let wrong = WatchRequest { client_ids: vec!["a b".into()], include_current: false };
    let status = client.watch(wrong).await.unwrap_err();
    assert!(status.message().contains("client_ids[0]"), "{status}");
}

#[tokio::test]
async fn a_message_of_too_many_reports_ends_the_stream_with_the_reason() {
    let node = start("Bailey", &[]).await;
    let mut client = locations(&node).await;
    let message = |count: usize| ReportStreamRequest { reports: vec![report("kiwi"); count] };
    let messages = tokio_stream::iter([message(4096), message(4097)]);
    let mut answers = client.report_stream(messages).await.unwrap().into_inner();
    assert!(answers.message().await.unwrap().is_some());
    let status = answers.message().await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status.message().contains("4097"), "{status}");
}

#[tokio::test]
async fn a_message_of_more_than_a_mebibyte_is_refused_and_the_node_lives_on() {
    let node = start("Bailey", &[]).await;
    let mut client = locations(&node).await;
    let huge = report(&"x".repeat(2 << 20));
    assert_eq!(client.report(huge).await.unwrap_err().code(), Code::OutOfRange);
    assert!(locations(&node).await.report(report("kiwi")).await.is_ok());
}

#[tokio::test]
async fn a_taken_port_is_said_with_its_address() {
    let node = start("Bailey", &[]).await;
    let mut second = config("Bona", &[]);
    second.listen = node.address();
    let error = Node::start(second).await.unwrap_err().to_string();
    assert!(error.contains(&node.address().to_string()), "{error}");
    assert!(error.contains("another herd"), "{error}");
}
