//! How sparing the provider is asked, and how soon it is left alone.

use std::time::SystemTime;

use herd_proto::v1::SearchResponse;
use tokio::task::JoinSet;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::stand_in::{Reply, StandIn};
use super::*;

const FOUND: &str = "{\"results\":[{\"name\":\"a\"}],\"status\":\"OK\"}";

const UNKNOWN: &str = "{\"results\":[],\"status\":\"UNKNOWN_ERROR\"}";

const DENIED: &str = "{\"results\":[],\"status\":\"REQUEST_DENIED\"}";

async fn ask(places: &Places) -> Result<SearchResponse, Status> {
    places.search(&westwood(), &query(5), None).await
}

/// Asks for another place with each number.
async fn ask_at(places: &Places, number: usize) -> Result<SearchResponse, Status> {
    places.search(&kiwi_at(&format!("+34.{number:06}-118.445127")), &query(5), None).await
}

fn retry_delay(status: &Status) -> Option<Duration> {
    status.get_details_retry_info()?.retry_delay
}

#[tokio::test]
async fn two_hundred_who_ask_the_same_cost_one_request_also_when_half_of_them_leave() {
    let slow = Reply::new(200, FOUND).after(Duration::from_millis(200));
    let server = StandIn::answering(slow).await;
    let places = Arc::new(places_at(server.address, limits()).await);
    let (mut stay, mut leave) = (JoinSet::new(), JoinSet::new());
    for number in 0..200 {
        let places = Arc::clone(&places);
        // The very first is among those who leave.
        let askers = if number % 2 == 0 { &mut leave } else { &mut stay };
        askers.spawn(async move { ask(&places).await });
    }
    eventually(|| server.count() == 1).await;
    leave.shutdown().await;
    let mut answered = 0;
    while let Some(answer) = stay.join_next().await {
        assert_eq!(answer.unwrap().unwrap().legacy_json, FOUND);
        answered += 1;
    }
    assert_eq!((answered, server.count()), (100, 1));
    let scraped = scraped(&places);
    let shared = "herd_places_searches_total{provider=\"google-legacy\",source=\"shared\"} 100";
    assert!(scraped.contains(shared), "{scraped}");
}

#[tokio::test]
async fn an_answer_is_not_kept_unless_the_operator_says_so() {
    let server = StandIn::answering(Reply::new(200, FOUND)).await;
    let forgetful = places_at(server.address, limits()).await;
    for _ in 0..2 {
        ask(&forgetful).await.unwrap();
    }
    assert_eq!(server.count(), 2);
    let kept = Limits { cache_ttl: Duration::from_millis(200), ..limits() };
    let replies = [UNKNOWN, UNKNOWN, UNKNOWN, FOUND].map(|body| Reply::new(200, body));
    let server = StandIn::playing(replies.to_vec()).await;
    let places = places_at(server.address, kept).await;
    assert_eq!(ask(&places).await.unwrap().status, "UNKNOWN_ERROR");
    assert_eq!(ask(&places).await.unwrap().status, "OK", "a refusal must not be kept");
    assert_eq!(ask(&places).await.unwrap().legacy_json, FOUND);
    assert_eq!(server.count(), 4);
    assert!(scraped(&places).contains("source=\"cached\"} 1"));
    eventually_async(async || {
        ask(&places).await.unwrap();
        server.count() == 5
    })
    .await;
}

async fn eventually_async(mut condition: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !condition().await {
        assert!(Instant::now() < deadline, "it never came");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test]
async fn what_fails_for_a_moment_is_asked_again() {
    for first in [Reply::new(503, "x"), Reply::new(502, "x"), Reply::new(200, UNKNOWN)] {
        let server = StandIn::playing(vec![first, Reply::new(200, FOUND)]).await;
        let places = places_at(server.address, limits()).await;
        assert_eq!(ask(&places).await.unwrap().legacy_json, FOUND);
        assert_eq!(server.count(), 2);
        assert!(scraped(&places).contains("herd_places_retries_total"), "it is counted");
    }
}

#[tokio::test]
async fn a_provider_that_says_when_is_asked_again_then() {
    // A date has no parts of a second.
    let date = || httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(3));
    for said in [|| "1".to_owned(), date] {
        let said = said();
        let later = Reply::new(429, "x").with("retry-after", said);
        let server = StandIn::playing(vec![later, Reply::new(200, FOUND)]).await;
        let places = places_at(server.address, limits()).await;
        let begin = SystemTime::now();
        assert_eq!(ask(&places).await.unwrap().legacy_json, FOUND);
        let asked_again = begin + Duration::from_millis(900);
        assert!(SystemTime::now() >= asked_again, "{:?}", begin.elapsed());
        assert_eq!(server.count(), 2);
    }
}

#[tokio::test]
async fn ten_failures_open_the_breaker_and_then_nobody_is_asked() {
    let server = StandIn::answering(Reply::new(500, "x")).await;
    let places = places_at(server.address, limits()).await;
    for number in 0..10 {
        let status = ask_at(&places, number).await.unwrap_err();
        assert!(status.message().contains("HTTP status 500"), "{status:?}");
    }
    let status = ask_at(&places, 10).await.unwrap_err();
    assert_eq!((status.code(), server.count()), (Code::Unavailable, 10));
    assert!(status.message().contains("left alone for a while"), "{status:?}");
    assert!(retry_delay(&status).is_some_and(|delay| delay <= Duration::from_secs(5)));
    let open = "herd_places_breaker_state{provider=\"google-legacy\",state=\"open\"} 1";
    assert!(scraped(&places).contains(open));
}

#[tokio::test]
async fn a_breaker_that_opened_closes_with_the_first_answer() {
    let later = Reply::new(429, "x").with("retry-after", "1");
    let server = StandIn::playing(vec![later, Reply::new(200, FOUND)]).await;
    // Too little time to wait for the second try.
    let hasty = Limits { timeout: Duration::from_millis(900), ..limits() };
    let places = places_at(server.address, hasty).await;
    assert_eq!(ask(&places).await.unwrap_err().code(), Code::ResourceExhausted);
    let status = ask(&places).await.unwrap_err();
    assert_eq!((status.code(), server.count()), (Code::ResourceExhausted, 1));
    assert!(retry_delay(&status).is_some_and(|delay| delay <= Duration::from_secs(1)));
    eventually_async(async || ask(&places).await.is_ok()).await;
    assert_eq!(server.count(), 2);
    let closed = "herd_places_breaker_state{provider=\"google-legacy\",state=\"closed\"} 1";
    assert!(scraped(&places).contains(closed) && places.status().healthy);
}

#[tokio::test]
async fn a_key_refused_three_times_opens_the_breaker_and_another_in_the_file_closes_it() {
    for refusal in [Reply::new(200, DENIED), Reply::new(403, "x"), Reply::new(401, "x")] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        std::fs::write(&path, "first-key-of-the-operator").unwrap();
        let refusals = std::iter::repeat_n(refusal, 3);
        let replies = refusals.chain([Reply::new(200, FOUND)]).collect();
        let server = StandIn::playing(replies).await;
        let settings = PlacesSettings {
            provider: Some("google-legacy".into()),
            url: Some(format!("http://{}", server.address)),
            key_file: Some(path.clone()),
            ..PlacesSettings::default()
        };
        let log = Log::default();
        let _guard = log.capture();
        let places = open(&settings, limits()).await;
        for _ in 0..3 {
            let _ = ask(&places).await;
        }
        for _ in 0..2 {
            let status = ask(&places).await.unwrap_err();
            assert_eq!((status.code(), server.count()), (Code::FailedPrecondition, 3));
            assert_eq!(retry_delay(&status), None, "only the operator can help");
        }
        assert_eq!(log.text().matches("check the key").count(), 1, "it is logged once");
        assert!(scraped(&places).contains("state=\"open\"} 1"));
        std::fs::write(&path, "second-key").unwrap();
        // A scrape is enough to notice.
        eventually(|| scraped(&places).contains("state=\"closed\"} 1")).await;
        assert_eq!(ask(&places).await.unwrap().legacy_json, FOUND);
        assert!(server.asked()[3].ends_with("&key=second-key"), "{:?}", server.asked());
    }
}

#[tokio::test]
async fn what_is_scraped_is_so_at_that_moment_also_when_nobody_asks() {
    let later = Reply::new(429, "x").with("retry-after", "1");
    let slow = Reply::new(200, FOUND).after(Duration::from_mins(1));
    let server = StandIn::playing(vec![later, slow]).await;
    let hasty = Limits { timeout: Duration::from_millis(900), ..limits() };
    let places = Arc::new(places_at(server.address, hasty).await);
    ask(&places).await.unwrap_err();
    assert!(scraped(&places).contains("state=\"open\"} 1"));
    eventually(|| scraped(&places).contains("state=\"half_open\"} 1")).await;
    let in_flight = |number: usize| {
        scraped(&places).contains(&format!("_in_flight{{provider=\"google-legacy\"}} {number}.0\n"))
    };
    assert!(in_flight(0));
    let mut askers = JoinSet::new();
    askers.spawn({
        let places = Arc::clone(&places);
        async move { ask(&places).await }
    });
    eventually(|| in_flight(1)).await;
    places.stop().await;
    assert!(in_flight(0));
}

#[tokio::test]
async fn a_rate_and_a_quota_are_kept_and_callers_are_told_when_to_come_back() {
    let server = StandIn::answering(Reply::new(200, FOUND)).await;
    let no_wait = Limits { rate: 0.5, max_wait: Duration::ZERO, ..limits() };
    let places = places_at(server.address, no_wait).await;
    ask_at(&places, 0).await.unwrap();
    let status = ask_at(&places, 1).await.unwrap_err();
    assert_eq!((status.code(), server.count()), (Code::ResourceExhausted, 1));
    let delay = retry_delay(&status).unwrap();
    assert!(delay > Duration::from_secs(1) && delay <= Duration::from_secs(2), "{delay:?}");
    assert!(places.status().healthy, "it is not the provider's fault");

    let folder = tempfile::tempdir().unwrap();
    let two_a_day = Limits { daily_quota: Some(2), ..limits() };
    let settings = settings_for("google-legacy", server.address);
    let places = open_in(Some(folder.path()), &settings, two_a_day.clone()).await;
    let left = "herd_places_quota_left{provider=\"google-legacy\"} ";
    assert!(scraped(&places).contains(&format!("{left}2")));
    for number in 0..2 {
        ask_at(&places, number).await.unwrap();
    }
    let status = ask_at(&places, 2).await.unwrap_err();
    assert_eq!((status.code(), server.count()), (Code::ResourceExhausted, 3));
    assert!(status.message().contains("day's calls"), "{status:?}");
    assert!(retry_delay(&status).is_some_and(|delay| delay <= Duration::from_hours(24)));
    assert!(scraped(&places).contains(&format!("{left}0")));
    // Nothing was said to it before it ended.
    let next = open_in(Some(folder.path()), &settings, two_a_day).await;
    assert!(scraped(&next).contains(&format!("{left}0")), "a restart is no new day");
    ask_at(&next, 0).await.unwrap_err();
    assert_eq!(server.count(), 3);
}

#[tokio::test]
async fn more_at_once_than_allowed_wait_and_too_many_are_refused() {
    let slow = Reply::new(200, FOUND).after(Duration::from_secs(1));
    let server = StandIn::answering(slow).await;
    let two = Limits { max_in_flight: 2, max_wait: Duration::from_millis(50), ..limits() };
    let places = Arc::new(places_at(server.address, two).await);
    let mut askers = JoinSet::new();
    for number in 0..40 {
        let places = Arc::clone(&places);
        askers.spawn(async move { ask_at(&places, number).await });
    }
    let (mut answered, mut refused) = (0, 0);
    while let Some(outcome) = askers.join_next().await {
        match outcome.unwrap() {
            Ok(_) => answered += 1,
            Err(status) => {
                assert_eq!(status.code(), Code::ResourceExhausted);
                refused += 1;
            }
        }
    }
    assert_eq!((answered, refused, server.count()), (2, 38, 2));
    assert!(places.status().healthy, "it is not the provider's fault");
    ask(&places).await.unwrap();
}

#[tokio::test]
async fn stopping_gives_up_what_is_under_way() {
    let server = StandIn::answering(Reply::new(200, FOUND).after(Duration::from_mins(1))).await;
    let places = Arc::new(places_at(server.address, limits()).await);
    let mut askers = JoinSet::new();
    askers.spawn({
        let places = Arc::clone(&places);
        async move { ask(&places).await }
    });
    eventually(|| server.count() == 1).await;
    places.stop().await;
    let outcome = askers.join_next().await.unwrap().unwrap();
    assert_eq!(outcome.unwrap_err().code(), Code::Aborted);
}
