use std::time::Duration;

use tokio::time::Instant;

/// Lets one connection send so many lines a second, in bursts of up to a second's worth.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    per_line: Duration,
    /// When all lines so far would have been sent at the highest steady pace.
    due: Instant,
}

/// The longest burst.
const BURST: Duration = Duration::from_secs(1);

impl Pace {
    pub(crate) fn new(lines_per_second: u32) -> Self {
        Self { per_line: Duration::from_secs(1) / lines_per_second.max(1), due: Instant::now() }
    }

    /// Notes lines that came; returns until when no more may be read, if that is to come.
    pub(crate) fn came(&mut self, lines: u32) -> Option<Instant> {
        let now = Instant::now();
        self.due = self.due.max(now) + self.per_line * lines;
        self.due.checked_sub(BURST).filter(|pause| *pause > now)
    }
}

#[cfg(test)]
mod tests {
    use tokio::time;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_burst_passes_and_what_is_more_waits_its_turn() {
        let mut pace = Pace::new(10);
        assert_eq!(pace.came(10), None);
        let pause = pace.came(5).unwrap();
        assert_eq!(pause - Instant::now(), Duration::from_millis(500));
        time::sleep_until(pause).await;
        assert_eq!(pace.came(0), None);
        time::advance(Duration::from_mins(1)).await;
        assert_eq!(pace.came(10), None, "a pause is made good for a second at most");
        assert!(pace.came(1).is_some());
    }
}
