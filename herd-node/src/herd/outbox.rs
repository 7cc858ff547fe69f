//! What one consumer has yet to hear: a dirty bit for each slot and a FIFO of slots.
//!
//! Not a queue of messages: marking a slot that is dirty already changes nothing, and the value
//! is read when it is sent. So the memory of an outbox is bounded by the number of clients and
//! never by how long the consumer is away, a slow consumer simply gets the newest value later,
//! and a client that moves all the time keeps its place and cannot be starved.

use std::collections::VecDeque;

use super::table::Slot;

/// The slots that one consumer has yet to hear of.
#[derive(Debug, Default)]
pub struct Outbox {
    dirty: Bits,
    /// The slots that stand in `fifo`. A slot may stand there and be clean: it was cleared, and
    /// is skipped when its turn comes. It never stands there twice.
    queued: Bits,
    fifo: VecDeque<Slot>,
    dirty_count: usize,
}

impl Outbox {
    /// Notes that the slot changed. Returns whether the outbox was empty.
    pub fn mark(&mut self, slot: Slot) -> bool {
        let was_empty = self.dirty_count == 0;
        if self.dirty.set(slot) {
            self.dirty_count += 1;
            if self.queued.set(slot) {
                self.fifo.push_back(slot);
            }
        }
        was_empty
    }

    /// Notes that the consumer knows the slot's value by other means.
    pub fn clear(&mut self, slot: Slot) {
        self.dirty_count -= usize::from(self.dirty.unset(slot));
    }

    /// Forgets all marks.
    pub fn clear_all(&mut self) {
        *self = Self::default();
    }

    /// Takes the slot that has waited longest.
    pub fn pop(&mut self) -> Option<Slot> {
        while let Some(slot) = self.fifo.pop_front() {
            self.queued.unset(slot);
            if self.dirty.unset(slot) {
                self.dirty_count -= 1;
                return Some(slot);
            }
        }
        None
    }

    /// How many slots are dirty.
    pub fn len(&self) -> usize {
        self.dirty_count
    }

    /// Whether no slot is dirty.
    pub fn is_empty(&self) -> bool {
        self.dirty_count == 0
    }
}

/// A set of slots, one bit each.
#[derive(Debug, Default)]
struct Bits(Vec<u64>);

impl Bits {
    /// Returns whether the bit was not set before.
    fn set(&mut self, slot: Slot) -> bool {
        let (word, bit) = (slot as usize / 64, 1 << (slot % 64));
        if word >= self.0.len() {
            self.0.resize(word + 1, 0);
        }
        let fresh = self.0[word] & bit == 0;
        self.0[word] |= bit;
        fresh
    }

    /// Returns whether the bit was set before.
    fn unset(&mut self, slot: Slot) -> bool {
        let (word, bit) = (slot as usize / 64, 1 << (slot % 64));
        let Some(word) = self.0.get_mut(word) else { return false };
        let was_set = *word & bit != 0;
        *word &= !bit;
        was_set
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_slot_that_changes_often_keeps_its_place() {
        let mut outbox = Outbox::default();
        for slot in [7, 8, 7, 9, 7] {
            outbox.mark(slot);
        }
        let order: Vec<_> = std::iter::from_fn(|| outbox.pop()).collect();
        assert_eq!(order, [7, 8, 9]);
    }

    #[test]
    fn marking_and_clearing_for_ever_takes_no_more_room_than_there_are_slots() {
        let mut outbox = Outbox::default();
        for round in 0..10_000 {
            outbox.mark(round % 5);
            outbox.clear(round % 5);
        }
        assert!(outbox.is_empty());
        assert!(outbox.fifo.len() <= 5);
        assert_eq!(outbox.pop(), None);
    }

    proptest! {
        #[test]
        fn what_comes_out_is_what_was_marked_and_not_cleared(
            steps in proptest::collection::vec((0..3_u8, 0..200_u32), 0..400)
        ) {
            let (mut outbox, mut model) = (Outbox::default(), BTreeSet::new());
            for (step, slot) in steps {
                match step {
                    0 => prop_assert_eq!(outbox.mark(slot), { let e = model.is_empty(); model.insert(slot); e }),
                    1 => { outbox.clear(slot); model.remove(&slot); }
                    _ => match outbox.pop() {
                        Some(slot) => prop_assert!(model.remove(&slot)),
                        None => prop_assert!(model.is_empty()),
                    },
                }
                prop_assert_eq!(outbox.len(), model.len());
            }
            let rest: BTreeSet<_> = std::iter::from_fn(|| outbox.pop()).collect();
            prop_assert_eq!(rest, model);
        }
    }
}
