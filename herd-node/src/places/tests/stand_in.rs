//! Servers that stand in for the providers: a polite one that answers over proper HTTP, and one
//! that sends any bytes it is told.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// Stops when it is dropped.
pub(super) struct StandIn {
    pub(super) address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
    _tasks: JoinSet<()>,
}

/// One request.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    /// Path and query.
    pub(super) target: String,
    /// Method, headers and body, in lines; only of the polite one.
    pub(super) whole: String,
}

impl Asked {
    pub(super) fn method(&self) -> &str {
        self.whole.lines().next().unwrap_or_default()
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.whole.lines().filter_map(|line| line.split_once(": "));
        headers.find(|(header, _)| *header == name).map(|(_, value)| value)
    }

    /// Of bodies that have one line.
    pub(super) fn body(&self) -> &str {
        self.whole.rsplit('\n').next().unwrap_or_default()
    }
}

/// One answer of the polite one.
#[derive(Debug, Clone)]
pub(super) struct Reply {
    pub(super) code: u16,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Vec<u8>,
    pub(super) after: Duration,
}

impl Reply {
    pub(super) fn new(code: u16, body: impl Into<Vec<u8>>) -> Self {
        let json = ("content-type", "application/json; charset=UTF-8".into());
        Self { code, headers: vec![json], body: body.into(), after: Duration::ZERO }
    }

    /// With one more header.
    pub(super) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub(super) fn after(self, after: Duration) -> Self {
        Self { after, ..self }
    }
}

/// What the raw one does after its bytes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum After {
    Close,
    /// Says nothing more, and keeps the connection.
    Hold,
    /// Breaks the connection off without a goodbye.
    Reset,
    /// Sends a byte more now and then.
    Drip,
}

impl StandIn {
    /// Answers every question alike.
    pub(super) async fn answering(reply: Reply) -> Self {
        Self::playing(vec![reply]).await
    }

    /// Gives one answer after the other, and the last one from then on.
    pub(super) async fn playing(replies: Vec<Reply>) -> Self {
        Self::serving(move |number, _| replies[number.min(replies.len()) - 1].clone()).await
    }

    /// Answers each question as `answer` knows.
    pub(super) async fn knowing(answer: fn(&Asked) -> Reply) -> Self {
        Self::serving(move |_, asked| answer(asked)).await
    }

    /// Answers with what `answer` makes of the number of a request, from 1, and the request.
    async fn serving(
        answer: impl Fn(usize, &Asked) -> Reply + Clone + Send + Sync + 'static,
    ) -> Self {
        let (listener, address) = listen().await;
        let asked = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&asked);
        let app = Router::new().fallback(
            async move |method: Method, uri: Uri, headers: HeaderMap, body: Bytes| {
                let mut whole = format!("{method}\n");
                for (name, value) in &headers {
                    let _ = writeln!(whole, "{name}: {}", value.to_str().unwrap());
                }
                whole.push_str(str::from_utf8(&body).unwrap());
                let asked = Asked { target: uri.to_string(), whole };
                let number = {
                    let mut log = log.lock().unwrap();
                    log.push(asked.clone());
                    log.len()
                };
                let reply = answer(number, &asked);
                tokio::time::sleep(reply.after).await;
                let headers = reply.headers.iter().map(|(name, value)| {
                    (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())
                });
                let headers: HeaderMap = headers.collect();
                (StatusCode::from_u16(reply.code).unwrap(), headers, reply.body)
            },
        );
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { address, asked, _tasks: tasks }
    }

    /// Waits for a request's head, then sends `bytes`, whatever they are.
    pub(super) async fn sending(bytes: impl Into<Vec<u8>>, after: After) -> Self {
        let (listener, address) = listen().await;
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (log, bytes) = (Arc::clone(&asked), Arc::new(bytes.into()));
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (log, bytes) = (Arc::clone(&log), Arc::clone(&bytes));
                connections.spawn(serve_raw(stream, log, bytes, after));
            }
        });
        Self { address, asked, _tasks: tasks }
    }

    /// Each request so far.
    pub(super) fn requests(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// The path and query of each request so far.
    pub(super) fn asked(&self) -> Vec<String> {
        self.requests().into_iter().map(|asked| asked.target).collect()
    }

    /// How many requests there were.
    pub(super) fn count(&self) -> usize {
        self.asked.lock().unwrap().len()
    }
}

async fn serve_raw(
    mut stream: TcpStream,
    log: Arc<Mutex<Vec<Asked>>>,
    bytes: Arc<Vec<u8>>,
    after: After,
) {
    let target = read_target(&mut stream).await;
    log.lock().unwrap().push(Asked { target, whole: String::new() });
    // The client may hang up before it has read all.
    let _ = stream.write_all(&bytes).await;
    match after {
        After::Close => {}
        After::Hold => std::future::pending().await,
        After::Reset => {
            // What was sent must arrive before the reset that would overtake it.
            tokio::time::sleep(Duration::from_millis(20)).await;
            stream.set_zero_linger().unwrap();
        }
        After::Drip => {
            while stream.write_all(b" ").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
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

/// Reads a head; one at a time, as the bodies of this test's requests are short and unread.
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
