//! Which commands took too long.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use herd_edge::Seldom;
use herd_proto::{NodeName, TraceContext};
use tracing::warn;

use crate::counts::Outcome;

/// What a node was asked, for as long as its answer took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asking {
    /// To record the reports of some lines that came together.
    Iamat,
    Whatsat,
}

impl Asking {
    const ALL: [Self; 2] = [Self::Iamat, Self::Whatsat];

    /// The command's word, as in the labels of `herd_gateway_commands`.
    fn label(self) -> &'static str {
        match self {
            Self::Iamat => "iamat",
            Self::Whatsat => "whatsat",
        }
    }
}

/// What is told of a slow command.
#[derive(Debug)]
pub(crate) struct Asked<'a> {
    pub(crate) what: Asking,
    /// Whence the client comes.
    pub(crate) client: IpAddr,
    /// How many lines were answered at once.
    pub(crate) lines: usize,
    pub(crate) outcome: Outcome,
    /// Who answered, if anybody did.
    pub(crate) node: Option<&'a NodeName>,
    /// By what name the node's log knows the call; reports share a stream and have none.
    pub(crate) id: Option<&'a str>,
    pub(crate) trace: Option<&'a TraceContext>,
}

/// Counts and logs what took too long.
#[derive(Debug, Default)]
pub(crate) struct Slow {
    limit: Option<Duration>,
    seldom: Seldom,
    counts: [AtomicU64; Asking::ALL.len()],
}

impl Slow {
    /// What takes `limit` or longer is slow; `None` for nothing.
    pub(crate) fn new(limit: Option<Duration>) -> Self {
        Self { limit, ..Self::default() }
    }

    /// Notes how long a node took to answer.
    pub(crate) fn note(&self, took: Duration, asked: &Asked<'_>) {
        if self.limit.is_none_or(|limit| took < limit) {
            return;
        }
        self.counts[asked.what as usize].fetch_add(1, Ordering::Relaxed);
        let Some(unsaid) = self.seldom.turn() else { return };
        let Asked { what, client, lines, outcome, node, id, trace } = asked;
        warn!(
            command = what.label(),
            %client,
            lines,
            outcome = outcome.label(),
            node = node.map(tracing::field::display),
            id,
            trace_id = trace.map(|trace| tracing::field::display(trace.shown_trace_id())),
            millis = took.as_millis(),
            unsaid,
            "slow command"
        );
    }

    /// How many there were, by command.
    pub(crate) fn counts(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let count = |what: Asking| self.counts[what as usize].load(Ordering::Relaxed);
        Asking::ALL.into_iter().map(move |what| (what.label(), count(what)))
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use herd_edge::testing::logged;

    use super::*;

    fn asked() -> Asked<'static> {
        Asked {
            what: Asking::Whatsat,
            client: Ipv4Addr::LOCALHOST.into(),
            lines: 1,
            outcome: Outcome::Unanswered,
            node: None,
            id: Some("60ef9b636f35a540"),
            trace: None,
        }
    }

    #[test]
    fn what_takes_the_limit_is_counted_and_what_takes_less_is_not() {
        let slow = Slow::new(Some(Duration::from_millis(10)));
        let log = logged(|| {
            for millis in [9, 10, 11] {
                slow.note(Duration::from_millis(millis), &asked());
            }
        });
        let line = "slow command command=\"whatsat\" client=127.0.0.1 lines=1 outcome=\"unanswered\" \
                    id=\"60ef9b636f35a540\" millis=10 unsaid=0\n";
        assert!(log.ends_with(line), "{log}");
        assert_eq!(slow.counts().collect::<Vec<_>>(), [("iamat", 0), ("whatsat", 2)]);
        assert_eq!(slow.seldom.unsaid(), 1, "one a second is logged");
        let never = Slow::new(None);
        never.note(Duration::MAX, &asked());
        assert_eq!(never.counts().map(|(_, count)| count).sum::<u64>(), 0);
    }
}
