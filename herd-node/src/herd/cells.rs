//! Where clients are, coarsely: a grid over latitude and longitude whose cells list their slots.
//!
//! A cell is 65,536 steps of 1e-7 degree wide and high, some 730 m at the equator. The keys of cells
//! interleave the bits of row and column, so that the cells of any square of 2, 4, 8 ... cells
//! are one range of keys and the grid is a tree of squares without having to store one. A client
//! costs eight bytes and a report that stays in its cell a comparison.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use herd_proto::Position;

use super::chunks::Chunks;
use super::table::Slot;

/// Depth of the cells below the square that holds the whole Earth.
pub const DEPTH: u32 = 16;

/// Bits of 1e-7 degrees that lie within a cell.
const CELL_BITS: u32 = 16;

/// Stands for no slot.
const NONE: Slot = Slot::MAX;

/// Steps of 1e-7 degree from pole to pole, and round the Earth.
const HEIGHT: u32 = 1_800_000_000;
const WIDTH: u32 = 3_600_000_000;

/// A square of cells: the root at depth 0, a cell at [`DEPTH`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Square {
    /// How often the root was quartered.
    pub depth: u32,
    /// The first `2 * depth` bits of the keys in it.
    pub prefix: u32,
}

/// Which clients are in which cell.
#[derive(Debug, Default)]
pub struct Cells {
    /// The first slot of each cell that has one, by key.
    first: BTreeMap<u32, Slot>,
    /// The slots before and after each slot in its cell; of a slot in none, anything.
    links: Chunks<(Slot, Slot)>,
}

impl Cells {
    /// Adds a slot that is in no cell.
    pub fn insert(&mut self, slot: Slot, at: Position) {
        let index = slot as usize;
        while index >= self.links.len() {
            self.links.push((NONE, NONE));
        }
        let after = self.first.insert(key_of(at), slot).unwrap_or(NONE);
        self.links[index] = (NONE, after);
        if let Some((before, _)) = self.links.get_mut(after as usize) {
            *before = slot;
        }
    }

    /// Removes a slot that was put in where `at` is.
    pub fn remove(&mut self, slot: Slot, at: Position) {
        let (before, after) = self.links[slot as usize];
        if let Some((back, _)) = self.links.get_mut(after as usize) {
            *back = before;
        }
        if let Some((_, forth)) = self.links.get_mut(before as usize) {
            *forth = after;
        } else if after == NONE {
            self.first.remove(&key_of(at));
        } else {
            self.first.insert(key_of(at), after);
        }
    }

    /// Notes that a slot has moved.
    pub fn replace(&mut self, slot: Slot, from: Position, to: Position) {
        if row_and_column(from) != row_and_column(to) {
            self.remove(slot, from);
            self.insert(slot, to);
        }
    }

    /// The smallest square in `square` that holds all its clients; `None` where there are none.
    pub fn occupied(&self, square: Square) -> Option<Square> {
        let mut range = self.first.range(square.keys());
        let (first, _) = range.next()?;
        let last = range.next_back().map_or(first, |(last, _)| last);
        let depth = ((first ^ last).leading_zeros() / 2).min(DEPTH);
        Some(Square { depth, prefix: shifted(*first, depth) })
    }

    /// The first slot of a cell.
    pub fn first(&self, cell: Square) -> Option<Slot> {
        self.first.get(&cell.prefix).copied()
    }

    /// The slot after `slot` in its cell.
    pub fn after(&self, slot: Slot) -> Option<Slot> {
        let (_, after) = self.links.get(slot as usize)?;
        (*after != NONE).then_some(*after)
    }
}

impl Square {
    /// The whole Earth.
    pub const EARTH: Self = Self { depth: 0, prefix: 0 };

    /// Its four quarters; of a cell nothing that makes sense.
    pub fn quarters(self) -> impl Iterator<Item = Self> {
        (0..4).map(move |n| Self { depth: self.depth + 1, prefix: self.prefix << 2 | n })
    }

    /// Whether a position lies in it.
    pub fn holds(self, at: Position) -> bool {
        shifted(key_of(at), self.depth) == self.prefix
    }

    /// A distance in metres that nothing in the square comes nearer to `center` than.
    pub fn least_distance(self, center: Position) -> f64 {
        let (rows, columns) = self.steps();
        let (row, column) = steps_of(center);
        let degrees = |steps: u32| f64::from(steps) / 1e7;
        let latitude = degrees(row).to_radians() - std::f64::consts::FRAC_PI_2;
        let (south, north) = (degrees(*rows.start()), degrees(*rows.end()));
        let (south, north) = (south.to_radians(), north.to_radians());
        let half_turn = std::f64::consts::FRAC_PI_2;
        let (south, north) = (south - half_turn, north - half_turn);
        // Of all points of one latitude the one on the nearer edge is nearest.
        let turn = if columns.contains(&column) {
            0
        } else {
            let apart = |edge: u32| edge.abs_diff(column).min(WIDTH - edge.abs_diff(column));
            apart(*columns.start()).min(apart(*columns.end()))
        };
        let turn = degrees(turn).to_radians();
        // The great circle that meets the edge's meridian at a right angle does it here.
        let foot = latitude.sin().atan2(latitude.cos() * turn.cos());
        let nearest = foot.clamp(south, north);
        let angle = |other: f64| {
            let half = ((other - latitude) / 2.0).sin();
            let across = (turn / 2.0).sin();
            half * half + latitude.cos() * other.cos() * across * across
        };
        let least = angle(nearest).min(angle(south)).min(angle(north));
        let meters = 2.0 * herd_proto::EARTH_RADIUS_METERS * least.sqrt().min(1.0).asin();
        (meters - SLACK_METERS).max(0.0)
    }

    fn keys(self) -> RangeInclusive<u32> {
        let below = 2 * (DEPTH - self.depth);
        let first = u64::from(self.prefix) << below;
        first as u32..=(first + (1 << below) - 1) as u32
    }

    /// The steps from the south pole and from the antimeridian that it covers.
    fn steps(self) -> (RangeInclusive<u32>, RangeInclusive<u32>) {
        let bits = CELL_BITS + DEPTH - self.depth;
        let span = |number: u32, limit: u32| {
            let start = u64::from(number) << bits;
            let end = start + (1 << bits) - 1;
            start.min(limit.into()) as u32..=end.min(limit.into()) as u32
        };
        (span(every_other(self.prefix >> 1), HEIGHT), span(every_other(self.prefix), WIDTH))
    }
}

/// Rounding of the distances, which is worst half way round the Earth. What it lets in is measured
/// again.
const SLACK_METERS: f64 = 1.0;

fn steps_of(at: Position) -> (u32, u32) {
    let north = (at.latitude_e7() + HEIGHT as i32 / 2).unsigned_abs();
    let east = (i64::from(at.longitude_e7()) + i64::from(WIDTH / 2)) as u32;
    (north, east)
}

fn row_and_column(at: Position) -> (u32, u32) {
    let (north, east) = steps_of(at);
    (north >> CELL_BITS, east >> CELL_BITS)
}

fn key_of(at: Position) -> u32 {
    let (row, column) = row_and_column(at);
    spread(row) << 1 | spread(column)
}

/// The first `2 * depth` bits of a key.
fn shifted(key: u32, depth: u32) -> u32 {
    if depth == 0 { 0 } else { key >> (2 * (DEPTH - depth)) }
}

/// Puts a zero before each of the lower 16 bits.
fn spread(bits: u32) -> u32 {
    let bits = (bits | bits << 8) & 0x00ff_00ff;
    let bits = (bits | bits << 4) & 0x0f0f_0f0f;
    let bits = (bits | bits << 2) & 0x3333_3333;
    (bits | bits << 1) & 0x5555_5555
}

/// Takes out every other bit, the last one first: the reverse of [`spread`].
fn every_other(bits: u32) -> u32 {
    let bits = bits & 0x5555_5555;
    let bits = (bits | bits >> 1) & 0x3333_3333;
    let bits = (bits | bits >> 2) & 0x0f0f_0f0f;
    let bits = (bits | bits >> 4) & 0x00ff_00ff;
    (bits | bits >> 8) & 0xffff
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// Crowds the poles, the antimeridian and one small area, where mistakes would show.
    pub(crate) fn position() -> impl Strategy<Value = Position> {
        let latitude = prop_oneof![
            -900_000_000..=900_000_000_i32,
            899_000_000..=900_000_000_i32,
            -900_000_000..=-899_000_000_i32,
            -1_000_000..=1_000_000_i32,
        ];
        let longitude = prop_oneof![
            -1_800_000_000..=1_800_000_000_i32,
            1_799_000_000..=1_800_000_000_i32,
            -1_800_000_000..=-1_799_000_000_i32,
            -1_000_000..=1_000_000_i32,
        ];
        (latitude, longitude).prop_map(|(lat, lng)| Position::from_e7(lat, lng).unwrap())
    }

    fn all(cells: &Cells, square: Square, found: &mut Vec<Slot>) {
        let Some(square) = cells.occupied(square) else { return };
        if square.depth < DEPTH {
            square.quarters().for_each(|quarter| all(cells, quarter, found));
            return;
        }
        let mut slot = cells.first(square);
        while let Some(this) = slot {
            found.push(this);
            slot = cells.after(this);
        }
    }

    proptest! {
        #[test]
        fn what_was_put_in_and_not_taken_out_is_found_in_its_square(
            steps in proptest::collection::vec((0..30_u32, position(), 0..4), 0..200),
            prefix in any::<u32>(),
            depth in 0..=4_u32,
        ) {
            let (mut cells, mut model) = (Cells::default(), BTreeMap::new());
            for (slot, at, kind) in steps {
                match (model.get(&slot).copied(), kind) {
                    (None, _) => cells.insert(slot, at),
                    (Some(from), 0) => cells.remove(slot, from),
                    (Some(from), _) => cells.replace(slot, from, at),
                }
                if kind > 0 || !model.contains_key(&slot) {
                    model.insert(slot, at);
                } else {
                    model.remove(&slot);
                }
            }
            let square = Square { depth, prefix: shifted(prefix, depth) };
            for square in [Square::EARTH, square] {
                let mut found = Vec::new();
                all(&cells, square, &mut found);
                found.sort_unstable();
                let within = model.iter().filter(|(_, at)| square.holds(**at));
                prop_assert_eq!(found, within.map(|(slot, _)| *slot).collect::<Vec<_>>());
            }
        }

        #[test]
        fn nothing_in_a_square_is_nearer_than_its_least_distance(
            center in position(), other in position(), depth in 0..=DEPTH,
        ) {
            let square = Square { depth, prefix: shifted(key_of(other), depth) };
            prop_assert!(square.holds(other));
            let (least, distance) = (square.least_distance(center), center.distance_meters(other));
            prop_assert!(least <= distance, "{} > {}", least, distance);
        }

        #[test]
        fn a_cell_is_small_so_its_least_distance_is_nearly_the_distance(
            center in position(), other in position(),
        ) {
            let cell = Square { depth: DEPTH, prefix: key_of(other) };
            let (least, distance) = (cell.least_distance(center), center.distance_meters(other));
            prop_assert!(distance - least < 1100.0, "{} and {}", least, distance);
        }
    }
}
