//! When this node learnt each record, and from whom: 16 bytes a client.

use herd_proto::Timestamp;

use super::chunks::Chunks;
use super::state::ConsumerId;
use super::table::Slot;

/// Bits that tell who told; the others number the change, for as long as a node lives.
const SOURCE_BITS: u32 = 16;

/// Bits of the source that tell apart the consumers that have had the same place. A guest may be
/// mistaken for another that came 63 guests later; friends keep their places.
const GENERATION_BITS: u32 = 6;

/// Places that a source can tell; whoever comes from another is not remembered.
const PLACES: u32 = (1 << (SOURCE_BITS - GENERATION_BITS)) - 1;

/// When the record in each slot was learnt.
#[derive(Debug, Default)]
pub struct History(Chunks<Entry>);

/// One record's: all zero where it was there when the node started.
#[derive(Debug, Clone, Copy, Default)]
struct Entry {
    at: i64,
    /// The number of the change, then the source.
    change: u64,
}

/// How a record was learnt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Learnt {
    /// When, by this node's clock.
    pub at: Timestamp,
    source: Source,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Source(u16);

impl History {
    /// Notes that the record in a slot was learnt, by the change of this number, from a peer or a
    /// client.
    pub fn note(&mut self, slot: Slot, change: u64, at: Timestamp, from: Option<ConsumerId>) {
        let index = slot as usize;
        while index >= self.0.len() {
            self.0.push(Entry::default());
        }
        let source = Source::of(from);
        let change = change << SOURCE_BITS | u64::from(source.0);
        self.0[index] = Entry { at: at.unix_nanos(), change };
    }

    /// Notes that a slot has another client, or none.
    pub fn forget(&mut self, slot: Slot) {
        if let Some(entry) = self.0.get_mut(slot as usize) {
            *entry = Entry::default();
        }
    }

    /// The number of the change by which the record in a slot came; 0 if it was there at the start.
    pub fn change(&self, slot: Slot) -> u64 {
        self.0.get(slot as usize).map_or(0, |entry| entry.change >> SOURCE_BITS)
    }

    /// How the record in a slot was learnt; `None` if it was there at the start.
    pub fn learnt(&self, slot: Slot) -> Option<Learnt> {
        let entry = self.0.get(slot as usize).filter(|entry| entry.change != 0)?;
        let at = Timestamp::from_unix_nanos(entry.at)?;
        Some(Learnt { at, source: Source(entry.change as u16) })
    }
}

impl Learnt {
    /// Whether this consumer told it.
    pub fn is_from(&self, consumer: ConsumerId) -> bool {
        self.source.0 != 0 && self.source == Source::of(Some(consumer))
    }
}

impl Source {
    /// 0 for a client's report, and for who cannot be told.
    fn of(from: Option<ConsumerId>) -> Self {
        let Some((place, generation)) = from.map(ConsumerId::parts) else { return Self(0) };
        if place >= PLACES {
            return Self(0);
        }
        let generation = generation & ((1 << GENERATION_BITS) - 1);
        Self(((place + 1) << GENERATION_BITS | generation) as u16)
    }
}
