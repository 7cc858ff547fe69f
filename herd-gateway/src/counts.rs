//! Lines that were answered since the start, by what they asked and what came of it.

use std::sync::atomic::{AtomicU64, Ordering};

/// What a line asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    Iamat,
    Whatsat,
    /// It was no command.
    Invalid,
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Answered,
    /// Copied back with `? `: no command, or a node refused it.
    Refused,
    /// Copied back with `? `, as no node answered.
    Unanswered,
}

impl Asked {
    const ALL: [Self; 3] = [Self::Iamat, Self::Whatsat, Self::Invalid];

    fn label(self) -> &'static str {
        match self {
            Self::Iamat => "iamat",
            Self::Whatsat => "whatsat",
            Self::Invalid => "invalid",
        }
    }
}

impl Outcome {
    const ALL: [Self; 3] = [Self::Answered, Self::Refused, Self::Unanswered];

    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Refused => "refused",
            Self::Unanswered => "unanswered",
        }
    }
}

/// Counts of lines.
#[derive(Debug, Default)]
pub(crate) struct Counts([[AtomicU64; Outcome::ALL.len()]; Asked::ALL.len()]);

impl Counts {
    pub(crate) fn add(&self, asked: Asked, outcome: Outcome, lines: u64) {
        self.0[asked as usize][outcome as usize].fetch_add(lines, Ordering::Relaxed);
    }

    /// All counts that can be other than 0, with their labels.
    pub(crate) fn iter(&self) -> impl Iterator<Item = ([(&'static str, &'static str); 2], u64)> {
        let all = Asked::ALL.into_iter().flat_map(|asked| Outcome::ALL.map(|out| (asked, out)));
        let possible =
            all.filter(|(asked, outcome)| *asked != Asked::Invalid || *outcome == Outcome::Refused);
        possible.map(|(asked, outcome)| {
            let labels = [("command", asked.label()), ("outcome", outcome.label())];
            (labels, self.0[asked as usize][outcome as usize].load(Ordering::Relaxed))
        })
    }
}
