//! Watching by the beginning of an id, by area, and again after an interruption.

use herd_node::Node;
use herd_proto::v1::area::Shape;
use herd_proto::v1::{
    Area, Box, Circle, GetRequest, Position, ReportRequest, WatchRequest, WatchResponse,
};
use herd_proto::violations_of;
use tonic::{Code, Streaming};

use crate::support::{eventually, locations, start};

async fn put(node: &Node, id: &str, position_text: &str) {
    let request = ReportRequest {
        client_id: id.into(),
        position_text: position_text.into(),
        ..ReportRequest::default()
    };
    locations(node).await.report(request).await.unwrap();
}

async fn watch(node: &Node, request: WatchRequest) -> Streaming<WatchResponse> {
    locations(node).await.watch(request).await.unwrap().into_inner()
}

async fn next(changes: &mut Streaming<WatchResponse>) -> WatchResponse {
    changes.message().await.unwrap().unwrap()
}

fn ids(message: &WatchResponse) -> Vec<&str> {
    message.locations.iter().map(|location| &*location.client_id).collect()
}

#[tokio::test]
async fn clients_are_followed_by_the_beginnings_of_their_ids() {
    let node = start("Bailey", &[]).await;
    put(&node, "truck-1", "+1+1").await;
    put(&node, "bus-1", "+1+1").await;
    let request = WatchRequest {
        client_ids: vec!["kiwi".into()],
        client_prefixes: vec!["truck-".into()],
        include_current: true,
        ..WatchRequest::default()
    };
    let mut changes = watch(&node, request).await;
    let first = next(&mut changes).await;
    assert_eq!((ids(&first), first.current_state_complete), (vec!["truck-1"], true));
    for id in ["bus-2", "truck-2"] {
        put(&node, id, "+2+2").await;
    }
    assert_eq!(ids(&next(&mut changes).await), ["truck-2"]);
    put(&node, "kiwi", "+2+2").await;
    assert_eq!(ids(&next(&mut changes).await), ["kiwi"]);
}

#[tokio::test]
async fn who_comes_into_an_area_moves_in_it_and_leaves_it_is_told() {
    let node = start("Bailey", &[]).await;
    put(&node, "inside", "+0.1+0.1").await;
    put(&node, "outside", "+5+5").await;
    let center = Some(Position::default());
    let shape = Some(Shape::Circle(Circle { center, radius_meters: 50_000.0 }));
    let request = WatchRequest {
        area: Some(Area { shape }),
        include_current: true,
        ..WatchRequest::default()
    };
    let mut changes = watch(&node, request).await;
    let first = next(&mut changes).await;
    assert_eq!((ids(&first), &*first.entered), (vec!["inside"], &["inside".to_owned()][..]));
    put(&node, "outside", "+4+4").await;
    put(&node, "outside", "-0.1-0.1").await;
    let entered = next(&mut changes).await;
    assert_eq!((ids(&entered), &*entered.entered), (vec!["outside"], &["outside".to_owned()][..]));
    put(&node, "outside", "-0.1-0.2").await;
    let moved = next(&mut changes).await;
    assert_eq!((ids(&moved), moved.entered.len()), (vec!["outside"], 0));
    put(&node, "outside", "+7+7").await;
    let left = next(&mut changes).await;
    assert_eq!((left.locations.len(), left.left.len()), (0, 1));
    assert_eq!(left.left[0].position, Some(Position { latitude: 7.0, longitude: 7.0 }));
}

#[tokio::test]
async fn a_stream_that_was_cut_off_goes_on_and_one_from_elsewhere_begins_anew() {
    let node = start("Bailey", &[]).await;
    let mut changes = watch(&node, WatchRequest::default()).await;
    put(&node, "kiwi", "+1+1").await;
    let resume_token = next(&mut changes).await.resume_token;
    assert!(!resume_token.is_empty());
    drop(changes);
    for (id, at) in [("plum", "+2+2"), ("emu", "+3+3"), ("plum", "+4+4")] {
        put(&node, id, at).await;
    }
    let resumed = WatchRequest { resume_token: resume_token.clone(), ..WatchRequest::default() };
    let message = next(&mut watch(&node, resumed.clone()).await).await;
    assert!(message.resumed && !message.current_state_complete);
    let mut told = ids(&message);
    told.sort_unstable();
    assert_eq!(told, ["emu", "plum"]);
    // Nothing has changed: that the stream goes on is said at once.
    let up_to_date = WatchRequest { resume_token: message.resume_token, ..WatchRequest::default() };
    let message = next(&mut watch(&node, up_to_date).await).await;
    assert!(message.resumed && message.locations.is_empty());

    let other = start("Bona", &[]).await;
    put(&other, "moa", "+1+1").await;
    for resume_token in [resume_token, "nonsense".into(), "0000000000000000-7".into()] {
        let request = WatchRequest { resume_token, ..WatchRequest::default() };
        let message = next(&mut watch(&other, request).await).await;
        assert!(!message.resumed && message.current_state_complete);
        assert_eq!(ids(&message), ["moa"]);
    }
}

#[tokio::test]
async fn a_slow_reader_is_told_how_much_it_missed() {
    let node = start("Bailey", &[]).await;
    let mut changes = watch(&node, WatchRequest::default()).await;
    node.shared().with(|state, now| {
        for time in 0..100 {
            let report = herd_proto::Report::from_operands("kiwi", "+1+1", &time.to_string());
            state.report(now, report.unwrap()).unwrap();
        }
    });
    assert_eq!(next(&mut changes).await.superseded, 99);
}

#[tokio::test]
async fn a_bad_filter_names_its_fields() {
    let node = start("Bailey", &[]).await;
    let shape = Shape::Box(Box { south: 1.0, west: 200.0, north: 0.0, east: 0.0 });
    let request = WatchRequest {
        client_prefixes: vec!["two words".into()],
        area: Some(Area { shape: Some(shape) }),
        ..WatchRequest::default()
    };
    let status = locations(&node).await.watch(request).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    let wrong = violations_of(&status);
    let fields: Vec<_> = wrong.iter().map(|rule| &*rule.field).collect();
    assert_eq!(fields, ["client_prefixes[0]", "area.box.west"]);
    let many = WatchRequest { client_prefixes: vec!["a".into(); 65], ..WatchRequest::default() };
    let status = locations(&node).await.watch(many).await.unwrap_err();
    assert_eq!(violations_of(&status).iter().next().unwrap().field, "client_prefixes");
}

#[tokio::test]
async fn a_location_tells_when_its_node_learnt_it_and_from_whom() {
    let bona = start("Bona", &[]).await;
    let bailey = start("Bailey", &[("Bona", bona.address())]).await;
    put(&bona, "kiwi", "+1+1").await;
    let get = async |node: &Node| {
        let request = GetRequest { client_id: "kiwi".into() };
        locations(node).await.get(request).await.ok().map(tonic::Response::into_inner)
    };
    let here = get(&bona).await.unwrap();
    assert_eq!(here.applied_from, "");
    assert_eq!(here.applied_time, here.location.unwrap().receive_time);
    let there = eventually(async || get(&bailey).await, Option::is_some).await.unwrap();
    assert_eq!(there.applied_from, "Bona");
    assert!(there.applied_time.unwrap().seconds > 0);
}
