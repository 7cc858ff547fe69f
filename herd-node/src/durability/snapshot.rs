//! Writes all that is known, in slices, so that the log before it can go.

use std::io;

use herd_proto::LocationRecord;
use tracing::{info, warn};

use crate::shared::Shared;
use crate::store::SnapshotWriter;

/// Records copied under the state's lock at a time: some hundred microseconds.
const SLICE: usize = 1024;

/// Writes everything, on a thread of its own.
pub(super) fn write(shared: &Shared, mut writer: Box<dyn SnapshotWriter>) -> io::Result<()> {
    let begun = std::time::Instant::now();
    let slots = shared.with(|state, _| state.table().slots());
    let count = slots.len();
    let result = (|| {
        for start in slots.step_by(SLICE) {
            let slice: Vec<LocationRecord> = shared.with(|state, _| {
                let table = state.table();
                let end = (start + SLICE as u32).min(count as u32);
                (start..end).map(|slot| table.record(slot).clone()).collect()
            });
            writer.add(&mut slice.iter())?;
        }
        writer.finish()
    })();
    match &result {
        Ok(()) => info!(clients = count, elapsed = ?begun.elapsed(), "snapshot written"),
        Err(error) => warn!(%error, "snapshot not written, the log still holds everything"),
    }
    result
}
