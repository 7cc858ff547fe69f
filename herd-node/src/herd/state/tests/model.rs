//! The state beside a map that does the same in the plainest way.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::herd::order;
use crate::herd::state::{ConsumerId, Interest};
use crate::herd::table::Slot;

const CLIENTS: [&str; 5] = ["c0", "c1", "c2", "c3", "c4"];

/// Longer than marks live.
const EVER: u32 = 27 * 60;

#[derive(Debug, Clone)]
enum Step {
    Report(usize),
    Forget(usize),
    Merge {
        record: LocationRecord,
        from: Option<usize>,
    },
    /// Minutes pass; before all that is over has gone, this record arrives.
    Pass(u32, LocationRecord),
    Pop(usize),
    /// What a consumer took is marked for it again.
    GiveBack(usize),
    MarkEverything(usize),
    MarkLocations(usize),
    /// A consumer goes and another comes.
    Replace(usize),
}

/// A record received up to 20 minutes before and after the start, and more rarely a mark.
fn records() -> impl Strategy<Value = LocationRecord> {
    (0..CLIENTS.len(), 0..2_u32, prop::bool::weighted(0.2), 0..3_u32, 0..40_u32).prop_map(
        |(client, generation, forgotten, time, received)| {
            let moment = |minutes: u32| at(MINUTE * minutes).wall;
            let mut record = record(CLIENTS[client], MINUTE * time, Duration::ZERO);
            record.receive_time = moment(received);
            record.generation = generation;
            record.forgotten = forgotten;
            record
        },
    )
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let consumer = 0..3_usize;
    let step = prop_oneof![
        4 => (0..CLIENTS.len()).prop_map(Step::Report),
        1 => (0..CLIENTS.len()).prop_map(Step::Forget),
        4 => (records(), prop::option::of(0..3_usize))
            .prop_map(|(record, from)| Step::Merge { record, from }),
        3 => (0..15_u32, records()).prop_map(|(minutes, record)| Step::Pass(minutes, record)),
        1 => records().prop_map(|record| Step::Pass(EVER, record)),
        4 => consumer.clone().prop_map(Step::Pop),
        2 => consumer.clone().prop_map(Step::GiveBack),
        1 => consumer.clone().prop_map(Step::MarkEverything),
        1 => consumer.clone().prop_map(Step::MarkLocations),
        1 => consumer.prop_map(Step::Replace),
    ];
    prop::collection::vec(step, 0..120)
}

/// The state, and what it should be.
struct Pair {
    state: State,
    now: Duration,
    known: BTreeMap<ClientId, LocationRecord>,
    readers: Vec<Reader>,
}

struct Reader {
    id: ConsumerId,
    interest: BTreeSet<ClientId>,
    unheard: BTreeSet<ClientId>,
    in_flight: Vec<Slot>,
}

impl Pair {
    fn new() -> Self {
        let (state, known) = (state("Bailey"), BTreeMap::new());
        let mut pair = Self { state, now: Duration::ZERO, known, readers: Vec::new() };
        pair.readers = (0..3).map(|number| pair.reader(number)).collect();
        pair
    }

    /// The last reader wants two clients only.
    fn reader(&mut self, number: usize) -> Reader {
        let clients: Vec<ClientId> = CLIENTS.map(client).into();
        let (interest, wanted) = if number == 2 {
            (Interest::Clients(clients[..2].iter().cloned().collect()), &clients[..2])
        } else {
            (Interest::Everything, &clients[..])
        };
        let id = self.state.subscribe(interest, None);
        let interest = wanted.iter().cloned().collect();
        Reader { id, interest, unheard: BTreeSet::new(), in_flight: Vec::new() }
    }

    fn is_over(&self, record: &LocationRecord) -> bool {
        let hours = if record.forgotten { 25 } else { 0 };
        let last = record.receive_time.saturating_add(RETENTION + Duration::from_hours(hours));
        let whole = |time: Timestamp| time.unix_nanos() / MINUTE.as_nanos() as i64;
        whole(at(self.now).wall) > whole(last)
    }

    fn merge_into_model(&mut self, record: LocationRecord, from: Option<usize>) {
        let id = record.client.clone();
        let compared =
            self.known.get(&id).map_or(Ordering::Greater, |known| order::compare(&record, known));
        if compared == Ordering::Greater {
            self.known.insert(id.clone(), record);
        }
        for (number, reader) in self.readers.iter_mut().enumerate() {
            if from == Some(number) {
                if compared != Ordering::Less {
                    reader.unheard.remove(&id);
                }
            } else if compared == Ordering::Greater && reader.interest.contains(&id) {
                reader.unheard.insert(id.clone());
            }
        }
    }

    fn take_from_peer(&mut self, record: LocationRecord, from: Option<usize>) {
        let refused = self.is_over(&record);
        let Some(number) = from else {
            if !refused {
                self.state.merge(record.clone(), None);
                self.merge_into_model(record, None);
            }
            return;
        };
        let taken = self.state.accept(at(self.now), record.clone(), self.readers[number].id);
        assert_eq!(taken.is_err(), refused);
        if !refused {
            self.merge_into_model(record, from);
        }
    }

    fn pass(&mut self, minutes: u32, arrives: LocationRecord) {
        self.now += MINUTE * minutes;
        self.state.expire(at(self.now), 1);
        let over: BTreeSet<_> =
            self.known.values().filter(|r| self.is_over(r)).map(|r| r.client.clone()).collect();
        self.known.retain(|id, _| !over.contains(id));
        for reader in &mut self.readers {
            reader.unheard.retain(|id| !over.contains(id));
        }
        self.check_answers();
        self.take_from_peer(arrives, Some(0));
        expire_all(&mut self.state, at(self.now));
    }

    fn run(&mut self, step: Step) {
        match step {
            Step::Report(number) => {
                let taken = self.state.report(at(self.now), report(CLIENTS[number]));
                let (record, _) = taken.unwrap();
                self.merge_into_model(record, None);
            }
            Step::Forget(number) => {
                let id = client(CLIENTS[number]);
                let location = self.known.get(&id).filter(|record| !record.forgotten).cloned();
                let forgotten = self.state.forget(at(self.now), id.clone()).unwrap();
                assert_eq!(forgotten.location, location);
                let slot = self.state.table().find(&id).unwrap();
                self.merge_into_model(self.state.table().record(slot).clone(), None);
            }
            Step::Merge { record, from } => self.take_from_peer(record, from),
            Step::Pass(minutes, arrives) => self.pass(minutes, arrives),
            Step::Pop(number) => {
                let reader = &mut self.readers[number];
                let Some((slot, record)) = self.state.pop(reader.id) else { return };
                assert!(reader.unheard.remove(&record.client), "{record:?} was not marked");
                assert_eq!(Some(record), self.known.get(&record.client));
                reader.in_flight.push(slot);
            }
            Step::GiveBack(number) => {
                let reader = &mut self.readers[number];
                let table = self.state.table();
                let stand = reader.in_flight.iter().filter(|slot| table.holds(**slot));
                reader.unheard.extend(stand.map(|slot| table.record(*slot).client.clone()));
                let slots = std::mem::take(&mut reader.in_flight);
                self.state.mark_again(reader.id, slots);
            }
            Step::MarkEverything(number) => self.mark(number, true),
            Step::MarkLocations(number) => self.mark(number, false),
            Step::Replace(number) => {
                self.state.unsubscribe(self.readers[number].id);
                self.readers[number] = self.reader(number);
            }
        }
    }

    fn mark(&mut self, number: usize, with_marks: bool) {
        let reader = &mut self.readers[number];
        let wanted = self.known.values().filter(|record| with_marks || !record.forgotten);
        let clients = wanted.map(|record| &record.client);
        reader.unheard.extend(clients.filter(|id| reader.interest.contains(*id)).cloned());
        if with_marks {
            self.state.mark_everything(reader.id);
        } else {
            self.state.mark_locations(reader.id, self.state.table().slots());
        }
    }

    fn check_answers(&self) {
        for id in CLIENTS.map(client) {
            let location = self.known.get(&id).filter(|record| !record.forgotten);
            assert_eq!(self.state.location(&id), location);
        }
    }

    /// Apart from the other checks, because an empty tree takes longer to make than they do.
    fn check_digest(&self) {
        let mut fresh = state("Bona");
        for record in self.known.values() {
            fresh.merge(record.clone(), None);
        }
        assert_eq!(self.state.table().digest(), fresh.table().digest());
    }

    fn check(&self) {
        self.check_answers();
        assert_eq!(self.state.table().len(), self.known.len());
        let slots = self.state.table().slots().len();
        assert_eq!(slots, self.known.len() + self.state.table().free_slots().len());
        assert!(slots <= CLIENTS.len(), "slots are reused");
        for reader in &self.readers {
            assert_eq!(self.state.pending(reader.id), reader.unheard.len());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn a_state_does_what_a_plain_map_does_and_no_reader_finds_a_stale_slot(steps in steps()) {
        let mut pair = Pair::new();
        for step in steps {
            pair.run(step);
            pair.check();
        }
        pair.check_digest();
        for number in 0..3 {
            while !pair.readers[number].unheard.is_empty() {
                let left = pair.readers[number].unheard.len();
                pair.run(Step::Pop(number));
                prop_assert_eq!(pair.readers[number].unheard.len(), left - 1);
            }
            prop_assert!(pair.state.pop(pair.readers[number].id).is_none());
        }
    }

    #[test]
    fn at_any_moment_any_order_and_any_repetition_ends_in_the_same_state(
        (records, shuffled) in prop::collection::vec(records(), 0..30)
            .prop_flat_map(|r| (Just(r.clone()), Just(r).prop_shuffle())),
        minutes in 0..40_u32,
        later in 0..EVER,
    ) {
        let now = at(MINUTE * minutes);
        let take = |records: &[LocationRecord], budget| {
            let mut state = state("Bailey");
            let from = state.subscribe(Interest::Everything, None);
            for record in records {
                let _ = state.accept(now, record.clone(), from);
                state.expire(now, budget);
            }
            state
        };
        let twice = [&shuffled[..], &records[..]].concat();
        let (mut a, mut b) = (take(&records, 0), take(&twice, 1));
        for now in [now, at(MINUTE * (minutes + later))] {
            expire_all(&mut a, now);
            expire_all(&mut b, now);
            prop_assert_eq!(a.table().digest(), b.table().digest());
            prop_assert_eq!(a.table().len(), b.table().len());
        }
    }

    #[test]
    fn nodes_that_heard_at_different_times_agree_once_they_have_told_each_other(
        (records, shuffled) in prop::collection::vec((records(), 0..3_u32), 0..30)
            .prop_flat_map(|r| (Just(r.clone()), Just(r).prop_shuffle())),
    ) {
        let take = |records: &[(LocationRecord, u32)]| {
            let mut state = state("Bailey");
            let from = state.subscribe(Interest::Everything, None);
            let mut now = Duration::ZERO;
            for (record, minutes) in records {
                now += MINUTE * *minutes;
                let _ = state.accept(at(now), record.clone(), from);
                expire_all(&mut state, at(now));
            }
            expire_all(&mut state, at(MINUTE * 60));
            state
        };
        let (mut a, mut b) = (take(&records), take(&shuffled));
        let all = |state: &State| -> Vec<LocationRecord> {
            let held = state.table().slots().filter(|slot| state.table().holds(*slot));
            held.map(|slot| state.table().record(slot).clone()).collect()
        };
        let (of_a, of_b) = (all(&a), all(&b));
        for record in of_b {
            a.merge(record, None);
        }
        for record in of_a {
            b.merge(record, None);
        }
        prop_assert_eq!(a.table().digest(), b.table().digest());
    }
}
