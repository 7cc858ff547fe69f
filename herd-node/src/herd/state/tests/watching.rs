//! What watchers of an area see, compared with where everybody is, and with interruptions.

use std::collections::BTreeMap;
use std::time::Duration;

use herd_proto::{Area, LocationRecord, NodeName, Position};
use proptest::prelude::*;

use super::{at, client, report, state};
use crate::herd::state::{ConsumerId, Filter, Interest, State, Told};

/// A square of one degree around the origin.
fn area() -> Area {
    let corner = |degrees| Position::from_degrees(degrees, degrees).unwrap();
    Area::Box { south_west: corner(-0.5), north_east: corner(0.5) }
}

fn interest() -> Interest {
    let prefixes = vec!["c".into()];
    Interest::Filtered(Filter { area: Some(area()), prefixes, ..Filter::default() })
}

fn put(state: &mut State, id: &str, degrees: f64, second: u64) {
    let now = at(Duration::from_secs(second));
    let origin = NodeName::parse("Bona").unwrap();
    let position = Position::from_degrees(degrees, degrees).unwrap();
    let mut record = LocationRecord::new(client(id), position, now.wall, now.wall, origin);
    record.generation = 300;
    state.merge(record, None);
}

/// Where the watcher believes everybody in the area to be.
type View = BTreeMap<String, Position>;

/// Takes one thing that is told, if there is one. `sure` where who came and who left must be exact.
fn hear(state: &mut State, watcher: ConsumerId, view: &mut View, sure: bool) -> bool {
    let Some(told) = state.pop_told(watcher) else { return false };
    match told {
        Told::Moved { record, entered } => {
            let known = view.insert(record.client.to_string(), record.position).is_some();
            assert!(!sure || entered != known, "{record:?}");
        }
        Told::Left(record) | Told::Forgotten(record) => {
            let known = view.remove(record.client.as_str()).is_some();
            assert!(!sure || known, "{record:?}");
        }
    }
    true
}

proptest! {
    #[test]
    fn a_watcher_of_an_area_ends_up_knowing_who_is_in_it(
        steps in proptest::collection::vec((0..8_u8, 0..12_u32, 0..3_u8), 0..200),
        current in any::<bool>(),
    ) {
        let mut state = state("Bailey");
        for number in 0..6 {
            put(&mut state, &format!("c{number}"), f64::from(number) * 0.2, 1);
        }
        let (mut view, mut sure) = (View::new(), true);
        let mut watcher = state.subscribe(interest(), None);
        if current {
            state.mark_locations(watcher, state.table().slots());
        }
        let mut token = None;
        for (second, (step, number, place)) in (2..).zip(steps) {
            let id = if number == 11 { "other".into() } else { format!("c{number}") };
            match step {
                // Each is of a later generation, as reports that follow a mark are.
                0 => {
                    put(&mut state, &id, f64::from(place) * 0.4, second);
                    drop(state.forget(at(Duration::from_secs(second)), client(&id)));
                }
                1..4 => put(&mut state, &id, f64::from(place) * 0.4, second),
                4..7 => {
                    hear(&mut state, watcher, &mut view, sure);
                    token = state.heard(watcher).or(token);
                }
                _ => {
                    // The connection is lost, and with it what was not told.
                    let Some(heard) = token else { continue };
                    state.unsubscribe(watcher);
                    watcher = state.subscribe(interest(), None);
                    state.mark_since(watcher, heard, state.table().slots());
                    sure = false;
                }
            }
        }
        while hear(&mut state, watcher, &mut view, sure) {}
        let mut expected = View::new();
        for slot in state.table().slots() {
            let Some(record) = state.location_in(slot) else { continue };
            let was_told = current || state.history.change(slot) > 6;
            if was_told && area().holds(record.position) && record.client.as_str() != "other" {
                expected.insert(record.client.to_string(), record.position);
            }
        }
        prop_assert_eq!(view, expected);
    }
}

#[test]
fn a_slot_that_is_reused_does_not_leave_an_area_it_never_was_in() {
    let mut state = state("Bailey");
    let watcher = state.subscribe(interest(), None);
    put(&mut state, "c1", 0.0, 1);
    assert!(matches!(state.pop_told(watcher), Some(Told::Moved { entered: true, .. })));
    super::expire_all(&mut state, at(super::RETENTION + Duration::from_mins(2)));
    put(&mut state, "c2", 9.0, 2000);
    assert_eq!(state.pop_told(watcher), None);
}

#[test]
fn what_is_superseded_is_counted() {
    let mut state = state("Bailey");
    let watcher = state.subscribe(Interest::Everything, None);
    for second in 1..6 {
        put(&mut state, "c1", 0.0, second);
    }
    assert!(state.pop_told(watcher).is_some());
    assert_eq!(state.pop_told(watcher), None);
    assert_eq!((state.take_superseded(watcher), state.take_superseded(watcher)), (4, 0));
}

#[test]
fn it_is_known_when_a_location_was_learnt_and_from_whom() {
    let mut state = state("Bailey");
    let bona = NodeName::parse("Bona").unwrap();
    let token = state.new_token();
    state.add_friend(at(Duration::ZERO), bona.clone(), "h:1".into(), token);
    let peer = state.peers().get(&bona).unwrap().consumer;
    let (first, second) = (Duration::from_millis(1500), Duration::from_secs(2));
    state.accept(at(first), super::record("kiwi", Duration::ZERO, Duration::ZERO), peer).unwrap();
    state.report(at(second), report("plum")).unwrap();
    state.restore(super::record("moa", Duration::ZERO, Duration::ZERO));
    assert_eq!(state.learnt(&client("kiwi")), Some((at(first).wall, Some("Bona"))));
    assert_eq!(state.learnt(&client("plum")), Some((at(second).wall, None)));
    assert_eq!(state.learnt(&client("moa")), None);
}
