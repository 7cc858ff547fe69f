//! What is let in and what goes because of its age: records of peers and of the disk on their way
//! in, and the records of clients that have not reported for long.

use std::time::Duration;

use herd_proto::{LocationRecord, Timestamp};

use super::{ConsumerId, State};
use crate::herd::Now;
use crate::herd::expiry::{FADING_MINUTES, Lifetimes, Minute, furthest_ahead, minute_of, start_of};
use crate::herd::table::{Merged, Slot};

/// Why a record of a peer is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unacceptable {
    /// Its time is over. Nobody's fault: two clocks are never quite the same.
    #[error("its time is over")]
    Expired,
    /// It breaks a rule: one of its times lies further ahead of this node's clock than
    /// [`furthest_ahead`] allows.
    #[error("its time lies too far ahead")]
    TooFarAhead,
}

/// What became of a peer's records; those whose time was over are in none of these.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Accepted {
    /// Newer than what was known.
    pub applied: u64,
    /// Known already, or older than what is known.
    pub known: u64,
    /// Broke a rule.
    pub bad: u64,
}

impl State {
    /// Lets reports expire `retention` after they were received, and forgotten marks later; `None`
    /// keeps both for ever. To be called before there are records. All nodes of a herd need the
    /// same, or they hold different things.
    pub fn set_retention(&mut self, retention: Option<Duration>) {
        self.lifetimes =
            retention.map(|retention| Lifetimes::new(retention, self.identity.max_future));
    }

    /// How long reports are kept; `None` for ever.
    pub fn retention(&self) -> Option<Duration> {
        self.lifetimes.as_ref().map(Lifetimes::retention)
    }

    /// Takes a record from a peer, as [`State::merge`] does, unless its times forbid it. What is
    /// refused is counted for the peer.
    ///
    /// Times are compared with this node's clock and never with a stored value: one wrong clock
    /// must not shut out later, right ones.
    ///
    /// # Errors
    /// Nothing has changed.
    pub fn accept(
        &mut self,
        now: Now,
        record: LocationRecord,
        from: ConsumerId,
    ) -> Result<Merged, Unacceptable> {
        let slot = self.table.find(&record.client);
        self.accept_at(now, slot, record, from)
    }

    /// As [`State::accept`], for all records of a batch; `None` stands for one that could not be read.
    /// Their clients are looked for together. `newer` is told the index and the slot of each that is
    /// the newest of its client now.
    pub fn accept_all(
        &mut self,
        now: Now,
        records: Vec<Option<LocationRecord>>,
        from: ConsumerId,
        mut newer: impl FnMut(&mut Self, usize, Slot),
    ) -> Accepted {
        let mut accepted = Accepted::default();
        let clients = records.iter().map(|record| record.as_ref().map(|record| &record.client));
        let found = self.find_all(clients);
        for (index, (record, found)) in records.into_iter().zip(found).enumerate() {
            let Some(record) = record else {
                accepted.bad += 1;
                continue;
            };
            let slot = self.slot_of(&record.client, found);
            match self.accept_at(now, slot, record, from) {
                Ok(Merged::Newer(slot)) => {
                    accepted.applied += 1;
                    newer(self, index, slot);
                }
                Ok(Merged::Known(_) | Merged::Older(_)) => accepted.known += 1,
                Err(Unacceptable::TooFarAhead) => accepted.bad += 1,
                Err(Unacceptable::Expired) => {}
            }
        }
        accepted
    }

    fn accept_at(
        &mut self,
        now: Now,
        slot: Option<Slot>,
        record: LocationRecord,
        from: ConsumerId,
    ) -> Result<Merged, Unacceptable> {
        self.tell_time(now);
        let latest = now.wall.saturating_add(furthest_ahead(self.identity.max_future));
        if record.time.max(record.receive_time) > latest {
            if let Some(peer) = self.peers.by_consumer_mut(from) {
                peer.counts.too_far_ahead += 1;
            }
            return Err(Unacceptable::TooFarAhead);
        }
        if self.is_over(&record) {
            if let Some(peer) = self.peers.by_consumer_mut(from) {
                peer.counts.expired += 1;
            }
            return Err(Unacceptable::Expired);
        }
        let taken = record.receive_time;
        let merged = self.merge_at(slot, record, Some(from));
        if let Merged::Newer(_) = merged {
            self.propagation.note(taken, now.wall);
        }
        Ok(merged)
    }

    /// Takes a record that this node held before it was restarted, unless its time is over at the
    /// minute that [`State::expire`] was last told. Nobody is told: what a peer lacks of it is
    /// found when the peer's stream comes up.
    pub fn restore(&mut self, record: LocationRecord) {
        if self.is_over(&record) {
            return;
        }
        if let Merged::Newer(slot) = self.table.merge(record) {
            self.file(slot);
        }
    }

    /// Removes records whose time is over, after looking at `budget` slots at most. Returns when
    /// there is more to do: a moment that has passed where the budget was too small, `None` where
    /// there is nothing that could expire.
    pub fn expire(&mut self, now: Now, budget: usize) -> Option<Timestamp> {
        self.tell_time(now);
        for _ in 0..budget {
            let Some(slot) = self.wheel.pop(self.minute) else { break };
            if self.is_over(self.table.record(slot)) {
                self.remove(slot);
            } else {
                self.file(slot);
            }
        }
        self.wheel.next().map(start_of)
    }

    /// How many records were removed because their time was over, since the start.
    pub fn expired(&self) -> u64 {
        self.expired
    }

    /// Whether the record in a slot is about to expire, so that it should not be offered to a
    /// peer as something that it may lack: its clock may be a little ahead.
    pub fn is_fading(&self, slot: Slot, now: Now) -> bool {
        self.ends_within(slot, now, FADING_MINUTES)
    }

    /// Whether a peer may have left out the record in a slot because it [fades](Self::is_fading)
    /// or has expired there, although here it does not yet. The peer's clock may differ by as
    /// much as records fade before they end, so this begins twice as early.
    pub fn may_fade_elsewhere(&self, slot: Slot, now: Now) -> bool {
        self.ends_within(slot, now, 2 * FADING_MINUTES)
    }

    fn ends_within(&self, slot: Slot, now: Now, minutes: Minute) -> bool {
        self.due(slot).is_some_and(|end| end <= minute_of(now.wall).saturating_add(minutes))
    }

    /// Whether a record's time is over, as of the last minute that this state was told.
    pub(super) fn is_over(&self, record: &LocationRecord) -> bool {
        self.lifetimes.is_some_and(|lifetimes| lifetimes.end(record) <= self.minute)
    }

    /// When the time of the record in a slot is over, where there are lifetimes.
    pub(super) fn due(&self, slot: Slot) -> Option<Minute> {
        self.lifetimes.map(|lifetimes| lifetimes.end(self.table.record(slot)))
    }

    /// Sees to it that a slot is looked at when its record's time is over.
    pub(super) fn file(&mut self, slot: Slot) {
        if let Some(lifetimes) = self.lifetimes {
            self.wheel.file(slot, lifetimes.end(self.table.record(slot)));
        }
    }

    /// Removes a client's record if its time is over and [`State::expire`] has not come to it
    /// yet: it must not win over a newer one that would win once it is gone.
    pub(super) fn makes_way(&mut self, slot: Slot) -> bool {
        if self.wheel.next().is_none_or(|minute| minute > self.minute) {
            return false;
        }
        let over = self.is_over(self.table.record(slot));
        if over {
            self.remove(slot);
        }
        over
    }

    /// Removes the record in a slot and whatever was to be told of it. No consumer must find a
    /// mark when the slot is reused.
    fn remove(&mut self, slot: Slot) {
        self.wheel.remove(slot);
        self.stop_awaiting(slot);
        self.history.forget(slot);
        if self.table.remove(slot) {
            self.expired += 1;
        }
        for consumer in self.consumers.iter_mut().filter_map(|place| place.consumer.as_mut()) {
            consumer.outbox.clear(slot);
            consumer.inside.unset(slot);
        }
    }
}
