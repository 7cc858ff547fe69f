//! What answers when the provider does not.

use serde_json::Value;

use super::stand_in::{After, Reply, StandIn};
use super::*;

async fn with_fallback(provider: &str, address: SocketAddr, limits: Limits) -> Places {
    let fallback = Some("embedded".into());
    open(&PlacesSettings { fallback, ..settings_for(provider, address) }, limits).await
}

#[tokio::test]
async fn the_table_answers_for_a_provider_that_fails_or_refuses_and_says_so() {
    for (reply, reason) in [
        (Reply::new(500, "x"), "places provider answered with HTTP status 500"),
        (Reply::new(403, "x"), "places provider refused the credentials"),
        (
            Reply::new(200, "{\"status\":\"REQUEST_DENIED\"}"),
            "places provider answered REQUEST_DENIED",
        ),
        (Reply::new(200, "x"), "places provider's answer is not in its documented form"),
    ] {
        let server = StandIn::answering(reply).await;
        let places = with_fallback("google-legacy", server.address, limits()).await;
        let answer = places.search(&westwood(), &query(5), None).await.unwrap();
        assert_eq!((&*answer.provider, &*answer.status), ("embedded", "OK"));
        let told = format!("Served from the embedded data set instead of google-legacy: {reason}.");
        assert_eq!(answer.info_messages, [&*told]);
        assert!(!answer.attributions.is_empty());
        let json: Value = serde_json::from_str(&answer.legacy_json).unwrap();
        assert_eq!(json["info_messages"][0], *told);
        assert_eq!((json["results"].as_array().unwrap().len(), answer.places.len()), (5, 5));
        assert_eq!(server.count(), 1);
        assert!(!places.status().healthy, "the operator still hears of it");
        assert!(scraped(&places).contains("source=\"fallback\"} 1"));
    }
}

#[tokio::test]
async fn it_answers_before_the_caller_gives_up() {
    let server = StandIn::sending("", After::Hold).await;
    let places = with_fallback("google-new", server.address, limits()).await;
    let caller = Duration::from_millis(500);
    let (location, query) = (westwood(), query(5));
    let search = places.search(&location, &query, Some(caller));
    let answer = tokio::time::timeout(caller, search).await.unwrap().unwrap();
    assert_eq!(answer.provider, "embedded");
    assert!(answer.info_messages[0].contains("deadline passed"), "{answer:?}");
}

#[tokio::test]
async fn an_answer_of_the_provider_is_never_replaced() {
    for word in ["OK", "ZERO_RESULTS", "INVALID_REQUEST"] {
        let body = format!("{{\"results\":[],\"status\":\"{word}\"}}");
        let server = StandIn::answering(Reply::new(200, &*body)).await;
        let places = with_fallback("google-legacy", server.address, limits()).await;
        let answer = places.search(&westwood(), &query(5), None).await.unwrap();
        assert_eq!((&*answer.provider, &*answer.legacy_json), ("google-legacy", &*body));
        assert_eq!(answer.info_messages, [""; 0]);
    }
}
