use std::time::Duration;

/// Pauses between dials: random, up to a ceiling that doubles each time. Full jitter, so that
/// gateways that lost a node, or a text friend, together do not return together.
#[derive(Debug)]
pub(crate) struct Backoff {
    ceiling: Duration,
}

impl Backoff {
    /// Short enough that a node's restart is seldom noticed.
    const FIRST: Duration = Duration::from_millis(50);
    /// A dial a second is no load, and clients' lines cause dials of their own.
    const LAST: Duration = Duration::from_secs(1);

    pub(crate) fn new() -> Self {
        Self { ceiling: Self::FIRST }
    }

    pub(crate) fn next_pause(&mut self) -> Duration {
        let ceiling = self.ceiling;
        self.ceiling = (ceiling * 2).min(Self::LAST);
        rand::random_range(Duration::ZERO..=ceiling)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_second_and_no_further() {
        let mut backoff = Backoff::new();
        for ceiling in [50, 100, 200, 400, 800, 1000, 1000] {
            assert_eq!(backoff.ceiling, Duration::from_millis(ceiling));
            assert!(backoff.next_pause() <= Duration::from_millis(ceiling));
        }
    }
}
