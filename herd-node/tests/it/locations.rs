//! Reporting, asking and watching.

use herd_proto::v1::{GetRequest, Position, ReportRequest, ReportStreamRequest, WatchRequest};
use herd_proto::{LocationRecord, Report, violations_of};
use tokio_stream::StreamExt as _;
use tokio_stream::iter;
use tonic::Code;

use crate::support::{locations, report, start};

#[tokio::test]
async fn a_report_is_answered_as_recorded_and_found_again() {
    let node = start("Bailey", &[]).await;
    let mut client = locations(&node).await;
    let answer = client.report(report("kiwi")).await.unwrap().into_inner();
    assert!(answer.applied);
    let record = LocationRecord::try_from(answer.location.clone().unwrap()).unwrap();
    assert_eq!(record.origin.as_str(), "Bailey");
    assert_eq!(record.position_text().to_string(), "+12-118");
    assert_eq!(record.time_text().to_string(), "1700000000.5");
    let found = client.get(GetRequest { client_id: "kiwi".into() }).await.unwrap().into_inner();
    assert_eq!(found.location, answer.location);
    let again = client.report(report("kiwi")).await.unwrap().into_inner();
    assert!(!again.applied, "repeating a report changes nothing");
}

#[tokio::test]
async fn a_broken_request_names_each_field_and_an_unknown_client_is_not_found() {
    let node = start("Bailey", &[]).await;
    let mut client = locations(&node).await;
    let mut wrong = report("two words");
    wrong.time_text = "noon".into();
    let status = client.report(wrong).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    let violations = violations_of(&status);
    let fields: Vec<_> = violations.iter().map(|violation| &*violation.field).collect();
    assert_eq!(fields, ["client_id", "time_text"]);
    let status = client.get(GetRequest { client_id: "kiwi".into() }).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
}

#[tokio::test]
async fn a_stream_answers_each_message_in_order_and_names_the_bad_reports() {
    let node = start("Bailey", &[]).await;
    let mut client = locations(&node).await;
    let messages = vec![
        ReportStreamRequest {
            reports: vec![report("a"), report(""), report("b")],
            ..Default::default()
        },
        ReportStreamRequest { reports: vec![], ..Default::default() },
        ReportStreamRequest { reports: vec![report("a")], ..Default::default() },
    ];
    let answers = client.report_stream(iter(messages)).await.unwrap().into_inner();
    let answers: Vec<_> = answers.collect::<Result<_, _>>().await.unwrap();
    let applied: Vec<_> = answers.iter().map(|answer| answer.applied).collect();
    assert_eq!(applied, [2, 0, 0]);
    assert_eq!(answers[0].failures.len(), 1);
    assert_eq!(answers[0].failures[0].index, 1);
    assert_eq!(answers[0].failures[0].violations[0].field, "client_id");
    assert!(answers.iter().all(|answer| answer.origin == "Bailey"));
}

#[tokio::test]
async fn a_watcher_gets_the_present_first_and_then_each_change_once() {
    let node = start("Bailey", &[]).await;
    let mut client = locations(&node).await;
    client.report(report("kiwi")).await.unwrap();
    let request = WatchRequest { include_current: true, ..WatchRequest::default() };
    let mut changes = client.watch(request).await.unwrap().into_inner();
    let first = changes.message().await.unwrap().unwrap();
    assert!(first.current_state_complete);
    assert_eq!(first.locations[0].client_id, "kiwi");
    for time in 0..100 {
        let mut moved = report("plum");
        moved.time_text = format!("170000{time:04}").into();
        client.report(moved).await.unwrap();
    }
    let mut last = String::new();
    while last != "1700000099" {
        let message = changes.message().await.unwrap().unwrap();
        assert!(!message.current_state_complete);
        for location in message.locations {
            assert!(location.time_text > last, "never back");
            last = location.time_text;
        }
    }
}

#[tokio::test]
async fn watching_nothing_known_says_so_at_once() {
    let node = start("Bailey", &[]).await;
    let request = WatchRequest {
        client_ids: vec!["kiwi".into()],
        include_current: true,
        ..WatchRequest::default()
    };
    let mut changes = locations(&node).await.watch(request).await.unwrap().into_inner();
    let first = changes.message().await.unwrap().unwrap();
    assert!(first.current_state_complete && first.locations.is_empty());
}

#[tokio::test]
async fn a_watcher_is_not_lost_behind_clients_that_were_forgotten() {
    let node = start("Bailey", &[]).await;
    let mut changes =
        locations(&node).await.watch(WatchRequest::default()).await.unwrap().into_inner();
    node.shared().with(|state, now| {
        for number in 0..2000 {
            let report = Report::from_operands(&format!("c{number}"), "+1-1", "1").unwrap();
            let mut record = report.into_record(state.identity().name.clone(), now.wall, 1);
            record.forgotten = true;
            state.merge(record, None);
        }
    });
    locations(&node).await.report(report("kiwi")).await.unwrap();
    let mut forgotten = 0;
    loop {
        let message = changes.message().await.unwrap().unwrap();
        assert!(message.locations.len() + message.forgotten.len() <= 512);
        forgotten += message.forgotten.len();
        if let [location] = &*message.locations {
            assert_eq!((&*location.client_id, forgotten), ("kiwi", 2000));
            break;
        }
    }
}

#[tokio::test]
async fn a_message_full_of_bad_reports_is_answered_within_the_limit_of_a_message() {
    let node = start("Bailey", &[]).await;
    let wrong = ReportRequest {
        client_id: "a b".into(),
        position: Some(Position { latitude: 1e300, longitude: -1e300 }),
        time_text: "noon".into(),
        ..ReportRequest::default()
    };
    let mut reports = vec![wrong; 4095];
    reports.push(report("kiwi"));
    let messages = iter([ReportStreamRequest { reports, ..Default::default() }]);
    let mut answers = locations(&node).await.report_stream(messages).await.unwrap().into_inner();
    let answer = answers.message().await.unwrap().unwrap();
    assert_eq!((answer.failures.len(), answer.applied), (4095, 1));
    assert!(answer.failures.iter().all(|failure| failure.violations[0].field == "client_id"));
}
