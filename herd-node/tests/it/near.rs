//! Asking who is near.

use herd_node::Node;
use herd_proto::v1::{NearRequest, NearResponse, Position, ReportRequest};
use herd_proto::{LocationRecord, Report, violations_of};
use tonic::{Code, Status};

use crate::support::{locations, start};

async fn put(node: &Node, id: &str, position_text: &str) {
    let request = ReportRequest {
        client_id: id.into(),
        position_text: position_text.into(),
        ..ReportRequest::default()
    };
    locations(node).await.report(request).await.unwrap();
}

async fn near(node: &Node, request: NearRequest) -> Result<NearResponse, Status> {
    locations(node).await.near(request).await.map(tonic::Response::into_inner)
}

fn names(answer: &NearResponse) -> Vec<&str> {
    let locations = answer.neighbors.iter().map(|found| found.location.as_ref().unwrap());
    locations.map(|location| &*location.client_id).collect()
}

#[tokio::test]
async fn clients_are_found_around_a_point_or_a_client_nearest_first() {
    let node = start("Bailey", &[]).await;
    for (id, text) in [("far", "+3+3"), ("near", "+1.01+1"), ("kiwi", "+1+1"), ("next", "+1.02+1")]
    {
        put(&node, id, text).await;
    }
    let around = NearRequest {
        position: Some(Position { latitude: 1.0, longitude: 1.0 }),
        ..NearRequest::default()
    };
    let answer = near(&node, around.clone()).await.unwrap();
    assert_eq!(names(&answer), ["kiwi", "near", "next"]);
    assert!(!answer.truncated);
    assert_eq!(answer.center, around.position);
    let metres: Vec<_> =
        answer.neighbors.iter().map(|found| found.distance_meters as u32).collect();
    assert_eq!(metres, [0, 1111, 2223]);

    let around_kiwi =
        NearRequest { client_id: "kiwi".into(), max_results: Some(1), ..NearRequest::default() };
    let answer = near(&node, around_kiwi).await.unwrap();
    assert_eq!((names(&answer), answer.truncated), (vec!["near"], true));

    let everywhere = NearRequest {
        position_text: "+1+1".into(),
        radius_meters: Some(20_037_508.0),
        ..NearRequest::default()
    };
    assert_eq!(near(&node, everywhere).await.unwrap().neighbors.len(), 4);
}

#[tokio::test]
async fn only_clients_that_reported_of_late_are_found_if_that_is_asked() {
    let node = start("Bailey", &[]).await;
    put(&node, "now", "+1+1").await;
    node.shared().with(|state, _| {
        let report = Report::from_operands("then", "+1+1", "1").unwrap();
        let received = herd_proto::Timestamp::from_unix_nanos(1).unwrap();
        state.merge(report.into_record(state.identity().name.clone(), received, 0), None);
        state.set_retention(None);
    });
    let age = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
    for (max_age, found) in [(age(3600), 1), (None, 2), (age(i64::MAX), 2)] {
        let request =
            NearRequest { position_text: "+1+1".into(), max_age, ..NearRequest::default() };
        assert_eq!(near(&node, request).await.unwrap().neighbors.len(), found, "{max_age:?}");
    }
}

#[tokio::test]
async fn a_bad_question_names_its_field_and_a_stranger_is_near_nobody() {
    let node = start("Bailey", &[]).await;
    let position = Some(Position { latitude: 91.0, longitude: 0.0 });
    let wrong = NearRequest { position, max_results: Some(1001), ..NearRequest::default() };
    let status = near(&node, wrong).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    let wrong = violations_of(&status);
    let fields: Vec<_> = wrong.iter().map(|violation| &*violation.field).collect();
    assert_eq!(fields, ["position.latitude", "max_results"]);
    let around = NearRequest { client_id: "ghost".into(), ..NearRequest::default() };
    assert_eq!(near(&node, around).await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn an_answer_fits_into_a_message_however_long_the_ids_are() {
    let node = start("Bailey", &[]).await;
    node.shared().with(|state, now| {
        for number in 0..1000 {
            let id = format!("{number:0>1024}");
            let report = Report::from_operands(&id, "+1+1", "1").unwrap();
            let record = report.into_record(state.identity().name.clone(), now.wall, 0);
            state.merge(record, None);
        }
    });
    let request = NearRequest {
        position_text: "+1+1".into(),
        max_results: Some(1000),
        ..NearRequest::default()
    };
    let answer = near(&node, request).await.unwrap();
    assert!(answer.truncated && (600..1000).contains(&answer.neighbors.len()));
    let ids = answer
        .neighbors
        .into_iter()
        .map(|found| LocationRecord::try_from(found.location.unwrap()).unwrap().client.to_string());
    assert!(ids.is_sorted());
}
