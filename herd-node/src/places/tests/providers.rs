//! Each provider against a server that knows its API and refuses what the real one refuses.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::stand_in::{Asked, Reply, StandIn};
use super::*;

/// Far more than any caller may have.
const KNOWN: usize = 30;

/// Answers as each provider does at its own path.
fn as_they_do(asked: &Asked) -> Reply {
    let (path, query) = asked.target.split_once('?').unwrap_or((&*asked.target, ""));
    let query: HashMap<String, String> = reqwest::Url::parse(&format!("http://h/?{query}"))
        .unwrap()
        .query_pairs()
        .into_owned()
        .collect();
    match path {
        "/maps/api/place/nearbysearch/json" => google_legacy(asked, &query),
        "/v1/places:searchNearby" => google_new(asked),
        "/w/api.php" => wikipedia(asked, &query),
        _ => Reply::new(404, "<html>Not found</html>"),
    }
}

fn google_legacy(asked: &Asked, query: &HashMap<String, String>) -> Reply {
    let place = |number| json!({"name": format!("Old {number}"), "types": ["cafe"]});
    let metres = query.get("radius").and_then(|radius| radius.parse::<f64>().ok());
    let location = query.get("location").is_some_and(|text| text.split(',').count() == 2);
    let (results, status) = match (query.get("key"), metres) {
        (Some(key), _) if key != KEY => (Vec::new(), "REQUEST_DENIED"),
        (Some(_), Some(0.0..=50_000.0)) if location && asked.method() == "GET" => {
            ((0..20).map(place).collect(), "OK")
        }
        _ => (Vec::new(), "INVALID_REQUEST"),
    };
    let answer = json!({"html_attributions": [], "results": results, "status": status});
    Reply::new(200, answer.to_string())
}

fn google_new(asked: &Asked) -> Reply {
    let refused = |code: u16, status: &str, reason: &str| {
        let details = json!([{"reason": reason}]);
        let error = json!({"code": code, "message": "x", "status": status, "details": details});
        Reply::new(code, json!({"error": error}).to_string())
    };
    let body: Value = serde_json::from_str(asked.body()).unwrap_or_default();
    let radius = body["locationRestriction"]["circle"]["radius"].as_f64();
    let count = body["maxResultCount"].as_u64().unwrap_or(20);
    let mask = asked.header("x-goog-fieldmask").unwrap_or_default();
    if asked.header("x-goog-api-key") != Some(KEY) {
        return refused(400, "INVALID_ARGUMENT", "API_KEY_INVALID");
    }
    let fits = radius.is_some_and(|radius| (0.0..=50_000.0).contains(&radius)) && count <= 20;
    if mask.is_empty() || mask.contains(' ') || !fits || asked.method() != "POST" {
        return refused(400, "INVALID_ARGUMENT", "x");
    }
    // No field that was not asked for.
    let is_named = mask.contains("places.displayName");
    let place = |number| {
        let name = is_named.then(|| json!({"text": format!("New {number}")}));
        json!({"displayName": name})
    };
    let places: Vec<_> = (0..count).map(place).collect();
    Reply::new(200, json!({"places": places}).to_string())
}

fn wikipedia(asked: &Asked, query: &HashMap<String, String>) -> Reply {
    if !asked.header("user-agent").is_some_and(|agent| agent.contains('@')) {
        return Reply::new(403, "Please set a user-agent");
    }
    let number = |name: &str| query.get(name).and_then(|text| text.parse::<usize>().ok());
    let center: Vec<f64> =
        query["gscoord"].split('|').filter_map(|degrees| degrees.parse().ok()).collect();
    let (Some(10..=10_000), Some(limit), [lat, lon]) =
        (number("gsradius"), number("gslimit"), &*center)
    else {
        return Reply::new(200, json!({"error": {"code": "badinteger", "info": "x"}}).to_string());
    };
    let page = |number: usize| {
        let lat = lat + number as f64 * 1e-4;
        json!({"pageid": number, "ns": 0, "title": format!("Page {number}"), "lat": lat, "lon": lon})
    };
    let found: Vec<_> = (0..KNOWN.min(limit)).map(page).collect();
    let answer = json!({"batchcomplete": true, "query": {"geosearch": found}});
    Reply::new(200, answer.to_string())
}

#[tokio::test]
async fn each_is_asked_as_it_wants_to_be_and_answers_in_both_forms() {
    for (provider, name) in [("google-legacy", "Old"), ("google-new", "New"), ("wikipedia", "Page")]
    {
        let server = StandIn::knowing(as_they_do).await;
        let places = open(&settings_for(provider, server.address), limits()).await;
        for (radius_meters, bound) in [(10_000.0, 20), (0.0, 0), (50_000.0, 1), (123.4, 5)] {
            let query = SearchQuery { radius_meters, ..query(bound) };
            let answer = places.search(&westwood(), &query, None).await.unwrap();
            assert_eq!((&*answer.provider, &*answer.status), (provider, "OK"), "{answer:?}");
            let value: Value = serde_json::from_str(&answer.legacy_json).unwrap();
            let results = value["results"].as_array().unwrap();
            assert_eq!((results.len(), answer.places.len()), (bound as usize, bound as usize));
            for (number, place) in answer.places.iter().enumerate() {
                assert_eq!(place.name, format!("{name} {number}"));
                assert_eq!(results[number]["name"], *place.name);
            }
        }
        assert_eq!(server.count(), 4);
    }
}

#[tokio::test]
async fn a_key_that_google_does_not_know_is_told_in_googles_words_by_both() {
    for provider in ["google-legacy", "google-new"] {
        let server = StandIn::knowing(as_they_do).await;
        let settings = PlacesSettings {
            provider: Some(provider.into()),
            url: Some(format!("http://{}", server.address)),
            ..PlacesSettings::default()
        };
        let other = "another-key-of-an-operator";
        let settings = settings.with_key_from(|name| (name == KEY_VARIABLE).then(|| other.into()));
        let places = open(&settings, limits()).await;
        for _ in 0..3 {
            let answer = places.search(&westwood(), &query(20), None).await.unwrap();
            assert_eq!((&*answer.status, answer.places.len()), ("REQUEST_DENIED", 0));
            assert!(answer.legacy_json.contains("\"REQUEST_DENIED\""), "{}", answer.legacy_json);
        }
        let status = places.search(&westwood(), &query(20), None).await.unwrap_err();
        assert_eq!((status.code(), server.count()), (tonic::Code::FailedPrecondition, 3));
    }
}
