//! Who is known to hold what: reports whose answers wait until enough friends have applied them.
//!
//! A friend is a witness of a record once it has acknowledged a batch with it, has sent it or a
//! greater one itself, or was seen to hold all that this node holds. Guests are no witnesses:
//! anybody can be one.

use std::collections::{BTreeMap, HashSet};

use herd_proto::{ClientId, Violations};

use super::{ConsumerId, State};
use crate::herd::Token;
use crate::herd::table::Slot;

/// Most records that may be waited for at a time, some 20 MiB. Past that a report that asks to
/// wait is refused, so that friends who are away cost no more memory than this.
pub const MAX_AWAITED: usize = 1 << 17;

/// Names one wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct WaitId(u64);

/// Why a report cannot be waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{MAX_AWAITED} reports wait for peers already")]
pub struct TooManyAwaited;

/// The records that are waited for, by slot.
#[derive(Debug, Default)]
pub(super) struct Witnesses {
    awaited: BTreeMap<Slot, Vec<Awaited>>,
    waits: BTreeMap<WaitId, Wait>,
    /// How many records are awaited in all.
    count: usize,
    next: u64,
}

#[derive(Debug)]
struct Awaited {
    wait: WaitId,
    /// How many changes there had been with the record: whatever is read from the slot from then
    /// on is the record or a greater one.
    change: u64,
    needed: usize,
    /// Short: a node has a few friends.
    seen: HashSet<ConsumerId>,
}

#[derive(Debug)]
struct Wait {
    slots: Vec<Slot>,
    /// Records that have too few witnesses.
    left: usize,
    waiter: Token,
}

impl Witnesses {
    /// Notes that a friend holds what stood in a slot after `change`, or a greater record.
    fn saw(&mut self, slot: Slot, friend: ConsumerId, change: u64, woken: &mut Vec<Token>) {
        let Some(awaited) = self.awaited.get_mut(&slot) else { return };
        awaited.retain_mut(|record| {
            if record.change <= change {
                record.seen.insert(friend);
            }
            let missing = record.seen.len() < record.needed;
            if !missing && let Some(wait) = self.waits.get_mut(&record.wait) {
                self.count -= 1;
                wait.left -= 1;
                woken.extend((wait.left == 0).then_some(wait.waiter));
            }
            missing
        });
        if awaited.is_empty() {
            self.awaited.remove(&slot);
        }
    }

    /// Notes that a friend holds all that this node holds.
    fn saw_all(&mut self, friend: ConsumerId, change: u64, woken: &mut Vec<Token>) {
        let slots: Vec<_> = self.awaited.keys().copied().collect();
        for slot in slots {
            self.saw(slot, friend, change, woken);
        }
    }
}

impl State {
    /// Checks how many friends a report may ask to wait for.
    ///
    /// # Errors
    /// More than the node has.
    pub fn check_min_peers(&self, min_peers: u32) -> Result<(), Violations> {
        let friends = self.peers.iter().filter(|(_, peer)| peer.is_friend()).count();
        if min_peers as usize <= friends {
            return Ok(());
        }
        let rule = format!("must be at most {friends}, this node's friends, got {min_peers}");
        Err(Violations::one("min_peers", rule))
    }

    /// Whether somebody waits for friends to hold what stands in a slot.
    pub fn is_awaited(&self, slot: Slot) -> bool {
        self.witnesses.awaited.contains_key(&slot)
    }

    /// Begins to wait until of each client so many friends have applied the record that is known
    /// now, or a greater one. `waiter` is woken when they have. To be ended with
    /// [`State::end_wait`]; a client that expires meanwhile is waited for in vain.
    ///
    /// # Errors
    /// [`MAX_AWAITED`] records are waited for already. Nothing has changed.
    pub fn await_peers(
        &mut self,
        records: &[(ClientId, u32)],
        waiter: Token,
    ) -> Result<WaitId, TooManyAwaited> {
        if self.witnesses.count + records.len() > MAX_AWAITED {
            return Err(TooManyAwaited);
        }
        let wait = WaitId(self.witnesses.next);
        self.witnesses.next += 1;
        let mut slots = Vec::with_capacity(records.len());
        for (client, needed) in records {
            let Some(slot) = self.table.find(client) else { continue };
            slots.push(slot);
            // What was known before may be with friends already, of which nothing would be heard.
            self.mark_for_friends(slot);
            let (change, needed) = (self.changes, *needed as usize);
            let record = Awaited { wait, change, needed, seen: HashSet::new() };
            self.witnesses.awaited.entry(slot).or_default().push(record);
        }
        let left = slots.len();
        self.witnesses.count += left;
        self.woken.extend((left == 0).then_some(waiter));
        self.witnesses.waits.insert(wait, Wait { slots, left, waiter });
        Ok(wait)
    }

    /// How many records are waited for.
    pub fn awaited(&self) -> usize {
        self.witnesses.count
    }

    /// Whether all that a wait is for has come true.
    pub fn is_witnessed(&self, wait: WaitId) -> bool {
        self.witnesses.waits.get(&wait).is_some_and(|wait| wait.left == 0)
    }

    /// Ends a wait, whether it has come true or not.
    pub fn end_wait(&mut self, id: WaitId) {
        let Some(wait) = self.witnesses.waits.remove(&id) else { return };
        for slot in wait.slots {
            let Some(awaited) = self.witnesses.awaited.get_mut(&slot) else { continue };
            let before = awaited.len();
            awaited.retain(|record| record.wait != id);
            self.witnesses.count -= before - awaited.len();
            if awaited.is_empty() {
                self.witnesses.awaited.remove(&slot);
            }
        }
    }

    /// Notes that a peer has applied what stood in `slots` after `change`.
    pub fn peer_applied(&mut self, peer: ConsumerId, change: u64, slots: &[Slot]) {
        if self.witnesses.awaited.is_empty() || !self.is_friend(peer) {
            return;
        }
        for slot in slots {
            self.witnesses.saw(*slot, peer, change, &mut self.woken);
        }
    }

    /// Notes that a peer holds all that this node holds.
    pub(super) fn peer_holds_all(&mut self, peer: ConsumerId) {
        if !self.witnesses.awaited.is_empty() && self.is_friend(peer) {
            self.witnesses.saw_all(peer, self.changes, &mut self.woken);
        }
    }

    /// Notes that what was awaited in a slot is gone. The waits for it never come true.
    pub(super) fn stop_awaiting(&mut self, slot: Slot) {
        if let Some(awaited) = self.witnesses.awaited.remove(&slot) {
            self.witnesses.count -= awaited.len();
        }
    }

    fn mark_for_friends(&mut self, slot: Slot) {
        let friends: Vec<_> = self
            .peers
            .iter()
            .filter(|(_, peer)| peer.is_friend())
            .map(|(_, p)| p.consumer)
            .collect();
        for friend in friends {
            self.mark_again(friend, [slot]);
        }
    }

    fn is_friend(&self, consumer: ConsumerId) -> bool {
        self.peers.iter().any(|(_, peer)| peer.consumer == consumer && peer.is_friend())
    }
}
