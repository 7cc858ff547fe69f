//! What counts as a friend's having applied a record, and what does not.

use std::time::Duration;

use herd_proto::NodeName;

use super::super::{MAX_AWAITED, TooManyAwaited, WaitId};
use super::{MINUTE, RETENTION, at, client, expire_all, record, report, state};
use crate::herd::Token;
use crate::herd::peers::ActiveLink;
use crate::herd::state::{ConsumerId, Holdings, State};
use crate::herd::table::Slot;

/// A node with friends who have links, and whoever waits.
struct Bench {
    state: State,
    friends: Vec<ConsumerId>,
    waiter: Token,
}

impl Bench {
    fn new(friends: &[&str]) -> Self {
        let mut state = state("Bailey");
        let waiter = state.new_token();
        for name in friends {
            let dialler = state.new_token();
            state.add_friend(at(Duration::ZERO), name_of(name), "x:1".into(), dialler);
        }
        let mut bench = Self { state, friends: Vec::new(), waiter };
        bench.friends =
            friends.iter().map(|name| bench.link_up(name, Holdings::default())).collect();
        bench
    }

    fn link_up(&mut self, name: &str, theirs: Holdings) -> ConsumerId {
        let link = ActiveLink {
            link: self.state.new_token(),
            dialled_here: true,
            instance: 7,
            since: Duration::ZERO,
            in_flight: 0,
        };
        let ours = self.state.holdings();
        let (id, _) =
            self.state.link_up(at(Duration::ZERO), &name_of(name), link, theirs, ours).unwrap();
        id
    }

    /// Takes a report of `id` and waits until so many friends have it.
    fn report(&mut self, id: &str, needed: u32) -> WaitId {
        self.state.report(at(Duration::ZERO), report(id)).unwrap();
        self.state.await_peers(&[(client(id), needed)], self.waiter).unwrap()
    }

    /// What would be sent to a friend now, and the change that it is sent with.
    fn send(&mut self, friend: usize) -> (u64, Vec<Slot>) {
        let friend = self.friends[friend];
        let slots = std::iter::from_fn(|| self.state.pop(friend).map(|(slot, _)| slot)).collect();
        (self.state.changes(), slots)
    }

    fn acknowledge(&mut self, friend: usize, (change, slots): &(u64, Vec<Slot>)) {
        self.state.peer_applied(self.friends[friend], *change, slots);
    }

    fn is_woken(&mut self) -> bool {
        self.state.take_woken().contains(&self.waiter)
    }
}

fn name_of(text: &str) -> NodeName {
    NodeName::parse(text).unwrap()
}

#[test]
fn as_many_friends_as_were_asked_for_must_acknowledge() {
    let mut bench = Bench::new(&["Bona", "Clark"]);
    let wait = bench.report("kiwi", 2);
    let (to_bona, to_clark) = (bench.send(0), bench.send(1));
    bench.acknowledge(0, &to_bona);
    bench.acknowledge(0, &to_bona);
    assert!(!bench.state.is_witnessed(wait) && !bench.is_woken(), "one friend counts once");
    bench.acknowledge(1, &to_clark);
    assert!(bench.state.is_witnessed(wait) && bench.is_woken());
    bench.state.end_wait(wait);
    assert!(!bench.state.is_witnessed(wait));
}

#[test]
fn what_was_sent_before_the_report_proves_nothing() {
    let mut bench = Bench::new(&["Bona"]);
    bench.state.report(at(Duration::ZERO), report("kiwi")).unwrap();
    let old = bench.send(0);
    let newer = record("kiwi", MINUTE, MINUTE);
    bench.state.merge(newer, None);
    let wait = bench.state.await_peers(&[(client("kiwi"), 1)], bench.waiter).unwrap();
    bench.acknowledge(0, &old);
    assert!(!bench.state.is_witnessed(wait));
    let sent = bench.send(0);
    bench.acknowledge(0, &sent);
    assert!(bench.state.is_witnessed(wait));
}

#[test]
fn a_report_that_changes_nothing_is_sent_again_to_hear_of_it() {
    let mut bench = Bench::new(&["Bona"]);
    let first = bench.report("kiwi", 1);
    let sent = bench.send(0);
    bench.acknowledge(0, &sent);
    bench.state.end_wait(first);
    assert!(bench.send(0).1.is_empty());
    let again = bench.state.await_peers(&[(client("kiwi"), 1)], bench.waiter).unwrap();
    let sent = bench.send(0);
    assert_eq!(sent.1.len(), 1);
    bench.acknowledge(0, &sent);
    assert!(bench.state.is_witnessed(again));
}

#[test]
fn a_friend_that_sends_the_record_or_a_greater_one_has_it() {
    let mut bench = Bench::new(&["Bona"]);
    for (id, time) in [("same", Duration::ZERO), ("newer", MINUTE)] {
        let known = record(id, Duration::ZERO, Duration::ZERO);
        bench.state.merge(known, None);
        let wait = bench.state.await_peers(&[(client(id), 1)], bench.waiter).unwrap();
        bench.state.accept(at(MINUTE), record(id, time, Duration::ZERO), bench.friends[0]).unwrap();
        assert!(bench.state.is_witnessed(wait), "{id}");
    }
    let wait = bench.report("kiwi", 1);
    let older = record("kiwi", Duration::ZERO, Duration::ZERO);
    let mut earlier = older;
    earlier.time = herd_proto::Timestamp::EPOCH;
    bench.state.accept(at(Duration::ZERO), earlier, bench.friends[0]).unwrap();
    assert!(!bench.state.is_witnessed(wait), "an older record proves nothing");
}

#[test]
fn a_friend_whose_digest_is_the_same_has_it_all() {
    let mut bench = Bench::new(&["Bona", "Clark"]);
    let waits = [bench.report("kiwi", 1), bench.report("plum", 2)];
    bench.state.peer_agrees(&name_of("Bona"));
    assert_eq!(waits.map(|wait| bench.state.is_witnessed(wait)), [true, false]);
    let theirs = bench.state.holdings();
    bench.link_up("Clark", theirs);
    assert!(bench.state.is_witnessed(waits[1]));
}

#[test]
fn guests_are_no_witnesses_and_no_more_can_be_asked_for_than_there_are_friends() {
    let mut bench = Bench::new(&["Bona"]);
    let guest = bench.link_up("stranger", Holdings::default());
    bench.friends.push(guest);
    let wait = bench.report("kiwi", 1);
    let sent = bench.send(1);
    assert_eq!(sent.1.len(), 1);
    bench.acknowledge(1, &sent);
    assert!(!bench.state.is_witnessed(wait));
    assert_eq!(bench.state.check_min_peers(1), Ok(()));
    let shown = bench.state.check_min_peers(2).unwrap_err().to_string();
    assert!(shown.contains("min_peers: must be at most 1"), "{shown}");
}

#[test]
fn a_message_waits_for_each_of_its_reports() {
    let mut bench = Bench::new(&["Bona", "Clark"]);
    for id in ["kiwi", "plum"] {
        bench.state.report(at(Duration::ZERO), report(id)).unwrap();
    }
    let wanted = [(client("kiwi"), 2), (client("plum"), 1), (client("unknown"), 1)];
    let wait = bench.state.await_peers(&wanted, bench.waiter).unwrap();
    let (to_bona, to_clark) = (bench.send(0), bench.send(1));
    bench.acknowledge(0, &to_bona);
    assert!(!bench.state.is_witnessed(wait));
    bench.acknowledge(1, &to_clark);
    assert!(bench.state.is_witnessed(wait) && bench.is_woken());
}

#[test]
fn a_client_that_expires_is_waited_for_in_vain_and_leaves_nothing_behind() {
    let mut bench = Bench::new(&["Bona"]);
    let wait = bench.report("kiwi", 1);
    let sent = bench.send(0);
    expire_all(&mut bench.state, at(RETENTION + 2 * MINUTE));
    bench.state.report(at(RETENTION + 2 * MINUTE), report("plum")).unwrap();
    bench.acknowledge(0, &sent);
    assert!(!bench.state.is_witnessed(wait), "the slot is another client's by now");
    bench.state.end_wait(wait);
    assert_eq!(bench.state.awaited(), 0);
}

#[test]
fn no_more_is_waited_for_than_the_limit_and_waits_that_end_make_room() {
    let mut bench = Bench::new(&["Bona"]);
    bench.state.report(at(Duration::ZERO), report("kiwi")).unwrap();
    let most = vec![(client("kiwi"), 1); MAX_AWAITED];
    let wait = bench.state.await_peers(&most, bench.waiter).unwrap();
    let one_more = bench.state.await_peers(&[(client("kiwi"), 1)], bench.waiter);
    assert_eq!(one_more, Err(TooManyAwaited));
    bench.state.end_wait(wait);
    bench.state.await_peers(&[(client("kiwi"), 1)], bench.waiter).unwrap();
}
