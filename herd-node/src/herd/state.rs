//! Everything a node knows, under one roof: the table, who has yet to hear of what, the peers.

mod forget;
mod links;
mod retention;
#[cfg(test)]
mod tests;
mod traces;
mod watching;
mod witnesses;

use std::time::Duration;

use herd_proto::{ClientId, LocationRecord, NodeName, Report, Timestamp, Violations};

pub use self::forget::{Forgotten, GenerationsExhausted};
pub use self::retention::Unacceptable;
use self::traces::Traces;
pub use self::watching::{Told, Unmarked};
use self::witnesses::Witnesses;
pub use self::witnesses::{MAX_AWAITED, TooManyAwaited, WaitId};
use super::bits::Bits;
use super::expiry::{Lifetimes, Minute, Wheel, minute_of};
use super::history::History;
pub use super::interest::{Filter, Interest};
use super::latencies::Latencies;
use super::outbox::Outbox;
use super::pace::Pace;
use super::peers::{Peer, Peers};
use super::table::{Merged, Slot, Table};
use super::{Now, Token};

/// Names a consumer of changes: a peer or a watcher.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ConsumerId {
    place: u32,
    /// Tells apart the consumers that have had the same place: a name that is out of date names
    /// nobody.
    generation: u32,
}

/// What a node is at its start.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The node's name.
    pub name: NodeName,
    /// The herd's name.
    pub cluster: String,
    /// Random, not 0: names this run of the node's state.
    pub instance: u64,
    /// Random: the key of the table's index.
    pub index_key: (u64, u64),
    /// How far ahead of this node's clock a report may be.
    pub max_future: Duration,
}

/// What a node says of all that it holds, in its Hello.
#[derive(Debug, Clone, Copy, Default)]
pub struct Holdings {
    /// Its digest.
    pub digest: u64,
    /// Its number of clients.
    pub clients: u64,
    /// Whether it can compare trees.
    pub repairs: bool,
}

impl Holdings {
    /// Whether two nodes are likely to hold much the same, so that it pays to look for the
    /// difference: neither holds less than four fifths of what the other does.
    fn is_like(self, other: Self) -> bool {
        let (less, more) = (self.clients.min(other.clients), self.clients.max(other.clients));
        less > 0 && less >= more - more / 5
    }
}

/// How a peer whose stream has come up is told what it lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CatchUp {
    /// It lacks nothing: the digests are equal.
    Nothing,
    /// It is the run that acknowledged all that is not in its outbox.
    Outbox,
    /// By comparing trees.
    Repair,
    /// By sending everything, below changes in priority.
    Everything,
}

/// Why a report was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotTaken {
    /// It breaks a rule.
    #[error("{0}")]
    Invalid(Violations),
    /// The table has as many clients as it may.
    #[error("this node knows as many clients as it may")]
    TableFull,
    /// The client reports more often than it may.
    #[error("this client reports more often than it may")]
    TooOften,
}

/// Reports taken from clients since the start.
#[derive(Debug, Clone, Copy, Default)]
pub struct ReportCounts {
    /// Taken.
    pub taken: u64,
    /// Of these, newest of their client.
    pub applied: u64,
    /// Refused.
    pub refused: u64,
}

/// The state of one node.
#[derive(Debug)]
pub struct State {
    identity: Identity,
    table: Table,
    consumers: Vec<Place>,
    peers: Peers,
    witnesses: Witnesses,
    reports: ReportCounts,
    /// `None` where records are kept for ever.
    lifetimes: Option<Lifetimes>,
    /// When the record in each slot is to be looked at, where there are lifetimes.
    wheel: Wheel,
    /// When the record in each slot was learnt.
    history: History,
    /// The traces of some records.
    traces: Traces,
    /// How long records of peers took.
    propagation: Latencies,
    hops: Latencies,
    /// This node's clock when it was last told the time, and the minute of it.
    clock: Timestamp,
    minute: Minute,
    expired: u64,
    /// Most clients that reports may bring into the table.
    max_clients: usize,
    /// `None` where clients may report as often as they like.
    pace: Option<Pace>,
    changes: u64,
    next_token: u64,
    /// Who must be woken once the caller lets go of the state. Short: each token stands here at
    /// most a few times, and the caller empties it after every call.
    woken: Vec<Token>,
    /// Who wants to know when the peers' states change.
    peer_watcher: Option<Token>,
}

/// What was found of a client.
#[derive(Debug, Clone, Copy, Default)]
pub struct Found {
    slot: Option<Slot>,
    /// How many records had expired by then: each may have given its slot away.
    expired: u64,
}

/// Where a consumer is, or was.
#[derive(Debug, Default)]
struct Place {
    generation: u32,
    consumer: Option<Consumer>,
}

#[derive(Debug)]
struct Consumer {
    outbox: Outbox,
    interest: Interest,
    /// Who is in the area of the interest, as far as the consumer was told.
    inside: Bits,
    /// Who drains the outbox; `None` while a peer's stream is down.
    drainer: Option<Token>,
}

impl State {
    /// The state of a node that knows nothing yet.
    pub fn new(identity: Identity) -> Self {
        Self {
            table: Table::new(&identity.cluster, identity.index_key),
            identity,
            consumers: Vec::new(),
            peers: Peers::default(),
            witnesses: Witnesses::default(),
            reports: ReportCounts::default(),
            lifetimes: None,
            wheel: Wheel::default(),
            history: History::default(),
            traces: Traces::default(),
            propagation: Latencies::default(),
            hops: Latencies::default(),
            clock: Timestamp::EPOCH,
            minute: 0,
            expired: 0,
            max_clients: usize::MAX,
            pace: None,
            changes: 0,
            next_token: 0,
            woken: Vec::new(),
            peer_watcher: None,
        }
    }

    /// Bounds what reports may do: how many clients they bring, and how often one may report. What
    /// peers tell is taken all the same: nodes that hold different records would never agree.
    pub fn limit_reports(&mut self, max_clients: usize, max_client_rate: Option<u32>) {
        self.max_clients = max_clients;
        self.pace = max_client_rate.map(Pace::new);
    }

    /// What the node is.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// What is known of all clients.
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// The other nodes.
    pub fn peers(&self) -> &Peers {
        &self.peers
    }

    /// Reports taken so far.
    pub fn reports(&self) -> ReportCounts {
        self.reports
    }

    /// The newest location of a client; `None` for one that is unknown, was forgotten or has not
    /// reported for as long as records are kept.
    pub fn location(&self, client: &ClientId) -> Option<&LocationRecord> {
        self.location_in(self.table.find(client)?)
    }

    /// The newest location of the client in a slot; `None` as in [`State::location`].
    pub fn location_in(&self, slot: Slot) -> Option<&LocationRecord> {
        let record = self.table.holds(slot).then(|| self.table.record(slot))?;
        (!record.forgotten && !self.is_over(record)).then_some(record)
    }

    /// Takes a client's report: records it as received here and now, and marks it for everyone
    /// who must hear of it. Returns the record and whether it is the newest of its client.
    ///
    /// # Errors
    /// A time too far in the future, compared with this node's clock and never with a stored
    /// value: one wrong clock must not shut out later, right ones. A client too many, or one that
    /// reports too often.
    pub fn report(&mut self, now: Now, report: Report) -> Result<(LocationRecord, bool), NotTaken> {
        let slot = self.table.find(&report.client);
        self.admit(now, &report, slot)?;
        let record = self.record_of(now, report, slot);
        let newer = self.take(record.clone(), slot);
        Ok((record, newer))
    }

    /// Looks for some clients at once. Each look waits for memory, and so the waits overlap.
    pub fn find_all<'a>(&self, clients: impl Iterator<Item = Option<&'a ClientId>>) -> Vec<Found> {
        let found = self.table.find_all(clients).into_iter();
        found.map(|slot| Found { slot, expired: self.expired }).collect()
    }

    /// Where a client stands now that was looked for a moment ago: others may have moved since.
    fn slot_of(&self, client: &ClientId, found: Found) -> Option<Slot> {
        let stands = |slot: &Slot| self.table.record(*slot).client == *client;
        let known = found.slot.filter(|_| found.expired == self.expired).filter(stands);
        known.or_else(|| self.table.find(client))
    }

    /// As [`State::report`], for who needs to know no more than whether it is the newest. `found`
    /// is what [`State::find_all`] found of the client a moment ago.
    ///
    /// # Errors
    /// As [`State::report`].
    pub fn apply(&mut self, now: Now, report: Report, found: Found) -> Result<bool, NotTaken> {
        let slot = self.slot_of(&report.client, found);
        self.admit(now, &report, slot)?;
        let record = self.record_of(now, report, slot);
        Ok(self.take(record, slot))
    }

    /// Checks a report's time, and the limits of its client, which stands in `slot` if it is known.
    fn admit(&mut self, now: Now, report: &Report, slot: Option<Slot>) -> Result<(), NotTaken> {
        self.tell_time(now);
        let checked = self.check_future(now, report).map_err(NotTaken::Invalid);
        let checked = checked.and_then(|()| self.check_limits(now, slot));
        checked.inspect_err(|_| self.reports.refused += 1)
    }

    fn record_of(&self, now: Now, report: Report, slot: Option<Slot>) -> LocationRecord {
        let generation = slot.map_or(0, |slot| self.table.record(slot).generation);
        report.into_record(self.identity.name.clone(), now.wall, generation)
    }

    fn take(&mut self, record: LocationRecord, slot: Option<Slot>) -> bool {
        let newer = matches!(self.merge_at(slot, record, None), Merged::Newer(_));
        self.reports.taken += 1;
        self.reports.applied += u64::from(newer);
        newer
    }

    /// How long it took from the node that took a report to this one, for the records of peers that
    /// were newer than what was known.
    pub fn propagation(&self) -> &Latencies {
        &self.propagation
    }

    /// How many records have become the newest of their client since the start. Who has heard of
    /// all changes up to this number has heard of everything that was ever answered so far.
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// Counts a report that was refused before it came here.
    pub fn count_refused(&mut self) {
        self.reports.refused += 1;
    }

    /// Whether a client that stands in `slot` may report, or one that is new may come.
    fn check_limits(&mut self, now: Now, slot: Option<Slot>) -> Result<(), NotTaken> {
        match slot {
            Some(slot) => {
                let pace = self.pace.as_mut();
                let allowed = pace.is_none_or(|pace| pace.allows(slot, now.monotonic));
                allowed.then_some(()).ok_or(NotTaken::TooOften)
            }
            None if self.table.len() >= self.max_clients => Err(NotTaken::TableFull),
            None => Ok(()),
        }
    }

    fn tell_time(&mut self, now: Now) {
        self.clock = now.wall;
        self.minute = minute_of(now.wall);
    }

    fn check_future(&self, now: Now, report: &Report) -> Result<(), Violations> {
        let Some(time) = report.time else { return Ok(()) };
        let limit = now.wall.saturating_add(self.identity.max_future);
        if time <= limit {
            return Ok(());
        }
        let ahead = Duration::from_nanos(time.since(now.wall).nanos().unsigned_abs());
        let rule = format!(
            "must be at most {} s ahead of the node's clock, is {} s ahead",
            self.identity.max_future.as_secs(),
            ahead.as_secs()
        );
        Err(Violations::one("time", rule))
    }

    /// Keeps the greater of a record and what is known, and marks a change for every consumer but
    /// `from`, who evidently knows. Records of peers come through [`State::accept`].
    pub fn merge(&mut self, record: LocationRecord, from: Option<ConsumerId>) -> Merged {
        let slot = self.table.find(&record.client);
        self.merge_at(slot, record, from)
    }

    /// As [`State::merge`], where it is known already where the client stands.
    fn merge_at(
        &mut self,
        slot: Option<Slot>,
        record: LocationRecord,
        from: Option<ConsumerId>,
    ) -> Merged {
        let slot = slot.filter(|slot| !self.makes_way(*slot));
        let due = slot.and_then(|slot| self.due(slot));
        let merged = self.table.merge_at(slot, record);
        match merged {
            Merged::Newer(slot) => {
                // What is filed already is looked at no later than its record's end was.
                if due.is_none() || self.due(slot) < due {
                    self.file(slot);
                }
                self.changes += 1;
                self.history.note(slot, self.changes, self.clock, from);
                self.mark(slot, from);
            }
            // The peer has just proven that it knows: as good as an acknowledgement.
            Merged::Known(slot) => {
                if let Some(consumer) = from.and_then(|id| self.consumer_mut(id)) {
                    consumer.outbox.clear(slot);
                }
            }
            Merged::Older(_) => {}
        }
        if let (Some(peer), Merged::Newer(slot) | Merged::Known(slot)) = (from, merged) {
            self.peer_applied(peer, self.changes, &[slot]);
        }
        merged
    }

    fn mark(&mut self, slot: Slot, from: Option<ConsumerId>) {
        let record = self.table.record(slot);
        for (index, place) in (0..).zip(&mut self.consumers) {
            let Some(consumer) = &mut place.consumer else { continue };
            let id = ConsumerId { place: index, generation: place.generation };
            if from == Some(id) {
                consumer.outbox.clear(slot);
            } else if consumer.wants(slot, record) && consumer.outbox.mark(slot) {
                self.woken.extend(consumer.drainer);
            }
        }
    }

    /// A new name for somebody to be woken.
    pub fn new_token(&mut self) -> Token {
        self.next_token += 1;
        Token(self.next_token)
    }

    /// Takes the list of who must be woken.
    pub fn take_woken(&mut self) -> Vec<Token> {
        std::mem::take(&mut self.woken)
    }

    /// Adds a consumer, who will be told of changes from now on.
    pub fn subscribe(&mut self, interest: Interest, drainer: Option<Token>) -> ConsumerId {
        let free = self.consumers.iter().position(|place| place.consumer.is_none());
        let index = free.unwrap_or(self.consumers.len());
        if index == self.consumers.len() {
            self.consumers.push(Place::default());
        }
        let place = &mut self.consumers[index];
        place.generation = place.generation.wrapping_add(1);
        let (outbox, inside) = (Outbox::default(), Bits::default());
        place.consumer = Some(Consumer { outbox, interest, inside, drainer });
        ConsumerId { place: index as u32, generation: place.generation }
    }

    /// Removes a consumer.
    pub fn unsubscribe(&mut self, id: ConsumerId) {
        if let Some(place) = self.consumers.get_mut(id.place as usize)
            && place.generation == id.generation
        {
            place.consumer = None;
        }
    }

    /// Marks all that is known now for a consumer, forgotten marks included, to be sent below changes in
    /// priority, for as long as [`State::is_sweeping`].
    pub fn mark_everything(&mut self, id: ConsumerId) {
        let table = &self.table;
        let Some(consumer) = consumer_mut(&mut self.consumers, id) else { return };
        let interest = &consumer.interest;
        let wanted = |slot| table.holds(slot) && interest.includes(table.record(slot));
        consumer.outbox.sweep(table.slots(), wanted);
        consumer.outbox.demote(table.slots());
        self.woken.extend(consumer.drainer);
    }

    /// Whether a consumer is still being told what [`State::mark_everything`] marked.
    pub fn is_sweeping(&self, id: ConsumerId) -> bool {
        self.consumer(id).is_some_and(|consumer| consumer.outbox.is_sweeping())
    }

    /// How many records wait for a consumer.
    pub fn pending(&self, id: ConsumerId) -> usize {
        self.consumer(id).map_or(0, |consumer| consumer.outbox.len())
    }

    /// For how long a peer has lacked something; nothing while all that it was sent is acknowledged
    /// and nothing waits for it.
    pub fn lag(&self, now: Now, peer: &Peer) -> Duration {
        let in_flight = peer.active.map_or(0, |active| active.in_flight);
        if in_flight + self.pending(peer.consumer) == 0 {
            return Duration::ZERO;
        }
        now.monotonic.saturating_sub(peer.caught_up)
    }

    /// How long batches took from being sent to being acknowledged by a peer that had applied them.
    pub fn hops(&self) -> &Latencies {
        &self.hops
    }

    /// Notes one batch's.
    pub(super) fn note_hop(&mut self, took: Duration) {
        self.hops.add(took);
    }

    /// Memory that changes take which a consumer has yet to hear of.
    pub fn queued_bytes(&self, id: ConsumerId) -> usize {
        self.consumer(id).map_or(0, |consumer| consumer.outbox.queued_bytes())
    }

    /// Takes the slot that has waited longest for a consumer, and its record of now. Records whose
    /// time is over are passed over.
    pub fn pop(&mut self, id: ConsumerId) -> Option<(Slot, &LocationRecord)> {
        loop {
            let slot = self.consumer_mut(id)?.outbox.pop()?;
            if !self.is_over(self.table.record(slot)) {
                return Some((slot, self.table.record(slot)));
            }
        }
    }

    /// Marks slots again that were sent to a consumer in vain. A slot whose client is gone since
    /// is passed over; one that has another client by now is marked for that one, who costs the
    /// consumer a record that it knows.
    pub fn mark_again(&mut self, id: ConsumerId, slots: impl IntoIterator<Item = Slot>) {
        let Some(consumer) = consumer_mut(&mut self.consumers, id) else { return };
        for slot in slots {
            if self.table.holds(slot) && consumer.outbox.mark(slot) {
                self.woken.extend(consumer.drainer);
            }
        }
    }

    fn consumer(&self, id: ConsumerId) -> Option<&Consumer> {
        let place = self.consumers.get(id.place as usize)?;
        place.consumer.as_ref().filter(|_| place.generation == id.generation)
    }

    fn consumer_mut(&mut self, id: ConsumerId) -> Option<&mut Consumer> {
        consumer_mut(&mut self.consumers, id)
    }
}

impl ConsumerId {
    /// Its place, and the number that tells it from others in that place.
    pub(super) fn parts(self) -> (u32, u32) {
        (self.place, self.generation)
    }
}

impl Consumer {
    fn wants(&self, slot: Slot, record: &LocationRecord) -> bool {
        self.interest.includes(record)
            || (self.inside.contains(slot) && self.interest.names(&record.client))
    }
}

/// A function of the field alone, so that others may be borrowed meanwhile.
fn consumer_mut(consumers: &mut [Place], id: ConsumerId) -> Option<&mut Consumer> {
    let place = consumers.get_mut(id.place as usize)?;
    place.consumer.as_mut().filter(|_| place.generation == id.generation)
}
