//! The newest record of each client, in dense slots found by a keyed hash of the client id.

use std::cmp::Ordering;
use std::hash::Hasher as _;
use std::ops::Range;

use herd_proto::{ClientId, LocationRecord};
use siphasher::sip::SipHasher13;

use super::cells::Cells;
use super::chunks::Chunks;
use super::hash::RecordHasher;
use super::index::Index;
use super::order;
use super::tree::{self, Tree};

/// Where a client's record stands: dense numbers from 0, so that a set of slots is a bitmap.
pub type Slot = u32;

/// The newest record of each client.
#[derive(Debug)]
pub struct Table {
    /// Never shrinks: a slot whose client is gone keeps its last record until it is reused.
    entries: Chunks<Entry>,
    /// Slots to be reused.
    free: Vec<Slot>,
    index: Index,
    /// Secret to the process, so that nobody can pick client ids that collide.
    secret: (u64, u64),
    hasher: RecordHasher,
    tree: Tree,
    /// The slots of clients that are somewhere: not of forgotten ones.
    cells: Cells,
}

#[derive(Debug)]
struct Entry {
    record: LocationRecord,
    /// The record's share of the sums. The client's key is not kept: to hash an id anew takes less
    /// time than to wait for eight bytes more.
    hash: u64,
}

/// What became of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Merged {
    /// It is the newest of its client now, and stands in this slot.
    Newer(Slot),
    /// It stood in this slot already.
    Known(Slot),
    /// A newer one stands in this slot.
    Older(Slot),
}

impl Table {
    /// An empty table of the herd `cluster`, with a random `secret` for its index.
    pub fn new(cluster: &str, secret: (u64, u64)) -> Self {
        Self {
            entries: Chunks::default(),
            free: Vec::new(),
            index: Index::default(),
            secret,
            hasher: RecordHasher::new(cluster),
            tree: Tree::default(),
            cells: Cells::default(),
        }
    }

    /// Keeps the greater of `record` and what is known of its client. Applying the same records
    /// in any order, any number of times, ends in the same table.
    pub fn merge(&mut self, record: LocationRecord) -> Merged {
        self.merge_at(self.find(&record.client), record)
    }

    /// As [`Table::merge`], where the client's slot is known already, or that it has none.
    pub fn merge_at(&mut self, slot: Option<Slot>, record: LocationRecord) -> Merged {
        let Some(slot) = slot else {
            return Merged::Newer(self.insert(record));
        };
        let entry = &mut self.entries[slot as usize];
        match order::compare(&record, &entry.record) {
            Ordering::Less => Merged::Older(slot),
            Ordering::Equal => Merged::Known(slot),
            Ordering::Greater => {
                let (key, hash) = (self.hasher.key(&record.client), self.hasher.hash(&record));
                self.tree.replace(key, entry.hash, hash);
                let (old, new) = (entry.record.position, record.position);
                match (entry.record.forgotten, record.forgotten) {
                    (false, false) => self.cells.replace(slot, old, new),
                    (false, true) => self.cells.remove(slot, old),
                    (true, false) => self.cells.insert(slot, new),
                    (true, true) => {}
                }
                entry.record = record;
                entry.hash = hash;
                Merged::Newer(slot)
            }
        }
    }

    fn insert(&mut self, record: LocationRecord) -> Slot {
        let slot = self.free.pop().unwrap_or(self.entries.len() as Slot);
        let (key, hash) = (self.hasher.key(&record.client), self.hasher.hash(&record));
        self.tree.insert(slot, key, hash);
        if !record.forgotten {
            self.cells.insert(slot, record.position);
        }
        self.index.insert(index_hash(self.secret, &record.client), slot);
        let entry = Entry { record, hash };
        match self.entries.get_mut(slot as usize) {
            Some(free) => *free = entry,
            None => self.entries.push(entry),
        }
        slot
    }

    /// Removes what stands in a slot, which is free from then on and will be reused. Returns
    /// whether anything stood there.
    pub fn remove(&mut self, slot: Slot) -> bool {
        if !self.holds(slot) {
            return false;
        }
        let Entry { record, hash } = &self.entries[slot as usize];
        self.tree.remove(slot, self.hasher.key(&record.client), *hash);
        if !record.forgotten {
            self.cells.remove(slot, record.position);
        }
        self.index.remove(index_hash(self.secret, &record.client), slot);
        self.free.push(slot);
        true
    }

    /// The slot of a client.
    pub fn find(&self, client: &ClientId) -> Option<Slot> {
        self.find_hashed(index_hash(self.secret, client), client)
    }

    /// The slots of some clients. Each look waits for memory; all are hashed first, so that the
    /// processor reaches the next look before the last one has ended, and the waits overlap.
    pub fn find_all<'a>(
        &self,
        clients: impl Iterator<Item = Option<&'a ClientId>>,
    ) -> Vec<Option<Slot>> {
        let hashed = |client: &'a ClientId| (index_hash(self.secret, client), client);
        let hashed: Vec<_> = clients.map(|client| client.map(hashed)).collect();
        let find = |(hash, client)| self.find_hashed(hash, client);
        hashed.into_iter().map(|look| look.and_then(find)).collect()
    }

    fn find_hashed(&self, hash: u64, client: &ClientId) -> Option<Slot> {
        self.index.find(hash, |slot| self.entries[slot as usize].record.client == *client)
    }

    /// Whether a client's record stands in a slot.
    pub fn holds(&self, slot: Slot) -> bool {
        self.tree.holds(slot)
    }

    /// The record in a slot that the table handed out; in a free one, the record that stood
    /// there last.
    pub fn record(&self, slot: Slot) -> &LocationRecord {
        &self.entries[slot as usize].record
    }

    /// How many clients are known.
    pub fn len(&self) -> usize {
        self.entries.len() - self.free.len()
    }

    /// Whether no client is known.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The digest of all records: equal on nodes that hold the same ones.
    pub fn digest(&self) -> u64 {
        self.tree.root()
    }

    /// The sums by which two nodes find what differs.
    pub fn tree(&self) -> &Tree {
        &self.tree
    }

    /// Where the clients are.
    pub fn cells(&self) -> &Cells {
        &self.cells
    }

    /// The key and the hash of the record in a slot that the table handed out.
    pub fn signature(&self, slot: Slot) -> (u64, u64) {
        let entry = &self.entries[slot as usize];
        (self.hasher.key(&entry.record.client), entry.hash)
    }

    /// The slot of a key.
    pub fn find_key(&self, key: u64) -> Option<Slot> {
        let leaf = tree::prefix(key, tree::DEPTH);
        self.tree.leaf(leaf).find(|slot| self.hasher.key(&self.record(*slot).client) == key)
    }

    /// All slots, the free ones included.
    pub fn slots(&self) -> Range<Slot> {
        0..self.entries.len() as Slot
    }

    /// The free slots.
    pub fn free_slots(&self) -> &[Slot] {
        &self.free
    }
}

fn index_hash((first, second): (u64, u64), client: &ClientId) -> u64 {
    let mut hasher = SipHasher13::new_with_keys(first, second);
    hasher.write(client.as_str().as_bytes());
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::herd::order::tests::rival_records;

    fn table() -> Table {
        Table::new("herd", (1, 2))
    }

    fn rivals() -> impl Strategy<Value = Vec<LocationRecord>> {
        let client = (0..4).prop_map(|n| ClientId::parse(&format!("c{n}")).unwrap());
        let record = (client, rival_records()).prop_map(|(client, mut record)| {
            record.client = client;
            record
        });
        proptest::collection::vec(record, 0..40)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]

        #[test]
        fn any_order_and_any_repetition_ends_in_the_same_table(
            (records, shuffled) in rivals().prop_flat_map(|r| (Just(r.clone()), Just(r).prop_shuffle()))
        ) {
            let (mut a, mut b) = (table(), table());
            for record in &records {
                a.merge(record.clone());
            }
            for record in shuffled.iter().chain(&records) {
                b.merge(record.clone());
            }
            prop_assert_eq!(a.digest(), b.digest());
            prop_assert_eq!(a.len(), b.len());
            for record in &records {
                let of = |table: &Table| table.record(table.find(&record.client).unwrap()).clone();
                prop_assert_eq!(of(&a), of(&b));
                prop_assert_ne!(order::compare(record, &of(&a)), Ordering::Greater);
            }
        }

        #[test]
        fn tables_that_differ_have_different_digests(records in rivals(), odd in rival_records()) {
            let (mut a, mut b) = (table(), table());
            for record in records {
                a.merge(record.clone());
                b.merge(record);
            }
            prop_assert_eq!(a.digest(), b.digest());
            if matches!(b.merge(odd), Merged::Newer(_)) {
                prop_assert_ne!(a.digest(), b.digest());
            }
        }
    }
}
