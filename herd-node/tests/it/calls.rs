//! What each call is promised: an end in time, a name, a clear refusal.

use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use herd_edge::Reason;
use herd_node::Node;
use herd_proto::v1::{GetRequest, GetResponse, ReportStreamRequest, WatchRequest};
use http::uri::PathAndQuery;
use tokio_stream::wrappers::ReceiverStream;
use tonic::client::Grpc;
use tonic::{Code, Request};
use tonic_prost::ProstCodec;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_types::StatusExt as _;

use crate::support::{channel, config, eventually, locations, report, start};

/// Long enough for a busy machine to open a stream.
const SHORT: Duration = Duration::from_millis(400);

fn within<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(SHORT);
    request
}

#[tokio::test]
async fn streams_end_with_deadline_exceeded_when_their_callers_time_is_over() {
    let node = start("Bailey", &[]).await;
    let mut client = locations(&node).await;
    let begun = Instant::now();
    let mut changes = client.watch(within(WatchRequest::default())).await.unwrap().into_inner();
    assert_eq!(changes.message().await.unwrap_err().code(), Code::DeadlineExceeded);
    assert!(begun.elapsed() >= SHORT);

    let (keep_open, requests) = tokio::sync::mpsc::channel(1);
    keep_open
        .send(ReportStreamRequest { reports: vec![report("kiwi")], ..Default::default() })
        .await
        .unwrap();
    let stream = client.report_stream(within(ReceiverStream::new(requests))).await;
    let mut answers = stream.unwrap().into_inner();
    assert_eq!(answers.message().await.unwrap().unwrap().applied, 1);
    assert_eq!(answers.message().await.unwrap_err().code(), Code::DeadlineExceeded);
}

#[tokio::test]
async fn an_error_names_its_call() {
    let node = start("Bailey", &[]).await;
    let mut request = Request::new(GetRequest { client_id: "a b".into() });
    request.metadata_mut().insert("x-request-id", "trace-7".parse().unwrap());
    let status = locations(&node).await.get(request).await.unwrap_err();
    assert_eq!(status.metadata().get("x-request-id").unwrap(), "trace-7");
    let details = status.get_error_details();
    assert_eq!(details.request_info().unwrap().request_id, "trace-7");
    // What else the error says is still there.
    assert_eq!(details.bad_request().unwrap().field_violations[0].field, "client_id");
}

#[tokio::test]
async fn an_error_that_ends_a_stream_names_its_call_too() {
    let node = start("Bailey", &[]).await;
    let mut request = within(WatchRequest::default());
    request.metadata_mut().insert("x-request-id", "trace-8".parse().unwrap());
    let mut changes = locations(&node).await.watch(request).await.unwrap().into_inner();
    let status = changes.message().await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert_eq!(status.get_error_details().request_info().unwrap().request_id, "trace-8");
}

#[tokio::test]
async fn a_good_answer_has_a_name_too() {
    let node = start("Bailey", &[]).await;
    let answer = locations(&node).await.report(report("kiwi")).await.unwrap();
    assert_eq!(answer.metadata().get("x-request-id").unwrap().len(), 16);
}

#[tokio::test]
async fn reflection_can_be_switched_off() {
    for on in [true, false] {
        let mut settings = config("Bailey", &[]);
        settings.reflection = on;
        let node = Node::start(settings).await.unwrap();
        let mut client = ServerReflectionClient::new(channel(node.address()).await);
        let list = ServerReflectionRequest {
            message_request: Some(MessageRequest::ListServices(String::new())),
            ..ServerReflectionRequest::default()
        };
        let answer = client.server_reflection_info(tokio_stream::iter([list])).await;
        match answer {
            Ok(answer) => assert!(on && answer.into_inner().message().await.unwrap().is_some()),
            Err(status) => assert_eq!((on, status.code()), (false, Code::Unimplemented)),
        }
    }
}

#[tokio::test]
async fn a_call_too_many_is_shed_with_the_time_to_come_back() {
    let mut settings = config("Bailey", &[]);
    settings.limits.max_in_flight = 0;
    let node = Node::start(settings).await.unwrap();
    let status = locations(&node).await.report(report("kiwi")).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    let retry = status.get_error_details().retry_info().unwrap().retry_delay;
    assert_eq!(retry, Some(Duration::from_millis(200)));
    assert_eq!(node.refusals().of(Reason::InFlight), 1);
}

/// A call of one message whose end does not come, although the message has.
async fn never_ended(address: std::net::SocketAddr) -> Code {
    let mut client = Grpc::new(channel(address).await);
    client.ready().await.unwrap();
    let one = tokio_stream::iter([GetRequest { client_id: "kiwi".into() }]);
    let messages = one.chain(futures_util::stream::pending());
    let path = PathAndQuery::from_static("/herd.v1.Locations/Get");
    let codec = ProstCodec::<GetRequest, GetResponse>::default();
    client.client_streaming(Request::new(messages), path, codec).await.unwrap_err().code()
}

#[tokio::test]
async fn calls_that_do_not_end_give_their_places_back() {
    let mut settings = config("Bailey", &[]);
    settings.limits.max_in_flight = 1;
    let node = Node::start(settings).await.unwrap();
    let client = locations(&node).await;
    let shed = async || client.clone().report(report("kiwi")).await.is_err();
    let (ended, shed_meanwhile) =
        tokio::join!(never_ended(node.address()), eventually(shed, |shed| *shed));
    assert_eq!((ended, shed_meanwhile), (Code::DeadlineExceeded, true));
    assert_eq!(node.refusals().of(Reason::PartialMessage), 1);
    assert!(!shed().await);
}
