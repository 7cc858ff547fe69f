use super::*;
use crate::herd::expiry::{CLOCK_SLACK, Lifetimes};
use crate::herd::state::{Interest, Unacceptable};
use crate::herd::table::Merged;

const NOW: Duration = Duration::from_secs(30);

#[test]
fn a_record_goes_at_the_whole_minute_after_its_time() {
    let mut state = state("Bailey");
    state.report(at(NOW), report("kiwi")).unwrap();
    let end = at(RETENTION + MINUTE);
    assert_eq!(state.expire(at(NOW), 9), Some(end.wall));
    let just_before = at(RETENTION + Duration::from_nanos(59_999_999_999));
    state.expire(just_before, 9);
    assert!(state.location(&client("kiwi")).is_some());
    assert_eq!(state.expire(end, 9), None, "nothing is left to expire");
    assert_eq!(state.location(&client("kiwi")), None);
    assert_eq!((state.table().len(), state.table().digest(), state.expired()), (0, 0, 1));
}

#[test]
fn a_client_that_reports_in_time_stays() {
    let mut state = state("Bailey");
    for minute in 0..100 {
        state.report(at(MINUTE * minute), report("kiwi")).unwrap();
        state.expire(at(MINUTE * minute), 9);
    }
    assert_eq!((state.table().len(), state.expired()), (1, 0));
}

#[test]
fn a_report_in_place_of_a_mark_goes_no_later_than_one_that_had_no_mark_before_it() {
    let (mut marked, mut plain) = (state("Bailey"), state("Bailey"));
    marked.forget(at(NOW), client("kiwi")).unwrap();
    for state in [&mut marked, &mut plain] {
        state.report(at(NOW), report("kiwi")).unwrap();
        expire_all(state, at(RETENTION + MINUTE));
        assert_eq!(state.table().len(), 0);
    }
}

#[test]
fn what_is_over_is_not_answered_nor_sent_before_its_turn_to_be_removed_comes() {
    let mut state = state("Bailey");
    let reader = state.subscribe(Interest::Everything, None);
    for id in ["a", "b", "c"] {
        state.report(at(NOW), report(id)).unwrap();
    }
    let next = state.expire(at(RETENTION * 2), 1).unwrap();
    assert!(next < at(RETENTION * 2).wall, "there is more to do at once");
    assert_eq!(state.table().len(), 2);
    assert!(["a", "b", "c"].iter().all(|id| state.location(&client(id)).is_none()));
    assert_eq!(state.pop(reader), None);
}

#[test]
fn a_mark_that_is_over_does_not_win_although_its_turn_has_not_come() {
    let mut state = state("Bailey");
    state.forget(at(NOW), client("kiwi")).unwrap();
    let later = Duration::from_hours(100);
    state.expire(at(later), 0);
    let merged = state.merge(record("kiwi", later, later), None);
    assert!(matches!(merged, Merged::Newer(_)), "{merged:?}");
}

#[test]
fn without_retention_nothing_goes_and_nothing_is_kept_in_order_of_time() {
    let mut state = state("Bailey");
    state.set_retention(None);
    state.report(at(NOW), report("kiwi")).unwrap();
    state.forget(at(NOW), client("plum")).unwrap();
    assert_eq!(state.expire(at(Duration::from_hours(1_000_000)), 9), None);
    assert_eq!(state.table().len(), 2);
}

#[test]
fn a_peers_record_that_is_over_is_refused_and_counted() {
    let mut state = state("Bailey");
    let name = NodeName::parse("Bona").unwrap();
    state.add_friend(at(NOW), name.clone(), String::new(), crate::herd::Token(1));
    let from = state.peers().get(&name).unwrap().consumer;
    let now = at(RETENTION + MINUTE);
    let over = state.accept(now, record("kiwi", NOW, NOW), from);
    assert_eq!(over, Err(Unacceptable::Expired));
    assert!(state.accept(now, record("kiwi", NOW, MINUTE * 2), from).is_ok());
    assert_eq!(state.peers().get(&name).unwrap().counts.expired, 1);
}

#[test]
fn a_peers_record_from_too_far_ahead_is_refused_and_counted_and_later_ones_are_taken() {
    let mut state = state("Bailey");
    let name = NodeName::parse("Bona").unwrap();
    state.add_friend(at(NOW), name.clone(), String::new(), crate::herd::Token(1));
    let from = state.peers().get(&name).unwrap().consumer;
    let limit = NOW + MAX_FUTURE + CLOCK_SLACK;
    let beyond = limit + Duration::from_nanos(1);
    for (time, received) in [(beyond, NOW), (NOW, beyond)] {
        let refused = state.accept(at(NOW), record("kiwi", time, received), from);
        assert_eq!(refused, Err(Unacceptable::TooFarAhead));
    }
    assert_eq!(state.table().len(), 0);
    assert!(state.accept(at(NOW), record("kiwi", limit, limit), from).is_ok());
    assert_eq!(state.peers().get(&name).unwrap().counts.too_far_ahead, 2);
}

#[test]
fn what_is_over_is_not_restored_and_what_is_restored_expires() {
    let mut state = state("Bailey");
    state.expire(at(RETENTION), 0);
    state.restore(record("first", NOW, Duration::ZERO));
    state.restore(record("second", NOW, NOW));
    state.expire(at(RETENTION * 2), 0);
    state.restore(record("third", NOW, NOW));
    assert_eq!(state.table().len(), 2);
    expire_all(&mut state, at(RETENTION * 2));
    assert_eq!(state.table().len(), 0);
}

#[test]
fn a_mark_outlives_every_record_that_it_beats() {
    for max_future in [Duration::ZERO, Duration::from_hours(24), Duration::from_hours(9999)] {
        let lifetimes = Lifetimes::new(RETENTION, max_future);
        let furthest = NOW + max_future + CLOCK_SLACK + Duration::from_mins(30);
        let mut mark = record("kiwi", NOW, NOW);
        mark.forgotten = true;
        assert!(lifetimes.end(&mark) > lifetimes.end(&record("kiwi", furthest, furthest)));
    }
}

#[test]
fn a_record_fades_before_it_goes_and_earlier_still_as_others_may_see_it() {
    let mut state = state("Bailey");
    state.report(at(NOW), report("kiwi")).unwrap();
    let slot = state.table().find(&client("kiwi")).unwrap();
    let end_minute = 11;
    let faded = |before_end: u32| {
        let now = at(MINUTE * (end_minute - before_end));
        (state.is_fading(slot, now), state.may_fade_elsewhere(slot, now))
    };
    assert_eq!(
        [5, 4, 3, 2, 1].map(faded),
        [(false, false), (false, true), (false, true), (true, true), (true, true)]
    );
}

#[test]
fn a_clock_that_is_set_back_does_not_shut_out_what_is_reported_then() {
    let mut state = state("Bailey");
    expire_all(&mut state, at(Duration::from_hours(9999)));
    assert!(state.report(at(NOW), report("kiwi")).unwrap().1);
    assert!(state.location(&client("kiwi")).is_some());
}
