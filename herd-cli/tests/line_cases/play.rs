//! Plays one case.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use super::case::{Case, Probe, Send, Step, Tokens, latin1, unix_nanos};
use super::checks::{Seen, check};
use super::support::google::Google;
use super::support::processes::Herd;
use super::support::{NODES, eventually, text};

/// The pause between chunks: long enough for each to arrive alone.
const CHUNK_PAUSE: Duration = Duration::from_millis(120);

/// How much longer than its `wait` a case may take on a busy machine.
const MERCY: Duration = Duration::from_secs(2);

/// Plays a case and restores the herd; returns what was wrong.
pub(crate) fn play(case: &Case, herd: &mut Herd, google: &Google) -> Vec<String> {
    let tokens = Tokens::now();
    let asked_before = google.count();
    let setup_replies = set_up(case, tokens, herd);
    let waited = case.setup.iter().any(|step| matches!(step, Step::Wait { .. }));
    let deadline = Instant::now() + if waited { MERCY } else { Duration::ZERO };
    let problems = loop {
        let mut seen = probe(case, tokens, herd, google);
        seen.setup_replies.clone_from(&setup_replies);
        seen.asked = google.since(asked_before);
        if let Some(query) = &case.converge {
            seen.converged = agreement(&tokens.bytes(query), herd);
        }
        let problems = check(case, tokens, &seen);
        if problems.is_empty() || Instant::now() >= deadline {
            break problems;
        }
        thread::sleep(Duration::from_millis(50));
    };
    if case.setup.iter().any(|step| matches!(step, Step::Stop { .. })) {
        herd.restore();
    }
    problems
}

fn set_up(case: &Case, tokens: Tokens, herd: &mut Herd) -> Vec<Vec<u8>> {
    let mut replies = Vec::new();
    for step in &case.setup {
        let reply = match step {
            Step::Send(Send { server, send }) => {
                text::exchange(herd.text(server), &tokens.bytes(send))
            }
            Step::Stop { stop } => {
                herd.stop(stop);
                Vec::new()
            }
            Step::Start { start } => {
                herd.start(start);
                Vec::new()
            }
            Step::Wait { wait } => {
                // Time that passes is part of the case: what must not arrive has had its chance.
                thread::sleep(Duration::from_secs_f64(*wait));
                Vec::new()
            }
        };
        replies.push(reply);
    }
    replies
}

fn probe(case: &Case, tokens: Tokens, herd: &Herd, google: &Google) -> Seen {
    let waiting = case.concurrent.as_ref().map(|send| start_concurrent(send, tokens, herd, google));
    let mut stream = text::connect(herd.text(&case.server));
    let sent_at = unix_nanos();
    let started = Instant::now();
    let whole = case.input.clone().map(|input| vec![input]);
    let half_close = case.half_close.unwrap_or(whole.is_some());
    let chunks = whole.or_else(|| case.chunks.clone()).expect("input or chunks");
    for (index, chunk) in chunks.iter().enumerate() {
        if index > 0 {
            thread::sleep(CHUNK_PAUSE);
        }
        stream.write_all(&tokens.bytes(chunk)).unwrap();
    }
    let (mut reply, mut in_time) = (Vec::new(), true);
    if !half_close {
        let expected = tokens.pattern(&case.expect);
        reply = text::read_until(&mut stream, |reply| expected.is_match(&latin1(reply)));
        in_time = expected.is_match(&latin1(&reply));
    }
    let (took, received_at) = (started.elapsed(), unix_nanos());
    // Whatever was read: nothing more may come, and the connection must end.
    stream.shutdown(Shutdown::Write).unwrap();
    let closed = stream.read_to_end(&mut reply).is_ok();
    let (took, received_at) =
        if half_close { (started.elapsed(), unix_nanos()) } else { (took, received_at) };
    if let Some(mut waiting) = waiting {
        // It was still being answered, and is answered in the end.
        waiting.set_nonblocking(true).unwrap();
        let early = waiting.read(&mut [0; 1]);
        assert!(early.is_err(), "{}: the slow answer came first", case.name);
        waiting.set_nonblocking(false).unwrap();
        assert!(text::read_to_end(&mut waiting).starts_with(b"AT "), "{}", case.name);
    }
    let further =
        |probe: &Probe| text::exchange(herd.text(&probe.server), &tokens.bytes(&probe.input));
    Seen {
        reply,
        in_time,
        closed,
        took,
        sent_at,
        received_at,
        setup_replies: Vec::new(),
        asked: Vec::new(),
        converged: Vec::new(),
        then: case.then.iter().map(further).collect(),
    }
}

/// Sends a query and returns when it waits for the stand-in for Google.
fn start_concurrent(send: &Send, tokens: Tokens, herd: &Herd, google: &Google) -> TcpStream {
    let before = google.count();
    let mut stream = text::connect(herd.text(&send.server));
    stream.write_all(&tokens.bytes(&send.send)).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    eventually(MERCY, || if google.count() > before { Ok(()) } else { Err("nobody asked") });
    stream
}

/// The replies of all nodes, as soon as they are the same.
fn agreement(query: &[u8], herd: &Herd) -> Vec<Vec<u8>> {
    let first_line = |reply: &[u8]| reply.split(|byte| *byte == b'\n').next().map(<[u8]>::to_vec);
    let deadline = Instant::now() + MERCY;
    loop {
        let replies = NODES.map(|name| text::exchange(herd.text(name), query));
        let same = replies.iter().all(|reply| first_line(reply) == first_line(&replies[0]));
        if same || Instant::now() > deadline {
            return replies.into();
        }
        thread::sleep(Duration::from_millis(20));
    }
}
