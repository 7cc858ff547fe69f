//! What watchers are told beyond the records: who came into an area and who left it, what they
//! missed, and where they can go on.

use std::ops::Range;

use herd_proto::{ClientId, LocationRecord, Timestamp};

use super::{ConsumerId, Interest, State, consumer_mut};
use crate::herd::interest::is_in;
use crate::herd::table::Slot;

/// Clients that are looked at before reports get their turn: less than a millisecond.
const PART: Slot = 8192;

/// What of the table is yet to be marked for a watcher before it is told anything. It is marked in parts: ten
/// million clients take a second, and reports do not wait that long.
#[derive(Debug)]
pub struct Unmarked {
    /// The last change that the watcher was told of, where it goes on.
    since: Option<u64>,
    slots: Range<Slot>,
}

impl Unmarked {
    /// Where those of `slots` are.
    pub fn all(slots: Range<Slot>) -> Self {
        Self { since: None, slots }
    }

    /// Those of `slots` that have changed after the change of number `heard`.
    pub fn since(heard: u64, slots: Range<Slot>) -> Self {
        Self { since: Some(heard), slots }
    }

    /// Whether it is for a watcher that goes on.
    pub fn goes_on(&self) -> bool {
        self.since.is_some()
    }

    /// Marks the next part. Returns whether there are more.
    pub fn mark_part(&mut self, state: &mut State, watcher: ConsumerId) -> bool {
        let end = self.slots.end.min(self.slots.start.saturating_add(PART));
        let part = self.slots.start..end;
        match self.since {
            Some(heard) => state.mark_since(watcher, heard, part),
            None => {
                state.mark_locations(watcher, part);
            }
        }
        self.slots.start = end;
        !self.slots.is_empty()
    }
}

/// What a watcher is told of one client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told<'a> {
    /// It is here now.
    Moved {
        /// Where.
        record: &'a LocationRecord,
        /// Whether it has come into the area that is watched.
        entered: bool,
    },
    /// It was in the area that is watched, and is here now.
    Left(&'a LocationRecord),
    /// It was forgotten.
    Forgotten(&'a LocationRecord),
}

impl State {
    /// Takes what has waited longest to be told to a watcher.
    pub fn pop_told(&mut self, id: ConsumerId) -> Option<Told<'_>> {
        loop {
            let (slot, _) = self.pop(id)?;
            let record = self.table.record(slot);
            let consumer = consumer_mut(&mut self.consumers, id)?;
            let Some(area) = consumer.interest.area() else {
                let record = self.table.record(slot);
                let moved = Told::Moved { record, entered: false };
                return Some(if record.forgotten { Told::Forgotten(record) } else { moved });
            };
            if is_in(area, record) {
                let entered = consumer.inside.set(slot);
                return Some(Told::Moved { record: self.table.record(slot), entered });
            }
            // Who came and went before it could be told is not told.
            if consumer.inside.unset(slot) {
                let record = self.table.record(slot);
                let left = Told::Left(record);
                return Some(if record.forgotten { Told::Forgotten(record) } else { left });
            }
        }
    }

    /// How many changes a watcher was not told since this was last asked, because others followed.
    pub fn take_superseded(&mut self, id: ConsumerId) -> u64 {
        self.consumer_mut(id).map_or(0, |consumer| consumer.outbox.take_superseded())
    }

    /// The number up to which a watcher has been told of all changes, if it is known yet.
    pub fn heard(&mut self, id: ConsumerId) -> Option<u64> {
        let newest = self.changes;
        self.consumer_mut(id)?.outbox.heard(newest)
    }

    /// Marks for a watcher where those of `slots` are now that it watches: all slots for the whole of
    /// what is known, or one part after the other, so that nobody waits long for the state. It is sent below changes
    /// in priority, for as long as [`State::is_sweeping`]; but to a watcher of some clients before all changes, and
    /// the number of its records is returned.
    pub fn mark_locations(&mut self, id: ConsumerId, slots: Range<Slot>) -> usize {
        let table = &self.table;
        let Some(consumer) = consumer_mut(&mut self.consumers, id) else { return 0 };
        self.woken.extend(consumer.drainer);
        match &consumer.interest {
            interest @ (Interest::Everything | Interest::Filtered(_)) => {
                let wanted =
                    |record: &LocationRecord| !record.forgotten && interest.includes(record);
                let wanted = |slot| table.holds(slot) && wanted(table.record(slot));
                consumer.outbox.sweep(slots, wanted);
                0
            }
            Interest::Clients(clients) => {
                let known = clients.iter().filter_map(|client| table.find(client));
                let wanted =
                    known.filter(|slot| slots.contains(slot) && !table.record(*slot).forgotten);
                wanted.map(|slot| consumer.outbox.mark(slot)).count()
            }
        }
    }

    /// Marks for a new watcher those of `slots` that have changed after the change of number `heard`, of which it
    /// was told when it watched before; parts as in [`State::mark_locations`].
    pub fn mark_since(&mut self, id: ConsumerId, heard: u64, slots: Range<Slot>) {
        let (table, history) = (&self.table, &self.history);
        let Some(consumer) = consumer_mut(&mut self.consumers, id) else { return };
        let (interest, inside) = (&consumer.interest, &mut consumer.inside);
        let named = |slot: Slot| {
            let record = table.holds(slot).then(|| table.record(slot))?;
            interest.names(&record.client).then_some(record)
        };
        let has_changed = |slot| history.change(slot) > heard;
        if let Some(area) = interest.area() {
            for slot in slots.clone() {
                // Where it was when the watcher was last told is not known any more, so one that
                // has changed may have been inside.
                if named(slot).is_some_and(|record| has_changed(slot) || is_in(area, record)) {
                    inside.set(slot);
                }
            }
        }
        consumer.outbox.sweep(slots, |slot| has_changed(slot) && named(slot).is_some());
        self.woken.extend(consumer.drainer);
    }

    /// When this node learnt the present location of a client, and the name of the peer that told
    /// it, if one did and is still there; `None` if the location was there when the node started.
    pub fn learnt(&self, client: &ClientId) -> Option<(Timestamp, Option<&str>)> {
        let slot: Slot = self.table.find(client)?;
        let learnt = self.history.learnt(slot)?;
        let mut peers = self.peers.iter();
        let from = peers.find(|(_, peer)| learnt.is_from(peer.consumer));
        Some((learnt.at, from.map(|(name, _)| name.as_str())))
    }
}
