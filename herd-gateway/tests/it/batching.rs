use crate::fake_node::{Behaviour, FakeNode, Script};
use crate::support::{Client, ask, eventually, iamat, named, recorded, start};

#[tokio::test]
async fn the_lines_of_one_packet_travel_in_one_message() {
    let script = Script::new("Bailey");
    let node = FakeNode::start(&script);
    let (_gateway, address) = start(named(node.address)).await;
    let lines: String = (0..20).map(|index| iamat(&format!("c{index}"))).collect();
    assert_eq!(ask(address, lines).await.lines().count(), 20);
    assert_eq!(script.messages(), [20]);
}

#[tokio::test]
async fn while_the_node_works_the_lines_of_all_connections_gather_in_few_messages() {
    let script = Script::new("Bailey");
    let node = FakeNode::start(&script);
    let (_gateway, address) = start(named(node.address)).await;
    let mut first = Client::connect(address).await;
    first.send(iamat("first")).await;
    first.expect(&recorded("first")).await;

    script.behave(Behaviour { holds_reports: true, ..Behaviour::default() });
    let mut clients = Vec::new();
    for index in 0..50 {
        let mut client = Client::connect(address).await;
        client.send(iamat(&format!("c{index}"))).await;
        clients.push(client);
    }
    // What was sent last is answered (it needs no node), so what was sent before has been read.
    assert_eq!(ask(address, "HELLO\n").await, "? HELLO\n");
    script.behave(Behaviour::default());
    for (index, client) in clients.iter_mut().enumerate() {
        client.expect(&recorded(&format!("c{index}"))).await;
    }
    let messages = script.messages();
    assert_eq!(messages.iter().sum::<usize>(), 51);
    assert!(messages.len() < 15, "{messages:?}");
}

#[tokio::test]
async fn all_connections_share_one_stream() {
    let script = Script::new("Bailey");
    let node = FakeNode::start(&script);
    let (_gateway, address) = start(named(node.address)).await;
    for _ in 0..5 {
        assert_eq!(ask(address, iamat("kiwi")).await, recorded("kiwi"));
    }
    eventually("one stream", || script.streams() == 1).await;
}
