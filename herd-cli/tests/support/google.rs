//! A stand-in for Google's Nearby Search (legacy) that answers by latitude and remembers what
//! it was asked.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use axum::Router;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::routing::get;
use serde::Deserialize;
use tokio::sync::oneshot;

/// How long the slow latitude takes.
const SLOW: Duration = Duration::from_millis(1500);

/// One question, and what it was answered.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) latitude: f64,
    pub(crate) longitude: f64,
    pub(crate) radius_meters: f64,
    pub(crate) answer: String,
}

type Log = Arc<Mutex<Vec<Asked>>>;

/// The running stand-in; it ends when it is dropped.
pub(crate) struct Google {
    address: SocketAddr,
    log: Log,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Google {
    /// Starts it on a free port.
    pub(crate) fn start() -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let log = Log::default();
        let router = Router::new()
            .route("/maps/api/place/nearbysearch/json", get(nearby_search))
            .with_state(Arc::clone(&log));
        let (stop, stopped) = oneshot::channel::<()>();
        let serve = async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            tokio::select! {
                served = async { axum::serve(listener, router).await } => served.unwrap(),
                _ = stopped => {}
            }
        };
        let thread = thread::spawn(move || {
            tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap()
                .block_on(serve);
        });
        Self { address, log, stop: Some(stop), thread: Some(thread) }
    }

    /// Scheme, host and port.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// How many questions there were.
    pub(crate) fn count(&self) -> usize {
        self.log.lock().unwrap().len()
    }

    /// The questions after the first so many.
    pub(crate) fn since(&self, count: usize) -> Vec<Asked> {
        self.log.lock().unwrap()[count..].to_vec()
    }
}

impl Drop for Google {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

#[derive(Deserialize)]
struct Parameters {
    location: String,
    radius: String,
    key: String,
}

async fn nearby_search(
    State(log): State<Log>,
    Query(parameters): Query<Parameters>,
) -> (StatusCode, String) {
    let (latitude, longitude) = parameters.location.split_once(',').unwrap();
    let number = |text: &str| text.parse::<f64>().unwrap();
    let degrees = number(latitude);
    assert!(!parameters.key.is_empty());
    let (code, answer) = answer(latitude, degrees);
    log.lock().unwrap().push(Asked {
        latitude: degrees,
        longitude: number(longitude),
        radius_meters: number(&parameters.radius),
        answer: answer.clone(),
    });
    if is(degrees, 66.0) {
        tokio::time::sleep(SLOW).await;
    }
    (code, answer)
}

fn is(degrees: f64, whole: f64) -> bool {
    (degrees - whole).abs() < 1e-9
}

fn answer(latitude: &str, degrees: f64) -> (StatusCode, String) {
    let text = if is(degrees, 61.5) {
        body(latitude, 3, "OK").replace(",\n      {", ",\n\n\n      {\n\n") + "\n\n\n"
    } else if is(degrees, 62.0) {
        body(latitude, 0, "ZERO_RESULTS")
    } else if is(degrees, 63.0) {
        let denied = body(latitude, 0, "REQUEST_DENIED");
        denied.replacen('{', "{\n   \"error_message\" : \"The key is not valid.\",", 1)
    } else if is(degrees, 64.0) {
        return (StatusCode::INTERNAL_SERVER_ERROR, "<html>no</html>\n".into());
    } else if is(degrees, 65.0) {
        "<html>this is no JSON</html>\n".into()
    } else if is(degrees, 67.25) {
        odd(latitude)
    } else {
        body(latitude, 20, "OK")
    };
    (StatusCode::OK, text)
}

/// So many places, laid out as Google does. Each name begins with the latitude as asked for.
fn body(latitude: &str, count: usize, status: &str) -> String {
    let mut places = Vec::new();
    for index in 0..count {
        places.push(format!(
            "      {{\n         \"geometry\" : {{\n            \"location\" : {{\n               \
             \"lat\" : {latitude},\n               \"lng\" : -118.4{index}\n            }}\n         \
             }},\n         \"name\" : \"{latitude} Café {index}\",\n         \
             \"place_id\" : \"stand-in-{index}\",\n         \
             \"types\" : [ \"cafe\", \"food\" ],\n         \"vicinity\" : \"{index} Main St\"\n      }}"
        ));
    }
    let results = if places.is_empty() {
        "[]".to_owned()
    } else {
        format!("[\n{}\n   ]", places.join(",\n"))
    };
    let mut text = String::from("{\n   \"html_attributions\" : [],\n");
    writeln!(text, "   \"results\" : {results},\n   \"status\" : \"{status}\"\n}}").unwrap();
    text
}

/// Four places in a layout that nobody would print again: keys out of order, odd spacing,
/// numbers and escapes with more than one spelling.
fn odd(latitude: &str) -> String {
    let mut text = String::from("{\"status\":\"OK\" ,\n\n\n\t\"results\"  :  [");
    for index in 0..4 {
        let comma = if index == 0 { "" } else { " ," };
        write!(
            text,
            "{comma}\n {{ \"rating\":4.{index}0, \"name\":\"{latitude} \\u00e9\\/é {index}\",\n\n  \
             \"geometry\":{{\"location\":{{\"lng\":-5.05e1,\"lat\":{latitude}}}}} }}"
        )
        .unwrap();
    }
    text + "],\"html_attributions\":[  ]   }\n\n\n"
}
