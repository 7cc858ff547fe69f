use std::fmt::Write as _;
use std::io::Write as _;

use herd_proto::v1;
use serde_json::{Value, json};

use super::stand_in::{After, Reply, StandIn};
use super::*;
use crate::places::classic;

fn answer(count: usize) -> Value {
    let results: Vec<_> = (0..count)
        .map(|number| {
            json!({
                "geometry": {"location": {"lat": 34.068_93, "lng": 81.634_952_8}},
                "name": format!("Caf\u{e9} {number}"),
                "rating": 4.5,
                "types": ["cafe", "food"],
            })
        })
        .collect();
    json!({"html_attributions": [], "next_page_token": "t", "results": results, "status": "OK"})
}

/// Google's layout of later years: what is not empty starts on a line of its own.
fn newer(value: &Value, depth: usize) -> String {
    let (outer, inner) = ("   ".repeat(depth), "   ".repeat(depth + 1));
    let mut lines = Vec::new();
    let brackets = match value {
        Value::Array(items) if !items.is_empty() => {
            lines.extend(items.iter().map(|item| newer(item, depth + 1).trim_start().to_owned()));
            ["[", "]"]
        }
        Value::Object(members) if !members.is_empty() => {
            lines.extend(
                members.iter().map(|(key, item)| format!("\"{key}\" : {}", newer(item, depth + 1))),
            );
            ["{", "}"]
        }
        scalar => return scalar.to_string(),
    };
    let mut text = format!("\n{outer}{}\n", brackets[0]);
    let _ = write!(text, "{inner}{}", lines.join(&format!(",\n{inner}")));
    let _ = write!(text, "\n{outer}{}", brackets[1]);
    text
}

async fn search(places: &Places, max_results: u32) -> v1::SearchResponse {
    places.search(&westwood(), &query(max_results), None).await.unwrap()
}

#[tokio::test]
async fn the_question_is_googles_with_the_clients_own_decimals() {
    let google = StandIn::answering(Reply::new(200, answer(0).to_string())).await;
    let places = places_at(google.address, limits()).await;
    for (position, radius_meters, expected) in [
        ("+34.068930-118.445127", 10_000.0, "location=34.068930,-118.445127&radius=10000"),
        ("+27.5916+086.5640", 2500.0, "location=27.5916,86.5640&radius=2500"),
        ("-050.5+0.0", 10_587.126_3, "location=-50.5,0.0&radius=10587.1263"),
        ("-12-118", 0.0, "location=-12,-118&radius=0"),
    ] {
        let query = SearchQuery { radius_meters, ..query(1) };
        places.search(&kiwi_at(position), &query, None).await.unwrap();
        let asked = google.asked().pop().unwrap();
        assert_eq!(asked, format!("/maps/api/place/nearbysearch/json?{expected}&key={KEY}"));
    }
}

#[tokio::test]
async fn the_answer_is_the_providers_bytes_cut_to_the_bound() {
    let whole = answer(6);
    let layouts = [classic::write(&whole, 0), newer(&whole, 0).trim().into(), whole.to_string()];
    for text in layouts {
        let body = format!("{text}\n\n\n");
        let google = StandIn::answering(Reply::new(200, body)).await;
        let places = places_at(google.address, limits()).await;
        for bound in [0, 1, 5, 6, 20] {
            let answered = search(&places, bound).await;
            let kept = 6.min(bound as usize);
            let value: Value = serde_json::from_str(&answered.legacy_json).unwrap();
            assert_eq!(value, answer(kept));
            let (head, _) = answered.legacy_json.split_once("\"results\"").unwrap();
            assert!(text.starts_with(head));
            assert_eq!(answered.places.len(), kept);
            if kept == 6 {
                assert_eq!(answered.legacy_json, text);
            }
        }
    }
}

/// The layout of an answer with fewer results is what Google writes for as many.
#[tokio::test]
async fn a_cut_answer_looks_as_if_google_had_sent_no_more() {
    for bound in [0, 1, 5] {
        let layouts: [fn(&Value) -> String; 3] = [
            |value| classic::write(value, 0),
            |value| newer(value, 0).trim().into(),
            Value::to_string,
        ];
        for layout in layouts {
            let google = StandIn::answering(Reply::new(200, layout(&answer(20)))).await;
            let answered = search(&places_at(google.address, limits()).await, bound).await;
            assert_eq!(answered.legacy_json, layout(&answer(bound as usize)));
        }
    }
}

#[tokio::test]
async fn the_typed_list_has_distances_and_the_views_are_filled_as_asked() {
    let google = StandIn::answering(Reply::new(200, answer(2).to_string())).await;
    let places = places_at(google.address, limits()).await;
    let full = search(&places, 20).await;
    assert_eq!((&*full.status, &*full.provider), ("OK", "google-legacy"));
    assert_eq!(full.location, Some((&westwood()).into()));
    assert_eq!(full.places[1].name, "Café 1");
    assert!(full.places[0].distance_meters > 1_000_000.0);
    let only_typed = SearchQuery { legacy_json: false, ..query(20) };
    let typed = places.search(&westwood(), &only_typed, None).await.unwrap();
    assert_eq!((typed.places.len(), &*typed.legacy_json), (2, ""));
    let only_json = SearchQuery { places: false, ..query(20) };
    let json = places.search(&westwood(), &only_json, None).await.unwrap();
    assert_eq!((json.places.len(), json.legacy_json), (0, full.legacy_json));
}

#[tokio::test]
async fn googles_own_words_pass_and_refusals_show_in_the_status() {
    for (word, healthy) in [
        ("ZERO_RESULTS", true),
        ("INVALID_REQUEST", true),
        ("REQUEST_DENIED", false),
        ("OVER_QUERY_LIMIT", false),
        ("UNKNOWN_ERROR", false),
    ] {
        let body = classic::write(&json!({"results": [], "status": word}), 0);
        let google = StandIn::answering(Reply::new(200, body.clone())).await;
        let places = places_at(google.address, limits()).await;
        assert!(places.status().healthy);
        let answered = search(&places, 20).await;
        assert_eq!((&*answered.status, answered.legacy_json), (word, body));
        assert_eq!(places.status().healthy, healthy);
        assert_eq!(places.status().last_error.contains(word), !healthy);
    }
}

#[tokio::test]
async fn an_answer_that_quotes_the_key_is_passed_without_it() {
    let body = json!({"error_message": format!("bad key {KEY}"), "status": "REQUEST_DENIED"});
    let google = StandIn::answering(Reply::new(403, body.to_string())).await;
    let answered = search(&places_at(google.address, limits()).await, 20).await;
    assert!(answered.legacy_json.contains("bad key [redacted]"), "{}", answered.legacy_json);
}

#[tokio::test]
async fn a_compressed_answer_is_unpacked() {
    let text = answer(3).to_string();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(text.as_bytes()).unwrap();
    let packed = Reply::new(200, gzip.finish().unwrap()).with("content-encoding", "gzip");
    let google = StandIn::answering(packed).await;
    assert_eq!(search(&places_at(google.address, limits()).await, 20).await.legacy_json, text);
}

/// One that does not even say so closes a connection that is about to be used again.
#[tokio::test]
async fn a_server_that_closes_after_each_answer_is_asked_again() {
    let text = answer(1).to_string();
    for said in ["connection: close\r\n", "connection: keep-alive\r\n"] {
        let head = format!("HTTP/1.1 200 OK\r\n{said}content-length: {}\r\n\r\n", text.len());
        let google = StandIn::sending(head + &text, After::Close).await;
        let places = places_at(google.address, limits()).await;
        for _ in 0..10 {
            assert_eq!(search(&places, 20).await.legacy_json, text);
        }
        assert!(google.count() >= 10);
    }
}

#[tokio::test]
async fn two_nodes_in_one_process_have_each_their_own_places() {
    let google = StandIn::answering(Reply::new(500, "")).await;
    let network = places_at(google.address, limits()).await;
    let built_in = Places::open(PlacesConfig::default(), None).await.unwrap();
    network.search(&westwood(), &query(5), None).await.unwrap_err();
    let answered = search(&built_in, 5).await;
    assert_eq!((&*answered.provider, &*answered.status), ("embedded", "OK"));
    assert_eq!((answered.places.len(), answered.places[0].distance_meters < 100.0), (5, true));
    let value: Value = serde_json::from_str(&answered.legacy_json).unwrap();
    assert_eq!(value["results"].as_array().map(Vec::len), Some(5));
    assert!(built_in.status().healthy && !network.status().healthy);
    let none = search(&built_in, 0).await;
    assert_eq!((&*none.status, none.places.len()), ("OK", 0));
}
