//! Places as a node serves them: over gRPC, and to whoever scrapes it.

use herd_node::places::{PlacesConfig, PlacesSettings};
use herd_node::{Config, Node};
use herd_proto::v1::places_client::PlacesClient;
use herd_proto::v1::{SearchRequest, SearchView};
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::admin::get;
use crate::support::{channel, config, locations, report};

fn with_places(settings: &PlacesSettings) -> Config {
    let mut config = config("Bailey", &[]);
    config.admin = Some("127.0.0.1:0".parse().unwrap());
    config.places = PlacesConfig::from_settings(settings).unwrap();
    config
}

/// A provider that nobody serves: port 9 of this machine is for throwing things away.
fn unreachable(fallback: Option<&str>) -> PlacesSettings {
    let mut settings = PlacesSettings::default();
    settings.provider = Some("google-new".into());
    settings.url = Some("http://127.0.0.1:9".into());
    settings.fallback = fallback.map(Into::into);
    settings
}

fn search() -> SearchRequest {
    SearchRequest {
        client_id: "kiwi".into(),
        view: SearchView::Full.into(),
        ..SearchRequest::default()
    }
}

#[tokio::test]
async fn a_provider_that_cannot_be_asked_is_an_error_that_says_when_to_ask_again_and_is_counted() {
    let node = Node::start(with_places(&unreachable(None))).await.unwrap();
    locations(&node).await.report(report("kiwi")).await.unwrap();
    let mut places = PlacesClient::new(channel(node.address()).await);
    let status = places.search(search()).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.get_details_retry_info().is_some(), "{status:?}");
    let admin = node.admin_address().unwrap();
    let metrics = get(admin, "/metrics").await;
    let failed = "herd_places_requests_total{provider=\"google-new\",outcome=\"unreachable\"} 3\n";
    assert!(metrics.contains(failed), "{metrics}");
    let closed = "herd_places_breaker_state{provider=\"google-new\",state=\"closed\"} 1.0\n";
    assert!(metrics.contains(closed), "{metrics}");
    assert!(get(admin, "/readyz").await.contains("places: "), "operators hear of it");
    node.stop().await;
}

#[tokio::test]
async fn a_fallback_answers_in_both_views_and_says_that_it_does() {
    let node = Node::start(with_places(&unreachable(Some("embedded")))).await.unwrap();
    locations(&node).await.report(report("kiwi")).await.unwrap();
    let mut places = PlacesClient::new(channel(node.address()).await);
    let answer = places.search(search()).await.unwrap().into_inner();
    assert_eq!(answer.provider, "embedded");
    let told = &answer.info_messages[0];
    assert!(told.starts_with("Served from the embedded data set instead of google-new"), "{told}");
    assert!(answer.legacy_json.contains("\"info_messages\""), "{}", answer.legacy_json);
    node.stop().await;
}

#[tokio::test]
async fn a_file_of_places_that_is_wrong_keeps_the_node_from_starting() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "A,B\n").unwrap();
    let mut settings = PlacesSettings::default();
    settings.path = Some(file.path().into());
    let error = Node::start(with_places(&settings)).await.unwrap_err().to_string();
    assert!(error.contains("line 1 must have seven fields"), "{error}");
}
