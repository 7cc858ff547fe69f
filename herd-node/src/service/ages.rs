//! How old locations are when they are asked for: what callers get of the herd's being up to date.

use herd_proto::{LocationRecord, Timestamp};
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

/// Upper bounds, in seconds: from a client that reports all the time to one of last month.
const BOUNDS: [f64; 10] =
    [0.1, 1.0, 5.0, 15.0, 60.0, 300.0, 3600.0, 21_600.0, 86_400.0, 2_592_000.0];

/// The ages, by the node's clock and the time at which the record's origin took it.
#[derive(Debug, Clone)]
pub(crate) struct Ages(Histogram);

impl Default for Ages {
    fn default() -> Self {
        Self(Histogram::new(BOUNDS))
    }
}

impl Ages {
    /// Notes that `record` is told to somebody who asked for it.
    pub(crate) fn note(&self, record: &LocationRecord, now: Timestamp) {
        // Clocks that differ the other way count as no time at all.
        self.0.observe(now.since(record.receive_time).nanos().max(0) as f64 / 1e9);
    }

    pub(crate) fn register(&self, registry: &mut Registry) {
        let help = "How old locations were that Locations/Get and Places/Search were asked for";
        let ages = self.0.clone();
        registry.register_with_unit("herd_location_age", help, Unit::Seconds, ages);
    }
}
