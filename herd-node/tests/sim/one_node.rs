//! One node, and what its links say and take, frame by frame.

use std::time::Duration;

use herd_node::herd::Now;
use herd_node::herd::link::Link;
use herd_node::herd::state::{Identity, Interest, State};
use herd_proto::v1::{Batch, Frame, Hello, Reason, frame::Kind};
use herd_proto::{ClientId, LocationRecord, NodeName, Record, Report, Timestamp};

use crate::network::merge;

pub(crate) fn state(name: &str) -> State {
    State::new(Identity {
        name: NodeName::parse(name).unwrap(),
        cluster: "sim".into(),
        instance: 1,
        index_key: (1, 2),
        max_future: Duration::from_mins(1),
    })
}

pub(crate) fn now(seconds: u64) -> Now {
    let wall = Timestamp::parse("1000000").unwrap();
    Now { wall, monotonic: Duration::from_secs(seconds) }
}

pub(crate) fn hello(node: &str) -> Hello {
    Hello {
        protocol_min: 1,
        protocol_max: 1,
        cluster: "sim".into(),
        node: node.into(),
        ..Hello::default()
    }
}

pub(crate) fn frame(kind: Kind) -> Frame {
    Frame { kind: Some(kind) }
}

/// What a link says after it has heard `frames`.
pub(crate) fn said(state: &mut State, link: &mut Link, frames: Vec<Kind>) -> Vec<Kind> {
    said_at(state, link, 0, frames)
}

pub(crate) fn said_at(state: &mut State, link: &mut Link, at: u64, frames: Vec<Kind>) -> Vec<Kind> {
    for kind in frames {
        link.receive(state, now(at), frame(kind));
    }
    std::iter::from_fn(|| link.poll_transmit(state, now(at)).and_then(|frame| frame.kind)).collect()
}

fn goodbye(kinds: &[Kind]) -> Option<(Reason, &str)> {
    kinds.iter().find_map(|kind| match kind {
        Kind::Goodbye(goodbye) => Some((goodbye.reason(), goodbye.detail.as_str())),
        _ => None,
    })
}

#[test]
fn whoever_breaks_the_rules_of_the_stream_is_told_which() {
    let batch = |number, count| {
        Kind::Batch(Batch { number, records: vec![Record::default(); count], ..Default::default() })
    };
    let ack = |number| Kind::Ack(herd_proto::v1::Ack { number, ..Default::default() });
    let greeting = || Kind::Hello(hello("stranger"));
    let altered = |change: fn(&mut Hello)| {
        let mut hello = hello("stranger");
        change(&mut hello);
        Kind::Hello(hello)
    };
    for (frames, reason, words) in [
        (vec![batch(1, 0)], Reason::Protocol, "Hello must come first"),
        (vec![greeting(), greeting()], Reason::Protocol, "Hello came twice"),
        (vec![greeting(), batch(2, 0)], Reason::Protocol, "batch 2 came where 1 was due"),
        (vec![greeting(), batch(1, 4097)], Reason::Protocol, "4097 records"),
        (vec![greeting(), ack(1)], Reason::Protocol, "never sent"),
        (vec![altered(|h| h.cluster = "x".into())], Reason::WrongCluster, "\"sim\", not \"x\""),
        (vec![altered(|h| h.protocol_min = 2)], Reason::WrongVersion, "not 2 to 1"),
        (vec![altered(|h| h.node = "Bona".into())], Reason::SameName, "Bona itself"),
        (vec![altered(|h| h.node = "a b".into())], Reason::Protocol, "node name"),
    ] {
        let mut state = state("Bona");
        let mut link = Link::accepted(state.new_token(), now(0));
        let answer = said(&mut state, &mut link, frames);
        let (said_reason, said_words) = goodbye(&answer).expect("a Goodbye");
        assert_eq!(said_reason, reason);
        assert!(said_words.contains(words), "{said_words}");
        assert!(link.has_ended());
        assert_eq!(state.peers().iter().count(), 0, "a guest leaves nothing behind");
    }
}

#[test]
fn bad_records_and_unknown_frames_are_counted_and_harm_nobody() {
    let mut state = state("Bona");
    let good =
        Record::from(&Report::from_operands("kiwi", "+1-1", "1000000").unwrap().into_record(
            NodeName::parse("far").unwrap(),
            now(0).wall,
            0,
        ));
    let mut link = Link::accepted(state.new_token(), now(0));
    link.receive(&mut state, now(0), frame(Kind::Hello(hello("guest"))));
    link.receive(&mut state, now(0), Frame { kind: None });
    let records = vec![Record::default(), good, Record::default()];
    let answer = said(
        &mut state,
        &mut link,
        vec![Kind::Batch(Batch { number: 1, records, ..Default::default() })],
    );
    assert!(answer.iter().any(|kind| matches!(kind, Kind::Ack(ack) if ack.number == 1)));
    let counts = state.peers().get(&NodeName::parse("guest").unwrap()).unwrap().counts;
    assert_eq!((counts.bad, counts.applied, counts.unknown_frames), (2, 1, 1));
    assert!(state.location(&ClientId::parse("kiwi").unwrap()).is_some());
}

#[test]
fn a_silent_peer_is_let_go_and_what_it_did_not_acknowledge_is_kept_for_it() {
    let mut state = state("Bona");
    let friend = NodeName::parse("Bailey").unwrap();
    let dialler = state.new_token();
    state.add_friend(now(0), friend.clone(), "x:1".into(), dialler);
    let mut link = Link::dialled(state.new_token(), friend.clone(), now(0));
    said(&mut state, &mut link, vec![Kind::Hello(hello("Bailey"))]);
    let report = Report::from_operands("kiwi", "+1-1", "1000000").unwrap();
    state.report(now(0), report).unwrap();
    assert!(
        matches!(&said(&mut state, &mut link, vec![])[..], [Kind::Batch(batch)] if batch.records.len() == 1)
    );
    let consumer = state.peers().get(&friend).unwrap().consumer;
    assert_eq!(state.pending(consumer), 0);
    link.tick(&mut state, now(4));
    assert!(!link.has_ended());
    link.tick(&mut state, now(5));
    assert!(goodbye(&said(&mut state, &mut link, vec![])).is_some());
    assert_eq!(state.pending(consumer), 1);
    assert_eq!(state.peers().get(&friend).unwrap().last_error, "nothing heard for 5 s");
}

#[test]
fn a_peer_that_lives_and_acknowledges_nothing_is_let_go_too() {
    let mut state = state("Bona");
    let mut link = Link::accepted(state.new_token(), now(0));
    state.report(now(0), Report::from_operands("kiwi", "+1-1", "1000000").unwrap()).unwrap();
    said(&mut state, &mut link, vec![Kind::Hello(hello("guest"))]);
    for second in 1..=9 {
        let beat = Kind::Heartbeat(herd_proto::v1::Heartbeat::default());
        link.receive(&mut state, now(second), frame(beat));
        link.tick(&mut state, now(second));
    }
    assert!(link.peer().is_some());
    link.tick(&mut state, now(10));
    assert_eq!(
        goodbye(&said(&mut state, &mut link, vec![])),
        Some((Reason::Silent, "no batch acknowledged for 10 s"))
    );
}

#[test]
fn no_more_than_the_window_is_sent_unacknowledged() {
    let mut state = state("Bona");
    for client in 0..50_000 {
        let report = Report::from_operands(&format!("client-{client}"), "+1-1", "1000000");
        state.report(now(0), report.unwrap()).unwrap();
    }
    let mut link = Link::accepted(state.new_token(), now(0));
    let sent = said(&mut state, &mut link, vec![Kind::Hello(hello("guest"))]);
    let bytes: usize =
        sent.iter().map(|kind| prost::Message::encoded_len(&frame(kind.clone()))).sum();
    assert!((256 << 10..400 << 10).contains(&bytes), "{bytes} bytes in flight");
    assert!(said(&mut state, &mut link, vec![]).is_empty());
    let more = said(
        &mut state,
        &mut link,
        vec![Kind::Ack(herd_proto::v1::Ack { number: 1, ..Default::default() })],
    );
    assert!(matches!(&more[..], [Kind::Batch(_)]), "{} frames", more.len());
}

#[test]
fn what_an_old_stream_still_brings_is_not_the_word_of_the_peer_that_started_anew() {
    let mut state = state("Bona");
    let friend = NodeName::parse("Bailey").unwrap();
    let dialler = state.new_token();
    state.add_friend(now(0), friend.clone(), "x:1".into(), dialler);
    let mut old = Link::accepted(state.new_token(), now(0));
    said(&mut state, &mut old, vec![Kind::Hello(Hello { instance: 1, ..hello("Bailey") })]);
    let mut new = Link::accepted(state.new_token(), now(0));
    said(&mut state, &mut new, vec![Kind::Hello(Hello { instance: 2, ..hello("Bailey") })]);
    let record = Report::from_operands("kiwi", "+1-1", "1000000").unwrap().into_record(
        friend.clone(),
        now(0).wall,
        0,
    );
    // The old run knew of kiwi; whether the new one does, nobody has said.
    let batch = Batch { number: 1, records: vec![Record::from(&record)], ..Default::default() };
    let answer = said(&mut state, &mut old, vec![Kind::Batch(batch)]);
    assert!(matches!(goodbye(&answer), Some((Reason::Duplicate, _))));
    merge(&mut state, record);
    let consumer = state.peers().get(&friend).unwrap().consumer;
    assert_eq!(state.pending(consumer), 1, "the new run is told");
}

#[test]
fn a_guest_that_is_gone_cannot_touch_who_has_its_place_now() {
    let mut state = state("Bona");
    let mut old = Link::accepted(state.new_token(), now(0));
    said(&mut state, &mut old, vec![Kind::Hello(hello("guest"))]);
    let mut new = Link::accepted(state.new_token(), now(0));
    said(&mut state, &mut new, vec![Kind::Hello(Hello { instance: 2, ..hello("guest") })]);
    new.close(&mut state, now(0), "gone");
    let watcher = state.subscribe(Interest::Everything, None);
    let record = Report::from_operands("kiwi", "+1-1", "1000000").unwrap().into_record(
        NodeName::parse("far").unwrap(),
        now(0).wall,
        0,
    );
    let batch = Batch { number: 1, records: vec![Record::from(&record)], ..Default::default() };
    said(&mut state, &mut old, vec![Kind::Batch(batch)]);
    merge(&mut state, record);
    assert_eq!(state.pending(watcher), 1);
}

#[test]
fn a_stream_that_comes_long_after_another_replaces_it_whoever_dialled() {
    // Bona dialled Clark, and does not know yet that Clark has lost that stream.
    let mut state = state("Bona");
    let clark = NodeName::parse("Clark").unwrap();
    let dialler = state.new_token();
    state.add_friend(now(0), clark.clone(), "x:1".into(), dialler);
    let mut old = Link::dialled(state.new_token(), clark.clone(), now(0));
    said(&mut state, &mut old, vec![Kind::Hello(hello("Clark"))]);
    let mut at_once = Link::accepted(state.new_token(), now(0));
    let answer = said(&mut state, &mut at_once, vec![Kind::Hello(hello("Clark"))]);
    assert!(goodbye(&answer).is_some());
    let mut later = Link::accepted(state.new_token(), now(4));
    later.receive(&mut state, now(4), frame(Kind::Hello(hello("Clark"))));
    assert!(state.is_active(&clark, later.token()));
}

#[test]
fn batches_shrink_until_they_suit_a_slow_path_and_grow_again() {
    let mut state = state("Bona");
    let slow = NodeName::parse("slow").unwrap();
    let dialler = state.new_token();
    state.add_friend(now(0), slow.clone(), "x:1".into(), dialler);
    for client in 0..5000 {
        let report = Report::from_operands(&format!("client-{client}"), "+1-1", "1000000");
        state.report(now(0), report.unwrap()).unwrap();
    }
    let mut sizes = Vec::new();
    for _ in 0..5 {
        let mut link = Link::dialled(state.new_token(), slow.clone(), now(0));
        let sent = said(&mut state, &mut link, vec![Kind::Hello(hello("slow"))]);
        let batches = sent.iter().filter_map(|kind| match kind {
            Kind::Batch(batch) => Some(batch.records.len()),
            _ => None,
        });
        sizes.extend(batches.max());
        link.tick(&mut state, now(5));
        assert!(link.has_ended(), "nothing was heard");
    }
    assert!(sizes.is_sorted_by(|a, b| a >= b), "{sizes:?}");
    assert!(sizes[0] == 512 && sizes[4] < 10, "{sizes:?}");
    let mut link = Link::dialled(state.new_token(), slow, now(0));
    said(&mut state, &mut link, vec![Kind::Hello(hello("slow"))]);
    let mut largest = 0;
    for number in 1..40 {
        let ack = Kind::Ack(herd_proto::v1::Ack { number, ..Default::default() });
        for kind in said(&mut state, &mut link, vec![ack]) {
            if let Kind::Batch(batch) = kind {
                largest = largest.max(batch.records.len());
            }
        }
    }
    assert_eq!(largest, 512);
}

#[test]
fn a_peers_lag_is_how_long_it_has_lacked_something() {
    let mut state = state("Bona");
    let slow = NodeName::parse("slow").unwrap();
    let dialler = state.new_token();
    state.add_friend(now(0), slow.clone(), "x:1".into(), dialler);
    let lag = |state: &State, at| state.lag(now(at), state.peers().get(&slow).unwrap()).as_secs();
    let report = |state: &mut State, at, time: &str| {
        let report = Report::from_operands("kiwi", "+1-1", time).unwrap();
        state.report(now(at), report).unwrap();
    };
    assert_eq!(lag(&state, 100), 0, "nothing to lack");
    report(&mut state, 100, "1000001");
    let mut link = Link::dialled(state.new_token(), slow.clone(), now(100));
    said_at(&mut state, &mut link, 100, vec![Kind::Hello(hello("slow"))]);
    let ack = |number| vec![Kind::Ack(herd_proto::v1::Ack { number, ..Default::default() })];
    said_at(&mut state, &mut link, 101, ack(1));
    assert_eq!(lag(&state, 110), 0, "all is acknowledged");
    // A client that moves all the time keeps the link busy: what counts is the oldest that is lacked.
    for number in 2..9 {
        let at = 100 + number;
        report(&mut state, at, &format!("10000{number:02}"));
        said_at(&mut state, &mut link, at, Vec::new());
        if number > 2 {
            said_at(&mut state, &mut link, at, ack(number - 1));
        }
        assert!(lag(&state, at) <= 2, "{} at {at}", lag(&state, at));
    }
    assert_eq!(lag(&state, 140), 33, "all of second 107 was acknowledged");
    said_at(&mut state, &mut link, 140, ack(8));
    assert_eq!(lag(&state, 140), 0);
}

#[test]
fn strangers_are_limited_in_number() {
    let mut state = state("Bona");
    let mut links = Vec::new();
    for guest in 0..=64 {
        let mut link = Link::accepted(state.new_token(), now(0));
        let answer = said(&mut state, &mut link, vec![Kind::Hello(hello(&format!("g{guest}")))]);
        let refused = goodbye(&answer).map(|(reason, _)| reason);
        assert_eq!(refused, (guest == 64).then_some(Reason::Overloaded));
        links.push(link);
    }
}

#[test]
fn a_report_from_too_far_ahead_is_refused_and_changes_nothing() {
    let mut state = state("Bona");
    let at = |time: &str| Report::from_operands("kiwi", "+1-1", time).unwrap();
    assert!(state.report(now(0), at("1000060")).is_ok());
    let wrong = state.report(now(0), at("1000061")).unwrap_err();
    assert_eq!(
        wrong.to_string(),
        "time: must be at most 60 s ahead of the node's clock, is 61 s ahead"
    );
    assert_eq!(state.reports().refused, 1);
}

#[test]
fn forgetting_beats_reports_of_its_generation_and_a_later_report_brings_the_client_back() {
    let mut state = state("Bona");
    let kiwi = ClientId::parse("kiwi").unwrap();
    let report = |time: &str| Report::from_operands("kiwi", "+1-1", time).unwrap();
    state.report(now(0), report("1000059")).unwrap();
    let mut forgotten: LocationRecord = state.location(&kiwi).unwrap().clone();
    forgotten.generation = 1;
    forgotten.forgotten = true;
    merge(&mut state, forgotten);
    assert_eq!(state.location(&kiwi), None);
    // Older than what was forgotten, and yet new: the generation decides first.
    let (record, newest) = state.report(now(0), report("7")).unwrap();
    assert_eq!((record.generation, newest), (1, true));
    assert!(state.location(&kiwi).is_some());
}

#[test]
fn a_watcher_of_some_clients_is_not_woken_by_others() {
    let mut state = state("Bona");
    let token = state.new_token();
    let interest = Interest::Clients([ClientId::parse("kiwi").unwrap()].into());
    let consumer = state.subscribe(interest, Some(token));
    state.report(now(0), Report::from_operands("plum", "+1-1", "1").unwrap()).unwrap();
    assert!(state.take_woken().is_empty());
    state.report(now(0), Report::from_operands("kiwi", "+1-1", "1").unwrap()).unwrap();
    assert_eq!(state.take_woken(), [token]);
    assert_eq!(state.pop(consumer).unwrap().1.client.as_str(), "kiwi");
}
