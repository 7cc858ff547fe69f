use std::fs;

use herd_gateway::Config;

use crate::fake_node::{FakeNode, Script};
use crate::support::{ask, ask_bytes, eventually, iamat, named, recorded, start};

#[tokio::test]
async fn every_line_in_and_out_is_logged_with_its_connection() {
    let node = FakeNode::start(&Script::new("Bailey"));
    let directory = tempfile::tempdir().unwrap();
    let logs = directory.path().join("made/by/the/gateway");
    let config = Config { log_lines: Some(logs.clone()), ..named(node.address) };
    let (gateway, address) = start(config).await;
    ask(address, iamat("kiwi")).await;
    ask_bytes(address, b"caf\xe9\n").await;
    gateway.stop().await;
    let wanted = [
        " < IAMAT kiwi +34.068930-118.445127 1700000000".to_string(),
        format!(" > {}", recorded("kiwi").trim_end()),
        " < caf\\xe9".to_string(),
        " > ? caf\\xe9".to_string(),
    ];
    let read = || fs::read_to_string(logs.join("Bailey.log")).unwrap();
    eventually("the log is complete", || wanted.iter().all(|line| read().contains(line))).await;
    let log = read();
    let connection = |line: &str| {
        log.lines().find(|entry| entry.ends_with(line)).unwrap().split(' ').nth(2).unwrap()
    };
    assert_eq!(connection(&wanted[0]), connection(&wanted[1]));
    assert_ne!(connection(&wanted[0]), connection(&wanted[2]));
}
