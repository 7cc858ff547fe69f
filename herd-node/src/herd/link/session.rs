//! What a link keeps once both have said Hello: batches in flight, acknowledgements, heartbeats.

use std::collections::VecDeque;
use std::time::Duration;

use herd_proto::v1::{self, Reason, frame::Kind};
use herd_proto::{LocationRecord, MAX_BATCH, NodeName, Record, Timestamp};
use prost::Message as _;

use super::repair::Repair;
use super::{Now, Step, wire_duration};
use crate::herd::peers::Peer;
use crate::herd::state::{CatchUp, ConsumerId, State};
use crate::herd::table::Slot;

/// Most records in a batch. With ordinary records about 40 KiB: past that the cost of a frame is
/// spread thin already, and heartbeats should not wait behind larger ones.
const BATCH_RECORDS: usize = 512;

/// Most bytes of records in a batch on a link that keeps up; the last record may exceed it.
pub(in crate::herd) const BATCH_BYTES: usize = 64 << 10;

/// The same on the slowest link: a batch must arrive within the silence that ends a link.
const SLOW_BATCH_BYTES: usize = 256;

/// Batches that may be sent and not acknowledged. Four of full size are twice what a 1 Gbit/s
/// path of 1 ms holds; more would only let records grow stale in buffers.
const WINDOW_BATCHES: usize = 4;

/// Batches that may be under way before acknowledgements are asked for at once, however small.
const WAITING_BATCHES: usize = 64;

/// How long an acknowledgement may be held back where the peer does not wait for it. Sending one for
/// each of many small batches would cost as much as the batches.
const ACK_DELAY: Duration = Duration::from_millis(20);

/// An acknowledgement that takes longer halves the batches; one within a quarter of it doubles
/// them.
const PROMPT_ACK: Duration = Duration::from_millis(800);

/// What there is to keep once both have said Hello.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
#[derive(Debug)]
pub(super) struct Session {
    pub(super) peer: NodeName,
    consumer: ConsumerId,
    next_number: u64,
    in_flight: VecDeque<SentBatch>,
    in_flight_bytes: usize,
    /// The peer has all of this moment once so many more records have been taken for it.
    milestone: Option<(Duration, usize)>,
    last_progress: Duration,
    /// Number of the last batch applied here, and when.
    applied: u64,
    applied_at: Duration,
    /// By when the peer must be told, if it must.
    ack_due: Option<Duration>,
    /// Whether a record was skipped since the last acknowledgement.
    skipped: bool,
    /// Whether the first heartbeat that reports an empty outbox was sent.
    synced_sent: bool,
    /// The peer's `sent` of its last Heartbeat, and when it came.
    echo: Option<(Duration, Duration)>,
    /// Whether this side begins comparisons: that which dialled, if the peer can compare.
    compares: bool,
    pub(super) repair: Repair,
    /// Whether batches had the last turn, so that repair has the next.
    repair_next: bool,
    /// Whether the link began with a repair that may be under way.
    repairing: bool,
    /// Heartbeats that came before the repair that this side waits for.
    unrepaired_heartbeats: u32,
    last_look: Duration,
    /// Heartbeats in a row that showed other digests although nothing was under way.
    odd_heartbeats: u32,
}

/// How often running nodes whose digests differ are looked at.
const LOOK: Duration = Duration::from_secs(10);

/// The same, where nothing seems to be under way: then the difference is likely to be real.
const LOOK_AT_QUIET: Duration = Duration::from_secs(2);

/// After how many heartbeats nothing seems to be under way.
const QUIET_HEARTBEATS: u32 = 3;

/// How many heartbeats a side waits for the repair that the other should begin: a descent that is on its way
/// comes before the second.
const PATIENT_HEARTBEATS: u32 = 2;

#[derive(Debug)]
struct SentBatch {
    number: u64,
    sent_at: Duration,
    bytes: usize,
    /// How many changes there had been when the records were read.
    change: u64,
    /// The moment of which the peer will have had all, once it has this batch and those before.
    completes: Option<Duration>,
    slots: Vec<Slot>,
}

impl Session {
    pub(super) fn new(
        peer: NodeName,
        consumer: ConsumerId,
        catch_up: CatchUp,
        compares: bool,
        now: Now,
    ) -> Self {
        let mut repair = Repair::default();
        let repairing = catch_up == CatchUp::Repair;
        // One side begins; the other, which has as a rule decided alike, answers.
        if repairing && compares {
            repair.start(false);
        }
        Self {
            peer,
            consumer,
            next_number: 1,
            in_flight: VecDeque::new(),
            in_flight_bytes: 0,
            milestone: None,
            last_progress: now.monotonic,
            applied: 0,
            applied_at: now.monotonic,
            ack_due: None,
            skipped: false,
            synced_sent: false,
            echo: None,
            compares,
            repair,
            repair_next: false,
            repairing,
            unrepaired_heartbeats: 0,
            last_look: now.monotonic,
            odd_heartbeats: 0,
        }
    }

    /// The next records or the next frame of repair, by turns where there are both.
    pub(super) fn payload(&mut self, state: &mut State, now: Now) -> Option<Kind> {
        self.repair_next = !self.repair_next;
        if self.repair_next
            && let Some(frame) = self.repair.poll(state, now)
        {
            return Some(frame);
        }
        self.batch(state, now).map(Kind::Batch).or_else(|| self.repair.poll(state, now))
    }

    pub(super) fn heard_leaves(
        &mut self,
        state: &mut State,
        now: Now,
        leaves: &v1::Leaves,
    ) -> Step {
        let found = self.repair.heard_leaves(state, now, self.consumer, leaves)?;
        self.tell_when_done(state, found.differing, found.divergent);
        Ok(())
    }

    pub(super) fn heard_want(&mut self, state: &mut State, want: &v1::Want) {
        let differing = Repair::heard_want(state, self.consumer, want);
        self.tell_when_done(state, differing, 0);
    }

    fn tell_when_done(&mut self, state: &mut State, differing: u64, divergent: u64) {
        self.synced_sent = false;
        self.count(state, |peer| {
            peer.counts.repaired += differing;
            peer.counts.divergent += divergent;
        });
    }

    /// Looks at the peer's tree when the digests have differed for long enough.
    fn look(&mut self, state: &mut State, now: Now, heartbeat: &v1::Heartbeat) {
        if heartbeat.digest == state.holdings().digest {
            state.peer_agrees(&self.peer);
            self.odd_heartbeats = 0;
            self.repairing = false;
            return;
        }
        // The other side may remember more of this node than this node of it, and so count on its outbox, or
        // have seen equal digests a moment before: then it begins none.
        if self.repairing && !self.compares && !self.repair.was_asked() {
            self.unrepaired_heartbeats += 1;
            if self.unrepaired_heartbeats == PATIENT_HEARTBEATS {
                self.repair.start(false);
            }
        }
        let quiet = heartbeat.pending == 0 && self.owes_nothing(state);
        self.odd_heartbeats = if quiet { self.odd_heartbeats + 1 } else { 0 };
        if self.odd_heartbeats >= QUIET_HEARTBEATS {
            self.repairing = false;
        }
        let pause = if self.odd_heartbeats >= QUIET_HEARTBEATS { LOOK_AT_QUIET } else { LOOK };
        if self.compares && self.repair.is_idle() && now.monotonic >= self.last_look + pause {
            self.last_look = now.monotonic;
            self.repair.start(true);
        }
    }

    /// Since when batches wait for an acknowledgement without any progress, if any wait.
    pub(super) fn waits_since(&self) -> Option<Duration> {
        (!self.in_flight.is_empty()).then_some(self.last_progress)
    }

    /// Holds back no acknowledgement any more: the peer has said all.
    pub(super) fn hurry(&mut self) {
        self.ack_due = self.ack_due.map(|_| Duration::ZERO);
    }

    /// When an acknowledgement must be sent, if one must.
    pub(super) fn ack_due(&self) -> Option<Duration> {
        self.ack_due
    }

    /// The acknowledgement that is due.
    pub(super) fn take_ack(&mut self, now: Now) -> Option<v1::Ack> {
        let due = self.ack_due.take_if(|due| now.monotonic >= *due)?;
        let held_back = due > self.applied_at;
        let delay =
            if held_back { now.monotonic.saturating_sub(self.applied_at) } else { Duration::ZERO };
        Some(v1::Ack {
            number: self.applied,
            skipped: std::mem::take(&mut self.skipped),
            delay_micros: delay.as_micros().try_into().unwrap_or(u32::MAX),
        })
    }

    /// Marks again what was sent and not acknowledged.
    pub(super) fn give_back(&self, state: &mut State) {
        let slots = self.in_flight.iter().flat_map(|batch| batch.slots.iter().copied());
        state.mark_again(self.consumer, slots);
    }

    fn batch(&mut self, state: &mut State, now: Now) -> Option<v1::Batch> {
        let batch_bytes = state.pace(&self.peer);
        if self.in_flight_bytes >= batch_bytes * WINDOW_BATCHES {
            return None;
        }
        let (mut records, mut slots, mut bytes) = (Vec::new(), Vec::new(), 0);
        let mut awaited = false;
        while records.len() < BATCH_RECORDS && bytes < batch_bytes {
            let Some((slot, record)) = state.pop(self.consumer) else { break };
            let record = Record::from(record);
            bytes += record.encoded_len();
            records.push(record);
            slots.push(slot);
            awaited |= state.is_awaited(slot);
        }
        if records.is_empty() {
            return None;
        }
        if self.in_flight.is_empty() {
            self.last_progress = now.monotonic;
        }
        let number = self.next_number;
        self.next_number += 1;
        self.in_flight_bytes += bytes;
        // A slow link has no room to spare.
        let traces =
            if batch_bytes == BATCH_BYTES { state.traces_of(now, &slots) } else { Vec::new() };
        let sent = slots.len();
        let (sent_at, change) = (now.monotonic, state.changes());
        let completes = self.completes(state, now, sent);
        self.in_flight.push_back(SentBatch { number, sent_at, bytes, change, completes, slots });
        self.count(state, |peer| peer.counts.sent += sent as u64);
        // Long before the batches themselves would have to wait.
        let has_room = self.in_flight_bytes < batch_bytes * WINDOW_BATCHES / 2
            && self.in_flight.len() < WAITING_BATCHES;
        let ack_may_wait = has_room && !awaited;
        Some(v1::Batch { number, records, ack_may_wait, traces })
    }

    /// The moment of which everything has been sent, once `taken` more records were taken; `None` if
    /// none such is known. Changes are taken in the order in which they came; while the whole table is
    /// swept, nothing is known before its end.
    fn completes(&mut self, state: &State, now: Now, taken: usize) -> Option<Duration> {
        let pending = state.pending(self.consumer);
        if pending == 0 {
            self.milestone = None;
            return Some(now.monotonic);
        }
        if state.is_sweeping(self.consumer) {
            self.milestone = None;
            return None;
        }
        match self.milestone {
            Some((moment, left)) if left > taken => {
                self.milestone = Some((moment, left - taken));
                None
            }
            passed => {
                self.milestone = Some((now.monotonic, pending));
                passed.map(|(moment, _)| moment)
            }
        }
    }

    pub(super) fn apply(&mut self, state: &mut State, now: Now, batch: v1::Batch) -> Step {
        let expected = self.applied + 1;
        if batch.number != expected {
            let detail = format!("batch {} came where {expected} was due", batch.number);
            return Err((Reason::Protocol, detail));
        }
        if batch.records.len() > MAX_BATCH {
            let detail = format!("a batch of {} records, {MAX_BATCH} at most", batch.records.len());
            return Err((Reason::Protocol, detail));
        }
        let received = batch.records.len() as u64;
        let mut traces = v1::ItemTrace::read(&batch.traces, batch.records.len()).peekable();
        let records = batch.records.into_iter().map(|record| LocationRecord::try_from(record).ok());
        let accepted =
            state.accept_all(now, records.collect(), self.consumer, |state, index, slot| {
                while traces.next_if(|(traced, _)| *traced < index).is_some() {}
                if let Some((_, trace)) = traces.next_if(|(traced, _)| *traced == index) {
                    state.note_trace_in(now, slot, &trace);
                }
            });
        self.applied = batch.number;
        self.applied_at = now.monotonic;
        let wait = if batch.ack_may_wait { ACK_DELAY } else { Duration::ZERO };
        let due = now.monotonic + wait;
        self.ack_due = Some(self.ack_due.map_or(due, |earlier| earlier.min(due)));
        self.skipped |= accepted.applied + accepted.known < received;
        self.count(state, |peer| {
            peer.counts.received += received;
            peer.counts.applied += accepted.applied;
            peer.counts.known += accepted.known;
            peer.counts.bad += accepted.bad;
        });
        Ok(())
    }

    pub(super) fn acknowledge(&mut self, state: &mut State, now: Now, ack: v1::Ack) -> Step {
        if ack.number >= self.next_number {
            let detail = format!("batch {} was acknowledged and never sent", ack.number);
            return Err((Reason::Protocol, detail));
        }
        let (mut took, mut completed) = (None, None);
        while let Some(batch) = self.in_flight.pop_front_if(|batch| batch.number <= ack.number) {
            self.in_flight_bytes -= batch.bytes;
            self.last_progress = now.monotonic;
            if !ack.skipped {
                state.peer_applied(self.consumer, batch.change, &batch.slots);
            }
            let held_back = Duration::from_micros(ack.delay_micros.into());
            took = Some(now.monotonic.saturating_sub(batch.sent_at).saturating_sub(held_back));
            completed = batch.completes.or(completed);
        }
        if let Some(took) = took {
            state.note_hop(took);
        }
        self.keep_pace(state, took);
        self.count(state, |peer| peer.caught_up = completed.unwrap_or(peer.caught_up));
        Ok(())
    }

    /// Suits the size of batches to how long acknowledgements take.
    fn keep_pace(&self, state: &mut State, took: Option<Duration>) {
        let (Some(took), Some(peer)) = (took, state.peer_mut(&self.peer)) else { return };
        if took > PROMPT_ACK {
            peer.batch_bytes = (peer.batch_bytes / 2).max(SLOW_BATCH_BYTES);
        } else if took < PROMPT_ACK / 4 {
            peer.batch_bytes = (peer.batch_bytes * 2).min(BATCH_BYTES);
        }
    }

    /// Notes that the link ends with batches that took too long: the next one begins smaller.
    pub(super) fn slow_down(&self, state: &mut State) {
        if let Some(peer) = state.peer_mut(&self.peer)
            && !self.in_flight.is_empty()
        {
            peer.batch_bytes = (peer.batch_bytes / 8).max(SLOW_BATCH_BYTES);
        }
    }

    /// Whether the peer should hear at once that it has been sent everything.
    pub(super) fn sync_due(&self, state: &State) -> bool {
        !self.synced_sent && self.owes_nothing(state)
    }

    pub(super) fn owes_nothing(&self, state: &State) -> bool {
        self.in_flight.is_empty() && state.pending(self.consumer) == 0 && self.repair.is_idle()
    }

    fn in_flight_records(&self) -> usize {
        self.in_flight.iter().map(|batch| batch.slots.len()).sum()
    }

    pub(super) fn heartbeat(&mut self, state: &State, now: Now) -> v1::Heartbeat {
        let holdings = state.holdings();
        let pending = state.pending(self.consumer) + self.in_flight_records();
        self.synced_sent |= pending == 0;
        v1::Heartbeat {
            digest: holdings.digest,
            clients: holdings.clients,
            pending: pending as u64,
            clock: Some(now.wall.into()),
            sent: wire_duration(now.monotonic),
            echo: self
                .echo
                .and_then(|(sent, at)| wire_duration(sent + now.monotonic.saturating_sub(at))),
        }
    }

    pub(super) fn heard_heartbeat(
        &mut self,
        state: &mut State,
        now: Now,
        heartbeat: &v1::Heartbeat,
    ) {
        let read = |wire: &prost_types::Duration| Duration::try_from(*wire).ok();
        self.echo = heartbeat.sent.as_ref().and_then(read).map(|sent| (sent, now.monotonic));
        let round_trip =
            heartbeat.echo.as_ref().and_then(read).and_then(|echo| now.monotonic.checked_sub(echo));
        let clock = heartbeat.clock.as_ref().and_then(|clock| clock.try_into().ok());
        let skew = clock.zip(round_trip).map(|(clock, round_trip): (Timestamp, _)| {
            clock.since(now.wall).nanos() + round_trip.as_nanos() as i64 / 2
        });
        let owes_nothing = self.owes_nothing(state);
        if let Some(peer) = state.peer_mut(&self.peer) {
            if owes_nothing {
                peer.caught_up = now.monotonic;
            }
            peer.heard.digest = heartbeat.digest;
            peer.heard.clients = heartbeat.clients;
            peer.heard.round_trip = round_trip.or(peer.heard.round_trip);
            peer.heard.clock_skew_nanos = skew.or(peer.heard.clock_skew_nanos);
        }
        self.look(state, now, heartbeat);
        let agrees = heartbeat.digest == state.holdings().digest;
        if agrees || (heartbeat.pending == 0 && !self.repairing) {
            state.peer_synced(&self.peer);
        }
    }

    pub(super) fn count(&self, state: &mut State, change: impl FnOnce(&mut Peer)) {
        let in_flight = self.in_flight_records();
        if let Some(peer) = state.peer_mut(&self.peer) {
            change(peer);
            if let Some(active) = &mut peer.active {
                active.in_flight = in_flight;
            }
        }
    }
}
