//! What a link keeps once both have said Hello: batches in flight, acknowledgements, heartbeats.

use std::collections::VecDeque;
use std::time::Duration;

use herd_proto::v1::{self, Reason};
use herd_proto::{LocationRecord, MAX_BATCH, NodeName, Record, Timestamp};
use prost::Message as _;

use super::{Now, Step};
use crate::herd::peers::Peer;
use crate::herd::state::{ConsumerId, State};
use crate::herd::table::{Merged, Slot};

/// Most records in a batch. With ordinary records about 40 KiB: past that the cost of a frame is
/// spread thin already, and heartbeats should not wait behind larger ones.
const BATCH_RECORDS: usize = 512;

/// Most bytes of records in a batch.
const BATCH_BYTES: usize = 64 << 10;

/// Most bytes of records sent and not acknowledged. Twice what a 1 Gbit/s path of 1 ms holds;
/// more would only let records grow stale in buffers.
const WINDOW_BYTES: usize = 256 << 10;

/// What there is to keep once both have said Hello.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) peer: NodeName,
    consumer: ConsumerId,
    next_number: u64,
    in_flight: VecDeque<SentBatch>,
    in_flight_bytes: usize,
    last_progress: Duration,
    /// Number of the last batch applied here, and whether the peer must be told.
    applied: u64,
    ack_due: bool,
    /// Whether the first heartbeat that reports an empty outbox was sent.
    synced_sent: bool,
    /// The peer's `sent` of its last Heartbeat, and when it came.
    echo: Option<(Duration, Duration)>,
}

#[derive(Debug)]
struct SentBatch {
    number: u64,
    bytes: usize,
    slots: Vec<Slot>,
}

impl Session {
    pub(super) fn new(peer: NodeName, consumer: ConsumerId, now: Now) -> Self {
        Self {
            peer,
            consumer,
            next_number: 1,
            in_flight: VecDeque::new(),
            in_flight_bytes: 0,
            last_progress: now.monotonic,
            applied: 0,
            ack_due: false,
            synced_sent: false,
            echo: None,
        }
    }

    /// Since when batches wait for an acknowledgement without any progress, if any wait.
    pub(super) fn waits_since(&self) -> Option<Duration> {
        (!self.in_flight.is_empty()).then_some(self.last_progress)
    }

    /// The acknowledgement that is due.
    pub(super) fn take_ack(&mut self) -> Option<v1::Ack> {
        std::mem::take(&mut self.ack_due).then_some(v1::Ack { number: self.applied })
    }

    /// Marks again what was sent and not acknowledged.
    pub(super) fn give_back(&self, state: &mut State) {
        let slots = self.in_flight.iter().flat_map(|batch| batch.slots.iter().copied());
        state.mark_again(self.consumer, slots);
    }

    pub(super) fn batch(&mut self, state: &mut State, now: Now) -> Option<v1::Batch> {
        if self.in_flight_bytes >= WINDOW_BYTES {
            return None;
        }
        let (mut records, mut slots, mut bytes) = (Vec::new(), Vec::new(), 0);
        while records.len() < BATCH_RECORDS && bytes < BATCH_BYTES {
            let Some((slot, record)) = state.pop(self.consumer) else { break };
            let record = Record::from(record);
            bytes += record.encoded_len();
            records.push(record);
            slots.push(slot);
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
        let sent = slots.len();
        self.in_flight.push_back(SentBatch { number, bytes, slots });
        self.count(state, |peer| peer.counts.sent += sent as u64);
        Some(v1::Batch { number, records })
    }

    pub(super) fn apply(&mut self, state: &mut State, batch: v1::Batch) -> Step {
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
        let (mut applied, mut known, mut bad) = (0, 0, 0);
        for record in batch.records {
            let Ok(record) = LocationRecord::try_from(record) else {
                bad += 1;
                continue;
            };
            match state.merge(record, Some(self.consumer)) {
                Merged::Newer(_) => applied += 1,
                Merged::Known(_) | Merged::Older(_) => known += 1,
            }
        }
        self.applied = batch.number;
        self.ack_due = true;
        self.count(state, |peer| {
            peer.counts.received += received;
            peer.counts.applied += applied;
            peer.counts.known += known;
            peer.counts.bad += bad;
        });
        Ok(())
    }

    pub(super) fn acknowledge(&mut self, state: &mut State, now: Now, ack: v1::Ack) -> Step {
        if ack.number >= self.next_number {
            let detail = format!("batch {} was acknowledged and never sent", ack.number);
            return Err((Reason::Protocol, detail));
        }
        while let Some(batch) = self.in_flight.pop_front_if(|batch| batch.number <= ack.number) {
            self.in_flight_bytes -= batch.bytes;
            self.last_progress = now.monotonic;
        }
        self.count(state, |_| {});
        Ok(())
    }

    /// Whether the peer should hear at once that it has been sent everything.
    pub(super) fn sync_due(&self, state: &State) -> bool {
        !self.synced_sent && self.owes_nothing(state)
    }

    pub(super) fn owes_nothing(&self, state: &State) -> bool {
        self.in_flight.is_empty() && state.pending(self.consumer) == 0
    }

    fn in_flight_records(&self) -> usize {
        self.in_flight.iter().map(|batch| batch.slots.len()).sum()
    }

    pub(super) fn heartbeat(&mut self, state: &State, now: Now) -> v1::Heartbeat {
        let (clock, digest, clients) = state.signature(now);
        let pending = state.pending(self.consumer) + self.in_flight_records();
        self.synced_sent |= pending == 0;
        v1::Heartbeat {
            digest,
            clients,
            pending: pending as u64,
            clock: Some(clock.into()),
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
        if let Some(peer) = state.peer_mut(&self.peer) {
            peer.heard.digest = heartbeat.digest;
            peer.heard.clients = heartbeat.clients;
            peer.heard.round_trip = round_trip.or(peer.heard.round_trip);
            peer.heard.clock_skew_nanos = skew.or(peer.heard.clock_skew_nanos);
        }
        if heartbeat.pending == 0 {
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

fn wire_duration(duration: Duration) -> Option<prost_types::Duration> {
    duration.try_into().ok()
}
