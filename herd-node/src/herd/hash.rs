//! Hashes of clients and records, keyed with the herd's name: what the tree of sums is made of.

use std::hash::Hasher as _;

use herd_proto::{ClientId, LocationRecord};
use siphasher::sip::SipHasher13;

/// Hashes records with the herd's key.
///
/// Keyed, so that who does not know the herd's name cannot steer the sums by picking client ids.
/// The name is no secret, so this guards against accidents and strangers, not against members.
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

    /// The client's key: its place in the tree, the same on all nodes of the herd.
    pub fn key(&self, client: &ClientId) -> u64 {
        let mut hasher = SipHasher13::new_with_key(&self.key);
        hasher.write(client.as_str().as_bytes());
        hasher.finish()
    }

    /// The record's share of the sums.
    pub fn hash(&mut self, record: &LocationRecord) -> u64 {
        self.buffer.clear();
        record.put_wire(&mut self.buffer);
        let mut hasher = SipHasher13::new_with_key(&self.key);
        hasher.write(&self.buffer);
        hasher.finish()
    }
}
