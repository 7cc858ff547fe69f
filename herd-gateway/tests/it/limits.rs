use std::io::{self, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use herd_edge::Reason;
use herd_gateway::{Config, Error, Gateway, Limits};
use tokio::io::AsyncWriteExt as _;

use crate::fake_node::{FakeNode, Script};
use crate::support::{Client, ask, iamat, in_time, named, recorded, start};

#[tokio::test]
async fn a_client_that_never_reads_is_dropped_and_harms_nobody() {
    let node = FakeNode::start(&Script::new("Bailey"));
    let config = named(node.address);
    let limits = Limits { write_stall: Duration::from_millis(200), ..config.limits };
    let (gateway, address) = start(Config { limits, ..config }).await;
    let mut stalled = Client::connect(address).await;
    let lines = iamat("greedy").repeat(1000);
    let flood = async { while stalled.0.write_all(lines.as_bytes()).await.is_ok() {} };
    let others = async {
        for _ in 0..20 {
            assert_eq!(ask(address, iamat("kiwi")).await, recorded("kiwi"));
        }
    };
    in_time("the stalled client to be dropped", async { tokio::join!(flood, others) }).await;
    assert_eq!(gateway.refusals().of(Reason::WriteStall), 1);
}

#[tokio::test]
async fn a_line_that_is_begun_and_not_finished_ends_the_connection_and_so_does_silence() {
    let node = FakeNode::start(&Script::new("Bailey"));
    let config = named(node.address);
    let (short, long) = (Duration::from_secs(1), Duration::from_mins(10));
    for (limits, reason) in [
        (Limits { partial_line: short, idle: long, ..config.limits }, Reason::PartialLine),
        (Limits { partial_line: long, idle: short, ..config.limits }, Reason::Idle),
    ] {
        let (gateway, address) = start(Config { limits, ..config.clone() }).await;
        let mut slow = Client::connect(address).await;
        slow.send(iamat("kiwi")).await;
        slow.expect(&recorded("kiwi")).await;
        if reason == Reason::PartialLine {
            // A byte now and then is no progress.
            slow.send("IAM").await;
            tokio::time::sleep(short / 2).await;
            slow.send("A").await;
        }
        slow.expect_end().await;
        assert_eq!(gateway.refusals().of(reason), 1, "{reason:?}");
    }
}

#[tokio::test]
async fn an_address_has_its_share_of_connections() {
    let node = FakeNode::start(&Script::new("Bailey"));
    let config = named(node.address);
    let limits = Limits { max_connections_per_address: 1, ..config.limits };
    let (gateway, address) = start(Config { limits, ..config }).await;
    let mut first = Client::connect(address).await;
    first.send(iamat("kiwi")).await;
    first.expect(&recorded("kiwi")).await;
    Client::connect(address).await.expect_end().await;
    assert_eq!(gateway.refusals().of(Reason::ConnectionsPerAddress), 1);
}

#[tokio::test]
async fn a_client_that_sends_too_much_is_read_from_more_slowly_and_loses_nothing() {
    let node = FakeNode::start(&Script::new("Bailey"));
    let config = named(node.address);
    let limits = Limits { max_line_rate: Some(500), ..config.limits };
    let (gateway, address) = start(Config { limits, ..config }).await;
    let begun = std::time::Instant::now();
    let mut eager = Client::connect(address).await;
    eager.send(iamat("kiwi").repeat(600)).await;
    eager.expect(&recorded("kiwi").repeat(600)).await;
    eager.send(iamat("moa")).await;
    eager.expect(&recorded("moa")).await;
    assert!(begun.elapsed() >= Duration::from_millis(200), "{:?}", begun.elapsed());
    assert!(gateway.refusals().of(Reason::ConnectionRate) > 0);
}

#[tokio::test]
async fn the_longest_line_can_be_set() {
    let node = FakeNode::start(&Script::new("Bailey"));
    let config = named(node.address);
    let limits = Limits { max_line_bytes: 2000, ..config.limits };
    let (gateway, address) = start(Config { limits, ..config }).await;
    let spaced = |spaces: usize| iamat("kiwi").replacen(' ', &" ".repeat(spaces), 1);
    assert_eq!(ask(address, spaced(1900)).await, recorded("kiwi"));
    let longer = spaced(2000);
    assert_eq!(ask(address, &longer).await, format!("? {longer}"));
    assert_eq!(gateway.refusals().of(Reason::LineBytes), 1);
}

#[tokio::test]
async fn clients_that_send_nothing_but_blank_and_bad_lines_take_only_their_turns() {
    let node = FakeNode::start(&Script::new("Bailey"));
    let (_gateway, address) = start(named(node.address)).await;
    let done = Arc::new(AtomicBool::new(false));
    // From threads, as tasks of this runtime would be slowed down with everybody else.
    let floods = ["\n", "X\n"].map(|line| {
        let done = Arc::clone(&done);
        thread::spawn(move || {
            let mut sender = std::net::TcpStream::connect(address).unwrap();
            let mut reader = sender.try_clone().unwrap();
            let drain = thread::spawn(move || io::copy(&mut reader, &mut io::sink()));
            let lines = line.repeat(1 << 20);
            let mut sent = 0;
            while !done.load(Ordering::Relaxed) && sender.write_all(lines.as_bytes()).is_ok() {
                sent += 1;
            }
            drop(sender.shutdown(std::net::Shutdown::Both));
            drop(drain.join());
            sent
        })
    });
    in_time("answers beside the floods", async {
        for _ in 0..20 {
            assert_eq!(ask(address, iamat("kiwi")).await, recorded("kiwi"));
        }
        // The gateway runs on this thread: the floods end while it does.
        done.store(true, Ordering::Relaxed);
        while !floods.iter().all(thread::JoinHandle::is_finished) {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let sent: i32 = floods.into_iter().map(|flood| flood.join().unwrap()).sum();
    assert!(sent > 0, "nobody flooded");
}

#[tokio::test]
async fn an_endless_line_harms_nobody() {
    let node = FakeNode::start(&Script::new("Bailey"));
    let (_gateway, address) = start(named(node.address)).await;
    let mut endless = Client::connect(address).await;
    endless.send("IAMAT ").await;
    for round in 0..50 {
        endless.send("z".repeat(10_000)).await;
        if round == 0 {
            endless.expect("? IAMAT ").await;
        }
        endless.expect(&"z".repeat(10_000)).await;
        assert_eq!(ask(address, iamat("kiwi")).await, recorded("kiwi"));
    }
}

#[tokio::test]
async fn an_idle_client_is_not_cut_off_and_costs_others_nothing() {
    let node = FakeNode::start(&Script::new("Bailey"));
    let (_gateway, address) = start(named(node.address)).await;
    let mut idle = Vec::new();
    for _ in 0..100 {
        idle.push(Client::connect(address).await);
    }
    idle[0].send("IAMAT ki").await;
    assert_eq!(ask(address, iamat("moa")).await, recorded("moa"));
    idle[0].send("wi +34.068930-118.445127 1700000000\n").await;
    idle[0].expect(&recorded("kiwi")).await;
}

#[tokio::test]
async fn connections_beyond_the_limit_are_closed_until_others_end() {
    let node = FakeNode::start(&Script::new("Bailey"));
    let config = named(node.address);
    let limits = Limits { max_connections: 2, ..config.limits };
    let (gateway, address) = start(Config { limits, ..config }).await;
    let mut allowed = [Client::connect(address).await, Client::connect(address).await];
    for client in &mut allowed {
        client.send(iamat("kiwi")).await;
        client.expect(&recorded("kiwi")).await;
    }
    Client::connect(address).await.expect_end().await;
    assert_eq!(gateway.refusals().of(Reason::Connections), 1);
    let [first, _second] = allowed;
    drop(first);
    in_time("a free place", async {
        loop {
            let mut client = Client::connect(address).await;
            client.send(iamat("kiwi")).await;
            let mut byte = [0];
            if tokio::io::AsyncReadExt::read(&mut client.0, &mut byte).await.is_ok_and(|n| n == 1) {
                break;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_port_that_is_taken_is_named_and_nothing_stays_bound() {
    let config = named(crate::fake_node::nobody());
    let (_first, taken) = start(config.clone()).await;
    let mut second = config.clone();
    second.ports.push(config.ports[0].clone());
    second.ports[1].listen = taken;
    let error = Gateway::start(second).await.unwrap_err();
    assert!(matches!(error, Error::Bind { address, .. } if address == taken));
    let shown = error.to_string();
    assert!(shown.contains("Bailey") && shown.contains(&format!(":{}", taken.port())), "{shown}");
}

#[tokio::test]
async fn a_port_for_a_node_that_is_not_there_is_an_error() {
    let mut config = named(crate::fake_node::nobody());
    config.nodes.clear();
    assert!(matches!(Gateway::start(config).await, Err(Error::NoNode(_))));
    let mut config = named(crate::fake_node::nobody());
    config.nodes[0].address = "no address".into();
    assert!(matches!(Gateway::start(config).await, Err(Error::Address { .. })));
}
