//! A herd of five processes: floods, deaths, splits and bad company.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::Shutdown;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use support::processes::Herd;
use support::text::{ask, connect, read_to_end};
use support::{NODES, eventually};

/// Longest wait for a herd to agree again, on a busy machine.
const AGREEMENT: Duration = Duration::from_secs(10);

const HERE: &str = "+34.068930-118.445127";
const THERE: &str = "-33.868820+151.209290";

/// POSIX seconds of now, so many nanoseconds later.
fn now(later: u128) -> String {
    let nanos = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() + later;
    format!("{}.{:09}", nanos / 1_000_000_000, nanos % 1_000_000_000)
}

fn report(herd: &Herd, node: &str, client: &str, position: &str, time: &str) -> String {
    let reply = ask(herd.text(node), &format!("IAMAT {client} {position} {time}\n"));
    assert!(reply.starts_with(&format!("AT {node} ")), "{reply}");
    reply.trim_end().to_owned()
}

/// The AT line that a node gives for a client; its `?` line where it knows none.
fn location(herd: &Herd, node: &str, client: &str) -> String {
    let reply = ask(herd.text(node), &format!("WHATSAT {client} 10 1\n"));
    reply.lines().next().unwrap_or_default().to_owned()
}

#[track_caller]
fn all_answer(herd: &Herd, client: &str, line: &str) {
    eventually(AGREEMENT, || {
        let answers = NODES.map(|node| location(herd, node, client));
        if answers.iter().all(|answer| answer == line) { Ok(()) } else { Err(answers) }
    });
}

#[test]
fn a_report_at_any_node_is_answered_alike_by_all_five() {
    let herd = Herd::started(["Jaquez", "Bona", "Clark", "Bailey", "Campbell"], &[]);
    for node in NODES {
        let client = format!("client-of-{node}");
        let line = report(&herd, node, &client, HERE, &now(0));
        all_answer(&herd, &client, &line);
    }
    herd.wait_for_agreement();
    assert_eq!(herd.status("Clark").unwrap().clients, 5);
}

#[test]
fn a_killed_node_learns_what_it_missed_and_what_it_knew() {
    let mut herd = Herd::started(NODES, &[]);
    let known = report(&herd, "Campbell", "early", HERE, &now(0));
    all_answer(&herd, "early", &known);
    herd.stop("Campbell");
    let missed = report(&herd, "Bailey", "missed", HERE, &now(0));
    let far = report(&herd, "Jaquez", "far", THERE, &now(0));
    herd.start("Campbell");
    for (client, line) in [("early", known), ("missed", missed), ("far", far)] {
        all_answer(&herd, client, &line);
    }
    herd.wait_for_agreement();
}

#[test]
fn a_herd_with_a_data_directory_that_is_killed_as_a_whole_loses_nothing_it_answered() {
    let home = tempfile::tempdir().unwrap();
    let directory = home.path().to_str().unwrap();
    let mut herd = Herd::started(NODES, &[("HERD_DATA_DIR", directory)]);
    let mut answered = Vec::new();
    for number in 0..200 {
        let (node, client) = (NODES[number % 5], format!("c{number}"));
        answered.push((client.clone(), report(&herd, node, &client, HERE, &now(0))));
    }
    // With -9, and without a pause after the last answer.
    for node in NODES {
        herd.stop(node);
    }
    for node in NODES {
        herd.start(node);
    }
    herd.wait_for_agreement();
    for (number, (client, line)) in answered.iter().enumerate() {
        assert_eq!(location(&herd, NODES[(number + 2) % 5], client), *line);
    }
    let peers = herd.status("Bailey").unwrap().peers.into_iter();
    let divergent = peers.filter_map(|peer| peer.records).map(|records| records.divergent);
    assert_eq!(divergent.sum::<u64>(), 0);
}

#[test]
fn after_a_split_the_newest_report_wins_everywhere() {
    let mut herd = Herd::started(NODES, &[]);
    // Without these two, Bailey is alone, and Clark has only Jaquez.
    herd.stop("Bona");
    herd.stop("Campbell");
    let moment = now(0);
    let older = report(&herd, "Bailey", "mover", HERE, &now(0));
    let newer = report(&herd, "Clark", "mover", THERE, &now(1_000_000_000));
    let late = report(&herd, "Bailey", "nano", HERE, "1700000000.123456789");
    report(&herd, "Jaquez", "nano", THERE, "1700000000.123456788");
    let twins = [
        report(&herd, "Bailey", "twin", HERE, &moment),
        report(&herd, "Jaquez", "twin", THERE, &moment),
    ];
    assert_eq!(location(&herd, "Bailey", "mover"), older);
    eventually(AGREEMENT, || {
        let line = location(&herd, "Jaquez", "mover");
        if line == newer { Ok(()) } else { Err(line) }
    });
    herd.start("Campbell");
    herd.start("Bona");
    all_answer(&herd, "mover", &newer);
    all_answer(&herd, "nano", &late);
    herd.wait_for_agreement();
    let twin = location(&herd, "Bona", "twin");
    assert!(twins.contains(&twin), "{twin}");
    all_answer(&herd, "twin", &twin);
}

#[test]
fn ten_thousand_lines_on_one_connection_come_back_complete_and_in_order() {
    let herd = alone();
    let mut writer = connect(herd.text("Bailey"));
    let mut reader = writer.try_clone().unwrap();
    let time = now(0);
    let replies = thread::scope(|scope| {
        scope.spawn(|| {
            let mut lines = Vec::new();
            for index in 0..10_000 {
                writeln!(lines, "IAMAT client-{index} {HERE} {time}").unwrap();
            }
            writer.write_all(&lines).unwrap();
            writer.shutdown(Shutdown::Write).unwrap();
        });
        read_to_end(&mut reader)
    });
    let replies = String::from_utf8(replies).unwrap();
    assert_eq!(replies.lines().count(), 10_000);
    for (index, line) in replies.lines().enumerate() {
        let words: Vec<_> = line.split(' ').collect();
        let id = format!("client-{index}");
        assert!(
            matches!(*words, ["AT", "Bailey", _, client, HERE, at] if client == id && at == time)
        );
    }
    assert_eq!(herd.status("Bailey").unwrap().clients, 10_000);
}

#[test]
fn a_stalled_reader_is_held_back_and_harms_nobody_else() {
    /// More than the sockets' buffers and any sane queue between them hold.
    const TOO_MUCH: usize = 64 << 20;
    let herd = alone();
    let mut stalled = connect(herd.text("Bailey"));
    stalled.set_write_timeout(Some(Duration::from_millis(300))).unwrap();
    let lines = format!("IAMAT stalled {HERE} 1700000000\n").repeat(1000);
    let mut written = 0;
    loop {
        match stalled.write(lines.as_bytes()) {
            Ok(count) => written += count,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                break;
            }
            Err(error) => panic!("{error}"),
        }
        assert!(written < TOO_MUCH, "nothing holds the writer back");
    }
    let asked = Instant::now();
    report(&herd, "Bailey", "other", HERE, &now(0));
    assert!(asked.elapsed() < Duration::from_secs(1), "took {:?}", asked.elapsed());
    // It was only slow: when it reads again, it gets its answers.
    let mut first = vec![0; 1 << 16];
    stalled.read_exact(&mut first).unwrap();
    assert!(first.starts_with(b"AT Bailey +"));
}

#[test]
fn noise_long_lines_and_half_open_connections_harm_nobody_else() {
    let herd = alone();
    let mut half_open = connect(herd.text("Bailey"));
    half_open.write_all(b"IAMAT half").unwrap();
    let mut megabyte = vec![b'Z'; 1 << 20];
    megabyte.push(b'\n');
    let noise: Vec<u8> =
        (0..100_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    for bad in [megabyte, noise] {
        // Whether it is answered or cut off is its own affair, but it must not hang.
        let mut stream = connect(herd.text("Bailey"));
        let mut reader = stream.try_clone().unwrap();
        let ended = thread::scope(|scope| {
            scope.spawn(move || {
                let _ = stream.write_all(&bad).and_then(|()| stream.shutdown(Shutdown::Write));
            });
            reader.read_to_end(&mut Vec::new())
        });
        let hangs = |kind| matches!(kind, ErrorKind::WouldBlock | ErrorKind::TimedOut);
        assert!(!ended.is_err_and(|error| hangs(error.kind())));
        report(&herd, "Bailey", "other", HERE, &now(0));
    }
    half_open.write_all(format!("-open {HERE} 5\n").as_bytes()).unwrap();
    half_open.shutdown(Shutdown::Write).unwrap();
    assert!(read_to_end(&mut half_open).starts_with(b"AT Bailey +"));
}

/// One node without its friends: enough for what one connection does.
fn alone() -> Herd {
    let mut herd = Herd::planned(&[]);
    herd.start("Bailey");
    herd
}
