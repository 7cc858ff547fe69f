//! The live page, as a browser asks for it.

use std::net::SocketAddr;
use std::time::Duration;

use herd_node::{Config, Node};
use herd_proto::Report;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

use crate::admin::get;
use crate::support::{config, eventually, locations, report, start};

fn with_page(name: &str, friends: &[(&str, SocketAddr)]) -> Config {
    let mut config = config(name, friends);
    config.admin = Some("127.0.0.1:0".parse().unwrap());
    config
}

/// An open stream of events.
struct Events(BufReader<TcpStream>);

impl Events {
    async fn open(address: SocketAddr, path: &str) -> Self {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: herd\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        Self(BufReader::new(stream))
    }

    /// The next event's name and data; of the head of the answer nothing.
    async fn next(&mut self) -> (String, Value) {
        let (mut line, mut name) = (String::new(), String::new());
        loop {
            line.clear();
            assert!(self.0.read_line(&mut line).await.unwrap() > 0, "the stream has ended");
            if let Some(event) = line.strip_prefix("event: ") {
                event.trim_end().clone_into(&mut name);
            } else if let Some(data) = line.strip_prefix("data: ") {
                return (name, serde_json::from_str(data).unwrap());
            }
        }
    }

    /// The next event of this name of which `right` is true.
    async fn wait(&mut self, wanted: &str, right: impl Fn(&Value) -> bool) -> Value {
        loop {
            let (name, data) = self.next().await;
            if name == wanted && right(&data) {
                return data;
            }
        }
    }
}

#[tokio::test]
async fn the_page_and_its_files_come_with_a_strict_policy() {
    let node = Node::start(with_page("Bailey", &[])).await.unwrap();
    let admin = node.admin_address().unwrap();
    for (path, kind) in [
        ("/", "text/html"),
        ("/page/main.js", "text/javascript"),
        ("/page/page.css", "text/css"),
        ("/page/land.json", "application/json"),
    ] {
        let answer = get(admin, path).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{path}: {answer}");
        let head = answer.split("\r\n\r\n").next().unwrap().to_lowercase();
        assert!(head.contains(&format!("content-type: {kind}")), "{path}: {head}");
        assert!(head.contains("content-security-policy: default-src 'none'"), "{path}: {head}");
    }
    for path in ["/page/nothing.js", "/page/..%2fCargo.toml", "/page/"] {
        assert!(get(admin, path).await.starts_with("HTTP/1.1 404"), "{path}");
    }
    assert!(get(admin, "/metrics").await.contains("herd_gossip_propagation_seconds_bucket"));
}

#[tokio::test]
async fn a_viewer_is_told_the_present_then_changes_and_each_second_how_the_herd_is() {
    let bona = start("Bona", &[]).await;
    let node = Node::start(with_page("Bailey", &[("Bona", bona.address())])).await.unwrap();
    let mut client = locations(&node).await;
    client.report(report("<script>")).await.unwrap();
    let mut events = Events::open(node.admin_address().unwrap(), "/api/v1/events").await;
    let (name, hello) = events.next().await;
    assert_eq!(
        (&*name, &hello["node"], &hello["cluster"]),
        ("hello", &"Bailey".into(), &"test".into())
    );
    let present = events.wait("clients", |data| data["complete"] == true).await;
    assert_eq!(present["moved"][0][0], "<script>");
    assert_eq!(present["moved"][0][1], 12.0);
    client.report(report("plum")).await.unwrap();
    let changes = events.wait("clients", |data| data["moved"][0][0] == "plum").await;
    assert_eq!(changes["moved"][0][4], "Bailey");
    let forget = herd_proto::v1::ForgetRequest { client_id: "plum".into(), min_peers: 0 };
    client.forget(forget).await.unwrap();
    events.wait("clients", |data| data["gone"][0] == "plum").await;
    let status = events.wait("status", |data| data["nodes"][1]["status"]["ready"] == true).await;
    assert_eq!(status["nodes"][0]["name"], "Bailey");
    assert_eq!(status["nodes"][1]["name"], "Bona");
    assert_eq!(status["nodes"][0]["status"]["peers"][0]["up"], true);
}

#[tokio::test]
async fn a_client_is_traced_through_the_herd_and_its_neighbours_are_found() {
    let bona = start("Bona", &[]).await;
    let node = Node::start(with_page("Bailey", &[("Bona", bona.address())])).await.unwrap();
    let admin = node.admin_address().unwrap();
    let mut client = locations(&node).await;
    for id in ["kiwi", "plum"] {
        client.report(report(id)).await.unwrap();
    }
    let body = |answer: String| -> Value {
        serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
    };
    let trace = eventually(
        async || body(get(admin, "/api/v1/client?id=kiwi").await),
        |trace| trace["nodes"][1]["location"]["from"] == "Bailey",
    );
    let trace = trace.await;
    assert_eq!(trace["nodes"][0]["location"]["origin"], "Bailey");
    assert!(trace["nodes"][1]["location"]["applied"].as_f64() > Some(1e12));
    let near = body(get(admin, "/api/v1/near?id=kiwi&radius=1000").await);
    assert_eq!(near["neighbors"][0][0], "plum");
    for (path, status) in [
        ("/api/v1/client?id=two%20words", 400),
        ("/api/v1/near?id=kiwi&radius=-1", 400),
        ("/api/v1/near?id=ghost&radius=1", 404),
        ("/api/v1/events?area=1,2,3", 400),
    ] {
        let answer = get(admin, path).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{path}: {answer}");
    }
}

#[tokio::test]
async fn a_viewer_of_an_area_is_told_of_no_other() {
    let node = Node::start(with_page("Bailey", &[])).await.unwrap();
    let mut client = locations(&node).await;
    client.report(report("here")).await.unwrap();
    let mut there = report("there");
    there.position_text = "+50+50".into();
    client.report(there).await.unwrap();
    let path = "/api/v1/events?area=10,-120,20,-110";
    let mut events = Events::open(node.admin_address().unwrap(), path).await;
    let present = events.wait("clients", |data| data["complete"] == true).await;
    assert_eq!(present["moved"].as_array().unwrap().len(), 1);
    let mut moved = report("here");
    (moved.position_text, moved.time_text) = ("+50+50".into(), "1700000001".into());
    client.report(moved).await.unwrap();
    events.wait("clients", |data| data["gone"][0] == "here").await;
}

#[tokio::test]
async fn more_viewers_than_there_are_places_for_are_told_so_and_places_become_free() {
    let node = Node::start(with_page("Bailey", &[])).await.unwrap();
    let admin = node.admin_address().unwrap();
    let mut viewers = Vec::new();
    for _ in 0..32 {
        let mut events = Events::open(admin, "/api/v1/events").await;
        events.next().await;
        viewers.push(events);
    }
    let answer = get(admin, "/api/v1/events").await;
    assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("32 viewers"), "{answer}");
    viewers.pop();
    let again = async || {
        let mut stream = Events::open(admin, "/api/v1/events").await;
        let mut line = String::new();
        stream.0.read_line(&mut line).await.unwrap();
        line
    };
    eventually(again, |line| line.starts_with("HTTP/1.1 200")).await;
}

#[tokio::test]
async fn the_page_can_be_left_out_and_metrics_stay() {
    let mut config = with_page("Bailey", &[]);
    config.page = false;
    let node = Node::start(config).await.unwrap();
    let admin = node.admin_address().unwrap();
    for path in ["/", "/api/v1/events", "/api/v1/client?id=kiwi"] {
        assert!(get(admin, path).await.starts_with("HTTP/1.1 404"), "{path}");
    }
    assert!(get(admin, "/livez").await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn where_there_are_tokens_only_readers_see_where_clients_are() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("tokens.toml");
    let token = |name, roles| {
        format!("[[tokens]]\nname='{name}'\ntoken='{name}-0123456789abc'\nroles=['{roles}']\n")
    };
    std::fs::write(&file, token("reader", "read") + &token("phone", "report")).unwrap();
    let mut config = with_page("Bailey", &[]);
    config.tokens = Some(file);
    let node = Node::start(config).await.unwrap();
    let admin = node.admin_address().unwrap();
    assert!(get(admin, "/").await.starts_with("HTTP/1.1 200"), "the page itself tells nothing");
    for path in ["/api/v1/events", "/api/v1/client?id=kiwi", "/api/v1/near?id=kiwi&radius=1"] {
        assert!(get(admin, path).await.starts_with("HTTP/1.1 401"), "{path}");
        for (name, status) in [("phone", "403"), ("reader", "200 404")] {
            let authorization = format!("authorization: Bearer {name}-0123456789abc");
            let request = format!("GET {path} HTTP/1.1\r\nhost: herd\r\n{authorization}\r\n\r\n");
            let mut stream = TcpStream::connect(admin).await.unwrap();
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut line = String::new();
            BufReader::new(stream).read_line(&mut line).await.unwrap();
            let code = line.split(' ').nth(1).unwrap();
            assert!(status.contains(code), "{path} as {name}: {line}");
        }
    }
}

/// Has a node know so many clients.
fn fill(node: &Node, clients: usize) {
    node.shared().with(|state, now| {
        for number in 0..clients {
            let report = Report::from_operands(&format!("c{number}"), "+1-1", "1700000000");
            state.report(now, report.unwrap()).unwrap();
        }
    });
}

#[tokio::test]
async fn clients_beyond_those_that_are_shown_are_counted_and_hold_up_nothing() {
    let node = Node::start(with_page("Bailey", &[])).await.unwrap();
    fill(&node, 60_000);
    let mut events = Events::open(node.admin_address().unwrap(), "/api/v1/events").await;
    let (mut statuses, mut shown, mut complete) = (0, 0, false);
    while !complete {
        let (name, data) = events.next().await;
        statuses += usize::from(name == "status");
        if name == "clients" {
            shown += data["moved"].as_array().unwrap().len();
            complete = data["complete"] == true;
            assert!(!complete || data["hidden"] == 40_000, "{data}");
        }
    }
    assert_eq!(shown, 20_000);
    // One a second: the 40,000 are passed over at once, and not a frame at a time between them.
    assert!(statuses < 30, "{statuses}");
}

#[tokio::test]
async fn who_has_expired_is_gone_from_the_page_too() {
    let node = Node::start(with_page("Bailey", &[])).await.unwrap();
    fill(&node, 3);
    let mut events = Events::open(node.admin_address().unwrap(), "/api/v1/events").await;
    events.wait("clients", |data| data["complete"] == true).await;
    node.shared().with(|state, mut now| {
        now.wall = now.wall.saturating_add(Duration::from_hours(24 * 40));
        state.expire(now, 1000);
        assert_eq!(state.expired(), 3);
    });
    let gone = events.wait("clients", |data| !data["gone"].as_array().unwrap().is_empty()).await;
    assert_eq!(gone["gone"].as_array().unwrap().len(), 3);
}
