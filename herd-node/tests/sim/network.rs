//! A simulated herd: real states and links, virtual clocks, streams that delay, break, and are
//! dialled again.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::time::Duration;

use herd_node::herd::link::Link;
use herd_node::herd::state::{Identity, State};
use herd_node::herd::table::Merged;
use herd_node::herd::{Now, order};
use herd_proto::v1::{Frame, frame::Kind};
use herd_proto::{ClientId, LocationRecord, NodeName, Report, Timestamp};
use prost::Message as _;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

/// The seed's friendships: Bailey, Bona, Campbell, Clark, Jaquez.
pub(crate) const SEED_GRAPH: (usize, &[(usize, usize)]) =
    (5, &[(0, 1), (0, 2), (1, 2), (1, 3), (2, 4), (3, 4)]);

/// Frames that fit into one direction of a stream before its sender must wait.
const PIPE: usize = 2;

/// How often the drivers look at their timers.
const TICK: Duration = Duration::from_millis(250);

/// How many of each fault really happened.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Faults {
    pub(crate) frames_lost: u64,
    pub(crate) streams_broken: u64,
    pub(crate) half_open: u64,
    pub(crate) crashes: u64,
    pub(crate) restarts: u64,
    pub(crate) duplicate_streams: u64,
}

pub(crate) struct Herd {
    pub(crate) rng: StdRng,
    pub(crate) faults: Faults,
    pub(crate) frames: u64,
    pub(crate) records_sent: u64,
    /// Bytes of Compare, Leaves and Want.
    pub(crate) repair_bytes: u64,
    now: Duration,
    nodes: Vec<Node>,
    edges: Vec<(usize, usize)>,
    cut: Vec<bool>,
    streams: Vec<Stream>,
    /// The streams of which an end still runs.
    live: Vec<usize>,
    events: BinaryHeap<Reverse<(Duration, u64, Event)>>,
    sequence: u64,
    /// The greatest acknowledged record of each client.
    pub(crate) greatest: BTreeMap<ClientId, LocationRecord>,
}

struct Node {
    name: NodeName,
    state: Option<State>,
    /// How far this node's clock of day is ahead.
    ahead: Duration,
    /// What each client's record was when last looked at: it must never go back.
    seen: BTreeMap<ClientId, LocationRecord>,
}

struct Stream {
    edge: usize,
    ends: [End; 2],
}

struct End {
    node: usize,
    link: Option<Link>,
    /// Frames under way to this end.
    arriving: VecDeque<Vec<u8>>,
    /// Whether this end will ever hear from the other.
    connected: bool,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Arrive { stream: usize, end: usize },
    Reset { stream: usize, end: usize },
    Dial { edge: usize, from: usize },
    Tick,
}

impl Herd {
    pub(crate) fn new(seed: u64, (count, edges): (usize, &[(usize, usize)])) -> Self {
        let mut herd = Self {
            rng: StdRng::seed_from_u64(seed),
            faults: Faults::default(),
            frames: 0,
            records_sent: 0,
            repair_bytes: 0,
            now: Duration::ZERO,
            nodes: Vec::new(),
            edges: edges.to_vec(),
            cut: vec![false; edges.len()],
            streams: Vec::new(),
            live: Vec::new(),
            events: BinaryHeap::new(),
            sequence: 0,
            greatest: BTreeMap::new(),
        };
        for index in 0..count {
            let name = NodeName::parse(&format!("n{index:03}")).unwrap();
            let ahead = Duration::from_millis(herd.rng.random_range(0..7_200_000));
            herd.nodes.push(Node { name, state: None, ahead, seen: BTreeMap::new() });
        }
        herd.at(TICK, Event::Tick);
        herd
    }

    pub(crate) fn started(seed: u64, graph: (usize, &[(usize, usize)])) -> Self {
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
        for (edge, other) in self.friends_of(node) {
            let dialler = state.new_token();
            let now = self.now_at(node);
            state.add_friend(now, self.nodes[other].name.clone(), String::new(), dialler);
            self.at(Duration::ZERO, Event::Dial { edge, from: node });
        }
        self.nodes[node].state = Some(state);
        self.nodes[node].seen.clear();
    }

    /// Kills a node with all it knows.
    pub(crate) fn crash(&mut self, node: usize) {
        assert!(self.nodes[node].state.take().is_some(), "a crash needs a running node");
        self.faults.crashes += 1;
        for stream in self.live.clone() {
            if let Some(end) = self.end_of(stream, node) {
                self.close(stream, end, "crash");
                self.disconnect(stream, end, true);
            }
        }
    }

    /// Restarts a node that has its records from its disk, and nothing else.
    pub(crate) fn restart_with_disk(&mut self, node: usize) {
        let records = self.records(node);
        self.crash(node);
        self.faults.crashes -= 1;
        self.faults.restarts += 1;
        self.start(node);
        let state = self.nodes[node].state.as_mut().expect("it was just started");
        for record in records {
            state.restore(record);
        }
    }

    /// All records of a node.
    pub(crate) fn records(&self, node: usize) -> Vec<LocationRecord> {
        let table = self.state(node).table();
        table.slots().map(|slot| table.record(slot).clone()).collect()
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
        self.cut[edge] = cut;
        if !cut {
            return;
        }
        for stream in self.live.clone() {
            if self.streams[stream].edge == edge {
                for end in 0..2 {
                    let hears = self.rng.random();
                    self.disconnect(stream, end, hears);
                }
            }
        }
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
        let (record, _) = state.report(now, report).unwrap();
        match self.greatest.get(&record.client) {
            Some(greatest) if order::compare(greatest, &record).is_ge() => {}
            _ => drop(self.greatest.insert(record.client.clone(), record)),
        }
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

    /// What must hold when the network has been whole for a while: all agree.
    pub(crate) fn check_agreement(&self) {
        let digests = self.digests();
        assert!(digests.windows(2).all(|pair| pair[0] == pair[1]), "digests differ: {digests:x?}");
        for state in self.states() {
            for (name, peer) in state.peers().iter() {
                assert_eq!(state.pending(peer.consumer), 0, "{name} was not told everything");
                assert!(peer.active.is_some(), "no stream to {name}");
                assert_eq!(peer.counts.bad, 0);
                assert_eq!(peer.counts.unknown_frames, 0);
                assert_eq!(peer.counts.divergent, 0, "with {name}");
            }
        }
    }

    /// What must hold besides, when no node ever lost its memory: what all hold is the greatest
    /// of all that was acknowledged.
    pub(crate) fn check_nothing_lost(&self) {
        for state in self.states() {
            assert_eq!(state.table().len(), self.greatest.len());
            for (client, greatest) in &self.greatest {
                assert_eq!(state.location(client), Some(greatest));
            }
        }
    }

    fn handle(&mut self, event: &Event) {
        match *event {
            Event::Tick => {
                for node in 0..self.nodes.len() {
                    self.tick(node);
                }
                self.at(TICK, Event::Tick);
            }
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
        let (a, b) = self.edges[edge];
        let to = if from == a { b } else { a };
        let Some(state) = &self.nodes[from].state else { return };
        let name = self.nodes[to].name.clone();
        let stands_by = state.peers().get(&name).is_some_and(|peer| peer.active.is_some());
        let retry = Duration::from_millis(self.rng.random_range(10..1000));
        self.at(retry, Event::Dial { edge, from });
        let dialling = self.live().any(|stream| {
            stream.edge == edge && stream.ends[0].node == from && stream.ends[0].link.is_some()
        });
        if stands_by || dialling || self.cut[edge] || self.nodes[to].state.is_none() {
            return;
        }
        let end = |herd: &mut Self, node: usize, friend: Option<NodeName>| {
            let now = herd.now_at(node);
            let state = herd.nodes[node].state.as_mut().expect("both ends run");
            let token = state.new_token();
            let link = match friend {
                Some(friend) => Link::dialled(token, friend, now),
                None => Link::accepted(token, now),
            };
            End { node, link: Some(link), arriving: VecDeque::new(), connected: true }
        };
        let ends = [end(self, from, Some(name)), end(self, to, None)];
        if self
            .live()
            .any(|stream| stream.edge == edge && stream.ends.iter().all(|end| end.link.is_some()))
        {
            self.faults.duplicate_streams += 1;
        }
        self.live.push(self.streams.len());
        let stream = self.streams.len();
        self.streams.push(Stream { edge, ends });
        self.work(from, Some(stream));
        self.work(to, Some(stream));
    }

    fn arrive(&mut self, stream: usize, end: usize) {
        let side = &mut self.streams[stream].ends[end];
        let Some(bytes) = side.arriving.pop_front() else { return };
        let node = side.node;
        let now = self.now_at(node);
        let state = self.nodes[node].state.as_mut();
        if let (Some(link), Some(state)) = (&mut self.streams[stream].ends[end].link, state) {
            link.receive(state, now, Frame::decode(&*bytes).expect("frames are sound"));
        } else {
            self.faults.frames_lost += 1;
        }
        let sender = self.streams[stream].ends[1 - end].node;
        self.work(node, Some(stream));
        self.work(sender, Some(stream));
        self.check_never_back(node);
    }

    /// Asks for frames the link to which something just happened and those that the state wakes,
    /// as their drivers do, and no others: a wake-up that the state forgets is a frame that is late.
    fn work(&mut self, node: usize, stream: Option<usize>) {
        let mut due: Vec<_> = stream.into_iter().collect();
        loop {
            let Some(state) = &mut self.nodes[node].state else { return };
            let woken = state.take_woken();
            let is_woken = |&stream: &usize| {
                let mut ends = self.streams[stream].ends.iter();
                ends.any(|end| {
                    let token = end.link.as_ref().map(Link::token);
                    end.node == node && token.is_some_and(|token| woken.contains(&token))
                })
            };
            due.extend(self.live.iter().copied().filter(is_woken));
            let Some(stream) = due.pop() else { return };
            self.transmit(stream, node);
        }
    }

    fn transmit(&mut self, stream: usize, node: usize) {
        let now = self.now_at(node);
        let Some(end) = self.end_of(stream, node) else { return };
        while self.streams[stream].ends[1 - end].arriving.len() < PIPE
            && let Some(state) = &mut self.nodes[node].state
            && let Some(link) = &mut self.streams[stream].ends[end].link
            && let Some(frame) = link.poll_transmit(state, now)
        {
            self.send(stream, 1 - end, &frame);
        }
        if self.streams[stream].ends[end].link.as_ref().is_some_and(Link::has_ended) {
            self.close(stream, end, "");
            let wait = Duration::from_millis(self.rng.random_range(1..20));
            self.at(wait, Event::Reset { stream, end: 1 - end });
        }
    }

    fn tick(&mut self, node: usize) {
        let now = self.now_at(node);
        for stream in self.live.clone() {
            if let Some(end) = self.end_of(stream, node)
                && let Some(state) = &mut self.nodes[node].state
                && let Some(link) = &mut self.streams[stream].ends[end].link
                && link.next_tick(true) <= now.monotonic
            {
                link.tick(state, now);
                self.work(node, Some(stream));
            }
        }
    }

    fn send(&mut self, stream: usize, to: usize, frame: &Frame) {
        self.frames += 1;
        match &frame.kind {
            Some(Kind::Batch(batch)) => self.records_sent += batch.records.len() as u64,
            Some(Kind::Compare(_) | Kind::Leaves(_) | Kind::Want(_)) => {
                self.repair_bytes += frame.encoded_len() as u64;
            }
            _ => {}
        }
        if !self.streams[stream].ends[to].connected {
            self.faults.frames_lost += 1;
            return;
        }
        // A stream keeps its order: nothing arrives before what was sent earlier.
        let wait = Duration::from_micros(self.rng.random_range(50..30_000));
        self.streams[stream].ends[to].arriving.push_back(frame.encode_to_vec());
        self.at(wait, Event::Arrive { stream, end: to });
    }

    /// Breaks one direction's connection; the end hears of it or has to notice by silence.
    fn disconnect(&mut self, stream: usize, end: usize, hears: bool) {
        let other = &mut self.streams[stream].ends[1 - end];
        if std::mem::replace(&mut other.connected, false) {
            self.faults.frames_lost += other.arriving.len() as u64;
            other.arriving.clear();
            self.faults.streams_broken += 1;
        }
        if hears {
            let wait = Duration::from_millis(self.rng.random_range(1..50));
            self.at(wait, Event::Reset { stream, end: 1 - end });
        } else {
            self.faults.half_open += 1;
        }
    }

    fn close(&mut self, stream: usize, end: usize, why: &str) {
        let node = self.streams[stream].ends[end].node;
        let now = self.now_at(node);
        if let Some(link) = self.streams[stream].ends[end].link.take()
            && let Some(state) = &mut self.nodes[node].state
        {
            link.close(state, now, why);
        }
        let streams = &self.streams;
        self.live.retain(|&live| streams[live].ends.iter().any(|end| end.link.is_some()));
    }

    fn check_never_back(&mut self, node: usize) {
        let node = &mut self.nodes[node];
        let Some(state) = &node.state else { return };
        // Large tables are looked at in the end, by their digests.
        for slot in state.table().slots().take(100) {
            let record = state.table().record(slot);
            if let Some(before) = node.seen.get(&record.client) {
                assert!(order::compare(record, before).is_ge(), "{} went back", record.client);
                if before == record {
                    continue;
                }
            }
            node.seen.insert(record.client.clone(), record.clone());
        }
    }

    fn live(&self) -> impl Iterator<Item = &Stream> {
        self.live.iter().map(|&stream| &self.streams[stream])
    }

    fn end_of(&self, stream: usize, node: usize) -> Option<usize> {
        self.streams[stream].ends.iter().position(|end| end.node == node)
    }

    fn friends_of(&self, node: usize) -> Vec<(usize, usize)> {
        let friend = |(edge, &(a, b)): (usize, &(usize, usize))| {
            (a == node || b == node).then_some((edge, if a == node { b } else { a }))
        };
        self.edges.iter().enumerate().filter_map(friend).collect()
    }

    fn now_at(&self, node: usize) -> Now {
        let start = Timestamp::parse("1000000").unwrap();
        let wall = start.saturating_add(self.now + self.nodes[node].ahead);
        Now { wall, monotonic: self.now }
    }

    fn at(&mut self, wait: Duration, event: Event) {
        self.sequence += 1;
        self.events.push(Reverse((self.now + wait, self.sequence, event)));
    }
}

/// Hands a record to a state as if a peer had sent it.
pub(crate) fn merge(state: &mut State, record: LocationRecord) -> Merged {
    state.merge(record, None)
}
