//! Nodes that go, come back, or do worse.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use herd_gateway::{Config, Limits};
use tokio::time::timeout;
use tonic::Code;

use crate::fake_node::{Behaviour, FakeNode, LostNode, Script, StoppedNode, nobody};
use crate::support::{Client, any_of, ask, eventually, iamat, named, recorded, recorded_by, start};

fn impatient(config: Config) -> Config {
    let short = Duration::from_millis(300);
    let limits = Limits { report_timeout: short, search_timeout: short, ..config.limits };
    Config { limits, ..config }
}

#[tokio::test]
async fn a_node_that_is_down_gives_a_copy_of_each_line_at_once() {
    let (_gateway, address) = start(named(nobody())).await;
    let input = format!("{}WHATSAT kiwi 10 5\n", iamat("kiwi"));
    for _ in 0..20 {
        assert_eq!(ask(address, &input).await, format!("? {}? WHATSAT kiwi 10 5\n", iamat("kiwi")));
    }
}

#[tokio::test]
async fn a_restarted_node_serves_the_first_line_after_it_listens() {
    let script = Script::new("Bailey");
    let mut node = FakeNode::start(&script);
    let (_gateway, address) = start(named(node.address)).await;
    let mut client = Client::connect(address).await;
    for _ in 0..5 {
        client.send(iamat("kiwi")).await;
        client.expect(&recorded("kiwi")).await;
        let place = node.address;
        drop(node);
        client.send(iamat("moa")).await;
        client.expect(&format!("? {}", iamat("moa"))).await;
        node = FakeNode::start_at(place, &script);
        let query = "WHATSAT kiwi 10 5\n";
        let answer = ask(address, query).await;
        assert!(answer.starts_with(&recorded("kiwi")), "{answer}");
    }
}

#[tokio::test]
async fn a_restart_between_two_lines_goes_unnoticed() {
    let script = Script::new("Bailey");
    let mut node = FakeNode::start(&script);
    let (_gateway, address) = start(named(node.address)).await;
    let mut client = Client::connect(address).await;
    for _ in 0..10 {
        client.send(iamat("kiwi")).await;
        client.expect(&recorded("kiwi")).await;
        let place = node.address;
        drop(node);
        node = FakeNode::start_at(place, &script);
    }
}

#[tokio::test]
async fn a_stream_that_breaks_fails_its_lines_and_is_opened_again() {
    let script = Script::new("Bailey");
    let node = FakeNode::start(&script);
    let (_gateway, address) = start(named(node.address)).await;
    script.behave(Behaviour { drops_streams: true, ..Behaviour::default() });
    assert_eq!(ask(address, iamat("kiwi")).await, format!("? {}", iamat("kiwi")));
    script.behave(Behaviour::default());
    assert_eq!(ask(address, iamat("kiwi")).await, recorded("kiwi"));
    assert!(script.streams() > 1);
}

#[tokio::test]
async fn a_node_that_takes_reports_and_never_answers_is_given_up_and_taken_back() {
    let script = Script::new("Bailey");
    let node = FakeNode::start(&script);
    let (_gateway, address) = start(impatient(named(node.address))).await;
    script.behave(Behaviour { holds_reports: true, ..Behaviour::default() });
    assert_eq!(ask(address, iamat("kiwi")).await, format!("? {}", iamat("kiwi")));
    script.behave(Behaviour::default());
    let deadline = Instant::now() + crate::support::HANG;
    while ask(address, iamat("kiwi")).await != recorded("kiwi") {
        assert!(Instant::now() < deadline, "never taken back");
    }
}

#[tokio::test]
async fn a_stopped_node_holds_up_the_first_lines_only() {
    let node = StoppedNode::start();
    only_the_first_lines_wait(node.address()).await;
}

#[tokio::test]
async fn a_lost_node_holds_up_the_first_lines_only() {
    let node = LostNode::start();
    only_the_first_lines_wait(node.address()).await;
}

async fn only_the_first_lines_wait(node: SocketAddr) {
    let (_gateway, address) = start(named(node)).await;
    let refused = format!("? {}? WHATSAT kiwi 1 1\n", iamat("kiwi"));
    let input = format!("{}WHATSAT kiwi 1 1\n", iamat("kiwi"));
    assert_eq!(ask(address, &input).await, refused);
    let started = Instant::now();
    for _ in 0..50 {
        assert_eq!(ask(address, &input).await, refused);
    }
    // At least a second for each of the hundred lines, were they to wait for the node.
    assert!(started.elapsed() < Duration::from_secs(50), "{:?}", started.elapsed());
}

#[tokio::test]
async fn any_healthy_node_answers_for_one_that_is_down() {
    let script = Script::new("Bona");
    let node = FakeNode::start(&script);
    let (_gateway, address) = start(any_of(&[nobody(), node.address, nobody()])).await;
    let input = format!("{}WHATSAT kiwi 10 5\n", iamat("kiwi"));
    let answer = ask(address, &input).await;
    assert!(answer.starts_with(&recorded_by("Bona", "kiwi").repeat(2)), "{answer}");
}

#[tokio::test]
async fn another_node_answers_what_one_that_stops_has_given_up() {
    let scripts = ["Bailey", "Bona"].map(Script::new);
    let nodes = scripts.each_ref().map(FakeNode::start);
    for node in &nodes {
        ask(start(named(node.address)).await.1, iamat("kiwi")).await;
    }
    let (_gateway, address) = start(any_of(&nodes.each_ref().map(|node| node.address))).await;
    scripts[0].behave(Behaviour { query_error: Some(Code::Aborted), ..Behaviour::default() });
    for _ in 0..4 {
        let answer = ask(address, "WHATSAT kiwi 10 5\n").await;
        assert!(answer.starts_with(&recorded_by("Bona", "kiwi")), "{answer}");
    }
    assert!(!scripts[0].query_ids().is_empty());
}

#[tokio::test]
async fn reports_in_flight_move_to_another_node_when_theirs_dies() {
    let scripts = [Script::new("Bailey"), Script::new("Bona")];
    let nodes = scripts.each_ref().map(FakeNode::start);
    let (_gateway, address) = start(any_of(&nodes.each_ref().map(|node| node.address))).await;
    assert_eq!(ask(address, iamat("kiwi")).await, recorded_by("Bailey", "kiwi"));
    scripts[0].behave(Behaviour { drops_streams: true, ..Behaviour::default() });
    assert_eq!(ask(address, iamat("kiwi")).await, recorded_by("Bona", "kiwi"));
    scripts[0].behave(Behaviour::default());
    // It stays with the node that answered last.
    assert_eq!(ask(address, iamat("kiwi")).await, recorded_by("Bona", "kiwi"));
}

#[tokio::test]
async fn lines_wait_a_moment_for_who_stands_behind_the_name_of_a_lost_node() {
    let script = Script::new("Bailey");
    let node = FakeNode::start(&script);
    let (_gateway, address) = start(any_of(&[node.address])).await;
    let mut clients = [Client::connect(address).await, Client::connect(address).await];
    for client in &mut clients {
        client.send(iamat("kiwi")).await;
        client.expect(&recorded("kiwi")).await;
    }
    let place = node.address;
    drop(node);
    let [reporter, asker] = &mut clients;
    reporter.send(iamat("moa")).await;
    asker.send("WHATSAT kiwi 1 1\n").await;
    let (mut first, mut second) = ([0], [0]);
    let answered = async {
        tokio::select! {
            read = reporter.0.peek(&mut first) => read,
            read = asker.0.peek(&mut second) => read,
        }
    };
    let waited = timeout(Duration::from_millis(300), answered).await;
    assert!(waited.is_err(), "nobody is there to answer");
    let _node = FakeNode::start_at(place, &script);
    reporter.expect(&recorded("moa")).await;
    asker.expect(&recorded("kiwi")).await;
}

#[tokio::test]
async fn when_nobody_stands_behind_the_name_copies_are_given_after_a_moment_and_then_at_once() {
    let node = FakeNode::start(&Script::new("Bailey"));
    let (_gateway, address) = start(any_of(&[node.address])).await;
    assert_eq!(ask(address, iamat("kiwi")).await, recorded("kiwi"));
    drop(node);
    let refused = format!("? {}", iamat("kiwi"));
    let started = Instant::now();
    assert_eq!(ask(address, iamat("kiwi")).await, refused);
    assert!(started.elapsed() > Duration::from_secs(1), "{:?}", started.elapsed());
    let started = Instant::now();
    for _ in 0..20 {
        assert_eq!(ask(address, iamat("kiwi")).await, refused);
    }
    // Two seconds for each, were they to wait.
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
}

#[tokio::test]
async fn when_no_node_is_left_a_copy_is_given() {
    let (_gateway, address) = start(any_of(&[nobody(), nobody()])).await;
    assert_eq!(ask(address, iamat("kiwi")).await, format!("? {}", iamat("kiwi")));
}

#[tokio::test]
async fn ports_bound_to_nodes_do_not_stand_in_for_each_other() {
    let scripts = [Script::new("Bailey"), Script::new("Bona")];
    let mut nodes = scripts.each_ref().map(|script| Some(FakeNode::start(script)));
    let mut config = named(nodes[0].as_ref().unwrap().address);
    let mut second = named(nodes[1].as_ref().unwrap().address);
    second.nodes[0].name = "Bona".parse().unwrap();
    second.ports[0].upstream = herd_gateway::Upstream::Named("Bona".parse().unwrap());
    config.nodes.append(&mut second.nodes);
    config.ports.append(&mut second.ports);
    let (gateway, _) = start(config).await;
    let ports = gateway.addresses();
    assert_eq!(ask(ports[0].1, iamat("kiwi")).await, recorded_by("Bailey", "kiwi"));
    assert_eq!(ask(ports[1].1, iamat("kiwi")).await, recorded_by("Bona", "kiwi"));
    nodes[1] = None;
    assert_eq!(ask(ports[0].1, iamat("kiwi")).await, recorded_by("Bailey", "kiwi"));
    assert_eq!(ask(ports[1].1, iamat("kiwi")).await, format!("? {}", iamat("kiwi")));
    eventually("Bailey has both", || scripts[0].reported().len() == 2).await;
}
