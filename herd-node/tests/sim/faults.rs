//! What can go wrong in a simulated herd.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use herd_node::herd::order;
use herd_proto::{ClientId, LocationRecord, Report};
use rand::RngExt as _;

use crate::network::{Event, Herd};

/// Furthest that a clock of day is off. Two nodes' clocks then differ by a day at the very most.
const CLOCK_OFF: i64 = 12 * 3600 * 1000;

/// Old records that may be delivered again.
const HISTORY: usize = 64;

/// One kind of thing that went wrong, or that only happens when something does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    FrameLost,
    StreamBroken,
    HalfOpen,
    OneWaySilence,
    FrameStalled,
    FrameSlowed,
    PipeFull,
    Flap,
    Crash,
    Restart,
    DuplicateStream,
    ClockStep,
    Redelivery,
    Forgetting,
    ReportRefused,
}

/// How often each fault really happened.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Faults(BTreeMap<Fault, u64>);

impl Faults {
    pub(crate) fn note(&mut self, fault: Fault, count: u64) {
        *self.0.entry(fault).or_default() += count;
    }

    pub(crate) fn count(&self, fault: Fault) -> u64 {
        self.0.get(&fault).copied().unwrap_or_default()
    }

    pub(crate) fn add(&mut self, other: &Self) {
        for (fault, count) in &other.0 {
            self.note(*fault, *count);
        }
    }

    /// A test of faults that did not happen proves nothing.
    pub(crate) fn check_happened(&self, faults: &[Fault]) {
        for fault in faults {
            assert!(self.count(*fault) > 0, "{fault:?} never happened: {self:?}");
        }
    }
}

/// The records that were acknowledged last, and were newest once.
#[derive(Default)]
pub(crate) struct History(VecDeque<LocationRecord>);

impl History {
    pub(crate) fn push(&mut self, record: LocationRecord) {
        if self.0.len() == HISTORY {
            self.0.pop_front();
        }
        self.0.push_back(record);
    }
}

impl Herd {
    /// Kills a node with all it knows.
    pub(crate) fn crash(&mut self, node: usize) {
        self.kill(node);
        self.faults.note(Fault::Crash, 1);
    }

    /// Restarts a node that has its records from its disk, and nothing else.
    pub(crate) fn restart_with_disk(&mut self, node: usize) {
        let records = self.records(node);
        self.kill(node);
        self.start(node);
        self.faults.note(Fault::Restart, 1);
        let state = self.nodes[node].state.as_mut().expect("it was just started");
        for record in records {
            state.restore(record);
        }
    }

    fn kill(&mut self, node: usize) {
        assert!(self.nodes[node].state.take().is_some(), "a crash needs a running node");
        for stream in self.nodes[node].live.clone() {
            if let Some(end) = self.end_of(stream, node) {
                self.close(stream, end, "crash");
                self.disconnect(stream, end, true);
            }
        }
    }

    /// Damages a node's memory: it holds a record that nobody was told of.
    pub(crate) fn plant(&mut self, node: usize, client: &str) {
        let now = self.now_at(node);
        let report = Report::from_operands(client, "+1-1", "1000000").unwrap();
        let record = report.into_record(self.nodes[node].name.clone(), now.wall, 0);
        let state = self.nodes[node].state.as_mut().expect("the node runs");
        let peers: Vec<_> = state.peers().iter().map(|(_, peer)| peer.consumer).collect();
        state.merge(record.clone(), None);
        for consumer in peers {
            while state.pop(consumer).is_some() {}
        }
        self.greatest.insert(record.client.clone(), record);
    }

    /// Cuts or heals the network between two friends. Of a cut, each end hears at once or only
    /// by silence.
    pub(crate) fn set_cut(&mut self, edge: usize, cut: bool) {
        self.edges[edge].cut = cut;
        if cut {
            for stream in self.streams_of(edge) {
                for end in 0..2 {
                    let hears = self.rng.random();
                    self.disconnect(stream, end, hears);
                }
            }
        }
    }

    /// Cuts and heals a few times within moments.
    pub(crate) fn flap(&mut self, edge: usize) {
        for _ in 0..3 {
            for cut in [true, false] {
                self.set_cut(edge, cut);
                let pause = self.rng.random_range(1..120);
                self.run(Duration::from_millis(pause));
            }
            self.faults.note(Fault::Flap, 1);
        }
    }

    /// Silences one direction until the edge is healed: nothing that is sent arrives, and the
    /// sender hears nothing of it. No new stream comes up meanwhile.
    pub(crate) fn silence(&mut self, edge: usize) {
        self.edges[edge].cut = true;
        let sender = self.rng.random_range(0..2);
        for stream in self.streams_of(edge) {
            self.disconnect(stream, sender, false);
            self.faults.note(Fault::OneWaySilence, 1);
        }
    }

    /// Stalls an edge: what is sent waits, and is delivered once the edge moves again.
    pub(crate) fn set_stalled(&mut self, edge: usize, stalled: bool) {
        self.edges[edge].stalled = stalled;
        if stalled {
            return;
        }
        for stream in self.streams_of(edge) {
            for end in 0..2 {
                for _ in 0..std::mem::take(&mut self.streams[stream].ends[end].stalled) {
                    let wait = Duration::from_micros(self.rng.random_range(50..30_000));
                    self.at(wait, Event::Arrive { stream, end });
                }
            }
        }
    }

    /// Limits what an edge carries in each direction; `None` lifts the limit.
    pub(crate) fn set_speed(&mut self, edge: usize, bytes_per_second: Option<u32>) {
        self.edges[edge].bytes_per_second = bytes_per_second;
    }

    /// Sets a node's clock of day to another time, up to a day from what it was.
    pub(crate) fn step_clock(&mut self, node: usize) {
        self.nodes[node].ahead_millis = self.rng.random_range(-CLOCK_OFF..=CLOCK_OFF);
        self.faults.note(Fault::ClockStep, 1);
    }

    /// Delivers to a node once more what some node once acknowledged, which it may long have
    /// something newer for.
    pub(crate) fn redeliver(&mut self, node: usize) {
        let Some(state) = &mut self.nodes[node].state else { return };
        if self.history.0.is_empty() {
            return;
        }
        let old = self.history.0[self.rng.random_range(0..self.history.0.len())].clone();
        state.merge(old, None);
        self.faults.note(Fault::Redelivery, 1);
        self.check_never_back(node);
        self.work(node, None);
    }

    /// A client is forgotten at a node.
    pub(crate) fn forget(&mut self, node: usize, client: u32) {
        let now = self.now_at(node);
        let Some(state) = &mut self.nodes[node].state else { return };
        let client = ClientId::parse(&format!("c{client}")).unwrap();
        state.forget(now, client.clone()).unwrap();
        let slot = state.table().find(&client).expect("a mark stands in the client's place");
        let mark = state.table().record(slot).clone();
        assert!(mark.forgotten);
        self.acknowledged(mark);
        self.faults.note(Fault::Forgetting, 1);
        self.check_never_back(node);
        self.work(node, None);
    }

    /// All is well again: every edge carries, every node runs. Clocks stay as they are.
    pub(crate) fn heal(&mut self) {
        for edge in 0..self.edges() {
            self.set_cut(edge, false);
            self.set_stalled(edge, false);
            self.set_speed(edge, None);
        }
        for node in 0..self.size() {
            if !self.is_up(node) {
                self.start(node);
            }
        }
    }

    /// Notes what a client was answered.
    pub(crate) fn acknowledged(&mut self, record: LocationRecord) {
        self.history.push(record.clone());
        match self.greatest.get(&record.client) {
            Some(greatest) if order::compare(greatest, &record).is_ge() => {}
            _ => drop(self.greatest.insert(record.client.clone(), record)),
        }
    }
}
