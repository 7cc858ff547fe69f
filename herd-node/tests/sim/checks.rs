//! What must hold of a simulated herd.

use herd_node::herd::order;
use herd_node::herd::state::State;

use crate::network::Herd;

/// Most bytes of records that may be sent and not acknowledged: the window of a link, and the
/// batch that fills it.
pub(crate) const IN_FLIGHT_BYTES: usize = (256 << 10) + (64 << 10);

/// Largest frame: a full batch and its envelopes.
pub(crate) const FRAME_BYTES: usize = 72 << 10;

/// Slots of a table that are looked at after each change. Large tables are looked at in the end,
/// by their digests.
const LOOKED_AT: usize = 100;

impl Herd {
    /// Checks that no client's record has become a lesser one since the last look, and that
    /// outboxes are within their bounds.
    pub(crate) fn check_never_back(&mut self, node: usize) {
        let node = &mut self.nodes[node];
        let Some(state) = &node.state else { return };
        let digest = state.table().digest();
        if node.digest == digest {
            return;
        }
        node.digest = digest;
        for (_, peer) in state.peers().iter() {
            let pending = state.pending(peer.consumer);
            assert!(
                pending <= state.table().len(),
                "{pending} pending: more than there are clients"
            );
        }
        let held = state.table().slots().filter(|slot| state.table().holds(*slot));
        for slot in held.take(LOOKED_AT) {
            let record = state.table().record(slot);
            if let Some(before) = node.seen.get_mut(&record.client) {
                assert!(order::compare(record, before).is_ge(), "{} went back", record.client);
                if *before != *record {
                    record.clone_into(before);
                }
            } else {
                node.seen.insert(record.client.clone(), record.clone());
            }
        }
    }

    /// Whether all nodes hold the same and owe each other nothing.
    pub(crate) fn agrees(&self) -> bool {
        let digests = self.digests();
        let owes_nothing = |state: &State| {
            state.peers().iter().all(|(_, peer)| {
                let in_flight = peer.active.map(|active| active.in_flight);
                in_flight == Some(0) && state.pending(peer.consumer) == 0
            })
        };
        digests.windows(2).all(|pair| pair[0] == pair[1]) && self.states().all(owes_nothing)
    }

    /// What must hold when the network has been whole for a while: all agree, nothing is owed,
    /// and nobody saw anything that should not be.
    pub(crate) fn check_agreement(&self) {
        let digests = self.digests();
        assert!(digests.windows(2).all(|pair| pair[0] == pair[1]), "digests differ: {digests:x?}");
        for state in self.states() {
            for (name, peer) in state.peers().iter() {
                assert_eq!(state.pending(peer.consumer), 0, "{name} was not told everything");
                let active = peer.active.unwrap_or_else(|| panic!("no stream to {name}"));
                assert_eq!(active.in_flight, 0, "{name} did not acknowledge everything");
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
                let slot = state.table().find(client);
                assert_eq!(slot.map(|slot| state.table().record(slot)), Some(greatest));
            }
        }
    }
}
