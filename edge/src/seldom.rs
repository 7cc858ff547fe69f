//! What happens often and is logged seldom.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Where all of a kind are worth a line, one a second says it.
const INTERVAL: Duration = Duration::from_secs(1);

/// Lets one line a second through, and counts the others.
#[derive(Debug, Default)]
pub struct Seldom(Mutex<Said>);

#[derive(Debug, Default)]
struct Said {
    last: Option<Instant>,
    unsaid: u64,
}

impl Seldom {
    /// Whether to log now: if so, how many lines were left out since the last one.
    pub fn turn(&self) -> Option<u64> {
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if said.last.is_some_and(|last| last.elapsed() < INTERVAL) {
            said.unsaid += 1;
            return None;
        }
        said.last = Some(Instant::now());
        Some(std::mem::take(&mut said.unsaid))
    }

    /// How many lines were left out since the last one.
    pub fn unsaid(&self) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).unsaid
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_a_second_says_how_many_were_left_out() {
        let seldom = Seldom::default();
        assert_eq!((seldom.turn(), seldom.turn(), seldom.turn()), (Some(0), None, None));
        assert_eq!(seldom.unsaid(), 2);
        let a_second_ago = Instant::now().checked_sub(INTERVAL);
        seldom.0.lock().unwrap().last = a_second_ago;
        assert_eq!((seldom.turn(), seldom.unsaid()), (Some(2), 0));
    }
}
