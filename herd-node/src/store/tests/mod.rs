//! What needs the inside of the store: a disk that fails, loses power or is spoilt, and limits
//! small enough to reach.

mod crash;
mod damage;
mod disk;
mod full;
mod snapshots;

use std::collections::BTreeMap;
use std::sync::Arc;

use herd_proto::{ClientId, LocationRecord, NodeName, Position, Timestamp};

use self::disk::TestDisk;
use super::log::{DiskStorage, Limits};
use super::open_error::OpenError;
use super::recovery::{Recovery, open_on};

/// Small enough that a few batches fill a segment and a few segments call for a snapshot.
const SMALL: Limits = Limits { segment_bytes: 600, min_log_bytes: 2000, snapshots: 2, segments: 6 };

/// The newest records by client.
type Known = BTreeMap<String, LocationRecord>;

/// The record that client `client` sends at `time`.
fn record(client: u32, time: u32) -> LocationRecord {
    let nanos = |seconds: u32| Timestamp::from_unix_nanos(i64::from(seconds) * 1_000_000_000);
    LocationRecord::new(
        ClientId::parse(&format!("client-{client}")).unwrap(),
        Position::from_e7(client as i32, time as i32).unwrap(),
        nanos(time).unwrap(),
        nanos(time + 1).unwrap(),
        NodeName::parse("Bailey").unwrap(),
    )
}

/// The records of clients 0 to `clients`, at `time`.
fn batch(clients: u32, time: u32) -> Vec<LocationRecord> {
    (0..clients).map(|client| record(client, time)).collect()
}

fn merge(known: &mut Known, record: LocationRecord) {
    let newest = known.entry(record.client.as_str().to_owned()).or_insert_with(|| record.clone());
    if crate::herd::order::compare(&record, newest).is_gt() {
        *newest = record;
    }
}

fn try_open(disk: &TestDisk, known: &mut Known) -> Result<(DiskStorage, Recovery), OpenError> {
    open_on(Arc::new(disk.clone()), "herd", SMALL, &mut |record| merge(known, record))
}

fn open(disk: &TestDisk) -> (DiskStorage, Recovery, Known) {
    let mut known = Known::new();
    let (storage, recovery) = try_open(disk, &mut known).unwrap();
    (storage, recovery, known)
}
