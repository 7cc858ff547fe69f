//! Forgetting a client everywhere.

use herd_proto::{ClientId, LocationRecord, Position};

use super::State;
use crate::herd::Now;

/// What became of a request to forget.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forgotten {
    /// What this node knew until then; `None` for a client that it did not know.
    pub location: Option<LocationRecord>,
}

/// A client has been forgotten as often as can be counted, so no mark can beat its records.
///
/// Nobody comes here by forgetting; a peer that sends such a record is at fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the client has been forgotten {} times, which cannot be outdone", u32::MAX)]
pub struct GenerationsExhausted;

impl State {
    /// Forgets a client: puts a mark in the next generation in its place, which beats all that is
    /// known of it anywhere, a report from the far future included, and nothing that it reports
    /// from the moment on at which a node has heard of the mark.
    ///
    /// A client that is unknown or forgotten already gets a mark all the same: another node may
    /// hold a report that has not arrived here.
    ///
    /// # Errors
    /// Nothing has changed.
    pub fn forget(
        &mut self,
        now: Now,
        client: ClientId,
    ) -> Result<Forgotten, GenerationsExhausted> {
        self.tell_time(now);
        let known = self.table.find(&client).map(|slot| self.table.record(slot));
        let generation = known.map_or(0, |record| record.generation);
        let generation = generation.checked_add(1).ok_or(GenerationsExhausted)?;
        let position = known.map_or(Position::default(), |record| record.position);
        let location = self.location(&client).cloned();
        let origin = self.identity.name.clone();
        let mut mark = LocationRecord::new(client, position, now.wall, now.wall, origin);
        mark.generation = generation;
        mark.forgotten = true;
        self.merge(mark, None);
        Ok(Forgotten { location })
    }
}
