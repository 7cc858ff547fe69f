//! The other nodes, as this one sees them: which stream to each of them stays, what each has
//! acknowledged, and what an operator wants to know.

use std::collections::BTreeMap;
use std::time::Duration;

use herd_proto::{NodeName, Timestamp};

use super::link::BATCH_BYTES;
use super::state::ConsumerId;
use super::{Now, Token};

/// Most peers that are not configured as friends, at one time. Each costs an outbox; people who
/// feed a node by hand need one, and mutual strangers are a mistake of configuration.
pub const MAX_GUESTS: usize = 64;

/// Two streams whose Hellos lie this close were dialled at once: a dial takes no longer.
const AT_ONCE: Duration = Duration::from_secs(3);

/// One other node.
#[derive(Debug)]
pub struct Peer {
    /// What it has yet to hear from this node.
    pub consumer: ConsumerId,
    /// Where this node dials it; `None` for a guest, which only dials in, or is let go of.
    pub address: Option<String>,
    /// The run of the peer's state to which everything was sent that is not in the outbox.
    pub instance: Option<u64>,
    /// The stream that stays.
    pub active: Option<ActiveLink>,
    /// Whether all that the peer had when the stream came up has arrived here.
    pub synced: bool,
    /// Whether a stream was up or could not be opened at least once.
    pub tried: bool,
    /// Who dials it and wants to know when the stream is gone.
    pub dialler: Option<Token>,
    /// When the state last changed.
    pub since: Timestamp,
    /// Why the last stream ended or could not be opened.
    pub last_error: String,
    /// Which settings it has otherwise than this node, in words; empty if none.
    pub disagreement: String,
    /// Records that crossed the links.
    pub counts: Counts,
    /// What the peer last said of itself.
    pub heard: Heard,
    /// Bytes of records in a batch, as suits the path to the peer.
    pub batch_bytes: usize,
    /// A moment, on the monotonic clock, of which it is known that the peer has had all that this
    /// node had then.
    pub caught_up: Duration,
}

/// The stream to a peer that stays.
#[derive(Debug, Clone, Copy)]
pub struct ActiveLink {
    /// The link.
    pub link: Token,
    /// Whether this node dialled it.
    pub dialled_here: bool,
    /// The peer's instance at the other end.
    pub instance: u64,
    /// When both had said Hello, on the monotonic clock.
    pub since: Duration,
    /// Records sent on it and not acknowledged.
    pub in_flight: usize,
}

/// Records that crossed the links to a peer since this node started.
#[derive(Debug, Clone, Copy, Default)]
pub struct Counts {
    /// Sent.
    pub sent: u64,
    /// Received.
    pub received: u64,
    /// Received and newer than what was known.
    pub applied: u64,
    /// Received and known, or older.
    pub known: u64,
    /// Received and skipped because they broke a rule.
    pub bad: u64,
    /// Of these, the ones whose times lay too far ahead of this node's clock.
    pub too_far_ahead: u64,
    /// Received and skipped because their time was over.
    pub expired: u64,
    /// Frames skipped because their kind was unknown.
    pub unknown_frames: u64,
    /// Marked or asked for because the two trees differed.
    pub repaired: u64,
    /// Of these, differences that had stayed while both nodes ran: 0 unless something is wrong.
    pub divergent: u64,
}

/// What a peer last said of itself.
#[derive(Debug, Clone, Copy, Default)]
pub struct Heard {
    /// Its digest.
    pub digest: u64,
    /// Its number of clients.
    pub clients: u64,
    /// Round trip through both applications.
    pub round_trip: Option<Duration>,
    /// Its clock minus ours, in nanoseconds.
    pub clock_skew_nanos: Option<i64>,
}

/// All other nodes, by name.
#[derive(Debug, Default)]
pub struct Peers {
    by_name: BTreeMap<NodeName, Peer>,
    /// Whether it is yet to be found out who the friends are.
    friends_awaited: bool,
}

/// Why a stream may not stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// Another stream to the same peer stays.
    Duplicate,
    /// [`MAX_GUESTS`] are there already.
    TooManyGuests,
}

impl Peer {
    /// A peer without a stream.
    pub fn new(consumer: ConsumerId, address: Option<String>, now: Now) -> Self {
        Self {
            consumer,
            address,
            instance: None,
            active: None,
            synced: false,
            tried: false,
            dialler: None,
            since: now.wall,
            last_error: String::new(),
            disagreement: String::new(),
            counts: Counts::default(),
            heard: Heard::default(),
            batch_bytes: BATCH_BYTES,
            caught_up: now.monotonic,
        }
    }

    /// Whether the peer is configured as a friend.
    pub fn is_friend(&self) -> bool {
        self.address.is_some()
    }

    /// Decides between the stream that stays so far and another to the same peer.
    ///
    /// A new run of the peer, or a new stream in the same direction, replaces the old one, whose
    /// other end must be gone. So does any stream that comes long after the old one: a node dials
    /// only when it knows of no stream. Of two that the two sides dialled at once, both keep the
    /// one that the node with the smaller name dialled.
    pub fn admits(&self, own_name: &NodeName, name: &NodeName, new: &ActiveLink) -> bool {
        let Some(old) = self.active else { return true };
        let replaces = old.instance != new.instance
            || old.dialled_here == new.dialled_here
            || new.since > old.since + AT_ONCE;
        replaces || new.dialled_here == (own_name < name)
    }
}

impl Peers {
    /// One peer.
    pub fn get(&self, name: &NodeName) -> Option<&Peer> {
        self.by_name.get(name)
    }

    /// One peer, to change.
    pub fn get_mut(&mut self, name: &NodeName) -> Option<&mut Peer> {
        self.by_name.get_mut(name)
    }

    /// The peer that a consumer is.
    pub fn by_consumer_mut(&mut self, consumer: ConsumerId) -> Option<&mut Peer> {
        self.by_name.values_mut().find(|peer| peer.consumer == consumer)
    }

    /// All peers by name, friends first.
    pub fn iter(&self) -> impl Iterator<Item = (&NodeName, &Peer)> {
        let of_kind =
            |friend| self.by_name.iter().filter(move |(_, peer)| peer.is_friend() == friend);
        of_kind(true).chain(of_kind(false))
    }

    /// Adds a peer.
    pub fn insert(&mut self, name: NodeName, peer: Peer) {
        self.by_name.insert(name, peer);
    }

    /// Removes a peer.
    pub fn remove(&mut self, name: &NodeName) -> Option<Peer> {
        self.by_name.remove(name)
    }

    /// Whether one more guest may come.
    pub fn has_room(&self) -> bool {
        self.by_name.values().filter(|peer| !peer.is_friend()).count() < MAX_GUESTS
    }

    /// Notes whether it is yet to be found out who the friends are.
    pub fn await_friends(&mut self, awaited: bool) {
        self.friends_awaited = awaited;
    }

    /// Whether the friends are known, and each has either sent what it had or could not be reached.
    pub fn all_heard(&self) -> bool {
        let mut friends = self.by_name.values().filter(|peer| peer.is_friend());
        !self.friends_awaited
            && friends.all(|peer| peer.tried && (peer.active.is_none() || peer.synced))
    }
}
