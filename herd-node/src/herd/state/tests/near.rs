//! Who is near, compared with measuring everybody.

use std::time::Duration;

use herd_proto::{LocationRecord, NodeName, Position};
use proptest::prelude::*;

use super::{RETENTION, at, client, expire_all, state};
use crate::herd::cells::tests::position;
use crate::herd::near::{Found, Query, Search};
use crate::herd::state::State;

fn put(state: &mut State, id: &str, position: Position, second: u64, generation: u32) {
    let now = at(Duration::from_secs(second));
    let origin = NodeName::parse("Bona").unwrap();
    let mut record = LocationRecord::new(client(id), position, now.wall, now.wall, origin);
    record.generation = generation;
    state.merge(record, None);
}

fn search(state: &State, query: &Query, budget: usize) -> (Vec<Found>, bool) {
    let mut search = Search::new(query.clone());
    while !search.advance(state, budget) {}
    search.finish()
}

/// The same by measuring everybody.
fn measured(state: &State, query: &Query) -> (Vec<Found>, bool) {
    let mut found: Vec<_> = state
        .table()
        .slots()
        .filter_map(|slot| state.location_in(slot))
        .filter(|record| Some(&record.client) != query.except.as_ref())
        .filter(|record| record.receive_time >= query.since)
        .map(|record| {
            let distance_meters = query.center.distance_meters(record.position);
            Found { distance_meters, record: record.clone() }
        })
        .filter(|found| found.distance_meters <= query.radius_meters)
        .collect();
    found.sort();
    let more = found.len() > query.limit;
    found.truncate(query.limit);
    (found, more)
}

fn query(center: Position, radius_meters: f64, limit: usize) -> Query {
    let since = at(Duration::ZERO).wall;
    Query { center, radius_meters, limit, since, except: None }
}

proptest! {
    #[test]
    fn a_search_finds_what_measuring_everybody_finds(
        steps in proptest::collection::vec((0..60_u32, position(), 0..8), 0..150),
        center in position(),
        radius in prop_oneof![Just(0.0), 0.0..50_000.0, 0.0..25_000_000.0],
        limit in 1..40_usize,
        since in 0..150_u64,
        budget in 1..20_usize,
    ) {
        let mut state = state("Bailey");
        for (second, (number, position, kind)) in (1..).zip(&steps) {
            let id = format!("c{number}");
            match kind {
                0 => drop(state.forget(at(Duration::from_secs(second)), client(&id))),
                // Two in one place are told apart by their names.
                1 => put(&mut state, &id, center, second, 9),
                _ => put(&mut state, &id, *position, second, 9),
            }
        }
        let mut query = query(center, radius, limit);
        query.since = at(Duration::from_secs(since)).wall;
        query.except = Some(client("c1"));
        let expected = measured(&state, &query);
        prop_assert_eq!(&search(&state, &query, usize::MAX), &expected);
        prop_assert_eq!(&search(&state, &query, budget), &expected);
    }
}

#[test]
fn who_was_forgotten_or_is_over_is_near_nobody() {
    let mut state = state("Bailey");
    let here = Position::from_e7(1, 1).unwrap();
    put(&mut state, "kiwi", here, 1, 0);
    put(&mut state, "plum", here, 2, 0);
    let names = |state: &State| -> Vec<_> {
        let (found, _) = search(state, &query(here, 10.0, 10), 100);
        found.iter().map(|found| found.record.client.to_string()).collect()
    };
    assert_eq!(names(&state), ["kiwi", "plum"]);
    state.forget(at(Duration::from_secs(3)), client("kiwi")).unwrap();
    assert_eq!(names(&state), ["plum"]);
    expire_all(&mut state, at(RETENTION + Duration::from_mins(2)));
    assert!(names(&state).is_empty());
    put(&mut state, "moa", here, 5000, 0);
    assert_eq!(names(&state), ["moa"], "in the slot of one that is gone");
}

#[test]
fn a_client_that_moves_during_a_search_is_found_once() {
    let mut state = state("Bailey");
    let along = |number: i32| Position::from_e7(0, number * 1_000_000).unwrap();
    for number in 0..50 {
        put(&mut state, &format!("c{number:02}"), along(number), 1, 0);
    }
    let mut search = Search::new(query(along(0), 1e7, 100));
    let mut second = 2;
    while !search.advance(&state, 3) {
        // Runs ahead of the search, and is met again and again.
        put(&mut state, "c00", along(second as i32 % 50), second, 0);
        second += 1;
    }
    assert!(second > 10, "the search was done in parts");
    let (found, _) = search.finish();
    let mut names: Vec<_> = found.iter().map(|found| found.record.client.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!((names.len(), found.len()), (50, 50));
}

#[test]
fn a_crowd_in_one_cell_is_looked_through_in_parts_too() {
    let mut state = state("Bailey");
    let here = Position::from_e7(5, 5).unwrap();
    for number in 0..1000 {
        put(&mut state, &format!("c{number:03}"), here, 1, 0);
    }
    let mut search = Search::new(query(here, 1.0, 10));
    let mut parts = 1;
    while !search.advance(&state, 100) {
        parts += 1;
    }
    assert!(parts >= 10, "{parts}");
    let (found, more) = search.finish();
    let names: Vec<_> = found.iter().map(|found| found.record.client.to_string()).collect();
    assert_eq!(names, (0..10).map(|number| format!("c{number:03}")).collect::<Vec<_>>());
    assert!(more);
}
