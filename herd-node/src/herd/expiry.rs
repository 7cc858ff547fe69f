//! When the time of a record is over, and which slots come to that point next.
//!
//! A record's time ends at a whole minute of the day's clock, told by the record and the herd's
//! settings alone. So nodes drop the same records at the same minute without a word about it, and
//! what they drop a moment apart is only what lies between their clocks.

use std::collections::BTreeMap;
use std::time::Duration;

use herd_proto::{LocationRecord, Timestamp};

use super::chunks::Chunks;
use super::table::Slot;

/// How far the clocks of two nodes may be apart before a record that one of them sends is taken
/// for nonsense by the other, on top of what clients are allowed: as far as a wrong time zone puts
/// a clock, so that anything beyond is no clock at all.
pub const CLOCK_SLACK: Duration = Duration::from_hours(24);

/// How much longer than the record it beats a forgotten mark lives, beyond all that the record's
/// receive time may be ahead: rounding to minutes, and whatever is under way between nodes.
const MARK_SLACK: Duration = Duration::from_hours(1);

/// Minutes before its end in which a record is fading. Clocks that agree less well than this are
/// shown as skew in the status and are for the operator to mend.
pub const FADING_MINUTES: Minute = 2;

const MINUTE: Duration = Duration::from_mins(1);

/// Minutes since 1970.
pub type Minute = u32;

/// The whole minutes that have passed at `time`.
pub fn minute_of(time: Timestamp) -> Minute {
    (time.unix_nanos() / MINUTE.as_nanos() as i64) as Minute
}

/// The moment at which a minute begins.
pub fn start_of(minute: Minute) -> Timestamp {
    Timestamp::EPOCH.saturating_add(MINUTE.saturating_mul(minute))
}

/// How long records live, counted from their receive time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifetimes {
    report: Duration,
    mark: Duration,
}

impl Lifetimes {
    /// Reports live for `retention`. Marks outlive every report that they beat, however far ahead
    /// of the mark's own receive time that report's may lie among the records that nodes accept:
    /// so a node that comes back after a long time cannot bring a forgotten client back.
    pub fn new(retention: Duration, max_future: Duration) -> Self {
        let mark = retention.saturating_add(furthest_ahead(max_future)).saturating_add(MARK_SLACK);
        Self { report: retention, mark }
    }

    /// How long reports live.
    pub fn retention(&self) -> Duration {
        self.report
    }

    /// The minute at which a record's time is over.
    pub fn end(&self, record: &LocationRecord) -> Minute {
        let lifetime = if record.forgotten { self.mark } else { self.report };
        let last = record.receive_time.saturating_add(lifetime);
        minute_of(last).saturating_add(1)
    }
}

/// How far ahead of a node's clock the times of a peer's record may be.
pub fn furthest_ahead(max_future: Duration) -> Duration {
    max_future.saturating_add(CLOCK_SLACK)
}

/// Stands for no slot.
const NONE: Slot = Slot::MAX;

/// The slots by the minute at which they are to be looked at: a list through 8 bytes a slot for
/// each minute.
///
/// A slot is filed at most once. One whose record's end has moved to a later minute may stay where it
/// is and be filed anew when its minute comes, so that a client that reports all the time costs
/// nothing here.
#[derive(Debug, Default)]
pub struct Wheel {
    first: BTreeMap<Minute, Slot>,
    places: Chunks<Place>,
}

#[derive(Debug, Clone, Copy)]
struct Place {
    before: Before,
    after: Slot,
}

/// What stands before a slot: the slot before it, or the minute whose first it is, or nothing, where
/// it is not filed. Both numbers have 31 bits: some thousand years, or two thousand million clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Before(u32);

impl Before {
    const NOT_FILED: Self = Self(u32::MAX);
    const MINUTE: u32 = 1 << 31;

    fn slot(slot: Slot) -> Self {
        Self(slot & !Self::MINUTE)
    }

    fn minute(minute: Minute) -> Self {
        Self(minute | Self::MINUTE)
    }

    /// The slot, or else the minute.
    fn read(self) -> Result<Slot, Minute> {
        if self.0 & Self::MINUTE == 0 { Ok(self.0) } else { Err(self.0 & !Self::MINUTE) }
    }
}

/// The last minute that can be told: beyond all records' ends.
const LAST_MINUTE: Minute = Before::MINUTE - 2;

impl Wheel {
    /// Sees to it that the slot is looked at at `minute`, and not when it was to be before.
    pub fn file(&mut self, slot: Slot, minute: Minute) {
        let (index, minute) = (slot as usize, minute.min(LAST_MINUTE));
        while index >= self.places.len() {
            self.places.push(Place { before: Before::NOT_FILED, after: NONE });
        }
        self.remove(slot);
        let after = self.first.insert(minute, slot).unwrap_or(NONE);
        if let Some(place) = self.places.get_mut(after as usize) {
            place.before = Before::slot(slot);
        }
        self.places[index] = Place { before: Before::minute(minute), after };
    }

    /// Lets go of a slot.
    pub fn remove(&mut self, slot: Slot) {
        let Some(place) = self.places.get_mut(slot as usize) else { return };
        let Place { before, after } = *place;
        if before == Before::NOT_FILED {
            return;
        }
        place.before = Before::NOT_FILED;
        if let Some(after) = self.places.get_mut(after as usize) {
            after.before = before;
        }
        match before.read() {
            Ok(before) => self.places[before as usize].after = after,
            Err(minute) if after == NONE => {
                self.first.remove(&minute);
            }
            Err(minute) => {
                self.first.insert(minute, after);
            }
        }
    }

    /// The earliest minute at which a slot is to be looked at.
    pub fn next(&self) -> Option<Minute> {
        self.first.keys().next().copied()
    }

    /// Takes a slot that is to be looked at by `minute`.
    pub fn pop(&mut self, minute: Minute) -> Option<Slot> {
        let (_, &slot) = self.first.first_key_value().filter(|(due, _)| **due <= minute)?;
        self.remove(slot);
        Some(slot)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn each_slot_comes_up_once_at_the_minute_it_was_last_filed_for(
            steps in proptest::collection::vec((0..6, 0..30_u32, 0..20_u32), 0..300)
        ) {
            let (mut wheel, mut model) = (Wheel::default(), BTreeMap::<Slot, Minute>::new());
            for (step, slot, minute) in steps {
                match step {
                    0 => {
                        wheel.remove(slot);
                        model.remove(&slot);
                    }
                    1 => match wheel.pop(minute) {
                        Some(slot) => {
                            let earliest = model.values().min().copied();
                            prop_assert!(earliest.is_some_and(|due| due <= minute));
                            prop_assert_eq!(model.remove(&slot), earliest);
                        }
                        None => prop_assert!(model.values().all(|due| *due > minute)),
                    },
                    _ => {
                        wheel.file(slot, minute);
                        model.insert(slot, minute);
                    }
                }
                prop_assert_eq!(wheel.next(), model.values().min().copied());
            }
            let mut rest: Vec<_> = std::iter::from_fn(|| wheel.pop(Minute::MAX)).collect();
            rest.sort_unstable();
            prop_assert_eq!(rest, model.into_keys().collect::<Vec<_>>());
            prop_assert!(wheel.first.is_empty(), "no minute is kept without a slot");
        }
    }

    #[test]
    fn a_minute_beyond_all_ends_is_the_last_one_that_can_be_told() {
        let mut wheel = Wheel::default();
        wheel.file(0, Minute::MAX);
        wheel.file(1, LAST_MINUTE);
        assert_eq!(wheel.next(), Some(LAST_MINUTE));
        assert_eq!(wheel.pop(LAST_MINUTE - 1), None);
        assert_eq!((wheel.pop(LAST_MINUTE), wheel.pop(LAST_MINUTE)), (Some(1), Some(0)));
        assert_eq!(wheel.next(), None);
    }

    #[test]
    fn a_slot_costs_eight_bytes() {
        assert_eq!(size_of::<Place>(), 8);
    }
}
