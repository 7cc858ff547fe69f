//! The key never comes out: whatever a failing call prints is searched for it.

use std::fmt::Write as _;

use super::stand_in::{After, Reply, StandIn, refusing};
use super::*;

/// Replies that throw the key back in every way that they can.
fn spiteful(provider: &str) -> Vec<Reply> {
    let quoting = format!("https://h/?key={KEY}&x=1 and {KEY}");
    let legacy =
        |status: &str| format!("{{\"error_message\":\"{quoting}\",\"status\":\"{status}\"}}");
    let new = format!(
        "{{\"error\":{{\"code\":403,\"message\":\"{quoting}\",\"status\":\"{quoting}\",\
         \"details\":[{{\"reason\":\"{quoting}\"}}]}}}}"
    );
    let mut replies = vec![
        Reply::new(302, "").with("location", format!("http://h/?key={KEY}")),
        Reply::new(500, &*quoting),
        Reply::new(403, &*quoting).with("x-key", KEY),
        Reply::new(429, &*quoting).with("retry-after", KEY),
        Reply::new(200, &*quoting),
    ];
    match provider {
        "google-legacy" => {
            let words = ["REQUEST_DENIED", "INVALID_REQUEST", "OVER_QUERY_LIMIT"];
            replies.extend(words.map(|word| Reply::new(200, legacy(word))));
        }
        _ => replies.extend([400, 403, 500].map(|code| Reply::new(code, &*new))),
    }
    replies
}

/// All that a call lets anybody see.
async fn seen(places: &Places, out: &mut String) {
    let outcome = places.search(&westwood(), &query(5), None).await;
    if let Err(status) = &outcome {
        let _ = write!(out, "{status} {:?} {:?}", status.metadata(), status.details());
        out.push_str(&String::from_utf8_lossy(status.details()));
    }
    let _ = write!(out, "{outcome:?} {outcome:#?} {places:?} {:?}", places.status());
    out.push_str(&scraped(places));
}

#[tokio::test]
async fn nothing_that_a_failing_call_prints_holds_the_key() {
    let log = Log::default();
    let _guard = log.capture();
    let mut all = String::new();
    for provider in ["google-legacy", "google-new"] {
        for reply in spiteful(provider) {
            let server = StandIn::answering(reply).await;
            let settings = settings_for(provider, server.address);
            let config = PlacesConfig::from_settings(&settings).unwrap();
            // What --print-config shows, and what a panic would.
            let _ = write!(all, "{settings:?} {config:?} {config:#?}");
            seen(&open(&settings, limits()).await, &mut all).await;
            assert!(server.requests()[0].whole.contains(KEY) || server.asked()[0].contains(KEY));
        }
        for (bytes, after) in [("", After::Close), ("junk\r\n\r\n", After::Reset)] {
            let server = StandIn::sending(bytes, after).await;
            seen(&open(&settings_for(provider, server.address), limits()).await, &mut all).await;
            assert!(server.count() > 0);
        }
        seen(&open(&settings_for(provider, refusing().await), limits()).await, &mut all).await;
    }
    all.push_str(&log.text());
    assert!(all.contains("[redacted]") && all.contains("places are not answered"));
    assert!(all.len() > 50_000, "there was little to search");
    for secret in [KEY, &KEY[..20]] {
        assert!(!all.contains(secret), "the key is in {all}");
    }
}

#[tokio::test]
async fn wikipedia_is_told_a_contact_and_no_key() {
    let server = StandIn::answering(Reply::new(200, "{\"batchcomplete\":true}")).await;
    let places = open(&settings_for("wikipedia", server.address), limits()).await;
    let answer = places.search(&westwood(), &query(5), None).await.unwrap();
    assert_eq!((&*answer.status, &*answer.provider), ("ZERO_RESULTS", "wikipedia"));
    let asked = server.requests().pop().unwrap();
    assert!(asked.whole.contains("(ops@example.org)\n"), "{}", asked.whole);
    assert!(!asked.whole.contains(KEY) && !asked.target.contains(KEY));
    assert!(asked.target.starts_with("/w/api.php?action=query&format=json&formatversion=2"));
}

#[tokio::test]
async fn google_new_is_told_the_key_in_a_header_and_never_in_the_address() {
    let body = "{\"places\":[{\"id\":\"x\",\"displayName\":{\"text\":\"Caf\u{e9}\"}}]}";
    let server = StandIn::answering(Reply::new(200, body)).await;
    let places = open(&settings_for("google-new", server.address), limits()).await;
    let answer = places.search(&westwood(), &query(5), None).await.unwrap();
    assert_eq!((&*answer.places[0].name, &*answer.provider), ("Café", "google-new"));
    let asked = server.requests().pop().unwrap();
    assert_eq!(asked.target, "/v1/places:searchNearby");
    assert!(asked.whole.starts_with("POST\n"), "{}", asked.whole);
    assert!(asked.whole.contains(&format!("x-goog-api-key: {KEY}\n")), "{}", asked.whole);
    assert!(asked.whole.contains("x-goog-fieldmask: places.id,"), "{}", asked.whole);
}
