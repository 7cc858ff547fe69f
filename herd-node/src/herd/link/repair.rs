//! Finds what two nodes lack of each other, at a cost that grows with the difference.
//!
//! One side sends the sums of its root's children; each side answers the other's sums with its own
//! for the branches that differ, one depth further down, and at the last depth with the keys and
//! versions in the leaves that differ. Whoever receives those marks what it has and the other
//! lacks, and asks for the rest; the records themselves travel in batches like any others.
//!
//! The same descent looks at running nodes now and then. Under load two roots are almost never
//! equal, because changes are under way, so there a difference counts only if a later look finds
//! the same two versions of the same client again.

use std::collections::{BTreeMap, HashMap, VecDeque};

use herd_proto::v1::{Branch, Compare, Leaf, Leaves, Reason, Want, frame::Kind};

use super::{Now, Step};
use crate::herd::state::{ConsumerId, State};
use crate::herd::table::Slot;
use crate::herd::tree::{DEPTH, FANOUT};

/// Most branches in a frame: 64 KiB of sums.
const FRAME_BRANCHES: usize = 512;

/// Most entries of leaves, or wanted keys, in a frame: 64 KiB. The last leaf of a frame may
/// exceed it by what one leaf holds.
const FRAME_ENTRIES: usize = 4096;

/// Most branches waiting to be described, and keys waiting to be asked for: all leaves of the tree,
/// and as many clients as a million has in them, with room.
const WAITING: usize = 2 << 20;

/// Most differences remembered from one look to the next.
const SUSPECTS: usize = 4096;

/// The part of a link that compares trees.
#[derive(Debug, Default)]
pub(super) struct Repair {
    /// Branches whose sums are to be sent, or leaves whose entries, by depth and prefix.
    to_describe: VecDeque<(u32, u32)>,
    /// Keys to ask for.
    to_want: VecDeque<u64>,
    /// Whether the present descent is a look at running nodes.
    check: bool,
    /// Whether the peer ever sent its sums.
    asked: bool,
    /// By key, the versions here and there that the last look found to differ; 0 for none.
    suspects: HashMap<u64, (u64, u64)>,
    /// Those of the look under way.
    new_suspects: HashMap<u64, (u64, u64)>,
}

/// What a frame of repair led to, for the counters.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Records marked or asked for because they differ.
    pub(super) differing: u64,
    /// Of these, differences between running nodes that had stayed since the last look.
    pub(super) divergent: u64,
}

impl Repair {
    /// Begins a descent.
    pub(super) fn start(&mut self, check: bool) {
        self.check = check;
        self.to_describe.clear();
        self.to_describe.push_back((0, 0));
    }

    /// Whether the peer has begun a descent.
    pub(super) fn was_asked(&self) -> bool {
        self.asked
    }

    /// Whether there is nothing to send.
    pub(super) fn is_idle(&self) -> bool {
        self.to_describe.is_empty() && self.to_want.is_empty()
    }

    /// The next frame, if there is one.
    pub(super) fn poll(&mut self, state: &State, now: Now) -> Option<Kind> {
        if !self.to_want.is_empty() {
            let count = self.to_want.len().min(FRAME_ENTRIES);
            return Some(Kind::Want(Want { keys: self.to_want.drain(..count).collect() }));
        }
        let (depth, _) = *self.to_describe.front()?;
        Some(if depth == DEPTH { self.leaves(state, now) } else { self.compare(state) })
    }

    fn compare(&mut self, state: &State) -> Kind {
        let mut branches = Vec::new();
        while branches.len() < FRAME_BRANCHES
            && let Some((depth, prefix)) = self.next_if(|depth| depth < DEPTH)
        {
            let sums = state.table().tree().children(depth, prefix).unwrap_or_default().to_vec();
            branches.push(Branch { depth, prefix, sums });
        }
        Kind::Compare(Compare { branches, check: self.check })
    }

    fn leaves(&mut self, state: &State, now: Now) -> Kind {
        let (mut leaves, mut entries) = (Vec::new(), 0);
        while entries < FRAME_ENTRIES
            && leaves.len() < FRAME_ENTRIES
            && let Some((_, prefix)) = self.next_if(|depth| depth == DEPTH)
        {
            // What is about to expire may be gone at the peer, whose clock may be ahead.
            let slots = state.table().tree().leaf(prefix);
            let slots = slots.filter(|slot| !state.is_fading(*slot, now));
            let (keys, versions): (Vec<_>, Vec<_>) =
                slots.map(|slot| state.table().signature(slot)).unzip();
            entries += keys.len();
            leaves.push(Leaf { prefix, keys, versions });
        }
        Kind::Leaves(Leaves { leaves, check: self.check })
    }

    fn next_if(&mut self, wanted: impl Fn(u32) -> bool) -> Option<(u32, u32)> {
        let next = *self.to_describe.front()?;
        wanted(next.0).then(|| self.to_describe.pop_front())?
    }

    /// Takes the peer's sums: notes which branches differ here.
    pub(super) fn heard_compare(&mut self, state: &State, compare: &Compare) -> Step {
        if compare.branches.len() > FRAME_BRANCHES {
            return broken("too many branches in Compare");
        }
        (self.check, self.asked) = (compare.check, true);
        if compare.branches.iter().any(|branch| branch.depth == 0) {
            self.begin_look();
        }
        for branch in &compare.branches {
            let own = state.table().tree().children(branch.depth, branch.prefix);
            let Some(own) = own else { return broken("no such branch in Compare") };
            if branch.sums.len() != FANOUT {
                return broken("a branch in Compare without 16 sums");
            }
            let pairs = own.iter().zip(&branch.sums);
            for (child, _) in (0..).zip(pairs).filter(|(_, (own, theirs))| own != theirs) {
                if self.to_describe.len() < WAITING {
                    let prefix = branch.prefix * FANOUT as u32 + child;
                    self.to_describe.push_back((branch.depth + 1, prefix));
                }
            }
        }
        Ok(())
    }

    /// Takes the peer's leaves: marks for it what it lacks, and notes what to ask it for.
    pub(super) fn heard_leaves(
        &mut self,
        state: &mut State,
        now: Now,
        consumer: ConsumerId,
        leaves: &Leaves,
    ) -> Result<Found, (Reason, String)> {
        if leaves.leaves.len() > FRAME_ENTRIES {
            return Err(protocol("too many leaves in Leaves"));
        }
        let mut found = Found::default();
        for leaf in &leaves.leaves {
            if leaf.keys.len() != leaf.versions.len() {
                return Err(protocol("a leaf with more keys than versions, or fewer"));
            }
            let slots = state.table().tree().leaf(leaf.prefix);
            let mut own: BTreeMap<u64, (Slot, u64)> = slots
                .map(|slot| {
                    let (key, version) = state.table().signature(slot);
                    (key, (slot, version))
                })
                .collect();
            for (&key, &theirs) in leaf.keys.iter().zip(&leaf.versions) {
                let here = own.remove(&key);
                let version = here.map_or(0, |(_, version)| version);
                if version != theirs && self.acts(leaves.check, key, (version, theirs), &mut found)
                {
                    state.mark_again(consumer, here.map(|(slot, _)| slot));
                    if self.to_want.len() < WAITING {
                        self.to_want.push_back(key);
                    }
                }
            }
            own.retain(|_, (slot, _)| !state.may_fade_elsewhere(*slot, now));
            for (key, (slot, version)) in own {
                if self.acts(leaves.check, key, (version, 0), &mut found) {
                    state.mark_again(consumer, [slot]);
                }
            }
        }
        Ok(found)
    }

    /// Takes the peer's wishes. Returns how many can be fulfilled.
    pub(super) fn heard_want(state: &mut State, consumer: ConsumerId, want: &Want) -> u64 {
        let found = |key: &u64| state.table().find_key(*key);
        let slots: Vec<_> = want.keys.iter().take(FRAME_ENTRIES).filter_map(found).collect();
        let count = slots.len() as u64;
        state.mark_again(consumer, slots);
        count
    }

    /// Whether a difference is acted upon: in a repair always, in a look when it has stayed.
    fn acts(&mut self, check: bool, key: u64, versions: (u64, u64), found: &mut Found) -> bool {
        let stayed = check && self.suspects.get(&key) == Some(&versions);
        if check && !stayed {
            if self.new_suspects.len() < SUSPECTS {
                self.new_suspects.insert(key, versions);
            }
            return false;
        }
        found.differing += 1;
        found.divergent += u64::from(stayed);
        true
    }

    /// A new descent of the peer begins: what the last one found is what may have stayed.
    fn begin_look(&mut self) {
        self.suspects = std::mem::take(&mut self.new_suspects);
    }
}

fn protocol(detail: &str) -> (Reason, String) {
    (Reason::Protocol, detail.to_owned())
}

fn broken(detail: &str) -> Step {
    Err(protocol(detail))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use herd_proto::{NodeName, Timestamp};

    use super::*;
    use crate::herd::state::{Identity, Interest};

    #[test]
    fn frames_that_would_take_long_break_the_link() {
        let mut state = State::new(Identity {
            name: NodeName::parse("Bailey").unwrap(),
            cluster: "test".into(),
            instance: 1,
            index_key: (1, 2),
            max_future: Duration::ZERO,
        });
        let consumer = state.subscribe(Interest::Everything, None);
        let now = Now { wall: Timestamp::EPOCH, monotonic: Duration::ZERO };
        let mut repair = Repair::default();
        for (count, sound) in [(FRAME_ENTRIES, true), (FRAME_ENTRIES + 1, false)] {
            let leaves = Leaves { leaves: vec![Leaf::default(); count], check: false };
            let heard = repair.heard_leaves(&mut state, now, consumer, &leaves);
            assert_eq!(heard.is_ok(), sound, "{count} leaves");
        }
        let branch = Branch { depth: 0, prefix: 0, sums: vec![0; FANOUT] };
        for (count, sound) in [(FRAME_BRANCHES, true), (FRAME_BRANCHES + 1, false)] {
            let compare = Compare { branches: vec![branch.clone(); count], check: false };
            assert_eq!(repair.heard_compare(&state, &compare).is_ok(), sound, "{count} branches");
        }
    }
}
