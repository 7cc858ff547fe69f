//! Where clients are found: slots by a hash of the client id.
//!
//! Open addressing in cells of eight bytes, half of the hash beside the slot, in the order of the
//! hashes (linear probing after Robin Hood). So a look waits for memory once here and once for the
//! record; one in vain ends at the first greater hash; and growing copies cells in their order and
//! reads no record, which would be a wait each.

use super::table::Slot;

/// A power of two. Many small tables in place of one large one, which would hold up everybody for as
/// long as it takes to grow. At ten million clients one of these is copied in 0.1 ms.
const SHARDS: usize = 256;

/// Slots by hash. The hashes come from a function with a secret key, so that nobody can pick client
/// ids that collide.
#[derive(Debug)]
pub(super) struct Index(Box<[Shard]>);

impl Default for Index {
    fn default() -> Self {
        Self((0..SHARDS).map(|_| Shard::default()).collect())
    }
}

impl Index {
    /// The slot among those of this hash for which `is_it` holds.
    pub(super) fn find(&self, hash: u64, is_it: impl Fn(Slot) -> bool) -> Option<Slot> {
        let shard = &self.0[shard_of(hash)];
        shard.position(half_of(hash), is_it).map(|place| shard.cells[place].slot())
    }

    /// Adds a slot that is not there.
    pub(super) fn insert(&mut self, hash: u64, slot: Slot) {
        self.0[shard_of(hash)].insert(Cell::new(half_of(hash), slot));
    }

    /// Removes a slot, if it is there.
    pub(super) fn remove(&mut self, hash: u64, slot: Slot) {
        let shard = &mut self.0[shard_of(hash)];
        if let Some(place) = shard.position(half_of(hash), |other| other == slot) {
            shard.remove(place);
        }
    }
}

fn shard_of(hash: u64) -> usize {
    hash as usize % SHARDS
}

/// The half of a hash that is kept; the shard is told by the other.
fn half_of(hash: u64) -> u32 {
    (hash >> 32) as u32
}

/// A hash's half and a slot; the greatest number stands for none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Cell(u64);

impl Cell {
    const EMPTY: Self = Self(u64::MAX);

    fn new(half: u32, slot: Slot) -> Self {
        debug_assert_ne!(slot, Slot::MAX, "it stands for none");
        Self((u64::from(half) << 32) | u64::from(slot))
    }

    fn half(self) -> u32 {
        (self.0 >> 32) as u32
    }

    fn slot(self) -> Slot {
        self.0 as Slot
    }
}

/// A run of cells. Each client's stands at its home or after it with no empty one between, and those
/// that are not empty are in the order of their hashes.
#[derive(Debug, Default)]
struct Shard {
    /// As many as there are homes, and room behind for those that were pushed out.
    cells: Vec<Cell>,
    homes: u32,
    len: u32,
}

/// Cells that there is room for behind the last home; more take place where memory is found.
const OVERHANG: usize = 16;

/// Homes of the smallest shard.
const FEWEST_HOMES: u32 = 8;

impl Shard {
    /// Where a hash belongs: hashes in their order spread evenly over the homes.
    fn home(&self, half: u32) -> usize {
        ((u64::from(half) * u64::from(self.homes)) >> 32) as usize
    }

    fn position(&self, half: u32, is_it: impl Fn(Slot) -> bool) -> Option<usize> {
        let from = self.home(half);
        for (place, cell) in (from..).zip(self.cells.get(from..)?) {
            // An empty one is greater than all.
            if cell.half() > half || *cell == Cell::EMPTY {
                return None;
            }
            if cell.half() == half && is_it(cell.slot()) {
                return Some(place);
            }
        }
        None
    }

    fn insert(&mut self, cell: Cell) {
        // Seven eighths: beyond, cells that are looked at grow faster than memory shrinks.
        if self.len >= self.homes / 8 * 7 {
            self.grow();
        }
        let from = self.home(cell.half());
        let before = self.cells[from..].iter().take_while(|other| **other < cell).count();
        let place = from + before;
        let full = self.cells[place..].iter().take_while(|other| **other != Cell::EMPTY).count();
        if place + full == self.cells.len() {
            self.cells.push(Cell::EMPTY);
        }
        self.cells.copy_within(place..place + full, place + 1);
        self.cells[place] = cell;
        self.len += 1;
    }

    /// Takes a cell out and moves up those behind it that are not at home.
    fn remove(&mut self, place: usize) {
        let moves =
            |(at, cell): (usize, &Cell)| *cell != Cell::EMPTY && self.home(cell.half()) < at;
        let behind = place + 1;
        let stays = (behind..).zip(&self.cells[behind..]).take_while(|next| moves(*next)).count();
        self.cells.copy_within(behind..behind + stays, place);
        self.cells[place + stays] = Cell::EMPTY;
        self.len -= 1;
    }

    /// Makes room for a quarter more.
    fn grow(&mut self) {
        let homes = (self.homes + self.homes / 4).next_multiple_of(8).max(FEWEST_HOMES);
        let old = std::mem::take(&mut self.cells);
        self.homes = homes;
        self.cells = Vec::with_capacity(homes as usize + OVERHANG);
        self.cells.resize(homes as usize, Cell::EMPTY);
        let mut free = 0;
        for cell in old.into_iter().filter(|cell| *cell != Cell::EMPTY) {
            let place = self.home(cell.half()).max(free);
            match self.cells.get_mut(place) {
                Some(empty) => *empty = cell,
                None => self.cells.push(cell),
            }
            free = place + 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    impl Shard {
        fn check(&self) {
            let full: Vec<_> = (0..).zip(&self.cells).filter(|(_, c)| **c != Cell::EMPTY).collect();
            assert_eq!(full.len(), self.len as usize);
            assert!(full.is_sorted_by_key(|(_, cell)| **cell));
            for (place, cell) in full {
                let way = self.home(cell.half())..place;
                assert!(self.cells[way].iter().all(|other| *other != Cell::EMPTY), "it is found");
            }
        }
    }

    /// Hashes of which many share a half, a home or a shard, at both ends.
    fn hashes() -> impl Strategy<Value = u64> {
        let half = prop_oneof![0..4_u64, 0..=u64::from(u32::MAX), Just(u64::from(u32::MAX))];
        (half, 0..2_u64).prop_map(|(half, low)| (half << 32) | low)
    }

    proptest! {
        #[test]
        fn what_is_put_in_is_found_until_it_is_taken_out(
            steps in proptest::collection::vec((any::<bool>(), hashes(), 0..40_u32), 0..400)
        ) {
            let (mut index, mut model) = (Index::default(), BTreeMap::<u32, u64>::new());
            for (comes, hash, slot) in steps {
                match model.get(&slot).copied() {
                    None if comes => {
                        index.insert(hash, slot);
                        model.insert(slot, hash);
                    }
                    Some(known) if !comes => {
                        index.remove(known, slot);
                        model.remove(&slot);
                    }
                    _ => {}
                }
                prop_assert_eq!(index.find(hash, |_| false), None);
                index.remove(hash, Slot::MAX - 1); // is not there
                for (slot, hash) in &model {
                    prop_assert_eq!(index.find(*hash, |other| other == *slot), Some(*slot));
                }
            }
            index.0.iter().for_each(Shard::check);
        }
    }

    #[test]
    fn however_many_share_a_hash_all_are_found() {
        let mut index = Index::default();
        for slot in 0..1000 {
            index.insert(u64::MAX, slot);
        }
        index.0[SHARDS - 1].check();
        for slot in 0..1000 {
            assert_eq!(index.find(u64::MAX, |other| other == slot), Some(slot));
        }
    }

    #[test]
    fn it_costs_ten_bytes_a_client() {
        let mut index = Index::default();
        let clients = 1 << 18;
        for slot in 0..clients {
            index.insert(u64::from(slot).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(20), slot);
        }
        let bytes: usize = index.0.iter().map(|shard| shard.cells.capacity() * 8).sum();
        let each = bytes as f64 / f64::from(clients);
        assert!((9.0..12.0).contains(&each), "{each}");
        index.0.iter().for_each(Shard::check);
    }
}
