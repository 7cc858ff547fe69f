//! Who is near a point: goes through the squares of the grid, nearest first, until no square left
//! can hold anybody nearer than those found.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use herd_proto::{ClientId, LocationRecord, Position, Timestamp};

use super::cells::{DEPTH, Square};
use super::state::State;
use super::table::Slot;

/// Who is looked for.
#[derive(Debug, Clone)]
pub struct Query {
    /// Near what.
    pub center: Position,
    /// How far away at most, in metres.
    pub radius_meters: f64,
    /// How many at most.
    pub limit: usize,
    /// Received when at the earliest.
    pub since: Timestamp,
    /// Who does not count: the client in the middle.
    pub except: Option<ClientId>,
}

/// A search that can be done in parts, so that nobody waits long for the state.
///
/// A client that moves between two parts is found where it is or where it was; if it leaves a
/// place that was not yet looked at for one that was, it is missed.
#[derive(Debug)]
pub struct Search {
    query: Query,
    /// Squares to be looked at.
    ahead: BinaryHeap<Reverse<Ahead>>,
    /// Where to go on in the middle of a cell.
    within: Option<(Square, Slot)>,
    /// The nearest so far, one more than are wanted: it tells that there are more.
    found: BinaryHeap<Found>,
    /// Whether clients may have moved since the search began.
    resumed: bool,
}

/// A client that was found.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// How far it is from the center, in metres.
    pub distance_meters: f64,
    /// What is known of it.
    pub record: LocationRecord,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Ahead {
    least_distance: f64,
    square: Square,
}

impl Search {
    /// A search that has yet to begin.
    pub fn new(query: Query) -> Self {
        let earth = Ahead { least_distance: 0.0, square: Square::EARTH };
        let ahead = BinaryHeap::from([Reverse(earth)]);
        Self { query, ahead, within: None, found: BinaryHeap::new(), resumed: false }
    }

    /// Goes on, and looks at about `budget` clients and squares. Returns whether it is done.
    pub fn advance(&mut self, state: &State, budget: usize) -> bool {
        let mut budget = budget;
        let within = self.within.take();
        if let Some((cell, slot)) = within {
            // Whoever has moved on since leads into another cell.
            let slot = state.location_in(slot).filter(|record| cell.holds(record.position));
            let slot = slot.and_then(|_| within.map(|(_, slot)| slot));
            let slot = slot.or_else(|| state.table().cells().first(cell));
            self.look_through(state, cell, slot, &mut budget);
        }
        while self.within.is_none() {
            let Some(Reverse(next)) = self.ahead.pop() else { return true };
            if next.least_distance > self.reach() {
                return true;
            }
            if budget == 0 {
                self.ahead.push(Reverse(next));
                break;
            }
            budget -= 1;
            if next.square.depth == DEPTH {
                let first = state.table().cells().first(next.square);
                self.look_through(state, next.square, first, &mut budget);
                continue;
            }
            let parts = next.square.quarters();
            for square in parts.filter_map(|quarter| state.table().cells().occupied(quarter)) {
                let least_distance = square.least_distance(self.query.center);
                if least_distance <= self.reach() {
                    self.ahead.push(Reverse(Ahead { least_distance, square }));
                }
            }
        }
        self.resumed = true;
        false
    }

    fn look_through(
        &mut self,
        state: &State,
        cell: Square,
        first: Option<Slot>,
        budget: &mut usize,
    ) {
        let mut next = first;
        while let Some(slot) = next {
            if *budget == 0 {
                self.within = Some((cell, slot));
                return;
            }
            *budget -= 1;
            if let Some(record) = state.location_in(slot) {
                self.consider(record);
            }
            next = state.table().cells().after(slot);
        }
    }

    fn consider(&mut self, record: &LocationRecord) {
        let distance_meters = self.query.center.distance_meters(record.position);
        if distance_meters > self.reach()
            || record.receive_time < self.query.since
            || self.query.except.as_ref() == Some(&record.client)
        {
            return;
        }
        let full = self.found.len() > self.query.limit;
        if let Some(worst) = self.found.peek()
            && full
            && order(distance_meters, &record.client, worst) != Ordering::Less
        {
            return;
        }
        if self.resumed {
            self.found.retain(|found| found.record.client != record.client);
        }
        if self.found.len() > self.query.limit {
            self.found.pop();
        }
        self.found.push(Found { distance_meters, record: record.clone() });
    }

    /// The distance from which on nobody counts.
    fn reach(&self) -> f64 {
        match self.found.peek() {
            Some(worst) if self.found.len() > self.query.limit => worst.distance_meters,
            _ => self.query.radius_meters,
        }
    }

    /// Those found, nearest first, and whether there are more within the radius.
    pub fn finish(self) -> (Vec<Found>, bool) {
        let mut found = self.found.into_sorted_vec();
        let more = found.len() > self.query.limit;
        found.truncate(self.query.limit);
        (found, more)
    }
}

fn order(distance_meters: f64, client: &ClientId, other: &Found) -> Ordering {
    distance_meters
        .total_cmp(&other.distance_meters)
        .then_with(|| client.as_str().cmp(other.record.client.as_str()))
}

impl Ord for Found {
    fn cmp(&self, other: &Self) -> Ordering {
        order(self.distance_meters, &self.record.client, other)
    }
}

impl PartialOrd for Found {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Eq for Found {}

impl Ord for Ahead {
    fn cmp(&self, other: &Self) -> Ordering {
        self.least_distance.total_cmp(&other.least_distance)
    }
}

impl PartialOrd for Ahead {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Eq for Ahead {}
