use std::time::Duration;

use tokio::time::Instant;

/// Lets one connection bring so many things a second, in bursts of up to a second's worth.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    each: Duration,
    /// When all so far would have come at the highest steady pace.
    due: Instant,
}

/// The longest burst.
const BURST: Duration = Duration::from_secs(1);

impl Pace {
    /// `per_second` things a second.
    pub fn new(per_second: u32) -> Self {
        Self { each: Duration::from_secs(1) / per_second.max(1), due: Instant::now() }
    }

    /// Whether one more may come now; if so, it has.
    pub fn admits_one(&mut self) -> bool {
        let now = Instant::now();
        let due = self.due.max(now) + self.each;
        let admitted = due <= now + BURST;
        if admitted {
            self.due = due;
        }
        admitted
    }

    /// Notes some that came; returns until when no more may be read, if that is to come.
    pub fn came(&mut self, count: u32) -> Option<Instant> {
        let now = Instant::now();
        self.due = self.due.max(now) + self.each * count;
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

    #[tokio::test(start_paused = true)]
    async fn what_is_not_admitted_does_not_count() {
        let mut pace = Pace::new(10);
        assert_eq!((0..20).filter(|_| pace.admits_one()).count(), 10);
        time::advance(Duration::from_millis(100)).await;
        assert!(pace.admits_one() && !pace.admits_one());
    }
}
