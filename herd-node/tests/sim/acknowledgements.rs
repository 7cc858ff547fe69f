//! When a node acknowledges what it was sent, and when it asks its peers to.

use std::time::Duration;

use herd_node::herd::Now;
use herd_node::herd::link::Link;
use herd_node::herd::state::State;
use herd_proto::v1::{Ack, Batch, frame::Kind};
use herd_proto::{ClientId, NodeName, Record, Report};

use crate::one_node::{frame, hello, now, said, state};

/// How long an acknowledgement may wait, as the protocol says.
const HELD_BACK: Duration = Duration::from_millis(20);

fn after(wait: Duration) -> Now {
    Now { monotonic: now(0).monotonic + wait, ..now(0) }
}

fn batch(number: u64, ack_may_wait: bool) -> Kind {
    let report = Report::from_operands(&format!("c{number}"), "+1-1", "1000000").unwrap();
    let record = report.into_record(NodeName::parse("far").unwrap(), now(0).wall, 0);
    Kind::Batch(Batch {
        number,
        records: vec![Record::from(&record)],
        ack_may_wait,
        ..Batch::default()
    })
}

fn accepted(state: &mut State) -> Link {
    let mut link = Link::accepted(state.new_token(), now(0));
    said(state, &mut link, vec![Kind::Hello(hello("guest"))]);
    link
}

/// What a link transmits at a moment, after it has taken a frame.
fn sent(state: &mut State, link: &mut Link, at: Now, frames: Vec<Kind>) -> Vec<Kind> {
    for kind in frames {
        link.receive(state, at, frame(kind));
    }
    std::iter::from_fn(|| link.poll_transmit(state, at)?.kind).collect()
}

fn acks(kinds: &[Kind]) -> Vec<Ack> {
    let ack = |kind: &Kind| match kind {
        Kind::Ack(ack) => Some(*ack),
        _ => None,
    };
    kinds.iter().filter_map(ack).collect()
}

#[test]
fn one_that_may_wait_speaks_for_all_that_came_meanwhile_and_tells_how_late_it_is() {
    let mut state = state("Bona");
    let mut link = accepted(&mut state);
    let early = sent(&mut state, &mut link, now(0), vec![batch(1, true), batch(2, true)]);
    assert_eq!(acks(&early), []);
    assert_eq!(link.next_tick(true), now(0).monotonic + HELD_BACK);
    let middle = HELD_BACK / 2;
    assert_eq!(acks(&sent(&mut state, &mut link, after(middle), vec![batch(3, true)])), []);
    let delay_micros = u32::try_from(HELD_BACK.saturating_sub(middle).as_micros()).unwrap();
    let due = sent(&mut state, &mut link, after(HELD_BACK), vec![]);
    assert_eq!(acks(&due), [Ack { number: 3, skipped: false, delay_micros }]);
    assert_eq!(acks(&sent(&mut state, &mut link, after(HELD_BACK * 2), vec![])), []);
}

#[test]
fn one_that_may_not_wait_is_sent_at_once_for_those_before_it_too() {
    let mut state = state("Bona");
    let mut link = accepted(&mut state);
    assert_eq!(acks(&sent(&mut state, &mut link, now(0), vec![batch(1, true)])), []);
    link.receive(&mut state, now(0), frame(batch(2, false)));
    // What passes before the transport has room is the hop's time.
    let at_once = sent(&mut state, &mut link, after(HELD_BACK / 2), vec![]);
    assert_eq!(acks(&at_once), [Ack { number: 2, ..Ack::default() }]);
}

#[test]
fn none_is_held_back_from_a_peer_that_has_said_all() {
    let mut state = state("Bona");
    let mut link = accepted(&mut state);
    assert_eq!(acks(&sent(&mut state, &mut link, now(0), vec![batch(1, true)])), []);
    link.peer_closed();
    let last = sent(&mut state, &mut link, now(0), vec![]);
    assert_eq!(acks(&last), [Ack { number: 1, ..Ack::default() }]);
}

/// A node with a friend whose link is up and owes it nothing.
fn befriended() -> (State, Link) {
    let mut state = state("Bona");
    let friend = NodeName::parse("Bailey").unwrap();
    let dialler = state.new_token();
    state.add_friend(now(0), friend.clone(), "x:1".into(), dialler);
    let mut link = Link::dialled(state.new_token(), friend, now(0));
    said(&mut state, &mut link, vec![Kind::Hello(hello("Bailey"))]);
    (state, link)
}

fn report(state: &mut State, client: &str) {
    let report = Report::from_operands(client, "+1-1", "1000000").unwrap();
    state.report(now(0), report).unwrap();
}

/// Of each batch that is sent, whether its acknowledgement may wait.
fn may_wait(kinds: &[Kind]) -> Vec<bool> {
    let batch = |kind: &Kind| match kind {
        Kind::Batch(batch) => Some(batch.ack_may_wait),
        _ => None,
    };
    kinds.iter().filter_map(batch).collect()
}

#[test]
fn a_node_asks_for_one_at_once_where_somebody_waits_for_its_friends() {
    let (mut state, mut link) = befriended();
    report(&mut state, "kiwi");
    assert_eq!(may_wait(&sent(&mut state, &mut link, now(0), vec![])), [true]);
    report(&mut state, "plum");
    let waiter = state.new_token();
    let plum = ClientId::parse("plum").unwrap();
    state.await_peers(&[(plum, 1)], waiter).unwrap();
    assert_eq!(may_wait(&sent(&mut state, &mut link, now(0), vec![])), [false]);
}

#[test]
fn a_node_asks_for_one_at_once_where_many_small_batches_are_under_way() {
    let (mut state, mut link) = befriended();
    let asked: Vec<_> = (0..70)
        .flat_map(|client| {
            report(&mut state, &format!("c{client}"));
            may_wait(&sent(&mut state, &mut link, now(0), vec![]))
        })
        .collect();
    assert_eq!(asked.iter().position(|may_wait| !may_wait), Some(63), "{asked:?}");
    let ack = Kind::Ack(Ack { number: 70, ..Ack::default() });
    report(&mut state, "next");
    assert_eq!(may_wait(&sent(&mut state, &mut link, now(0), vec![ack])), [true]);
}

#[test]
fn a_node_asks_for_one_at_once_long_before_its_window_is_full() {
    let (mut state, mut link) = befriended();
    for client in 0..5000 {
        report(&mut state, &format!("a-client-with-a-name-of-some-length-{client}"));
    }
    let asked = may_wait(&sent(&mut state, &mut link, now(0), vec![]));
    assert!(asked[0] && !asked[asked.len() - 1], "{asked:?}");
}
