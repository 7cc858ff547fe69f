use std::io::Write as _;
use std::sync::Arc;
use std::time::Instant;

use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::stand_in::{After, Reply, StandIn, refusing};
use super::*;

const OK_HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n";

const EMPTY: &str = "{\"results\":[],\"status\":\"OK\"}";

/// A reply that is wrong, and what comes of it.
struct Case {
    name: &'static str,
    bytes: Vec<u8>,
    after: After,
    code: Code,
    /// How often it is asked, retries included.
    times: usize,
}

fn case(name: &'static str, bytes: impl Into<Vec<u8>>, after: After, code: Code) -> Case {
    Case { name, bytes: bytes.into(), after, code, times: 1 }
}

impl Case {
    /// For faults that may well be over at the next try.
    fn asked_again(self) -> Self {
        Self { times: 3, ..self }
    }
}

/// Asks a server that answers so, and returns the error after looking for leaks in it.
async fn fault_of(provider: &str, case: &Case) -> Status {
    let server = StandIn::sending(case.bytes.clone(), case.after).await;
    let is_slow = case.code == Code::DeadlineExceeded;
    let short = Limits { timeout: Duration::from_millis(300), ..limits() };
    let settings = settings_for(provider, server.address);
    let places = open(&settings, if is_slow { short } else { limits() }).await;
    let begin = Instant::now();
    let status = fail(&places).await;
    assert!(begin.elapsed() < Duration::from_secs(10), "{}: a limit was not kept", case.name);
    assert_eq!(server.count(), case.times, "{}", case.name);
    assert!(!places.status().healthy, "{}: {status:?}", case.name);
    assert_eq!(places.status().last_error, status.message());
    let told = status.get_details_retry_info().is_some();
    assert_eq!(told, status.code() != Code::FailedPrecondition, "{}: {status:?}", case.name);
    assert_free_of_secrets(&[&status, &places, &places.status()], &status.to_string());
    status
}

fn assert_free_of_secrets(debugged: &[&dyn std::fmt::Debug], shown: &str) {
    let all = format!("{debugged:?} {debugged:#?} {shown}");
    for secret in [KEY, "nearbysearch/json?", "location=", "gscoord=", "34.06"] {
        assert!(!all.contains(secret), "{secret} in {all}");
    }
}

fn with_body(head: &str, body: &str) -> String {
    format!("{head}content-length: {}\r\n\r\n{body}", body.len())
}

fn ok(body: &str) -> String {
    with_body(OK_HEAD, body)
}

fn status_line(code: &str) -> String {
    with_body(&format!("HTTP/1.1 {code} x\r\n"), "<html>sorry</html>")
}

fn packed(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    gzip.write_all(bytes).unwrap();
    gzip.finish().unwrap()
}

/// How replies break on the way.
fn broken() -> Vec<Case> {
    let long = format!("{OK_HEAD}content-length: 999\r\n\r\n{EMPTY}");
    let chunked = format!("{OK_HEAD}transfer-encoding: chunked\r\n\r\n");
    let (late, lost) = (Code::DeadlineExceeded, Code::Unavailable);
    vec![
        case("closed at once", "", After::Close, lost).asked_again(),
        case("reset at once", "", After::Reset, lost).asked_again(),
        case("silence", "", After::Hold, late),
        case("stalled head", OK_HEAD, After::Hold, late),
        case(
            "head and then silence",
            format!("{OK_HEAD}content-length: 9\r\n\r\n"),
            After::Hold,
            late,
        ),
        case("stalled body", &ok(EMPTY).as_bytes()[..90], After::Hold, late),
        case("a byte now and then", format!("{chunked}1\r\n{{"), After::Drip, lost).asked_again(),
        case("a slow drip", &*long, After::Drip, late),
        case("no HTTP", "hello\r\n\r\n", After::Close, lost).asked_again(),
        case("broken off", &*long, After::Close, lost).asked_again(),
        case("reset in the body", &*long, After::Reset, lost).asked_again(),
        case("bad chunk", format!("{chunked}zz\r\n"), After::Close, lost).asked_again(),
        case("chunks without end", format!("{chunked}1\r\n{{\r\n"), After::Close, lost)
            .asked_again(),
    ]
}

/// What arrives whole and is no answer.
fn not_answers() -> Vec<Case> {
    let lost = Code::Unavailable;
    let no_answer = |name, body: &str| case(name, ok(body), After::Close, lost);
    let mut gzip = format!("{OK_HEAD}content-encoding: gzip\r\n").into_bytes();
    let mut cut = packed(EMPTY.repeat(100).as_bytes());
    cut.truncate(cut.len() / 2);
    gzip.extend(format!("content-length: {}\r\n\r\n", cut.len()).bytes().chain(cut));
    let no_gzip = ok("x").replace("content-type", "content-encoding: gzip\r\nx-type");
    let too_large = format!("{OK_HEAD}content-length: 99999999\r\n\r\n");
    let mut not_utf8 = with_body(OK_HEAD, "{\"results\":[\"?\"],\"status\":\"OK\"}").into_bytes();
    let at = not_utf8.iter().position(|byte| *byte == b'?').unwrap();
    not_utf8[at] = 0xff;
    vec![
        case("cut short", format!("{OK_HEAD}content-length: 9\r\n\r\n{EMPTY}"), After::Close, lost),
        case("declared too large", too_large, After::Hold, lost),
        case("ten megabytes", format!("{OK_HEAD}\r\n{}", " ".repeat(10 << 20)), After::Close, lost),
        no_answer("HTML", "<html>welcome</html>"),
        no_answer("nothing", ""),
        no_answer("half of it", &EMPTY[..20]),
        no_answer("other JSON", "{}"),
        no_answer("a list", "[]"),
        no_answer("results of a wrong shape", "{\"results\":{},\"status\":\"OK\"}"),
        no_answer("twice the same key", "{\"results\":[],\"results\":[1],\"status\":\"OK\"}"),
        no_answer("no number", "{\"results\":[NaN],\"status\":\"OK\"}"),
        case("not UTF-8", not_utf8, After::Close, lost),
        case("half a gzip", gzip, After::Close, lost).asked_again(),
        case("no gzip", no_gzip, After::Close, lost).asked_again(),
    ]
}

/// HTTP statuses with a body in no known form.
fn statuses() -> Vec<Case> {
    let lost = Code::Unavailable;
    let status =
        |code: &'static str, answered| case(code, status_line(code), After::Close, answered);
    vec![
        status("302", lost),
        status("404", lost),
        status("500", lost),
        status("501", lost),
        status("502", lost).asked_again(),
        status("503", lost).asked_again(),
        status("504", lost).asked_again(),
        status("429", Code::ResourceExhausted),
        status("401", Code::FailedPrecondition),
        status("403", Code::FailedPrecondition),
    ]
}

async fn each_is_an_error_without_secrets(provider: &str, cases: Vec<Case>) {
    let log = Log::default();
    let _guard = log.capture();
    for case in cases {
        let status = fault_of(provider, &case).await;
        assert_eq!(status.code(), case.code, "{}: {status:?}", case.name);
    }
    let log = log.text();
    assert!(log.contains("places are not answered"), "{log}");
    assert_free_of_secrets(&[], &log);
}

#[tokio::test]
async fn every_break_on_the_way_from_google_legacy_is_an_error_without_secrets() {
    each_is_an_error_without_secrets("google-legacy", broken()).await;
}

#[tokio::test]
async fn every_break_on_the_way_from_google_new_is_an_error_without_secrets() {
    each_is_an_error_without_secrets("google-new", broken()).await;
}

#[tokio::test]
async fn every_break_on_the_way_from_wikipedia_is_an_error_without_secrets() {
    each_is_an_error_without_secrets("wikipedia", broken()).await;
}

#[tokio::test]
async fn every_http_status_that_brings_no_answer_is_an_error_without_secrets() {
    for provider in ["google-legacy", "google-new", "wikipedia"] {
        each_is_an_error_without_secrets(provider, statuses()).await;
    }
}

#[tokio::test]
async fn every_text_that_is_no_answer_is_an_error_without_secrets() {
    each_is_an_error_without_secrets("google-legacy", not_answers()).await;
}

#[tokio::test]
async fn odd_text_in_an_answer_is_passed_on_as_it_is() {
    for name in ["\\u0000\\u001b", "\\\"quoted\\\"", "\u{202e}RTL", "\u{1f9ed}", "1e999"] {
        let body = format!("{{\"results\":[{{\"name\":\"{name}\"}}],\"status\":\"OK\"}}");
        let server = StandIn::answering(Reply::new(200, &*body)).await;
        let places = places_at(server.address, limits()).await;
        let answer = places.search(&westwood(), &query(5), None).await.unwrap();
        assert_eq!(answer.legacy_json, body);
    }
}

#[tokio::test]
async fn a_number_that_no_computer_holds_harms_nobody() {
    for number in ["1e999", "-1e999", "1e-999", "99999999999999999999999999999999"] {
        let location = format!("{{\"location\":{{\"lat\":{number},\"lng\":{number}}}}}");
        let result = format!("{{\"geometry\":{location},\"name\":\"x\",\"rating\":{number}}}");
        let body = format!("{{\"results\":[{result},{{\"name\":\"y\"}}],\"status\":\"OK\"}}");
        let server = StandIn::answering(Reply::new(200, &*body)).await;
        let places = places_at(server.address, limits()).await;
        let answer = places.search(&westwood(), &query(5), None).await.unwrap();
        assert_eq!((&*answer.legacy_json, &*answer.places[1].name), (&*body, "y"));
    }
}

#[tokio::test]
async fn a_refused_connection_is_unavailable() {
    let places = places_at(refusing().await, limits()).await;
    let status = fail(&places).await;
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.message().contains("cannot be reached"), "{status:?}");
    assert_free_of_secrets(&[&status, &places], &status.to_string());
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let thief = StandIn::answering(Reply::new(200, EMPTY)).await;
    let head = format!("HTTP/1.1 302 Found\r\nlocation: http://{}/\r\n", thief.address);
    let moved = case("moved", with_body(&head, ""), After::Close, Code::Unavailable);
    assert_eq!(fault_of("google-legacy", &moved).await.code(), moved.code);
    assert_eq!(thief.asked(), [""; 0]);
}

#[tokio::test]
async fn an_answer_of_exactly_the_limit_is_read_and_one_byte_more_is_not() {
    let limits = Limits { max_answer_bytes: EMPTY.len(), ..limits() };
    let server = StandIn::answering(Reply::new(200, EMPTY)).await;
    let places = places_at(server.address, limits.clone()).await;
    places.search(&westwood(), &query(5), None).await.unwrap();
    // Chunked, so that no declared length gives it away.
    let chunk = format!("{:x}\r\n{EMPTY} \r\n0\r\n\r\n", EMPTY.len() + 1);
    let reply = format!("{OK_HEAD}transfer-encoding: chunked\r\n\r\n{chunk}");
    let server = StandIn::sending(reply, After::Close).await;
    let status = fail(&places_at(server.address, limits).await).await;
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.message().contains("exceeds 28 bytes"), "{status:?}");
}

#[tokio::test]
async fn an_answer_of_a_megabyte_is_read_elsewhere_and_passed_on_all_the_same() {
    let long = "x".repeat(1 << 20);
    let body = format!("{{\"results\":[{{\"name\":\"{long}\"}}],\"status\":\"OK\"}}");
    let server = StandIn::answering(Reply::new(200, &*body)).await;
    let places = places_at(server.address, limits()).await;
    let answer = places.search(&westwood(), &query(5), None).await.unwrap();
    assert!(answer.legacy_json == body && answer.places[0].name == long);
}

#[tokio::test]
async fn a_bomb_is_defused_at_the_limit() {
    let bomb = packed(&vec![b' '; 50 << 20]);
    assert!(bomb.len() < 100_000);
    let server = StandIn::answering(Reply::new(200, bomb).with("content-encoding", "gzip")).await;
    let places = places_at(server.address, limits()).await;
    let status = fail(&places).await;
    assert!(status.message().contains("exceeds 2097152 bytes"), "{status:?}");
}

#[tokio::test]
async fn a_caller_in_a_hurry_gets_its_deadline_and_says_nothing_about_the_provider() {
    let server = StandIn::sending("", After::Hold).await;
    let places = places_at(server.address, limits()).await;
    let begin = Instant::now();
    for time_left in [Duration::ZERO, Duration::from_millis(50)] {
        let search = places.search(&westwood(), &query(5), Some(time_left)).await;
        assert_eq!(search.unwrap_err().code(), Code::DeadlineExceeded);
    }
    assert!(begin.elapsed() < Duration::from_secs(10));
    assert!(places.status().healthy);
}

#[tokio::test]
async fn health_comes_back_with_the_first_answer() {
    let log = Log::default();
    let _guard = log.capture();
    let places = places_at(refusing().await, limits()).await;
    fail(&places).await;
    fail(&places).await;
    assert!(!places.status().healthy);
    assert_eq!(log.text().matches("places are not answered").count(), 1);
    let page = super::super::Page::read(EMPTY.into(), westwood().position).unwrap();
    places.note(&Ok(Arc::new(page)));
    assert!(places.status().healthy && log.text().contains("answered again"));
}
