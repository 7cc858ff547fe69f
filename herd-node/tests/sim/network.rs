//! A simulated herd: real states and links, virtual clocks, streams that delay, break, and are
//! dialled again.

use std::cmp::Reverse;
use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::hash::Hasher as _;
use std::time::Duration;

use herd_node::herd::Now;
use herd_node::herd::link::Link;
use herd_node::herd::state::{Identity, State};
use herd_node::herd::table::Merged;
use herd_proto::v1::{Frame, frame::Kind};
use herd_proto::{ClientId, LocationRecord, NodeName, Report, Timestamp};
use prost::Message as _;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::checks::{FRAME_BYTES, IN_FLIGHT_BYTES};
use crate::faults::{Fault, Faults, History};
use crate::graph::Graph;

/// Frames that fit into one direction of a stream before its sender must wait.
const PIPE: usize = 2;

/// How often the drivers look at their timers.
const TICK: Duration = Duration::from_millis(250);

/// Slots that a node looks at for expired records at each tick.
const EXPIRY_BUDGET: usize = 16;

/// When the simulation begins, in nanoseconds since 1970.
const START: i64 = 1_000_000 * 1_000_000_000;

pub(crate) struct Herd {
    pub(crate) rng: StdRng,
    pub(crate) faults: Faults,
    pub(crate) frames: u64,
    pub(crate) records_sent: u64,
    /// Bytes of Compare, Leaves and Want.
    pub(crate) repair_bytes: u64,
    /// The greatest acknowledged record of each client.
    pub(crate) greatest: BTreeMap<ClientId, LocationRecord>,
    pub(crate) history: History,
    /// How long records are kept; `None` for ever.
    pub(crate) retention: Option<Duration>,
    pub(crate) nodes: Vec<Node>,
    pub(crate) edges: Vec<Edge>,
    pub(crate) streams: Vec<Stream>,
    now: Duration,
    events: BinaryHeap<Reverse<(Duration, u64, Event)>>,
    sequence: u64,
    /// A hash over every frame that was sent, and when.
    trace: DefaultHasher,
}

pub(crate) struct Node {
    pub(crate) name: NodeName,
    pub(crate) state: Option<State>,
    /// How far this node's clock of day is ahead.
    pub(crate) ahead_millis: i64,
    /// What each client's record was when last looked at: it must never go back.
    pub(crate) seen: BTreeMap<ClientId, LocationRecord>,
    /// The digest when last looked at.
    pub(crate) digest: u64,
    /// The streams of which this node's end still runs.
    pub(crate) live: Vec<usize>,
}

pub(crate) struct Edge {
    ends: (usize, usize),
    pub(crate) cut: bool,
    pub(crate) stalled: bool,
    pub(crate) bytes_per_second: Option<u32>,
}

pub(crate) struct Stream {
    edge: usize,
    pub(crate) ends: [End; 2],
}

pub(crate) struct End {
    node: usize,
    link: Option<Link>,
    /// Frames under way to this end.
    arriving: VecDeque<Vec<u8>>,
    /// Frames that are due here and held up by a stalled edge.
    pub(crate) stalled: usize,
    /// Whether this end will ever hear from the other.
    connected: bool,
    /// When the last byte under way to this end leaves a slow edge.
    free_at: Duration,
    /// Number and size of the batches that this end sent and the other did not acknowledge.
    unacknowledged: VecDeque<(u64, usize)>,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Event {
    Arrive {
        stream: usize,
        end: usize,
    },
    Reset {
        stream: usize,
        end: usize,
    },
    Dial {
        edge: usize,
        from: usize,
    },
    /// A link has something to do before the next tick.
    Due {
        stream: usize,
        node: usize,
    },
    Tick,
}

impl Herd {
    pub(crate) fn new(seed: u64, (count, edges): Graph<'_>) -> Self {
        let edge = |&ends| Edge { ends, cut: false, stalled: false, bytes_per_second: None };
        let mut herd = Self {
            rng: StdRng::seed_from_u64(seed),
            faults: Faults::default(),
            frames: 0,
            records_sent: 0,
            repair_bytes: 0,
            greatest: BTreeMap::new(),
            history: History::default(),
            retention: None,
            nodes: Vec::new(),
            edges: edges.iter().map(edge).collect(),
            streams: Vec::new(),
            now: Duration::ZERO,
            events: BinaryHeap::new(),
            sequence: 0,
            trace: DefaultHasher::new(),
        };
        for index in 0..count {
            let name = NodeName::parse(&format!("n{index:03}")).unwrap();
            let ahead_millis = herd.rng.random_range(0..7_200_000);
            herd.nodes.push(Node {
                name,
                state: None,
                ahead_millis,
                seen: BTreeMap::new(),
                digest: 0,
                live: Vec::new(),
            });
        }
        herd.at(TICK, Event::Tick);
        herd
    }

    pub(crate) fn started(seed: u64, graph: Graph<'_>) -> Self {
        let mut herd = Self::new(seed, graph);
        for node in 0..graph.0 {
            herd.start(node);
        }
        herd
    }

    pub(crate) fn size(&self) -> usize {
        self.nodes.len()
    }

    pub(crate) fn is_up(&self, node: usize) -> bool {
        self.nodes[node].state.is_some()
    }

    /// Starts a node that knows nothing.
    pub(crate) fn start(&mut self, node: usize) {
        let identity = Identity {
            name: self.nodes[node].name.clone(),
            cluster: "sim".into(),
            instance: self.rng.random_range(1..=u64::MAX),
            index_key: (self.rng.random(), self.rng.random()),
            max_future: Duration::from_hours(24),
        };
        let mut state = State::new(identity);
        state.set_retention(self.retention);
        for (edge, other) in self.friends_of(node) {
            let dialler = state.new_token();
            let now = self.now_at(node);
            state.add_friend(now, self.nodes[other].name.clone(), String::new(), dialler);
            self.at(Duration::ZERO, Event::Dial { edge, from: node });
        }
        self.nodes[node].state = Some(state);
        self.nodes[node].seen.clear();
        self.nodes[node].digest = 0;
    }

    /// Has a node forget who its friend is, as one does that DNS names no longer; the friend still knows it.
    pub(crate) fn unfriend(&mut self, node: usize, friend: usize) {
        let name = self.nodes[friend].name.clone();
        self.nodes[node].state.as_mut().expect("it runs").remove_friend(&name);
    }

    /// All records of a node.
    pub(crate) fn records(&self, node: usize) -> Vec<LocationRecord> {
        let table = self.state(node).table();
        let held = table.slots().filter(|slot| table.holds(*slot));
        held.map(|slot| table.record(slot).clone()).collect()
    }

    pub(crate) fn edges(&self) -> usize {
        self.edges.len()
    }

    /// A client reports to a node. The time stamp is drawn from few values, so that ties happen.
    pub(crate) fn report(&mut self, node: usize, client: u32) {
        let time = 1_000_000 + self.now.as_secs() + self.rng.random_range(0..3);
        let nanos = self.rng.random_range(0..3);
        let position = format!("+{}.5-118.25", self.rng.random_range(10..90));
        let text = format!("{time}.{nanos:09}");
        self.report_exactly(node, &format!("c{client}"), &position, &text);
    }

    pub(crate) fn report_exactly(&mut self, node: usize, client: &str, position: &str, time: &str) {
        let now = self.now_at(node);
        let Some(state) = &mut self.nodes[node].state else { return };
        let report = Report::from_operands(client, position, time).unwrap();
        match state.report(now, report) {
            Ok((record, _)) => self.acknowledged(record),
            // The node's clock is too far behind.
            Err(_) => self.faults.note(Fault::ReportRefused, 1),
        }
        self.check_never_back(node);
        self.work(node, None);
    }

    /// Lets the herd run for a while.
    pub(crate) fn run(&mut self, time: Duration) {
        let until = self.now + time;
        while let Some(Reverse((at, ..))) = self.events.peek()
            && *at <= until
        {
            let Some(Reverse((at, _, event))) = self.events.pop() else { break };
            self.now = at;
            self.handle(&event);
        }
        self.now = until;
    }

    /// Lets the herd run until all agree, or for so long. Returns how long it took.
    pub(crate) fn settle(&mut self, limit: Duration) -> Duration {
        let mut took = Duration::ZERO;
        while took < limit && !self.agrees() {
            self.run(TICK);
            took += TICK;
        }
        took
    }

    /// A hash over every frame that was sent so far, and when.
    pub(crate) fn trace(&self) -> u64 {
        self.trace.finish()
    }

    /// All digests of running nodes.
    pub(crate) fn digests(&self) -> Vec<u64> {
        self.states().map(|state| state.table().digest()).collect()
    }

    pub(crate) fn states(&self) -> impl Iterator<Item = &State> {
        self.nodes.iter().filter_map(|node| node.state.as_ref())
    }

    pub(crate) fn state(&self, node: usize) -> &State {
        self.nodes[node].state.as_ref().expect("the node runs")
    }

    fn handle(&mut self, event: &Event) {
        match *event {
            Event::Tick => {
                for node in 0..self.nodes.len() {
                    self.tick(node);
                }
                self.at(TICK, Event::Tick);
            }
            Event::Due { stream, node } => self.tick_link(stream, node),
            Event::Dial { edge, from } => self.dial(edge, from),
            Event::Arrive { stream, end } => self.arrive(stream, end),
            Event::Reset { stream, end } => {
                let node = self.streams[stream].ends[end].node;
                self.close(stream, end, "reset");
                self.work(node, None);
            }
        }
    }

    fn dial(&mut self, edge: usize, from: usize) {
        let (a, b) = self.edges[edge].ends;
        let to = if from == a { b } else { a };
        let Some(state) = &self.nodes[from].state else { return };
        let name = self.nodes[to].name.clone();
        let peer = state.peers().get(&name);
        let stands_by = peer.is_some_and(|peer| peer.active.is_some() || peer.address.is_none());
        let retry = Duration::from_millis(self.rng.random_range(10..1000));
        self.at(retry, Event::Dial { edge, from });
        let both_run = |stream: usize| {
            self.streams[stream].edge == edge
                && self.streams[stream].ends.iter().all(|end| end.link.is_some())
        };
        let dialling = self.nodes[from].live.iter().any(|&stream| {
            self.streams[stream].edge == edge && self.streams[stream].ends[0].node == from
        });
        if stands_by || dialling || self.edges[edge].cut || self.nodes[to].state.is_none() {
            return;
        }
        if self.nodes[from].live.iter().any(|&stream| both_run(stream)) {
            self.faults.note(Fault::DuplicateStream, 1);
        }
        let end = |herd: &mut Self, node: usize, friend: Option<NodeName>| {
            let now = herd.now_at(node);
            let state = herd.nodes[node].state.as_mut().expect("both ends run");
            let token = state.new_token();
            let link = match friend {
                Some(friend) => Link::dialled(token, friend, now),
                None => Link::accepted(token, now),
            };
            End {
                node,
                link: Some(link),
                arriving: VecDeque::new(),
                stalled: 0,
                connected: true,
                free_at: Duration::ZERO,
                unacknowledged: VecDeque::new(),
            }
        };
        let ends = [end(self, from, Some(name)), end(self, to, None)];
        let stream = self.streams.len();
        self.streams.push(Stream { edge, ends });
        self.nodes[from].live.push(stream);
        self.nodes[to].live.push(stream);
        self.work(from, Some(stream));
        self.work(to, Some(stream));
    }

    fn arrive(&mut self, stream: usize, end: usize) {
        let stalled = self.edges[self.streams[stream].edge].stalled;
        let side = &mut self.streams[stream].ends[end];
        if stalled {
            side.stalled += 1;
            self.faults.note(Fault::FrameStalled, 1);
            return;
        }
        let Some(bytes) = side.arriving.pop_front() else { return };
        let node = side.node;
        let now = self.now_at(node);
        let state = self.nodes[node].state.as_mut();
        let side = &mut self.streams[stream].ends[end];
        if let (Some(link), Some(state)) = (&mut side.link, state) {
            let frame = Frame::decode(&*bytes).expect("frames are sound");
            if let Some(Kind::Ack(ack)) = &frame.kind {
                while side
                    .unacknowledged
                    .pop_front_if(|(number, _)| *number <= ack.number)
                    .is_some()
                {}
            }
            link.receive(state, now, frame);
        } else {
            self.faults.note(Fault::FrameLost, 1);
        }
        let sender = self.streams[stream].ends[1 - end].node;
        self.work(node, Some(stream));
        self.work(sender, Some(stream));
        self.check_never_back(node);
    }

    /// Asks for frames the link to which something just happened and those that the state wakes,
    /// as their drivers do, and no others: a wake-up that the state forgets is a frame that is late.
    pub(crate) fn work(&mut self, node: usize, stream: Option<usize>) {
        let mut due: Vec<_> = stream.into_iter().collect();
        loop {
            let Some(state) = &mut self.nodes[node].state else { return };
            let woken = state.take_woken();
            if !woken.is_empty() {
                let is_woken = |&stream: &usize| {
                    let end = self.end_of(stream, node);
                    let link = end.and_then(|end| self.streams[stream].ends[end].link.as_ref());
                    link.is_some_and(|link| woken.contains(&link.token()))
                };
                due.extend(self.nodes[node].live.iter().copied().filter(is_woken));
            }
            let Some(stream) = due.pop() else { return };
            self.transmit(stream, node);
        }
    }

    fn transmit(&mut self, stream: usize, node: usize) {
        let now = self.now_at(node);
        let Some(end) = self.end_of(stream, node) else { return };
        loop {
            if self.streams[stream].ends[1 - end].arriving.len() >= PIPE {
                self.faults.note(Fault::PipeFull, 1);
                break;
            }
            let Some(state) = &mut self.nodes[node].state else { break };
            let Some(link) = &mut self.streams[stream].ends[end].link else { break };
            let Some(frame) = link.poll_transmit(state, now) else { break };
            self.send(stream, end, &frame);
        }
        if let Some(link) = &self.streams[stream].ends[end].link {
            let wait = link.next_tick(true).saturating_sub(now.monotonic);
            // What is due already waits for room in the pipe.
            if !wait.is_zero() && wait < TICK {
                self.at(wait, Event::Due { stream, node });
            }
        }
        if self.streams[stream].ends[end].link.as_ref().is_some_and(Link::has_ended) {
            self.close(stream, end, "");
            let wait = Duration::from_millis(self.rng.random_range(1..20));
            self.at(wait, Event::Reset { stream, end: 1 - end });
        }
    }

    fn tick(&mut self, node: usize) {
        let now = self.now_at(node);
        if let Some(state) = &mut self.nodes[node].state {
            state.expire(now, EXPIRY_BUDGET);
        }
        for stream in self.nodes[node].live.clone() {
            self.tick_link(stream, node);
        }
    }

    fn tick_link(&mut self, stream: usize, node: usize) {
        let now = self.now_at(node);
        if let Some(end) = self.end_of(stream, node)
            && let Some(state) = &mut self.nodes[node].state
            && let Some(link) = &mut self.streams[stream].ends[end].link
            && link.next_tick(true) <= now.monotonic
        {
            link.tick(state, now);
            self.work(node, Some(stream));
        }
    }

    fn send(&mut self, stream: usize, from: usize, frame: &Frame) {
        let bytes = frame.encode_to_vec();
        assert!(bytes.len() <= FRAME_BYTES, "a frame of {} bytes", bytes.len());
        self.frames += 1;
        self.trace.write_u128(self.now.as_nanos());
        self.trace.write_usize(stream);
        self.trace.write(&bytes);
        match &frame.kind {
            Some(Kind::Batch(batch)) => {
                self.records_sent += batch.records.len() as u64;
                let unacknowledged = &mut self.streams[stream].ends[from].unacknowledged;
                unacknowledged.push_back((batch.number, bytes.len()));
                let in_flight: usize = unacknowledged.iter().map(|(_, bytes)| bytes).sum();
                assert!(in_flight <= IN_FLIGHT_BYTES, "{in_flight} bytes in flight");
            }
            Some(Kind::Compare(_) | Kind::Leaves(_) | Kind::Want(_)) => {
                self.repair_bytes += bytes.len() as u64;
            }
            _ => {}
        }
        let end = 1 - from;
        let mut wait = Duration::from_micros(self.rng.random_range(50..30_000));
        let speed = self.edges[self.streams[stream].edge].bytes_per_second;
        let to = &mut self.streams[stream].ends[end];
        if !to.connected {
            self.faults.note(Fault::FrameLost, 1);
            return;
        }
        if let Some(speed) = speed {
            // Bytes queue behind those that were sent before.
            to.free_at = to.free_at.max(self.now) + Duration::from_secs(bytes.len() as u64) / speed;
            wait += to.free_at.saturating_sub(self.now);
            self.faults.note(Fault::FrameSlowed, 1);
        }
        // A stream keeps its order: whatever arrives first is what was sent first.
        to.arriving.push_back(bytes);
        self.at(wait, Event::Arrive { stream, end });
    }

    /// Breaks one direction's connection; the end hears of it or has to notice by silence.
    pub(crate) fn disconnect(&mut self, stream: usize, end: usize, hears: bool) {
        let other = &mut self.streams[stream].ends[1 - end];
        if std::mem::replace(&mut other.connected, false) {
            let lost = other.arriving.len() as u64;
            other.stalled = 0;
            other.arriving.clear();
            self.faults.note(Fault::FrameLost, lost);
            self.faults.note(Fault::StreamBroken, 1);
        }
        if hears {
            let wait = Duration::from_millis(self.rng.random_range(1..50));
            self.at(wait, Event::Reset { stream, end: 1 - end });
        } else {
            self.faults.note(Fault::HalfOpen, 1);
        }
    }

    pub(crate) fn close(&mut self, stream: usize, end: usize, why: &str) {
        let node = self.streams[stream].ends[end].node;
        let now = self.now_at(node);
        if let Some(link) = self.streams[stream].ends[end].link.take()
            && let Some(state) = &mut self.nodes[node].state
        {
            link.close(state, now, why);
        }
        self.nodes[node].live.retain(|&live| live != stream);
    }

    pub(crate) fn end_of(&self, stream: usize, node: usize) -> Option<usize> {
        self.streams[stream].ends.iter().position(|end| end.node == node)
    }

    /// The streams over an edge of which an end still runs.
    pub(crate) fn streams_of(&self, edge: usize) -> Vec<usize> {
        let (a, b) = self.edges[edge].ends;
        let mut streams = [&self.nodes[a].live[..], &self.nodes[b].live[..]].concat();
        streams.retain(|&stream| self.streams[stream].edge == edge);
        streams.sort_unstable();
        streams.dedup();
        streams
    }

    fn friends_of(&self, node: usize) -> Vec<(usize, usize)> {
        let friend = |(edge, other): (usize, &Edge)| {
            let (a, b) = other.ends;
            (a == node || b == node).then_some((edge, if a == node { b } else { a }))
        };
        self.edges.iter().enumerate().filter_map(friend).collect()
    }

    pub(crate) fn now_at(&self, node: usize) -> Now {
        let nanos = self.now.as_nanos() as i64 + self.nodes[node].ahead_millis * 1_000_000;
        let wall = Timestamp::from_unix_nanos(START + nanos).expect("the simulation is short");
        Now { wall, monotonic: self.now }
    }

    pub(crate) fn at(&mut self, wait: Duration, event: Event) {
        self.sequence += 1;
        self.events.push(Reverse((self.now + wait, self.sequence, event)));
    }
}

/// Hands a record to a state as if a peer had sent it.
pub(crate) fn merge(state: &mut State, record: LocationRecord) -> Merged {
    state.merge(record, None)
}
