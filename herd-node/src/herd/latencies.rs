//! How long things took: records from the node that took the report to this one, by the two nodes'
//! clocks, and batches to be acknowledged.

use std::time::Duration;

use herd_proto::Timestamp;

/// Upper bounds of the buckets, in seconds: from the loopback interface to a partition of an hour.
pub const BOUNDS: [f64; 20] = [
    0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0,
    10.0, 30.0, 60.0, 600.0, 3600.0,
];

/// A histogram.
#[derive(Debug, Clone, Default)]
pub struct Latencies {
    /// How many took no longer than the bound and longer than the one before; at last those that
    /// took longer than all.
    counts: [u64; BOUNDS.len() + 1],
    sum: f64,
}

impl Latencies {
    /// Notes a record that was taken at `taken` and is applied at `now`. Clocks that differ the
    /// other way count as no time at all.
    pub(super) fn note(&mut self, taken: Timestamp, now: Timestamp) {
        let nanos = now.since(taken).nanos().max(0).unsigned_abs();
        self.add(Duration::from_nanos(nanos));
    }

    /// Notes what took so long.
    pub(super) fn add(&mut self, took: Duration) {
        let seconds = took.as_secs_f64();
        let bucket = BOUNDS.partition_point(|bound| *bound < seconds);
        self.counts[bucket] += 1;
        self.sum += seconds;
    }

    /// How many there were.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Their time together, in seconds.
    pub fn sum(&self) -> f64 {
        self.sum
    }

    /// The buckets: the bound, in seconds, and how many were in it. The last has no bound.
    pub fn buckets(&self) -> impl Iterator<Item = (f64, u64)> {
        BOUNDS.into_iter().chain([f64::INFINITY]).zip(self.counts)
    }

    /// A time within which this part of all records came, in seconds: the bound of its bucket.
    /// `None` if there were none, or it lies beyond all bounds.
    pub fn quantile(&self, part: f64) -> Option<f64> {
        let wanted = part * self.count() as f64;
        let mut so_far = 0;
        let bucket = self.counts.iter().position(|count| {
            so_far += count;
            so_far > 0 && so_far as f64 >= wanted
        })?;
        BOUNDS.get(bucket).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_bounds_of_buckets() {
        let mut latencies = Latencies::default();
        assert_eq!(latencies.quantile(0.5), None);
        let at = |millis: i64| Timestamp::from_unix_nanos(millis * 1_000_000).unwrap();
        for millis in [1, 1, 1, 3, 400] {
            latencies.note(at(1000), at(1000 + millis));
        }
        latencies.note(at(1000), at(0)); // a clock that is behind
        assert_eq!((latencies.count(), latencies.quantile(0.5)), (6, Some(0.001)));
        assert_eq!(latencies.quantile(0.99), Some(0.5));
        latencies.note(at(0), at(4_000_000));
        assert_eq!(latencies.quantile(0.99), None, "beyond all bounds");
        assert_eq!(latencies.buckets().map(|(_, count)| count).sum::<u64>(), 7);
    }
}
