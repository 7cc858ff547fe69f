//! What goes wrong, and when: the same for the same seed.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde::Serialize;

use crate::proxy::Condition;

/// Longest that a killed node stays away.
const MAX_AWAY: Duration = Duration::from_secs(5);

/// Longest that all nodes stay away after they were killed at once.
const MAX_ALL_AWAY: Duration = Duration::from_secs(2);

/// Longest that a node is stopped or a link is bad: beyond the 5 s after which a silent peer is
/// given up, so that both sides of that limit are met.
const MAX_BAD: Duration = Duration::from_secs(7);

/// A bad spell's shortest length: any shorter and nobody notices.
const MIN_BAD: Duration = Duration::from_millis(200);

/// What a slow link still carries, bytes a second.
const SLOW: std::ops::Range<u32> = 100..20_000;

/// A kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Fault {
    /// kill -9 of one node, which comes back within 5 s
    Kill,
    /// kill -9 of all nodes at once
    #[value(name = "killall")]
    KillAll,
    /// SIGSTOP of one node, and SIGCONT within 7 s
    Stop,
    /// A link is reset, silent, stalled, stalled one way or slow for up to 7 s
    Cut,
}

/// What to do to the herd now.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Blow {
    /// Kill a node, start it again after a while.
    Kill { node: usize, away: Duration },
    /// Kill all nodes, start each again after its own while.
    KillAll { away: Vec<Duration> },
    /// Stop a node, let it go on after a while.
    Stop { node: usize, lasts: Duration },
    /// Change a link, heal it after a while.
    Cut { link: usize, condition: Condition, lasts: Duration },
}

/// An endless schedule of blows.
#[derive(Debug)]
pub(crate) struct Nemesis {
    random: StdRng,
    faults: Vec<Fault>,
    every: Duration,
    nodes: usize,
    links: usize,
    turns: usize,
}

impl Nemesis {
    /// Blows of these kinds, in turn, on average `every` so long.
    pub(crate) fn new(
        seed: u64,
        faults: Vec<Fault>,
        every: Duration,
        nodes: usize,
        links: usize,
    ) -> Self {
        Self { random: StdRng::seed_from_u64(seed), faults, every, nodes, links, turns: 0 }
    }

    /// How long to wait, and then what to do. `None` when there are no kinds.
    ///
    /// The kinds take turns, so that a short run meets each; nodes, links and lengths are random.
    pub(crate) fn next(&mut self) -> Option<(Duration, Blow)> {
        let fault = *self.faults.get(self.turns % self.faults.len().max(1))?;
        self.turns += 1;
        let pause = self.every.mul_f64(self.random.random_range(0.5..1.5));
        let blow = match fault {
            Fault::Kill => Blow::Kill {
                node: self.random.random_range(0..self.nodes),
                away: self.random.random_range(Duration::ZERO..=MAX_AWAY),
            },
            Fault::KillAll => {
                let mut away = || self.random.random_range(Duration::ZERO..=MAX_ALL_AWAY);
                Blow::KillAll { away: (0..self.nodes).map(|_| away()).collect() }
            }
            Fault::Stop => Blow::Stop {
                node: self.random.random_range(0..self.nodes),
                lasts: self.random.random_range(MIN_BAD..=MAX_BAD),
            },
            Fault::Cut => Blow::Cut {
                link: self.random.random_range(0..self.links),
                condition: self.condition(),
                lasts: self.random.random_range(MIN_BAD..=MAX_BAD),
            },
        };
        Some((pause, blow))
    }

    fn condition(&mut self) -> Condition {
        match self.random.random_range(0..5) {
            0 => Condition::Reset,
            1 => Condition::Silent,
            2 => Condition::Stalled,
            3 => Condition::OneWay,
            _ => Condition::Slow(self.random.random_range(SLOW)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Fault; 4] = [Fault::Kill, Fault::KillAll, Fault::Stop, Fault::Cut];

    fn blows(seed: u64, count: usize) -> Vec<(Duration, Blow)> {
        let mut nemesis = Nemesis::new(seed, ALL.into(), Duration::from_secs(1), 5, 6);
        (0..count).map(|_| nemesis.next().unwrap()).collect()
    }

    #[test]
    fn one_seed_is_one_schedule() {
        assert_eq!(blows(7, 100), blows(7, 100));
        assert_ne!(blows(7, 100), blows(8, 100));
    }

    #[test]
    fn every_node_every_link_and_every_condition_has_its_turn() {
        let blows = blows(1, 1000);
        for wanted in 0..5 {
            let kills = |blow: &Blow| matches!(blow, Blow::Kill { node, .. } if *node == wanted);
            let stops = |blow: &Blow| matches!(blow, Blow::Stop { node, .. } if *node == wanted);
            assert!(blows.iter().any(|(_, blow)| kills(blow)));
            assert!(blows.iter().any(|(_, blow)| stops(blow)));
        }
        let mut conditions = Vec::new();
        for (_, blow) in &blows {
            if let Blow::Cut { condition, .. } = blow {
                conditions.push(std::mem::discriminant(condition));
            }
        }
        conditions.dedup();
        let different: std::collections::HashSet<_> = conditions.into_iter().collect();
        assert_eq!(different.len(), 5);
    }

    #[test]
    fn without_faults_nothing_happens() {
        let mut quiet = Nemesis::new(1, Vec::new(), Duration::from_secs(1), 5, 6);
        assert_eq!(quiet.next(), None);
    }
}
