//! A tree of sums over all records, by the clients' keys, kept up to date at each change.
//!
//! Two nodes prove with the eight bytes of the root that they hold the same records; where the
//! roots differ, they find what differs by going down only into branches whose sums differ, so the
//! cost grows with the difference and not with what they hold. 16 children a branch and leaves at
//! depth 4: 65,536 leaves, some fifteen clients each at a million, and a look at all 16 sums of the
//! four branches above one leaf is 512 bytes.

use super::chunks::Chunks;
use super::table::Slot;

/// Depth of the leaves.
pub const DEPTH: u32 = 4;

/// Children of a branch.
pub const FANOUT: usize = 16;

const LEAVES: usize = FANOUT.pow(DEPTH);

/// Stands for no slot.
const NONE: Slot = Slot::MAX;

/// Stands after a slot that belongs to no leaf.
const VACANT: Slot = Slot::MAX - 1;

/// The sums, and which slots belong to which leaf.
#[derive(Debug)]
pub struct Tree {
    /// By depth, 0 to [`DEPTH`], then by prefix.
    sums: Vec<Box<[u64]>>,
    /// The first slot of each leaf.
    first: Box<[Slot]>,
    /// The slot after each slot, in the same leaf; [`VACANT`] for a slot in none.
    next: Chunks<Slot>,
}

impl Default for Tree {
    fn default() -> Self {
        let level = |depth| vec![0; FANOUT.pow(depth)].into_boxed_slice();
        Self {
            sums: (0..=DEPTH).map(level).collect(),
            first: vec![NONE; LEAVES].into_boxed_slice(),
            next: Chunks::default(),
        }
    }
}

impl Tree {
    /// Adds a slot: one that was removed, or the next after all there ever were.
    pub fn insert(&mut self, slot: Slot, key: u64, hash: u64) {
        let leaf = &mut self.first[prefix(key, DEPTH) as usize];
        let after = std::mem::replace(leaf, slot);
        match self.next.get_mut(slot as usize) {
            Some(next) => *next = after,
            None => self.next.push(after),
        }
        self.replace(key, 0, hash);
    }

    /// Removes a slot, whose key and hash these are. Walks the leaf: some fifteen slots.
    pub fn remove(&mut self, slot: Slot, key: u64, hash: u64) {
        let leaf = prefix(key, DEPTH);
        let before = self.leaf(leaf).take_while(|other| *other != slot).last();
        let after = std::mem::replace(&mut self.next[slot as usize], VACANT);
        match before {
            Some(before) => self.next[before as usize] = after,
            None => self.first[leaf as usize] = after,
        }
        self.replace(key, hash, 0);
    }

    /// Whether a slot belongs to a leaf.
    pub fn holds(&self, slot: Slot) -> bool {
        self.next.get(slot as usize).is_some_and(|next| *next != VACANT)
    }

    /// Puts one record's hash in place of another's.
    pub fn replace(&mut self, key: u64, old: u64, new: u64) {
        let change = new.wrapping_sub(old);
        for (depth, sums) in (0..).zip(&mut self.sums) {
            let sum = &mut sums[prefix(key, depth) as usize];
            *sum = sum.wrapping_add(change);
        }
    }

    /// The sum over everything; 0 when there is nothing.
    pub fn root(&self) -> u64 {
        self.sums[0][0]
    }

    /// The sums of the children of a branch; `None` where there is no such branch.
    pub fn children(&self, depth: u32, prefix: u32) -> Option<&[u64]> {
        let below = self.sums.get(depth as usize + 1)?;
        let start = (prefix as usize).checked_mul(FANOUT)?;
        below.get(start..start + FANOUT)
    }

    /// The slots of a leaf; none where there is no such leaf.
    pub fn leaf(&self, prefix: u32) -> impl Iterator<Item = Slot> {
        let mut slot = self.first.get(prefix as usize).copied().unwrap_or(NONE);
        std::iter::from_fn(move || {
            let this = slot;
            slot = *self.next.get(this as usize)?;
            Some(this)
        })
    }
}

/// The first `depth` times 4 bits of a key.
pub fn prefix(key: u64, depth: u32) -> u32 {
    if depth == 0 { 0 } else { (key >> (64 - 4 * depth)) as u32 }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn each_sum_is_that_of_the_records_below_it(
            changes in proptest::collection::vec((0..40_u64, any::<u64>(), 0..4), 0..100)
        ) {
            let (mut tree, mut model) = (Tree::default(), BTreeMap::new());
            // The key of each slot, and which slots are free.
            let (mut slots, mut free) = (Vec::new(), Vec::new());
            for (client, hash, kind) in changes {
                // Spread over leaves, with some that share one.
                let key = (client / 3).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (client % 3);
                let slot = slots.iter().position(|known| *known == Some(key));
                match (slot, kind) {
                    (Some(slot), 0) => {
                        tree.remove(slot as Slot, key, model.remove(&key).unwrap());
                        slots[slot] = None;
                        free.push(slot);
                    }
                    (Some(_), _) => tree.replace(key, model.insert(key, hash).unwrap(), hash),
                    (None, _) => {
                        let slot = free.pop().unwrap_or(slots.len());
                        slots.resize(slots.len().max(slot + 1), None);
                        slots[slot] = Some(key);
                        tree.insert(slot as Slot, key, hash);
                        model.insert(key, hash);
                    }
                }
            }
            let sum = |wanted: &dyn Fn(u64) -> bool| {
                let below = model.iter().filter(|(key, _)| wanted(**key));
                below.fold(0_u64, |sum, (_, hash)| sum.wrapping_add(*hash))
            };
            prop_assert_eq!(tree.root(), sum(&|_| true));
            for (slot, key) in (0..).zip(&slots) {
                prop_assert_eq!(tree.holds(slot), key.is_some());
                let Some(key) = *key else { continue };
                for depth in 0..DEPTH {
                    let children = tree.children(depth, prefix(key, depth)).unwrap();
                    let child = prefix(key, depth + 1);
                    prop_assert_eq!(children[child as usize % FANOUT], sum(&|k| prefix(k, depth + 1) == child));
                }
                let leaf: BTreeSet<_> = tree.leaf(prefix(key, DEPTH)).map(|slot| slots[slot as usize].unwrap()).collect();
                let expected = model.keys().copied().filter(|k| prefix(*k, DEPTH) == prefix(key, DEPTH));
                prop_assert_eq!(leaf, expected.collect());
            }
        }
    }

    #[test]
    fn branches_and_leaves_that_do_not_exist_are_none_and_empty() {
        let tree = Tree::default();
        for (depth, prefix) in [(0, 1), (DEPTH, 0), (u32::MAX, u32::MAX), (3, u32::MAX)] {
            assert_eq!(tree.children(depth, prefix), None);
        }
        assert_eq!(tree.leaf(u32::MAX).count() + tree.leaf(0).count(), 0);
    }
}
