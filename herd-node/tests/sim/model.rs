//! The outbox protocol, exhaustively: two nodes, two clients, three versions of each report, and
//! a stream that may break at any point. Every order is tried in which reports are taken, frames
//! arrive, and each end hears of a break. Wherever that leads to a stream that is up and on which
//! nothing more happens by itself, the two must agree on the greatest. As in a running node, a
//! link makes a frame whenever the transport has room for one, and so what changes while there is
//! none waits in the outbox.
//!
//! The states and links are the real ones. They are single-threaded by design: whatever threads a
//! node has, they take turns under one lock, so that there are no interleavings within a step and
//! nothing for a checker of memory orders to find.

use std::collections::hash_map::DefaultHasher;
use std::collections::{HashSet, VecDeque};
use std::hash::{Hash as _, Hasher as _};
use std::iter;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use herd_node::herd::Now;
use herd_node::herd::link::Link;
use herd_node::herd::state::{Identity, State};
use herd_proto::v1::Frame;
use herd_proto::{ClientId, NodeName, Report, Timestamp};
use prost::Message as _;

/// Frames that fit into one direction of the stream. One is enough for marks to gather behind it.
const PIPE: usize = 1;

const CLIENTS: [&str; 2] = ["kiwi", "plum"];

/// One thing that can happen next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// The next report is taken, by a node.
    Report { node: usize },
    /// The oldest frame under way to a node arrives.
    Deliver { node: usize },
    /// The stream breaks: what is under way is lost.
    Break,
    /// A node hears that the stream is gone.
    Hear { node: usize },
    /// A new stream comes up.
    Connect,
    /// A node sends the acknowledgement that it held back.
    Acknowledge { node: usize },
}

const STEPS: [Step; 10] = [
    Step::Report { node: 0 },
    Step::Report { node: 1 },
    Step::Deliver { node: 0 },
    Step::Deliver { node: 1 },
    Step::Hear { node: 0 },
    Step::Hear { node: 1 },
    Step::Break,
    Step::Connect,
    Step::Acknowledge { node: 0 },
    Step::Acknowledge { node: 1 },
];

/// What is explored: which client each report is of and its version, in the order in which they
/// are taken, and how often the stream may break.
#[derive(Debug, Clone, Copy)]
struct Scope {
    reports: &'static [(usize, u32)],
    breaks: u32,
}

struct World {
    nodes: [State; 2],
    links: [Option<Link>; 2],
    /// Frames under way to each node.
    arriving: [VecDeque<Vec<u8>>; 2],
    connected: bool,
    reported: usize,
    broken: u32,
    /// Whether looking at the world has changed it: a sweep that was emptied is not put back.
    spent: bool,
}

fn now() -> Now {
    Now { wall: Timestamp::parse("1000000").unwrap(), monotonic: Duration::ZERO }
}

/// When nobody waits any longer with an acknowledgement, and nothing else is due.
fn later() -> Now {
    Now { monotonic: Duration::from_millis(20), ..now() }
}

fn name(node: usize) -> NodeName {
    NodeName::parse(["Bailey", "Bona"][node]).unwrap()
}

impl World {
    fn new() -> Self {
        let nodes = [0, 1].map(|node| {
            let mut state = State::new(Identity {
                name: name(node),
                cluster: "model".into(),
                instance: 1 + node as u64,
                index_key: (1, 2),
                max_future: Duration::from_hours(24),
            });
            let dialler = state.new_token();
            state.add_friend(now(), name(1 - node), String::new(), dialler);
            state
        });
        let (links, arriving) = ([None, None], Default::default());
        Self { nodes, links, arriving, connected: false, reported: 0, broken: 0, spent: false }
    }

    fn replay(path: &[Step], scope: Scope) -> Self {
        let mut world = Self::new();
        for step in path {
            world.take(*step, scope);
        }
        world
    }

    /// Whether a step can be taken now.
    fn can(&self, step: Step, scope: Scope) -> bool {
        match step {
            Step::Report { .. } => self.reported < scope.reports.len(),
            Step::Deliver { node } => self.links[node].is_some() && !self.arriving[node].is_empty(),
            Step::Break => self.connected && self.broken < scope.breaks,
            Step::Hear { node } => !self.connected && self.links[node].is_some(),
            Step::Connect => self.links.iter().all(Option::is_none),
            Step::Acknowledge { node } => {
                self.connected && self.arriving[1 - node].len() < PIPE && self.holds_back(node)
            }
        }
    }

    /// Takes a step that can be taken.
    fn take(&mut self, step: Step, scope: Scope) {
        match step {
            Step::Report { node } => {
                let (client, version) = scope.reports[self.reported];
                let (position, time) = (format!("+{version}-1"), format!("{}", 900_000 + version));
                let report = Report::from_operands(CLIENTS[client], &position, &time).unwrap();
                self.nodes[node].report(now(), report).unwrap();
                self.reported += 1;
            }
            Step::Deliver { node } => {
                let frame = self.arriving[node].pop_front().expect("a frame is under way");
                let frame = Frame::decode(&*frame).unwrap();
                let link = self.links[node].as_mut().expect("the link is there");
                link.receive(&mut self.nodes[node], now(), frame);
                assert!(!link.has_ended(), "both keep the rules: {link:?}");
            }
            Step::Break => {
                self.connected = false;
                self.broken += 1;
                self.arriving = Default::default();
            }
            Step::Hear { node } => {
                let link = self.links[node].take().expect("the link is there");
                link.close(&mut self.nodes[node], now(), "reset");
            }
            Step::Connect => {
                let tokens = [0, 1].map(|node| self.nodes[node].new_token());
                let dialled = Link::dialled(tokens[0], name(1), now());
                self.links = [Some(dialled), Some(Link::accepted(tokens[1], now()))];
                self.connected = true;
            }
            Step::Acknowledge { node } => self.transmit(node, later()),
        }
        self.transmit(0, now());
        self.transmit(1, now());
    }

    /// Whether a node has an acknowledgement to send and waits with it.
    fn holds_back(&self, node: usize) -> bool {
        self.links[node].as_ref().is_some_and(|link| link.next_tick(true) <= later().monotonic)
    }

    /// Fills the pipe to the other node, as a driver does after whatever happened.
    fn transmit(&mut self, node: usize, at: Now) {
        let Some(link) = &mut self.links[node] else { return };
        while self.connected
            && self.arriving[1 - node].len() < PIPE
            && let Some(frame) = link.poll_transmit(&mut self.nodes[node], at)
        {
            self.arriving[1 - node].push_back(frame.encode_to_vec());
        }
    }

    /// All that matters for what can still happen; counters do not.
    fn fingerprint(&mut self) -> u64 {
        let mut hasher = DefaultHasher::new();
        (self.connected, self.reported, self.broken, &self.arriving).hash(&mut hasher);
        format!("{:?}", self.links).hash(&mut hasher);
        for (node, state) in self.nodes.iter_mut().enumerate() {
            for client in CLIENTS {
                let record = state.location(&ClientId::parse(client).unwrap());
                record.map(|record| record.time.unix_nanos()).hash(&mut hasher);
            }
            let peer = state.peers().get(&name(1 - node)).unwrap();
            (peer.instance, peer.active.is_some()).hash(&mut hasher);
            let consumer = peer.consumer;
            let sweeping = state.is_sweeping(consumer);
            // The order in an outbox shows only as it is emptied.
            let slots: Vec<_> =
                iter::from_fn(|| state.pop(consumer).map(|(slot, _)| slot)).collect();
            (sweeping, &slots).hash(&mut hasher);
            self.spent |= sweeping && !slots.is_empty();
            state.mark_again(consumer, slots);
        }
        hasher.finish()
    }

    /// Whether a stream is up and nothing more happens on it by itself.
    fn is_quiet(&self) -> bool {
        let nothing_under_way = self.arriving.iter().all(VecDeque::is_empty);
        self.connected && nothing_under_way && ![0, 1].iter().any(|node| self.holds_back(*node))
    }

    fn check(&self, scope: Scope) {
        let digests = [0, 1].map(|node| self.nodes[node].table().digest());
        assert_eq!(digests[0], digests[1]);
        for (client, text) in CLIENTS.iter().enumerate() {
            let taken = &scope.reports[..self.reported];
            let versions = taken.iter().filter(|(of, _)| *of == client);
            let greatest = versions.map(|(_, version)| i64::from(900_000 + version)).max();
            let client = ClientId::parse(text).unwrap();
            for state in &self.nodes {
                let held = state.location(&client).map(|record| record.time.unix_nanos());
                assert_eq!(held, greatest.map(|seconds| seconds * 1_000_000_000), "{text}");
            }
        }
        for (node, state) in self.nodes.iter().enumerate() {
            let peer = state.peers().get(&name(1 - node)).unwrap();
            assert_eq!(state.pending(peer.consumer), 0);
            assert_eq!(peer.active.map(|active| active.in_flight), Some(0));
            assert_eq!(peer.counts.divergent, 0);
        }
    }
}

/// All orders of steps, as far as they were tried.
struct Search {
    scope: Scope,
    seen: HashSet<u64>,
    path: Vec<Step>,
    quiet: usize,
}

impl Search {
    /// Tries everything that can follow on the path, at whose end the world is.
    fn visit(&mut self, world: World) {
        let scope = self.scope;
        let steps: Vec<_> = STEPS.into_iter().filter(|step| world.can(*step, scope)).collect();
        let mut world = Some(world);
        for step in steps {
            let mut next = world.take().unwrap_or_else(|| World::replay(&self.path, scope));
            next.take(step, scope);
            self.path.push(step);
            if self.seen.insert(next.fingerprint()) {
                if next.is_quiet() {
                    self.quiet += 1;
                    next.check(scope);
                }
                if next.spent {
                    next = World::replay(&self.path, scope);
                }
                self.visit(next);
            }
            self.path.pop();
        }
    }
}

/// Tries every order of steps. Returns how many states there are, and in how many of them all is
/// quiet.
fn explore(scope: Scope) -> (usize, usize) {
    let mut search = Search { scope, seen: HashSet::new(), path: Vec::new(), quiet: 0 };
    let result = std::panic::catch_unwind(AssertUnwindSafe(|| search.visit(World::new())));
    result.unwrap_or_else(|panic| {
        eprintln!("failed after {:?}", search.path);
        std::panic::resume_unwind(panic)
    });
    (search.seen.len(), search.quiet)
}

#[test]
fn one_client_whose_versions_come_in_any_order_survives_a_break_anywhere() {
    let (states, quiet) = explore(Scope { reports: &[(0, 2), (0, 3), (0, 1)], breaks: 1 });
    assert!(states > 5000 && quiet > 100, "{states} states, {quiet} of them quiet");
}

#[test]
fn two_clients_survive_a_break_anywhere() {
    let (states, quiet) = explore(Scope { reports: &[(0, 1), (1, 1)], breaks: 1 });
    assert!(states > 2000 && quiet > 100, "{states} states, {quiet} of them quiet");
}

#[test]
fn two_clients_that_move_meanwhile_end_alike_in_any_order() {
    let (states, quiet) = explore(Scope { reports: &[(0, 1), (1, 1), (0, 2)], breaks: 0 });
    assert!(states > 5000 && quiet > 100, "{states} states, {quiet} of them quiet");
}
