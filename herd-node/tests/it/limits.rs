//! Every limit, hit.

use std::time::{Duration, Instant};

use herd_edge::Reason;
use herd_node::Node;
use herd_proto::v1::area::Shape;
use herd_proto::v1::{Area, Circle, Position, ReportRequest};
use herd_proto::v1::{NearRequest, ReportStreamRequest, WatchRequest};
use prost::Message as _;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::support::{config, eventually, locations, report, start, status};

#[tokio::test]
async fn one_watcher_too_many_is_refused_until_another_leaves() {
    let mut settings = config("Bailey", &[]);
    settings.limits.max_watchers = 1;
    let node = Node::start(settings).await.unwrap();
    let mut client = locations(&node).await;
    let first = client.watch(WatchRequest::default()).await.unwrap();
    let refused = client.watch(WatchRequest::default()).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert_eq!(node.refusals().of(Reason::Watchers), 1);
    drop(first);
    let watch = async || locations(&node).await.watch(WatchRequest::default()).await.is_ok();
    eventually(watch, |admitted| *admitted).await;
}

#[tokio::test]
async fn a_watcher_that_does_not_read_is_let_go_before_it_owes_too_much() {
    let mut settings = config("Bailey", &[]);
    settings.limits.max_watcher_bytes = 4 * 5000;
    let node = Node::start(settings).await.unwrap();
    let mut client = locations(&node).await;
    let mut stalled = client.watch(WatchRequest::default()).await.unwrap().into_inner();
    let consumers = async || status(&node).await.watchers;
    assert_eq!(consumers().await, 1);
    // More than HTTP/2's windows and buffers hold on the way: long ids.
    let reports = |round: usize| ReportStreamRequest {
        reports: (0..800).map(|n| report(&format!("{}-{round}-{n}", "x".repeat(1000)))).collect(),
        ..Default::default()
    };
    let messages = tokio_stream::iter((0..40).map(reports));
    let mut answers = locations(&node).await.report_stream(messages).await.unwrap().into_inner();
    while answers.message().await.unwrap().is_some() {}
    let ended = async || {
        // What was on the way comes first.
        match stalled.message().await {
            Ok(_) => None,
            Err(status) => Some(status.code()),
        }
    };
    let behind = async || node.refusals().of(Reason::WatcherBehind);
    eventually(behind, |count| *count == 1).await;
    let code = eventually(ended, Option::is_some).await;
    assert_eq!(code, Some(Code::ResourceExhausted));
}

#[tokio::test]
async fn a_client_too_many_is_refused_and_those_that_are_known_go_on() {
    let mut settings = config("Bailey", &[]);
    settings.limits.max_clients = 2;
    let node = Node::start(settings).await.unwrap();
    let mut client = locations(&node).await;
    for known in ["kiwi", "moa", "kiwi"] {
        client.report(report(known)).await.unwrap();
    }
    let refused = client.report(report("emu")).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
    let messages = tokio_stream::iter([ReportStreamRequest {
        reports: ["emu", "moa"].map(report).into(),
        ..Default::default()
    }]);
    let mut answers = client.report_stream(messages).await.unwrap().into_inner();
    let answer = answers.message().await.unwrap().unwrap();
    assert_eq!((answer.failures.len(), answer.failures[0].index), (1, 0), "{answer:?}");
    assert_eq!(status(&node).await.reports.unwrap().refused, 2);
    assert_eq!(node.refusals().of(Reason::Clients), 2);
}

#[tokio::test]
async fn what_a_friend_tells_is_taken_beyond_the_limit_of_clients() {
    let bailey = start("Bailey", &[]).await;
    let mut small = config("Bona", &[("Bailey", bailey.address())]);
    small.limits.max_clients = 1;
    let bona = Node::start(small).await.unwrap();
    let mut client = locations(&bailey).await;
    for number in 0..10 {
        client.report(report(&format!("c{number}"))).await.unwrap();
    }
    eventually(async || status(&bona).await.clients, |clients| *clients == 10).await;
}

#[tokio::test]
async fn a_client_that_reports_too_often_is_refused_and_others_are_not() {
    let mut settings = config("Bailey", &[]);
    settings.limits.max_client_rate = Some(1);
    let node = Node::start(settings).await.unwrap();
    let mut client = locations(&node).await;
    let message = ReportStreamRequest { reports: vec![report("kiwi"); 50], ..Default::default() };
    let messages = tokio_stream::iter([message]);
    let mut answers = client.report_stream(messages).await.unwrap().into_inner();
    let refused = answers.message().await.unwrap().unwrap().failures.len();
    // Its first report makes it known.
    assert_eq!(refused, 50 - 2);
    assert_eq!(node.refusals().of(Reason::ClientRate), 48);
    let status = client.report(report("kiwi")).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert!(status.get_error_details().retry_info().is_some());
    assert!(client.report(report("moa")).await.is_ok());
}

#[tokio::test]
async fn a_connection_that_brings_too_much_is_read_from_more_slowly_over_all_its_streams() {
    let mut settings = config("Bailey", &[]);
    settings.limits.max_connection_rate = Some(1000);
    let node = Node::start(settings).await.unwrap();
    let client = locations(&node).await;
    let begun = Instant::now();
    let bring = async || {
        let message =
            || ReportStreamRequest { reports: vec![report("kiwi"); 500], ..Default::default() };
        let messages = tokio_stream::iter([message(), message()]);
        let mut answers = client.clone().report_stream(messages).await.unwrap().into_inner();
        let mut taken = 0;
        while let Some(answer) = answers.message().await.unwrap() {
            taken += 500 - answer.failures.len();
        }
        taken
    };
    // Each alone would just pass; together they bring a second too much, and lose nothing.
    assert_eq!(tokio::join!(bring(), bring()), (1000, 1000));
    assert!(begun.elapsed() >= Duration::from_millis(900), "{:?}", begun.elapsed());
    assert!(node.refusals().of(Reason::ConnectionRate) > 0);
    // Another connection is another one's.
    assert!(locations(&node).await.report(report("moa")).await.is_ok());
}

#[tokio::test]
async fn single_reports_of_a_connection_that_brings_too_much_are_refused() {
    let mut settings = config("Bailey", &[]);
    settings.limits.max_connection_rate = Some(3);
    let node = Node::start(settings).await.unwrap();
    let mut client = locations(&node).await;
    let mut refused = Vec::new();
    for _ in 0..20 {
        refused.extend(client.report(report("kiwi")).await.err());
    }
    assert!(refused.len() > 10, "{}", refused.len());
    for status in &refused {
        assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
        assert!(status.get_error_details().retry_info().is_some());
    }
    assert_eq!(node.refusals().of(Reason::ConnectionRate), refused.len() as u64);
    assert!(locations(&node).await.report(report("moa")).await.is_ok());
}

#[tokio::test]
async fn one_connection_too_many_is_closed_and_links_stay() {
    let mut settings = config("Bailey", &[]);
    settings.limits.max_connections = 1;
    let node = Node::start(settings).await.unwrap();
    let mut first = locations(&node).await;
    assert!(first.report(report("kiwi")).await.is_ok());
    let mut second = TcpStream::connect(node.address()).await.unwrap();
    assert!(matches!(second.read(&mut [0]).await, Ok(0) | Err(_)));
    assert_eq!(node.refusals().of(Reason::Connections), 1);
    assert!(first.report(report("kiwi")).await.is_ok());
}

#[tokio::test]
async fn an_address_has_its_share_of_connections() {
    let mut settings = config("Bailey", &[]);
    settings.limits.max_connections_per_address = 1;
    let node = Node::start(settings).await.unwrap();
    let mut first = locations(&node).await;
    assert!(first.report(report("kiwi")).await.is_ok());
    let mut second = TcpStream::connect(node.address()).await.unwrap();
    assert!(matches!(second.read(&mut [0]).await, Ok(0) | Err(_)));
    assert_eq!(node.refusals().of(Reason::ConnectionsPerAddress), 1);
    assert!(first.report(report("kiwi")).await.is_ok());
}

#[tokio::test]
async fn a_stream_too_many_on_a_connection_waits_until_another_ends() {
    let mut settings = config("Bailey", &[]);
    settings.limits.max_streams = 1;
    let node = Node::start(settings).await.unwrap();
    let client = locations(&node).await;
    let watch = client.clone().watch(WatchRequest::default()).await.unwrap();
    let mut second = client.clone();
    let mut waiting = std::pin::pin!(second.report(report("kiwi")));
    let brief = Duration::from_millis(200);
    assert!(tokio::time::timeout(brief, waiting.as_mut()).await.is_err(), "it did not wait");
    assert!(locations(&node).await.report(report("moa")).await.is_ok(), "others wait, too");
    drop(watch);
    assert!(waiting.await.is_ok());
}

#[tokio::test]
async fn messages_longer_than_is_set_are_refused_both_ways_and_counted() {
    let mut settings = config("Bailey", &[]);
    settings.limits.max_request_bytes = 4096;
    settings.limits.max_response_bytes = 4096;
    let node = Node::start(settings).await.unwrap();
    let mut client = locations(&node).await;
    let long = |count: usize| ReportStreamRequest {
        reports: (0..count).map(|n| report(&format!("{n}{}", "x".repeat(900)))).collect(),
        ..Default::default()
    };
    let messages = tokio_stream::iter([long(5)]);
    let mut answers = client.report_stream(messages).await.unwrap().into_inner();
    assert_eq!(answers.message().await.unwrap_err().code(), Code::OutOfRange);
    assert_eq!(node.refusals().of(Reason::MessageBytes), 1);

    let messages = tokio_stream::iter([long(3), long(4)]);
    let mut answers = client.report_stream(messages).await.unwrap().into_inner();
    while answers.message().await.unwrap().is_some() {}
    let mut other = report("y");
    other.client_id = "y".repeat(1000).into();
    client.report(other).await.unwrap();
    // A watch makes do with what fits; an answer that is one message cannot.
    let all = WatchRequest { include_current: true, ..WatchRequest::default() };
    let mut changes = client.watch(all).await.unwrap().into_inner();
    let mut told = 0;
    while told < 5 {
        told += changes.message().await.unwrap().unwrap().locations.len();
    }
    let around = NearRequest {
        position: report("y").position,
        position_text: report("y").position_text.to_string(),
        ..NearRequest::default()
    };
    assert_eq!(client.near(around).await.unwrap_err().code(), Code::OutOfRange);
    assert_eq!(node.refusals().of(Reason::MessageBytes), 2);
    assert!(client.report(report("kiwi")).await.is_ok());
}

#[tokio::test]
async fn the_longest_ids_all_entering_an_area_at_once_fit_into_messages() {
    let node = start("Bailey", &[]).await;
    let mut client = locations(&node).await;
    let center = Some(Position { latitude: 12.0, longitude: -118.0 });
    let shape = Some(Shape::Circle(Circle { center, radius_meters: 1e6 }));
    let all = WatchRequest {
        area: Some(Area { shape }),
        include_current: true,
        ..WatchRequest::default()
    };
    let reports: Vec<_> = (0..600).map(|n| report(&format!("{n:0>1024}"))).collect();
    let messages = tokio_stream::iter([ReportStreamRequest { reports, ..Default::default() }]);
    let mut answers = client.report_stream(messages).await.unwrap().into_inner();
    assert!(answers.message().await.unwrap().unwrap().failures.is_empty());
    let mut changes = client.watch(all).await.unwrap().into_inner();
    let (mut told, mut most) = (0, 0);
    while told < 600 {
        let message = changes.message().await.unwrap().unwrap();
        assert_eq!(message.entered.len(), message.locations.len());
        told += message.locations.len();
        most = most.max(message.encoded_len());
    }
    assert!((500_000..1 << 20).contains(&most), "{most}");
}

#[tokio::test]
async fn a_message_of_too_many_reports_is_refused_without_a_pause() {
    let mut settings = config("Bailey", &[]);
    settings.limits.max_connection_rate = Some(1);
    let node = Node::start(settings).await.unwrap();
    let mut client = locations(&node).await;
    let reports = vec![ReportRequest::default(); 100_000];
    let messages = tokio_stream::iter([ReportStreamRequest { reports, ..Default::default() }]);
    let mut answers = client.report_stream(messages).await.unwrap().into_inner();
    assert_eq!(answers.message().await.unwrap_err().code(), Code::InvalidArgument);
    assert_eq!(node.refusals().of(Reason::ConnectionRate), 0);
}

#[tokio::test]
async fn a_watcher_may_name_1024_clients() {
    let node = start("Bailey", &[]).await;
    let mut client = locations(&node).await;
    let request = |count: usize| WatchRequest {
        client_ids: (0..count).map(|n| format!("c{n}")).collect(),
        ..WatchRequest::default()
    };
    assert!(client.watch(request(1024)).await.is_ok());
    assert_eq!(client.watch(request(1025)).await.unwrap_err().code(), Code::InvalidArgument);
    let wrong = WatchRequest { client_ids: vec!["a b".into()], ..WatchRequest::default() };
    let status = client.watch(wrong).await.unwrap_err();
    assert!(status.message().contains("client_ids[0]"), "{status}");
}

#[tokio::test]
async fn a_message_of_too_many_reports_ends_the_stream_with_the_reason() {
    let node = start("Bailey", &[]).await;
    let mut client = locations(&node).await;
    let message = |count: usize| ReportStreamRequest {
        reports: vec![report("kiwi"); count],
        ..Default::default()
    };
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
