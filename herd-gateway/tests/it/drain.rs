use std::time::Duration;

use herd_gateway::{Config, Drained};
use tokio::net::TcpStream;
use tokio::time::sleep;

use crate::fake_node::{Behaviour, FakeNode, Script};
use crate::support::{Client, eventually, iamat, in_time, named, recorded, start};

#[tokio::test]
async fn commands_in_flight_are_answered_before_the_end() {
    let script = Script::new("Bailey");
    let node = FakeNode::start(&script);
    let (gateway, address) = start(named(node.address)).await;
    let mut client = Client::connect(address).await;
    client.send(iamat("kiwi")).await;
    client.expect(&recorded("kiwi")).await;
    script.behave(Behaviour { holds_queries: true, ..Behaviour::default() });
    client.send(format!("{}WHATSAT kiwi 1 1\n", iamat("kiwi"))).await;
    client.expect(&recorded("kiwi")).await;
    let finish = async {
        // The port closes first.
        in_time("the port to close", async {
            while TcpStream::connect(address).await.is_ok() {
                tokio::task::yield_now().await;
            }
        })
        .await;
        script.behave(Behaviour::default());
        client.expect(&recorded("kiwi")).await;
        client.expect("{\n   \"meters\" : 1000,\n   \"bound\" : 1\n}\n\n").await;
        client.expect_end().await;
    };
    let (drained, ()) = tokio::join!(gateway.stop(), finish);
    assert_eq!(drained, Drained { connections_cut: 0 });
}

#[tokio::test]
async fn idle_connections_do_not_delay_the_end() {
    let node = FakeNode::start(&Script::new("Bailey"));
    let (gateway, address) = start(named(node.address)).await;
    let mut idle = Client::connect(address).await;
    idle.send(iamat("kiwi")).await;
    idle.expect(&recorded("kiwi")).await;
    idle.send("IAMAT half a l").await;
    let drained = in_time("the end", gateway.stop()).await;
    assert_eq!(drained, Drained { connections_cut: 0 });
    idle.expect_end().await;
}

#[tokio::test]
async fn whoever_talks_all_the_time_gets_an_answer_to_each_line_and_then_the_end() {
    let script = Script::new("Bailey");
    let node = FakeNode::start(&script);
    let (gateway, address) = start(named(node.address)).await;
    let talk = async || {
        let mut client = Client::connect(address).await;
        while !client.has_ended() {
            // The second line follows on the answer to the first at once.
            for _ in 0..2 {
                client.send(iamat("kiwi")).await;
                client.expect(&recorded("kiwi")).await;
            }
            sleep(Duration::from_millis(30)).await;
        }
    };
    let stop = async {
        eventually("all talk", || script.reported().len() > 40).await;
        in_time("the end", gateway.stop()).await
    };
    let (drained, ..) = tokio::join!(stop, talk(), talk(), talk(), talk());
    assert_eq!(drained, Drained { connections_cut: 0 });
}

#[tokio::test]
async fn the_drain_has_an_end() {
    let script = Script::new("Bailey");
    let node = FakeNode::start(&script);
    let config = Config { drain_grace: Duration::from_millis(100), ..named(node.address) };
    let (gateway, address) = start(config).await;
    let mut client = Client::connect(address).await;
    client.send(iamat("kiwi")).await;
    client.expect(&recorded("kiwi")).await;
    script.behave(Behaviour { holds_reports: true, ..Behaviour::default() });
    client.send(format!("HELLO\n{}", iamat("moa"))).await;
    let mut other = Client::connect(address).await;
    other.send("HELLO\n").await;
    other.expect("? HELLO\n").await;
    let drained = in_time("the end", gateway.stop()).await;
    assert_eq!(drained, Drained { connections_cut: 1 });
    eventually("the stream is gone", || script.streams() == 1).await;
    client.expect_end().await;
}
