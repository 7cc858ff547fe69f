//! A digest of everything a node holds: a sum of one hash a record, kept up to date at each
//! change, so that two nodes prove with eight bytes that they hold the same records.

use std::hash::Hasher as _;

use herd_proto::{LocationRecord, Record};
use siphasher::sip::SipHasher13;

/// Hashes records with the herd's key.
///
/// Keyed, because a plain sum of plain hashes can be steered by whoever picks the client ids.
/// The hash covers the record as encoded on the wire, fields of newer releases included, so
/// that nodes of different releases agree on it.
#[derive(Debug, Clone)]
pub struct RecordHasher {
    key: [u8; 16],
    buffer: Vec<u8>,
}

impl RecordHasher {
    /// The hasher of one herd; all its nodes derive the same key.
    pub fn new(cluster: &str) -> Self {
        let part = |tail: u8| {
            let mut hasher = SipHasher13::new_with_keys(0x6865_7264, u64::from(tail));
            hasher.write(cluster.as_bytes());
            hasher.finish()
        };
        let mut key = [0; 16];
        key[..8].copy_from_slice(&part(0).to_le_bytes());
        key[8..].copy_from_slice(&part(1).to_le_bytes());
        Self { key, buffer: Vec::new() }
    }

    /// The record's share of the digest.
    pub fn hash(&mut self, record: &LocationRecord) -> u64 {
        self.buffer.clear();
        prost::Message::encode_raw(&Record::from(record), &mut self.buffer);
        let mut hasher = SipHasher13::new_with_key(&self.key);
        hasher.write(&self.buffer);
        hasher.finish()
    }
}

/// The sum over all records; 0 when there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Digest(u64);

impl Digest {
    /// Puts one record's hash in place of another's; 0 stands for no record.
    pub fn replace(&mut self, old: u64, new: u64) {
        self.0 = self.0.wrapping_sub(old).wrapping_add(new);
    }

    /// The digest as a number.
    pub const fn value(self) -> u64 {
        self.0
    }
}
