//! What one consumer has yet to hear: a dirty bit for each slot and a FIFO of slots.
//!
//! Not a queue of messages: marking a slot that is dirty already changes nothing, and the value
//! is read when it is sent. So the memory of an outbox is bounded by the number of clients and
//! never by how long the consumer is away, a slow consumer simply gets the newest value later,
//! and a client that moves all the time keeps its place and cannot be starved.

use std::collections::VecDeque;
use std::ops::Range;

use super::bits::Bits;
use super::table::Slot;

/// How many changes are sent for each record of the sweep while there are both: news go first,
/// and a newcomer is still told everything before long.
const CHANGES_PER_SWEPT: u32 = 8;

/// The slots that one consumer has yet to hear of.
#[derive(Debug, Default)]
pub struct Outbox {
    dirty: Bits,
    /// The slots that stand in `fifo`. A slot may stand there and be clean: it was cleared, and
    /// is skipped when its turn comes. It never stands there twice.
    queued: Bits,
    fifo: VecDeque<Slot>,
    /// The rest of a pass over the whole table, for a consumer that lacks most of it. Its slots
    /// are dirty, or not wanted, and not queued; one that changes meanwhile is queued and passed
    /// over.
    sweep: Range<Slot>,
    dirty_count: usize,
    /// Changes taken since the sweep was last given a turn.
    changes: u32,
    /// Changes that were never told, because another came before their turn.
    superseded: u64,
    progress: Progress,
}

/// How far a consumer has heard, told by the numbers of changes.
#[derive(Debug, Default)]
struct Progress {
    /// It has heard of all changes up to this one; `None` before that is known.
    heard: Option<u64>,
    /// It will have heard of all up to this one once so many entries have left the FIFO.
    next: Option<(u64, usize)>,
}

impl Outbox {
    /// Notes that the slot changed. Returns whether the outbox was empty.
    pub fn mark(&mut self, slot: Slot) -> bool {
        let was_empty = self.dirty_count == 0;
        let fresh = self.dirty.set(slot);
        self.dirty_count += usize::from(fresh);
        self.superseded += u64::from(!fresh);
        if self.queued.set(slot) {
            self.fifo.push_back(slot);
        }
        was_empty
    }

    /// Notes that the consumer lacks those of `slots` that are `wanted`, which are sent below
    /// changes in priority.
    pub fn sweep(&mut self, slots: Range<Slot>, wanted: impl Fn(Slot) -> bool) {
        for slot in slots.clone().filter(|slot| wanted(*slot)) {
            self.dirty_count += usize::from(self.dirty.set(slot));
        }
        // A sweep that is under way is joined with the new one, not cut short by it.
        let (start, end) = (self.sweep.start.min(slots.start), self.sweep.end.max(slots.end));
        self.sweep = if self.is_sweeping() { start..end } else { slots };
    }

    /// Makes a sweep of all that has gathered, so that what changes from now on goes before it.
    /// `slots` are all there are.
    pub fn demote(&mut self, slots: Range<Slot>) {
        self.fifo = VecDeque::new();
        self.progress.next = None;
        self.queued = Bits::default();
        self.sweep = if self.is_empty() { 0..0 } else { slots };
    }

    /// Whether a sweep is under way.
    pub fn is_sweeping(&self) -> bool {
        !self.sweep.is_empty()
    }

    /// Notes that the consumer knows the slot's value by other means, or that there is none any
    /// more.
    pub fn clear(&mut self, slot: Slot) {
        self.dirty_count -= usize::from(self.dirty.unset(slot));
    }

    /// Forgets all marks.
    pub fn clear_all(&mut self) {
        *self = Self::default();
    }

    /// Takes the next slot: of those that changed the one that has waited longest, and now and
    /// then one of the sweep.
    pub fn pop(&mut self) -> Option<Slot> {
        if self.changes >= CHANGES_PER_SWEPT
            && let Some(slot) = self.pop_swept()
        {
            return Some(slot);
        }
        self.pop_changed().or_else(|| self.pop_swept())
    }

    fn pop_changed(&mut self) -> Option<Slot> {
        while let Some(slot) = self.fifo.pop_front() {
            self.queued.unset(slot);
            self.progress.step();
            if self.dirty.unset(slot) {
                self.dirty_count -= 1;
                self.changes = self.changes.saturating_add(1);
                return Some(slot);
            }
        }
        None
    }

    fn pop_swept(&mut self) -> Option<Slot> {
        self.changes = 0;
        for slot in self.sweep.by_ref() {
            if !self.queued.contains(slot) && self.dirty.unset(slot) {
                self.dirty_count -= 1;
                return Some(slot);
            }
        }
        None
    }

    /// How many changes are never told, since this was last asked: the client changed again before
    /// their turn came.
    pub fn take_superseded(&mut self) -> u64 {
        std::mem::take(&mut self.superseded)
    }

    /// The number up to which all changes have been taken, if `newest` is that of the newest change
    /// that was marked. Exact when the outbox is empty; while it is not, a number that was once the
    /// newest, or `None`.
    pub fn heard(&mut self, newest: u64) -> Option<u64> {
        if self.is_empty() {
            self.progress = Progress { heard: Some(newest), next: None };
        } else if self.progress.next.is_none() && !self.is_sweeping() {
            self.progress.next = Some((newest, self.fifo.len()));
        }
        self.progress.heard
    }

    /// How many slots are dirty.
    pub fn len(&self) -> usize {
        self.dirty_count
    }

    /// Memory that changes take until they are heard, which a sweep does not.
    pub fn queued_bytes(&self) -> usize {
        self.fifo.len() * size_of::<Slot>()
    }

    /// Whether no slot is dirty.
    pub fn is_empty(&self) -> bool {
        self.dirty_count == 0
    }
}

impl Progress {
    /// An entry has left the FIFO.
    fn step(&mut self) {
        let Some((change, left)) = self.next.take() else { return };
        if left > 1 {
            self.next = Some((change, left - 1));
        } else {
            self.heard = Some(change);
        }
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

    #[test]
    fn news_overtake_a_sweep_and_do_not_stop_it() {
        let mut outbox = Outbox::default();
        outbox.sweep(0..1000, |_| true);
        let mut order = Vec::new();
        while outbox.len() > 500 {
            outbox.mark(2000);
            outbox.mark(999); // promoted once, then swept no more
            order.extend([outbox.pop().unwrap(), outbox.pop().unwrap()]);
        }
        assert_eq!(order[..2], [2000, 999]);
        assert_eq!(order.iter().filter(|slot| **slot < 999).count(), order.len() / 9);
        let rest: Vec<_> = std::iter::from_fn(|| outbox.pop()).collect();
        assert_eq!(rest.len(), 500);
        assert!(!outbox.is_sweeping());
    }

    #[test]
    fn a_consumer_that_never_catches_up_still_gets_on() {
        let mut outbox = Outbox::default();
        // Each change is a slot of its own, so that its number is that of the change.
        let (mut newest, mut taken) = (0, 0);
        let mut heard = 0;
        for round in 1..1000_u64 {
            for _ in 0..2 {
                newest += 1;
                outbox.mark(newest as Slot);
            }
            taken = u64::from(outbox.pop().unwrap()).max(taken);
            heard = outbox.heard(newest).unwrap_or(0);
            assert!(heard <= taken, "in round {round}: {heard} of {taken}");
        }
        assert!(heard > 400, "{heard}");
        while outbox.pop().is_some() {}
        assert_eq!(outbox.heard(newest), Some(newest));
        assert_eq!(outbox.take_superseded(), 0);
        outbox.mark(1);
        outbox.mark(1);
        assert_eq!((outbox.take_superseded(), outbox.take_superseded()), (1, 0));
    }

    proptest! {
        #[test]
        fn what_comes_out_is_what_was_marked_and_not_cleared(
            steps in proptest::collection::vec((0..12_u8, 0..200_u32), 0..400)
        ) {
            let (mut outbox, mut model) = (Outbox::default(), BTreeSet::new());
            for (step, slot) in steps {
                match step {
                    0..5 => {
                        prop_assert_eq!(outbox.mark(slot), model.is_empty());
                        model.insert(slot);
                    }
                    5..7 => {
                        outbox.clear(slot);
                        model.remove(&slot);
                    }
                    7 => {
                        outbox.sweep(0..slot, |slot| slot % 3 > 0);
                        model.extend((0..slot).filter(|slot| slot % 3 > 0));
                    }
                    8 => outbox.demote(0..200),
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
