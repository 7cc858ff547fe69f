//! The admin port as its users see it: scrapers, probes, and those who only hold connections.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::routing::get;
use herd_admin::{MAX_CONNECTIONS, Readiness, Registry, register_process, router, serve};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

struct Admin {
    address: SocketAddr,
    ready: Arc<AtomicBool>,
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

async fn start() -> Admin {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let ready = Arc::new(AtomicBool::new(true));
    let mut registry = Registry::default();
    register_process(&mut registry);
    let seen = Arc::clone(&ready);
    // One for all who ask.
    let large = axum::body::Bytes::from(vec![b'x'; 16 << 20]);
    let large = get(move || std::future::ready(large.clone()));
    let routes = router(registry, move || Readiness {
        ready: seen.load(Ordering::Relaxed),
        troubles: vec!["the disk fails".into()],
    });
    let routes = routes.route("/large", large);
    let (stop, mut tasks) = (CancellationToken::new(), JoinSet::new());
    tasks.spawn(serve(listener, routes, stop.clone()));
    Admin { address, ready, stop, tasks }
}

async fn ask(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: herd\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn a_scraper_gets_open_metrics() {
    let admin = start().await;
    let answer = ask(admin.address, "/metrics").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains("application/openmetrics-text; version=1.0.0"), "{answer}");
    assert!(answer.ends_with("# EOF\n"), "{answer}");
    #[cfg(target_os = "linux")]
    for name in
        ["process_cpu_seconds_total ", "process_resident_memory_bytes ", "process_open_fds "]
    {
        assert!(answer.contains(name), "{name} is not in {answer}");
    }
}

#[tokio::test]
async fn probes_are_told_of_life_readiness_and_troubles() {
    let admin = start().await;
    assert!(ask(admin.address, "/livez").await.starts_with("HTTP/1.1 200"));
    let answer = ask(admin.address, "/readyz").await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("ready\nthe disk fails\n"));
    admin.ready.store(false, Ordering::Relaxed);
    let answer = ask(admin.address, "/readyz").await;
    assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("not ready"), "{answer}");
    assert!(ask(admin.address, "/nothing").await.starts_with("HTTP/1.1 404"));
}

#[tokio::test]
async fn who_only_holds_connections_is_let_go_and_the_next_is_answered() {
    let admin = start().await;
    let begun = Instant::now();
    let mut idle = Vec::new();
    for _ in 0..MAX_CONNECTIONS {
        idle.push(TcpStream::connect(admin.address).await.unwrap());
    }
    // Waits for a place, and gets one when the idle ones have had their time.
    let answer = timeout(Duration::from_mins(1), ask(admin.address, "/livez")).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(begun.elapsed() > Duration::from_secs(5), "there was a place all the time");
}

#[tokio::test]
async fn it_stops_although_somebody_holds_a_connection() {
    let mut admin = start().await;
    let _held = TcpStream::connect(admin.address).await.unwrap();
    assert!(ask(admin.address, "/livez").await.starts_with("HTTP/1.1 200"));
    admin.stop.cancel();
    timeout(Duration::from_secs(20), admin.tasks.join_next()).await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn who_does_not_read_what_was_asked_for_is_let_go_and_the_next_is_answered() {
    let admin = start().await;
    let mut holders = Vec::new();
    for _ in 0..MAX_CONNECTIONS {
        let mut stream = TcpStream::connect(admin.address).await.unwrap();
        stream.write_all(b"GET /large HTTP/1.1\r\nhost: herd\r\n\r\n").await.unwrap();
        // It has begun, and is far more than the buffers on the way hold.
        stream.readable().await.unwrap();
        holders.push(stream);
    }
    let answer = timeout(Duration::from_mins(1), ask(admin.address, "/livez")).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}
