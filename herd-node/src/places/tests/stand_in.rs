//! Servers that stand in for Google: a polite one, and one that sends any bytes it is told.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// Stops when it is dropped.
pub(super) struct StandIn {
    pub(super) address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
    _tasks: JoinSet<()>,
}

/// What the raw one does after its bytes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum After {
    Close,
    /// Says nothing more, and keeps the connection.
    Hold,
}

impl StandIn {
    /// Answers every question alike, over proper HTTP.
    pub(super) async fn answering(
        code: u16,
        headers: &'static [(&'static str, &'static str)],
        body: impl Into<Vec<u8>>,
    ) -> Self {
        let (listener, address) = listen().await;
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (log, body) = (Arc::clone(&asked), body.into());
        let app = Router::new().fallback(move |uri: Uri| {
            log.lock().unwrap().push(uri.to_string());
            let pair =
                |&(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value));
            let headers: HeaderMap = headers.iter().map(pair).collect();
            std::future::ready((StatusCode::from_u16(code).unwrap(), headers, body.clone()))
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { address, asked, _tasks: tasks }
    }

    /// Waits for a request's head, then sends `bytes`, whatever they are.
    pub(super) async fn sending(bytes: impl Into<Vec<u8>>, after: After) -> Self {
        let (listener, address) = listen().await;
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (log, bytes) = (Arc::clone(&asked), bytes.into());
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut held = Vec::new();
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let target = read_target(&mut stream).await;
                log.lock().unwrap().push(target);
                // The client may hang up before it has read all.
                let _ = stream.write_all(&bytes).await;
                if after == After::Hold {
                    held.push(stream);
                }
            }
        });
        Self { address, asked, _tasks: tasks }
    }

    /// The path and query of each request so far.
    pub(super) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

/// An address where nobody listens.
pub(super) async fn refusing() -> SocketAddr {
    listen().await.1
}

async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

async fn read_target(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => break,
        }
    }
    let head = String::from_utf8(head).unwrap();
    head.split(' ').nth(1).unwrap_or_default().to_owned()
}
