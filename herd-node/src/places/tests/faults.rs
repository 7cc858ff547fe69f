use std::io::Write as _;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use tokio::task::JoinSet;
use tonic::{Code, Status};

use super::stand_in::{After, StandIn, refusing};
use super::*;

const OK_HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n";

const EMPTY: &str = "{\"results\":[],\"status\":\"OK\"}";

async fn fail(places: &Places) -> Status {
    places.search(&westwood(), &query(5), None).await.unwrap_err()
}

/// Asks a server that sends `bytes`, and returns the error after looking for leaks in it.
async fn fault_of(bytes: impl Into<Vec<u8>>, after: After) -> Status {
    let server = StandIn::sending(bytes, after).await;
    let short = Limits { total_timeout: Duration::from_millis(300), ..limits() };
    let limits = if after == After::Hold { short } else { limits() };
    let places = places_at(server.address, limits);
    let begin = Instant::now();
    let status = fail(&places).await;
    assert!(begin.elapsed() < Duration::from_secs(10), "a limit of 0.3 s was not kept");
    assert!(!places.status().healthy, "{status:?}");
    assert_eq!(places.status().last_error, status.message());
    assert_free_of_secrets(&[&status, &places, &places.status()], &status.to_string());
    status
}

fn assert_free_of_secrets(debugged: &[&dyn std::fmt::Debug], shown: &str) {
    let all = format!("{debugged:?} {debugged:#?} {shown}");
    for secret in [KEY, "nearbysearch/json?", "location=", "34.06"] {
        assert!(!all.contains(secret), "{secret} in {all}");
    }
}

fn with_body(head: &str, body: &str) -> String {
    format!("{head}content-length: {}\r\n\r\n{body}", body.len())
}

#[tokio::test]
async fn every_kind_of_fault_is_an_error_without_secrets() {
    let log = Log::default();
    let _guard = log.capture();
    let ok = |body: &str| with_body(OK_HEAD, body);
    let code = |code: &str| with_body(&format!("HTTP/1.1 {code} x\r\n"), "<html>sorry</html>");
    let table = [
        ("closed at once", String::new(), After::Close, Code::Unavailable),
        ("silence", String::new(), After::Hold, Code::DeadlineExceeded),
        ("stalled head", OK_HEAD.into(), After::Hold, Code::DeadlineExceeded),
        (
            "stalled body",
            with_body(OK_HEAD, EMPTY)[..90].into(),
            After::Hold,
            Code::DeadlineExceeded,
        ),
        ("no HTTP", "hello\r\n\r\n".into(), After::Close, Code::Unavailable),
        (
            "broken off",
            format!("{OK_HEAD}content-length: 999\r\n\r\n{EMPTY}"),
            After::Close,
            Code::Unavailable,
        ),
        (
            "cut short",
            format!("{OK_HEAD}content-length: 9\r\n\r\n{EMPTY}"),
            After::Close,
            Code::Unavailable,
        ),
        (
            "bad chunk",
            format!("{OK_HEAD}transfer-encoding: chunked\r\n\r\nzz\r\n"),
            After::Close,
            Code::Unavailable,
        ),
        (
            "declared too large",
            format!("{OK_HEAD}content-length: 99999999\r\n\r\n"),
            After::Hold,
            Code::Unavailable,
        ),
        ("HTML", ok("<html>welcome</html>"), After::Close, Code::Unavailable),
        ("nothing", ok(""), After::Close, Code::Unavailable),
        ("other JSON", ok("{}"), After::Close, Code::Unavailable),
        ("no number", ok("{\"results\":[NaN],\"status\":\"OK\"}"), After::Close, Code::Unavailable),
        ("500", code("500"), After::Close, Code::Unavailable),
        ("503", code("503"), After::Close, Code::Unavailable),
        ("404", code("404"), After::Close, Code::Unavailable),
        ("429", code("429"), After::Close, Code::ResourceExhausted),
        ("401", code("401"), After::Close, Code::FailedPrecondition),
        ("403", code("403"), After::Close, Code::FailedPrecondition),
        (
            "no gzip",
            ok("x").replace("content-type", "content-encoding: gzip\r\nx-type"),
            After::Close,
            Code::Unavailable,
        ),
    ];
    for (name, bytes, after, code) in table {
        let status = fault_of(bytes, after).await;
        assert_eq!(status.code(), code, "{name}: {status:?}");
    }
    let log = log.text();
    assert!(log.contains("places are not answered"), "{log}");
    assert_free_of_secrets(&[], &log);
}

#[tokio::test]
async fn a_refused_connection_is_unavailable() {
    let places = places_at(refusing().await, limits());
    let status = fail(&places).await;
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.message().contains("cannot be reached"), "{status:?}");
    assert_free_of_secrets(&[&status, &places], &status.to_string());
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let thief = StandIn::answering(200, &[], EMPTY).await;
    let head = format!("HTTP/1.1 302 Found\r\nlocation: http://{}/\r\n", thief.address);
    let status = fault_of(with_body(&head, ""), After::Close).await;
    assert_eq!(status.code(), Code::Unavailable);
    assert_eq!(thief.asked(), [""; 0]);
}

#[tokio::test]
async fn an_answer_of_exactly_the_limit_is_read_and_one_byte_more_is_not() {
    let limits = Limits { max_answer_bytes: EMPTY.len(), ..limits() };
    let server = StandIn::answering(200, &[], EMPTY).await;
    let places = places_at(server.address, limits.clone());
    places.search(&westwood(), &query(5), None).await.unwrap();
    // Chunked, so that no declared length gives it away.
    let chunk = format!("{:x}\r\n{EMPTY} \r\n0\r\n\r\n", EMPTY.len() + 1);
    let reply = format!("{OK_HEAD}transfer-encoding: chunked\r\n\r\n{chunk}");
    let server = StandIn::sending(reply, After::Close).await;
    let status = fail(&places_at(server.address, limits)).await;
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.message().contains("exceeds 28 bytes"), "{status:?}");
}

#[tokio::test]
async fn a_bomb_is_defused_at_the_limit() {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    gzip.write_all(&vec![b' '; 40 << 20]).unwrap();
    let packed = gzip.finish().unwrap();
    assert!(packed.len() < 100_000);
    let server = StandIn::answering(200, &[("content-encoding", "gzip")], packed).await;
    let places = places_at(server.address, limits());
    let status = fail(&places).await;
    assert!(status.message().contains("exceeds 2097152 bytes"), "{status:?}");
}

#[tokio::test]
async fn a_caller_in_a_hurry_gets_its_deadline_and_says_nothing_about_the_provider() {
    let server = StandIn::sending("", After::Hold).await;
    let places = places_at(server.address, limits());
    let begin = Instant::now();
    for time_left in [Duration::ZERO, Duration::from_millis(50)] {
        let search = places.search(&westwood(), &query(5), Some(time_left)).await;
        assert_eq!(search.unwrap_err().code(), Code::DeadlineExceeded);
    }
    assert!(begin.elapsed() < Duration::from_secs(10));
    assert!(places.status().healthy);
}

#[tokio::test]
async fn a_question_too_many_is_refused_and_a_dropped_one_makes_room() {
    let server = StandIn::sending("", After::Hold).await;
    let limits = Limits { max_in_flight: 2, max_wait: Duration::from_millis(50), ..limits() };
    let places = Arc::new(places_at(server.address, limits));
    let mut askers = JoinSet::new();
    for _ in 0..2 {
        let places = Arc::clone(&places);
        askers.spawn(async move { fail(&places).await });
    }
    eventually(|| server.asked().len() == 2).await;
    let status = fail(&places).await;
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert!(places.status().healthy, "it is not the provider's fault");
    askers.shutdown().await;
    let in_time = Some(Duration::from_secs(1));
    let search = places.search(&westwood(), &query(5), in_time).await;
    assert_eq!(search.unwrap_err().code(), Code::DeadlineExceeded);
    eventually(|| server.asked().len() == 3).await;
}

#[tokio::test]
async fn health_comes_back_with_the_first_answer() {
    let log = Log::default();
    let _guard = log.capture();
    let places = places_at(refusing().await, limits());
    fail(&places).await;
    fail(&places).await;
    assert!(!places.status().healthy);
    assert_eq!(log.text().matches("places are not answered").count(), 1);
    places.note(&Ok(super::super::Page::read(EMPTY.into(), westwood().position).unwrap()));
    assert!(places.status().healthy && log.text().contains("answered again"));
}

async fn eventually(mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(Instant::now() < deadline, "it never came");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// All that is logged on this thread, at every level.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn capture(&self) -> tracing::subscriber::DefaultGuard {
        let log = self.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_ansi(false)
            .with_writer(move || log.clone())
            .finish();
        tracing::subscriber::set_default(subscriber)
    }

    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
