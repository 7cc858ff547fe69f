//! Peers and their links: which stream stays, and how its peer is told what it may lack.

use herd_proto::NodeName;

use super::{CatchUp, ConsumerId, Holdings, Interest, State};
use crate::herd::peers::{ActiveLink, Peer, Refused};
use crate::herd::{Now, Token};

impl State {
    /// Adds a friend, dialled at `address` by whoever `dialler` names. A guest that becomes one
    /// keeps its stream.
    pub fn add_friend(&mut self, now: Now, name: NodeName, address: String, dialler: Token) {
        if let Some(guest) = self.peers.get_mut(&name) {
            guest.address = Some(address);
            guest.dialler = Some(dialler);
            return;
        }
        let consumer = self.subscribe(Interest::Everything, None);
        let mut peer = Peer::new(consumer, Some(address), now);
        peer.dialler = Some(dialler);
        self.peers.insert(name, peer);
    }

    /// Makes a friend a guest, who stays for as long as its stream does.
    pub fn remove_friend(&mut self, name: &NodeName) {
        let Some(peer) = self.peers.get_mut(name) else { return };
        (peer.address, peer.dialler) = (None, None);
        if peer.active.is_none() {
            let consumer = peer.consumer;
            self.peers.remove(name);
            self.unsubscribe(consumer);
        }
        self.woken.extend(self.peer_watcher);
    }

    /// Notes whether it is yet to be found out who the friends are.
    pub fn await_friends(&mut self, awaited: bool) {
        self.peers.await_friends(awaited);
        self.woken.extend(self.peer_watcher);
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
            self.peers.insert(name.clone(), Peer::new(consumer, None, now));
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
        if catch_up == CatchUp::Nothing {
            self.peer_holds_all(id);
        }
        self.woken.extend(self.peer_watcher);
        Ok((id, catch_up))
    }

    /// Notes that a peer was seen to hold the same as this node: whatever it may lack from here on
    /// is in its outbox.
    pub fn peer_agrees(&mut self, name: &NodeName) {
        let Some(peer) = self.peers.get_mut(name) else { return };
        peer.instance = peer.active.map(|active| active.instance);
        let consumer = peer.consumer;
        self.peer_holds_all(consumer);
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
