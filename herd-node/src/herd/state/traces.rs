//! Which records belong to a trace, for as long as friends may have yet to be told.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use herd_proto::v1::ItemTrace;
use herd_proto::{ClientId, TraceContext};

use super::State;
use crate::herd::Now;
use crate::herd::table::Slot;

/// Most traces that are remembered; the oldest goes first. Friends that are there are told within
/// milliseconds, so that this is far more than wait at a time.
const MAX_REMEMBERED: usize = 1024;

/// How long a trace is remembered: a friend that is away for longer is no part of it.
const REMEMBERED_FOR: Duration = Duration::from_secs(10);

/// The traces of some slots' records.
#[derive(Debug, Default)]
pub(super) struct Traces {
    by_slot: BTreeMap<Slot, Entry>,
    /// What stands above, oldest first, and what has been replaced since.
    order: VecDeque<(Duration, Slot, u64)>,
}

#[derive(Debug)]
struct Entry {
    /// The number of the change that brought the record; a slot that was filled since has another.
    change: u64,
    context: TraceContext,
}

impl Traces {
    fn note(&mut self, now: Duration, slot: Slot, change: u64, context: TraceContext) {
        self.forget_old(now);
        if self.order.len() == MAX_REMEMBERED {
            self.forget_oldest();
        }
        self.order.push_back((now, slot, change));
        self.by_slot.insert(slot, Entry { change, context });
    }

    fn get(&self, slot: Slot, change: u64) -> Option<&TraceContext> {
        let entry = self.by_slot.get(&slot).filter(|entry| entry.change == change)?;
        Some(&entry.context)
    }

    fn forget_old(&mut self, now: Duration) {
        while self.order.front().is_some_and(|(noted, ..)| *noted + REMEMBERED_FOR <= now) {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        let Some((_, slot, change)) = self.order.pop_front() else { return };
        if self.by_slot.get(&slot).is_some_and(|entry| entry.change == change) {
            self.by_slot.remove(&slot);
        }
    }
}

impl State {
    /// Notes which trace the newest record of a client belongs to, if that trace is kept.
    pub fn note_trace(&mut self, now: Now, client: &ClientId, context: &TraceContext) {
        if let Some(slot) = self.table.find(client) {
            self.note_trace_in(now, slot, context);
        }
    }

    /// The same of the record in a slot.
    pub(in crate::herd) fn note_trace_in(&mut self, now: Now, slot: Slot, context: &TraceContext) {
        if context.is_sampled() {
            let change = self.history.change(slot);
            self.traces.note(now.monotonic, slot, change, context.clone());
        }
    }

    /// The trace that the newest record of a client belongs to.
    pub fn trace(&self, client: &ClientId) -> Option<&TraceContext> {
        let slot = self.table.find(client)?;
        self.traces.get(slot, self.history.change(slot))
    }

    /// What a friend that is sent the records in `slots` is told of their traces.
    pub(in crate::herd) fn traces_of(&mut self, now: Now, slots: &[Slot]) -> Vec<ItemTrace> {
        self.traces.forget_old(now.monotonic);
        let mut told = Vec::new();
        if self.traces.by_slot.is_empty() {
            return told;
        }
        for (index, slot) in slots.iter().enumerate() {
            if !ItemTrace::has_room(told.len()) {
                break;
            }
            if let Some(context) = self.traces.get(*slot, self.history.change(*slot)) {
                told.push(ItemTrace::new(index, context));
            }
        }
        told
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context(number: u64) -> TraceContext {
        let mut trace_id = [0; 16];
        trace_id[8..].copy_from_slice(&(number + 1).to_be_bytes());
        TraceContext::new(trace_id, [1; 8], 1).unwrap()
    }

    #[test]
    fn the_oldest_of_too_many_is_forgotten_and_each_after_a_while() {
        let mut traces = Traces::default();
        let at = |seconds| Duration::from_secs(seconds);
        for number in 0..=MAX_REMEMBERED {
            traces.note(at(1), number as Slot, 7, context(number as u64));
        }
        assert_eq!((traces.order.len(), traces.by_slot.len()), (MAX_REMEMBERED, MAX_REMEMBERED));
        assert_eq!(traces.get(0, 7), None);
        assert_eq!(traces.get(1, 7), Some(&context(1)));
        traces.note(at(5), 0, 8, context(9));
        traces.forget_old(at(1) + REMEMBERED_FOR);
        assert_eq!((traces.order.len(), traces.by_slot.len()), (1, 1));
        assert_eq!(traces.get(0, 8), Some(&context(9)));
    }

    #[test]
    fn a_record_that_took_the_place_of_another_has_no_part_in_its_trace() {
        let mut traces = Traces::default();
        traces.note(Duration::ZERO, 3, 7, context(1));
        assert_eq!(traces.get(3, 8), None);
        traces.note(Duration::ZERO, 3, 8, context(2));
        assert_eq!(traces.get(3, 8), Some(&context(2)));
        // What is left of the first one takes nothing from the second.
        traces.forget_oldest();
        assert_eq!(traces.get(3, 8), Some(&context(2)));
    }
}
