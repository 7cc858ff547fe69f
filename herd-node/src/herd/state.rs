//! Everything a node knows, under one roof: the table, who has yet to hear of what, the peers.

use std::collections::HashSet;
use std::time::Duration;

use herd_proto::{ClientId, LocationRecord, NodeName, Report, Violations};

use super::outbox::Outbox;
use super::peers::{ActiveLink, Peer, Peers, Refused};
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

/// Which changes a consumer wants.
#[derive(Debug, Clone)]
pub enum Interest {
    /// All of them.
    Everything,
    /// Those of some clients.
    Clients(HashSet<ClientId>),
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
    reports: ReportCounts,
    changes: u64,
    next_token: u64,
    /// Who must be woken once the caller lets go of the state. Short: each token stands here at
    /// most a few times, and the caller empties it after every call.
    woken: Vec<Token>,
    /// Who wants to know when the peers' states change.
    peer_watcher: Option<Token>,
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
            reports: ReportCounts::default(),
            changes: 0,
            next_token: 0,
            woken: Vec::new(),
            peer_watcher: None,
        }
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

    /// The newest location of a client; `None` for one that is unknown or was forgotten.
    pub fn location(&self, client: &ClientId) -> Option<&LocationRecord> {
        let record = self.table.record(self.table.find(client)?);
        (!record.forgotten).then_some(record)
    }

    /// Takes a client's report: records it as received here and now, and marks it for everyone
    /// who must hear of it. Returns the record and whether it is the newest of its client.
    ///
    /// # Errors
    /// A time too far in the future, compared with this node's clock and never with a stored
    /// value: one wrong clock must not shut out later, right ones.
    pub fn report(
        &mut self,
        now: Now,
        report: Report,
    ) -> Result<(LocationRecord, bool), Violations> {
        self.check_future(now, &report).inspect_err(|_| self.reports.refused += 1)?;
        let known = self.table.find(&report.client);
        let generation = known.map_or(0, |slot| self.table.record(slot).generation);
        let record = report.into_record(self.identity.name.clone(), now.wall, generation);
        let newer = matches!(self.merge(record.clone(), None), Merged::Newer(_));
        self.reports.taken += 1;
        self.reports.applied += u64::from(newer);
        Ok((record, newer))
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
    /// `from`, who evidently knows.
    pub fn merge(&mut self, record: LocationRecord, from: Option<ConsumerId>) -> Merged {
        let merged = self.table.merge(record);
        match merged {
            Merged::Newer(slot) => {
                self.changes += 1;
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
        merged
    }

    /// Takes a record that this node held before it was restarted. Nobody is told: what a peer
    /// lacks of it is found when the peer's stream comes up.
    pub fn restore(&mut self, record: LocationRecord) {
        self.table.merge(record);
    }

    fn mark(&mut self, slot: Slot, from: Option<ConsumerId>) {
        let client = &self.table.record(slot).client;
        for (index, place) in (0..).zip(&mut self.consumers) {
            let Some(consumer) = &mut place.consumer else { continue };
            let id = ConsumerId { place: index, generation: place.generation };
            if from == Some(id) {
                consumer.outbox.clear(slot);
            } else if consumer.interest.includes(client) && consumer.outbox.mark(slot) {
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
        place.consumer = Some(Consumer { outbox: Outbox::default(), interest, drainer });
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

    /// Marks all that is known now for a consumer. A consumer of everything is sent it below
    /// changes in priority, for as long as [`State::is_sweeping`]; for one of some clients it
    /// stands before all changes, and the number of its records is returned.
    pub fn mark_everything(&mut self, id: ConsumerId) -> usize {
        let table = &self.table;
        let Some(consumer) = consumer_mut(&mut self.consumers, id) else { return 0 };
        self.woken.extend(consumer.drainer);
        match &consumer.interest {
            Interest::Everything => {
                consumer.outbox.sweep(table.slots());
                consumer.outbox.demote(table.slots());
                0
            }
            Interest::Clients(clients) => {
                let known = clients.iter().filter_map(|client| table.find(client));
                known.map(|slot| consumer.outbox.mark(slot)).count()
            }
        }
    }

    /// Whether a consumer is still being told what [`State::mark_everything`] marked.
    pub fn is_sweeping(&self, id: ConsumerId) -> bool {
        self.consumer(id).is_some_and(|consumer| consumer.outbox.is_sweeping())
    }

    /// How many records wait for a consumer.
    pub fn pending(&self, id: ConsumerId) -> usize {
        self.consumer(id).map_or(0, |consumer| consumer.outbox.len())
    }

    /// Takes the slot that has waited longest for a consumer, and its record of now.
    pub fn pop(&mut self, id: ConsumerId) -> Option<(Slot, &LocationRecord)> {
        let slot = self.consumer_mut(id)?.outbox.pop()?;
        Some((slot, self.table.record(slot)))
    }

    /// Marks slots again that were sent to a consumer in vain.
    pub fn mark_again(&mut self, id: ConsumerId, slots: impl IntoIterator<Item = Slot>) {
        let Some(consumer) = consumer_mut(&mut self.consumers, id) else { return };
        for slot in slots {
            if consumer.outbox.mark(slot) {
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

/// Peers and their links.
impl State {
    /// Adds a configured friend, dialled at `address` by whoever `dialler` names.
    pub fn add_friend(&mut self, now: Now, name: NodeName, address: String, dialler: Token) {
        let consumer = self.subscribe(Interest::Everything, None);
        let mut peer = Peer::new(consumer, Some(address), now.wall);
        peer.dialler = Some(dialler);
        self.peers.insert(name, peer);
    }

    /// Names who wants to know when the peers' states change.
    pub fn watch_peers(&mut self, watcher: Token) {
        self.peer_watcher = Some(watcher);
    }

    /// A peer, to change.
    pub fn peer_mut(&mut self, name: &NodeName) -> Option<&mut Peer> {
        self.peers.get_mut(name)
    }

    /// Bytes of records that suit a batch to a peer.
    pub fn pace(&self, name: &NodeName) -> usize {
        self.peers.get(name).map_or(0, |peer| peer.batch_bytes)
    }

    /// Notes that a friend could not be reached.
    pub fn dial_failed(&mut self, name: &NodeName, error: String) {
        if let Some(peer) = self.peers.get_mut(name) {
            peer.tried = true;
            if peer.active.is_none() {
                peer.last_error = error;
            }
        }
        self.woken.extend(self.peer_watcher);
    }

    /// Notes that all that a peer had when its stream came up has arrived.
    pub fn peer_synced(&mut self, name: &NodeName) {
        if let Some(peer) = self.peers.get_mut(name) {
            peer.synced = true;
        }
        self.woken.extend(self.peer_watcher);
    }

    /// Lets a stream that said Hello be the peer's stream, if it may, and decides how the peer is
    /// told what it may lack.
    pub fn link_up(
        &mut self,
        now: Now,
        name: &NodeName,
        link: ActiveLink,
        theirs: Holdings,
        ours: Holdings,
    ) -> Result<(ConsumerId, CatchUp), Refused> {
        if self.peers.get(name).is_none() {
            if !self.peers.has_room() {
                return Err(Refused::TooManyGuests);
            }
            let consumer = self.subscribe(Interest::Everything, None);
            self.peers.insert(name.clone(), Peer::new(consumer, None, now.wall));
        }
        let (digest, slots) = (self.table.digest(), self.table.slots());
        let Some(peer) = self.peers.get_mut(name) else { return Err(Refused::Duplicate) };
        if !peer.admits(&self.identity.name, name, &link) {
            return Err(Refused::Duplicate);
        }
        // The stream that goes finds out when it is woken.
        self.woken.extend(peer.active.map(|old| old.link));
        let resumes = link.instance != 0 && peer.instance == Some(link.instance);
        peer.active = Some(link);
        peer.tried = true;
        peer.synced = false;
        peer.since = now.wall;
        let id = peer.consumer;
        let catch_up = if theirs.digest == digest {
            CatchUp::Nothing
        } else if resumes {
            CatchUp::Outbox
        } else if theirs.repairs && theirs.is_like(ours) {
            CatchUp::Repair
        } else {
            CatchUp::Everything
        };
        // What a repair will find is in no outbox yet, so a stream that comes after this one
        // must not rely on the outbox before the repair is done.
        peer.instance = (catch_up != CatchUp::Repair).then_some(link.instance);
        if let Some(consumer) = self.consumer_mut(id) {
            consumer.drainer = Some(link.link);
            match catch_up {
                CatchUp::Nothing => consumer.outbox.clear_all(),
                CatchUp::Everything => {
                    self.mark_everything(id);
                }
                CatchUp::Outbox | CatchUp::Repair => consumer.outbox.demote(slots),
            }
        }
        self.woken.extend(self.peer_watcher);
        Ok((id, catch_up))
    }

    /// Notes that a peer was seen to hold the same as this node: whatever it may lack from here on
    /// is in its outbox.
    pub fn peer_agrees(&mut self, name: &NodeName) {
        if let Some(peer) = self.peers.get_mut(name) {
            peer.instance = peer.active.map(|active| active.instance);
        }
    }

    /// Whether a link is the one that stays.
    pub fn is_active(&self, name: &NodeName, link: Token) -> bool {
        let active = self.peers.get(name).and_then(|peer| peer.active);
        active.is_some_and(|active| active.link == link)
    }

    /// Notes that a link has ended. What was sent on it in vain is marked again first, by
    /// [`State::mark_again`].
    pub fn link_down(&mut self, now: Now, name: &NodeName, link: Token, reason: &str) {
        if !self.is_active(name, link) {
            return; // another stream has taken its place
        }
        let Some(peer) = self.peers.get_mut(name) else { return };
        let (id, friend, dialler) = (peer.consumer, peer.is_friend(), peer.dialler);
        peer.active = None;
        peer.since = now.wall;
        reason.clone_into(&mut peer.last_error);
        if friend {
            if let Some(consumer) = self.consumer_mut(id) {
                consumer.drainer = None;
            }
        } else {
            self.peers.remove(name);
            self.unsubscribe(id);
        }
        self.woken.extend(dialler);
        self.woken.extend(self.peer_watcher);
    }

    /// What this node holds.
    pub fn holdings(&self) -> Holdings {
        Holdings { digest: self.table.digest(), clients: self.table.len() as u64, repairs: true }
    }
}

/// A function of the field alone, so that others may be borrowed meanwhile.
fn consumer_mut(consumers: &mut [Place], id: ConsumerId) -> Option<&mut Consumer> {
    let place = consumers.get_mut(id.place as usize)?;
    place.consumer.as_mut().filter(|_| place.generation == id.generation)
}

impl Interest {
    fn includes(&self, client: &ClientId) -> bool {
        match self {
            Self::Everything => true,
            Self::Clients(clients) => clients.contains(client),
        }
    }
}
