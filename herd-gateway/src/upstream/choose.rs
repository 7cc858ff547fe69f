use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use herd_proto::{NodeName, Report, TraceContext};
use herd_trace::{Kind, Span};
use tokio::time;

use super::search::Query;
use super::{EmbeddedLink, LinkError, NodeLink};
use crate::translate::{Found, Recorded};

/// How long after the loss of a node lines are tried again where any node may answer. The name of a
/// Kubernetes Service stands for all nodes, and leads to one that was killed for another second or two.
const PATIENCE: Duration = Duration::from_secs(2);

/// The pause between two rounds of trying, a little more than links leave between two dials.
const AGAIN: Duration = Duration::from_millis(50);

/// One node that can be asked, over a connection or without one.
#[derive(Debug, Clone)]
pub(crate) enum Link {
    Remote(Arc<NodeLink>),
    Embedded(Arc<EmbeddedLink>),
}

impl Link {
    async fn report(
        &self,
        reports: &[Report],
        line_bytes: usize,
        trace: Option<&TraceContext>,
    ) -> Result<Recorded, LinkError> {
        let span = self.span(trace, "herd.v1.Locations", "ReportStream");
        let answer = match self {
            Self::Remote(node) => node.report(reports, line_bytes, span.context()).await,
            Self::Embedded(node) => node.report(reports, span.context()).await,
        };
        ended(span, answer)
    }

    async fn search(&self, query: &Query<'_>) -> Result<Found, LinkError> {
        let span = self.span(query.trace, "herd.v1.Places", "Search");
        let query = Query { trace: span.context(), ..*query };
        let answer = match self {
            Self::Remote(node) => node.search(&query).await,
            Self::Embedded(node) => node.search(&query).await,
        };
        ended(span, answer)
    }

    /// One try in a trace, if there is one.
    fn span(&self, trace: Option<&TraceContext>, service: &str, method: &str) -> Span {
        let Some(trace) = trace else { return Span::none() };
        let mut span = Span::call(Kind::Client, Some(trace.clone()), service, method);
        if span.is_recorded() {
            span.set("herd.node", self.name().to_string());
        }
        span
    }

    /// The node's name.
    pub(crate) fn name(&self) -> &NodeName {
        match self {
            Self::Remote(node) => node.name(),
            Self::Embedded(node) => node.name(),
        }
    }

    /// Whether the node answered last. One in this process ends only with it.
    pub(crate) fn is_up(&self) -> bool {
        match self {
            Self::Remote(node) => node.is_up(),
            Self::Embedded(_) => true,
        }
    }

    /// Whether there was a connection until at most this long ago.
    fn was_lost_within(&self, time: Duration) -> bool {
        match self {
            Self::Remote(node) => node.was_lost_within(time),
            Self::Embedded(_) => false,
        }
    }
}

/// Ends a try with what came of it.
fn ended<T>(mut span: Span, answer: Result<T, LinkError>) -> Result<T, LinkError> {
    if let Err(error) = &answer {
        span.fail(match error {
            LinkError::Unreachable => "no connection",
            LinkError::Broken => "the connection broke",
            LinkError::Silent => "no answer in time",
        });
    }
    answer
}

/// The nodes that may answer for one text port.
///
/// One node serves all until it fails; so a client that reports and then asks finds what it
/// reported, without waiting for nodes to tell each other.
#[derive(Debug)]
pub(crate) struct Choice {
    links: Vec<Link>,
    favourite: AtomicUsize,
    patience: Duration,
}

impl Choice {
    /// This node and no other.
    pub(crate) fn only(link: Link) -> Self {
        Self { links: vec![link], favourite: AtomicUsize::new(0), patience: Duration::ZERO }
    }

    /// Any of these nodes.
    pub(crate) fn any(links: Vec<Link>) -> Self {
        Self { links, favourite: AtomicUsize::new(0), patience: PATIENCE }
    }

    /// Has reports with lines of `line_bytes` together recorded by the first node that takes
    /// them. Repeating a report changes nothing, so they may be tried again elsewhere. `None` if no
    /// node answered. The first one belongs to `trace`.
    pub(crate) async fn report(
        &self,
        reports: &[Report],
        line_bytes: usize,
        trace: Option<&TraceContext>,
    ) -> Option<Recorded> {
        // Nodes begin no trace for a message, so they need not hear of one that nobody keeps.
        let trace = trace.filter(|trace| trace.is_sampled());
        let report = |link: Link| async move { link.report(reports, line_bytes, trace).await };
        self.first_answer(report).await.map(|(recorded, _)| recorded)
    }

    /// Asks what is near a client; who answered is told, too. `None` if no node did.
    pub(crate) async fn search(&self, query: &Query<'_>) -> Option<(Found, &NodeName)> {
        let (found, by) = self.first_answer(|link| async move { link.search(query).await }).await?;
        Some((found, self.links[by].name()))
    }

    /// The answer of the first node that gives one, and which link is the node's. A node that was there a moment ago may have left
    /// others behind its name: then all are asked again, for as long as that may take to show.
    async fn first_answer<T, F>(&self, ask: impl Fn(Link) -> F) -> Option<(T, usize)>
    where
        F: Future<Output = Result<T, LinkError>>,
    {
        let asked = time::Instant::now();
        loop {
            if let Some(answer) = self.one_round(&ask).await {
                return Some(answer);
            }
            let lost = self.links.iter().any(|link| link.was_lost_within(self.patience));
            if !lost || asked.elapsed() >= self.patience {
                return None;
            }
            time::sleep(AGAIN).await;
        }
    }

    async fn one_round<T, F>(&self, ask: impl Fn(Link) -> F) -> Option<(T, usize)>
    where
        F: Future<Output = Result<T, LinkError>>,
    {
        for index in self.order() {
            let link = &self.links[index];
            let mut answer = ask(link.clone()).await;
            if matches!(answer, Err(LinkError::Broken)) {
                // The node may have restarted under an idle connection: it gets one more try.
                answer = ask(link.clone()).await;
            }
            if let Ok(answer) = answer {
                self.favourite.store(index, Ordering::Relaxed);
                return Some((answer, index));
            }
        }
        None
    }

    /// The favourite while it is up, then the others that are up, then the rest; each once.
    fn order(&self) -> Vec<usize> {
        let (favourite, count) = (self.favourite.load(Ordering::Relaxed), self.links.len());
        let mut order: Vec<_> = (0..count).map(|step| (favourite + step) % count).collect();
        order.sort_by_key(|index| !self.links[*index].is_up());
        order
    }
}
