//! What operators see of a gateway over HTTP.

use std::time::Duration;

use herd_gateway::{Config, Error, Gateway, Limits};
use tokio::net::TcpStream;

use crate::fake_node::{Behaviour, FakeNode, Script, nobody};
use crate::support::{Client, ask, get, iamat, in_time, named, recorded, start, until, with_admin};

#[tokio::test]
async fn metrics_tell_of_lines_nodes_connections_and_refusals() {
    let node = FakeNode::start(&Script::new("Bailey"));
    let config = with_admin(node.address);
    let limits = Limits { partial_line: Duration::from_millis(100), ..config.limits };
    let (gateway, address) = start(Config { limits, ..config }).await;
    let admin = gateway.admin_address().unwrap();
    let (good, refused, long) = (iamat("kiwi"), iamat("refused"), "x".repeat(10_000));
    ask(address, format!("{good}\nHELLO\n{refused}{good}WHATSAT emu 1 1\n{long}\n")).await;
    let mut slow = Client::connect(address).await;
    slow.send("IAMAT").await;
    slow.expect_end().await;
    let mut open = Client::connect(address).await;
    open.send(iamat("kiwi")).await;
    open.expect(&recorded("kiwi")).await;
    let metrics = until(admin, "/metrics", "herd_gateway_connections 1.0\n").await;
    for line in [
        "herd_build_info{version=\"",
        "herd_ready 1.0\n",
        "herd_upstream_up{node=\"Bailey\"} 1.0\n",
        "herd_gateway_commands_total{command=\"iamat\",outcome=\"answered\"} 3.0\n",
        "herd_gateway_commands_total{command=\"iamat\",outcome=\"refused\"} 1.0\n",
        "herd_gateway_commands_total{command=\"iamat\",outcome=\"unanswered\"} 0.0\n",
        "herd_gateway_commands_total{command=\"whatsat\",outcome=\"refused\"} 1.0\n",
        "herd_gateway_commands_total{command=\"invalid\",outcome=\"refused\"} 2.0\n",
        "herd_refusals_total{reason=\"partial_line\"} 1.0\n",
        "herd_refusals_total{reason=\"write_stall\"} 0.0\n",
        "herd_upstream_request_seconds_count{node=\"Bailey\",call=\"report\"} ",
        "process_resident_memory_bytes ",
    ] {
        assert!(metrics.contains(line), "{line} is not in {metrics}");
    }
}

#[tokio::test]
async fn slow_commands_are_counted_and_each_query_has_a_name_of_its_own() {
    let script = Script::new("Bailey");
    let node = FakeNode::start(&script);
    let config = Config { slow_command: Some(Duration::ZERO), ..with_admin(node.address) };
    let (gateway, address) = start(config).await;
    let query = "WHATSAT kiwi 1 1\n";
    ask(address, format!("{}{query}{query}", iamat("kiwi"))).await;
    let metrics = get(gateway.admin_address().unwrap(), "/metrics").await;
    for line in [
        "herd_gateway_slow_commands_total{command=\"iamat\"} 1.0\n",
        "herd_gateway_slow_commands_total{command=\"whatsat\"} 2.0\n",
    ] {
        assert!(metrics.contains(line), "{line} is not in {metrics}");
    }
    let ids = script.query_ids();
    assert!(ids.len() == 2 && ids[0] != ids[1] && ids.iter().all(|id| id.len() == 16), "{ids:?}");
}

#[tokio::test]
async fn lines_that_no_node_answered_are_told_apart() {
    let (gateway, address) = start(with_admin(nobody())).await;
    assert_eq!(ask(address, iamat("kiwi")).await, format!("? {}", iamat("kiwi")));
    let metrics = get(gateway.admin_address().unwrap(), "/metrics").await;
    let counted = "herd_gateway_commands_total{command=\"iamat\",outcome=\"unanswered\"} 1.0\n";
    assert!(metrics.contains(counted), "{metrics}");
}

#[tokio::test]
async fn a_gateway_is_ready_while_a_node_answers_and_it_does_not_stop() {
    let (alone, _) = start(with_admin(nobody())).await;
    let admin = alone.admin_address().unwrap();
    let answer = get(admin, "/readyz").await;
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    assert!(answer.contains("node Bailey does not answer"), "{answer}");
    assert!(get(admin, "/livez").await.starts_with("HTTP/1.1 200"));

    let script = Script::new("Bailey");
    let node = FakeNode::start(&script);
    let (gateway, address) = start(with_admin(node.address)).await;
    let admin = gateway.admin_address().unwrap();
    until(admin, "/readyz", "HTTP/1.1 200").await;
    let mut client = Client::connect(address).await;
    client.send(iamat("kiwi")).await;
    client.expect(&recorded("kiwi")).await;
    // A line that is being answered keeps the gateway, and those who watch it see why.
    script.behave(Behaviour { holds_reports: true, ..Behaviour::default() });
    client.send(iamat("kiwi")).await;
    let mut later = Client::connect(address).await;
    later.send("HELLO\n").await;
    later.expect("? HELLO\n").await;
    let before_the_end = async {
        until(admin, "/readyz", "the gateway is stopping").await;
        script.behave(Behaviour::default());
    };
    in_time("the end", async { tokio::join!(gateway.stop(), before_the_end) }).await;
    assert!(TcpStream::connect(admin).await.is_err(), "nobody is left to answer");
}

#[tokio::test]
async fn an_admin_port_that_is_taken_is_named() {
    let (first, _) = start(with_admin(nobody())).await;
    let taken = first.admin_address().unwrap();
    let error = Gateway::start(Config { admin: Some(taken), ..named(nobody()) }).await.unwrap_err();
    assert!(matches!(error, Error::BindAdmin { address, .. } if address == taken));
    assert!(error.to_string().contains(&taken.to_string()), "{error}");
}
