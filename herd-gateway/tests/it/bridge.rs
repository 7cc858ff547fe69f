//! How text friends speak to the gateway. What crosses to the herd is tried with real nodes.

use std::net::SocketAddr;

use herd_gateway::{Config, Gateway, TextFriend};
use tokio::io::AsyncWriteExt as _;

use crate::fake_node::nobody;
use crate::support::{Client, ask, in_time, start, until, with_admin};

const LINE: &str = "AT Bona +0.25 kiwi +34.068930-118.445127 1700000000";

/// A gateway that believes AT lines from this machine.
async fn befriended() -> (Gateway, SocketAddr) {
    let config = with_admin(nobody());
    let of = config.ports[0].upstream.clone();
    let friends = vec![TextFriend { of, address: nobody().to_string() }];
    let (gateway, address) = start(Config { friends, ..config }).await;
    in_time("belief", async { while !ask(address, LINE).await.is_empty() {} }).await;
    (gateway, address)
}

#[tokio::test]
async fn a_friend_that_ends_neither_its_line_nor_the_connection_is_heard_out() {
    let (gateway, address) = befriended().await;
    let mut friend = Client::connect(address).await;
    friend.send(LINE.replace("kiwi", "emu")).await;
    friend.expect_end().await;
    let admin = gateway.admin_address().unwrap();
    until(admin, "/metrics", "herd_bridge_heard_lines_total{result=\"new\"} 2.0\n").await;
}

#[tokio::test]
async fn a_friend_that_was_heard_out_may_go_on_and_others_are_not_hurried() {
    let (gateway, address) = befriended().await;
    let mut begun = Client::connect(address).await;
    begun.send("AT Bona +0.25 kiwi").await;
    let mut friend = Client::connect(address).await;
    for client in ["emu", "moa"] {
        friend.send(LINE.replace("kiwi", client) + "\n").await;
        friend.expect_end().await;
        // Nobody reads that it is refused.
        friend.send(LINE.replace("1700000000", "soon") + "\n").await;
    }
    let admin = gateway.admin_address().unwrap();
    until(admin, "/metrics", "herd_bridge_heard_lines_total{result=\"new\"} 3.0\n").await;
    assert!(!begun.has_ended());
    begun.send("\n").await;
    begun.expect("? AT Bona +0.25 kiwi\n").await;
    begun.0.shutdown().await.unwrap();
    begun.expect_end().await;
}
