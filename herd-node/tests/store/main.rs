//! The store in real directories, as the rest of the node uses it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod directories;
mod model;
mod processes;

use std::collections::BTreeMap;
use std::path::Path;

use herd_node::herd::order;
use herd_node::store::{self, DiskStorage, OpenError, Recovery};
use herd_proto::{ClientId, LocationRecord, NodeName, Record};

/// The newest record of each client.
type Known = BTreeMap<ClientId, LocationRecord>;

/// A record with more than the ordinary: original spelling, and a field that only a later
/// release knows.
fn record(client: u32, time: u32) -> LocationRecord {
    let wire = Record {
        client_id: format!("client-{client}").into(),
        latitude_e7: 120_000_000,
        longitude_e7: -(client as i32),
        time_unix_nanos: i64::from(time) * 1_000_000_000,
        receive_time_unix_nanos: i64::from(time) * 1_000_000_000 + 1,
        origin: "Bailey".into(),
        time_text: if client.is_multiple_of(2) { format!("{time}.0").into() } else { "".into() },
        generation: time % 3,
        forgotten: client.is_multiple_of(5),
        unknown: if client.is_multiple_of(3) { vec![0x60, (time % 100) as u8] } else { Vec::new() },
        ..Record::default()
    };
    LocationRecord::try_from(wire).unwrap()
}

fn merge(known: &mut Known, record: LocationRecord) {
    let newest = known.entry(record.client.clone()).or_insert_with(|| record.clone());
    if order::compare(&record, newest).is_gt() {
        *newest = record;
    }
}

fn node() -> NodeName {
    NodeName::parse("Bailey").unwrap()
}

fn open(directory: &Path) -> Result<(DiskStorage, Recovery, Known), OpenError> {
    let mut known = Known::new();
    let (storage, recovery) =
        store::open(directory, "herd", &node(), &mut |record| merge(&mut known, record))?;
    Ok((storage, recovery, known))
}
