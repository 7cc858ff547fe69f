use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use hdrhistogram::Histogram;
use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;

/// Longest latency told apart, in nanoseconds; longer ones count as this.
const LATENCY_MAX: u64 = 60_000_000_000;

/// Digits of a latency that count.
const PRECISION: u8 = 3;

/// When a load is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// How long it runs unobserved, so that connections, caches and tables are warm.
    pub warm_up: Duration,
    /// How long it is measured after that.
    pub lasts: Duration,
}

/// What a load came to.
#[derive(Debug, Clone, Serialize)]
pub struct Measured {
    /// Operations answered while it was measured.
    pub operations: u64,
    /// How long that was.
    pub seconds: f64,
    /// Operations a second.
    pub rate: f64,
    /// From the sending of an operation to its answer.
    pub latency: Latency,
    /// Operations that were answered by a refusal, warm-up included.
    pub refused: u64,
    /// Cores that the load's own process was busy with.
    pub load_cores: f64,
}

/// Quantiles, in microseconds.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Latency {
    /// Half were answered within this.
    pub p50: f64,
    /// 90 of 100.
    pub p90: f64,
    /// 99 of 100.
    pub p99: f64,
    /// 999 of 1,000.
    pub p999: f64,
    /// All of them.
    pub max: f64,
}

/// Notes answers while they count.
#[derive(Debug)]
pub(crate) struct Notes {
    from: Instant,
    until: Instant,
    /// Whether it ends at `until`, and not when all is done.
    ends: bool,
    latencies: Histogram<u64>,
    refused: u64,
}

impl Notes {
    /// Begins with the warm-up now.
    pub(crate) fn begin(timing: Timing) -> Self {
        let from = Instant::now() + timing.warm_up;
        // Bounds and precision are constants that the histogram takes.
        let latencies = Histogram::new_with_bounds(1, LATENCY_MAX, PRECISION)
            .unwrap_or_else(|_| unreachable!("these bounds are sound"));
        Self { from, until: from + timing.lasts, ends: true, latencies, refused: 0 }
    }

    /// Begins at once, with no end: what is measured is how long it takes.
    pub(crate) fn until_done() -> Self {
        let (warm_up, lasts) = (Duration::ZERO, Duration::from_hours(24));
        Self { ends: false, ..Self::begin(Timing { warm_up, lasts }) }
    }

    /// Another part of the same load, to be joined with this one.
    pub(crate) fn part(&self) -> Self {
        let mut latencies = self.latencies.clone();
        latencies.reset();
        Self { latencies, refused: 0, ..*self }
    }

    /// Whether the load still goes on at `now`.
    pub(crate) fn goes_on(&self, now: Instant) -> bool {
        now < self.until
    }

    /// Notes `operations` that were sent together and are answered `now`.
    pub(crate) fn answered(&mut self, sent: Instant, now: Instant, operations: u64) {
        if (self.from..self.until).contains(&now) {
            let nanos = u64::try_from((now - sent).as_nanos()).unwrap_or(LATENCY_MAX);
            self.latencies.saturating_record_n(nanos.max(1), operations);
        }
    }

    /// Notes operations that were refused.
    pub(crate) fn refused(&mut self, operations: u64) {
        self.refused += operations;
    }

    /// Joins the notes of parts, measured together.
    pub(crate) fn join(
        mut self,
        parts: impl IntoIterator<Item = Self>,
        clock: &LoadClock,
    ) -> anyhow::Result<Measured> {
        for part in parts {
            self.latencies.add(&part.latencies).context("latencies of one load")?;
            self.refused += part.refused;
        }
        ensure!(!self.latencies.is_empty(), "nothing was answered while it was measured");
        let micros = |quantile| self.latencies.value_at_quantile(quantile) as f64 / 1e3;
        let lasted = if self.ends { self.until - self.from } else { self.from.elapsed() };
        let seconds = lasted.as_secs_f64();
        let operations = self.latencies.len();
        Ok(Measured {
            operations,
            seconds,
            rate: operations as f64 / seconds,
            latency: Latency {
                p50: micros(0.5),
                p90: micros(0.9),
                p99: micros(0.99),
                p999: micros(0.999),
                max: self.latencies.max() as f64 / 1e3,
            },
            refused: self.refused,
            load_cores: clock.cores(),
        })
    }
}

/// How busy this process is since a moment.
#[derive(Debug)]
pub(crate) struct LoadClock {
    begun: Instant,
    spent: Duration,
}

impl LoadClock {
    pub(crate) fn begin() -> Self {
        Self { begun: Instant::now(), spent: spent() }
    }

    pub(crate) fn cores(&self) -> f64 {
        spent().saturating_sub(self.spent).as_secs_f64() / self.begun.elapsed().as_secs_f64()
    }
}

fn spent() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMING: Timing =
        Timing { warm_up: Duration::from_secs(1), lasts: Duration::from_secs(2) };

    #[test]
    fn only_what_is_answered_after_the_warm_up_and_before_the_end_counts() {
        let mut notes = Notes::begin(TIMING);
        let begun = Instant::now();
        notes.from = begun + TIMING.warm_up;
        notes.until = notes.from + TIMING.lasts;
        let at = |micros| begun + Duration::from_micros(micros);
        let (early, inside, last, late) = (999_999, 1_000_000, 2_999_999, 3_000_000);
        for answered in [early, inside, last, late] {
            notes.answered(at(answered - 500), at(answered), 3);
        }
        let measured = notes.join([], &LoadClock::begin()).unwrap();
        assert_eq!(measured.operations, 6);
        assert!((measured.rate - 3.0).abs() < f64::EPSILON);
        assert!((499.0..501.0).contains(&measured.latency.p50), "{}", measured.latency.p50);
    }

    #[test]
    fn a_load_without_an_answer_is_an_error() {
        let notes = Notes::begin(TIMING);
        let error = notes.join([], &LoadClock::begin()).unwrap_err();
        assert_eq!(error.to_string(), "nothing was answered while it was measured");
    }

    #[test]
    fn parts_are_joined() {
        let notes = Notes::begin(TIMING);
        let mut parts = [notes.part(), notes.part()];
        for part in &mut parts {
            part.answered(part.from, part.from + Duration::from_micros(10), 5);
            part.refused(2);
        }
        let measured = notes.join(parts, &LoadClock::begin()).unwrap();
        assert_eq!((measured.operations, measured.refused), (10, 4));
    }
}
