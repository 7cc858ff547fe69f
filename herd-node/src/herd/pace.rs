//! How often one client may report: a small number for each slot, and no queue.

use std::time::Duration;

use super::table::Slot;

/// The longest burst, as time at the steady pace.
const BURST: Duration = Duration::from_secs(1);

/// Lets each client report so many times a second, in bursts of up to a second's worth (the
/// generic cell rate algorithm).
#[derive(Debug)]
pub struct Pace {
    per_report: Duration,
    /// For each slot, when all its reports would have come at the steady pace, in microseconds of
    /// the monotonic clock. 8 bytes a client.
    due: Vec<u64>,
}

impl Pace {
    /// `reports` a second for each client.
    pub fn new(reports: u32) -> Self {
        Self { per_report: Duration::from_secs(1) / reports.max(1), due: Vec::new() }
    }

    /// Whether a client may report now; if so, it has.
    pub fn allows(&mut self, slot: Slot, monotonic: Duration) -> bool {
        let index = slot as usize;
        if self.due.len() <= index {
            self.due.resize(index + 1, 0);
        }
        let due = Duration::from_micros(self.due[index]).max(monotonic) + self.per_report;
        let allowed = due <= monotonic + BURST;
        if allowed {
            self.due[index] = due.as_micros() as u64;
        }
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_then_only_the_steady_pace_and_others_are_not_touched() {
        let mut pace = Pace::new(10);
        let at = Duration::from_millis;
        assert_eq!((0..20).filter(|_| pace.allows(3, at(5000))).count(), 10);
        assert!(pace.allows(4, at(5000)));
        assert!(!pace.allows(3, at(5099)));
        assert!(pace.allows(3, at(5100)) && !pace.allows(3, at(5100)));
        assert_eq!((0..20).filter(|_| pace.allows(3, at(60_000))).count(), 10);
    }
}
