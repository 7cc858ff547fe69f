use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use herd_proto::v1;

use super::{LinkError, NodeLink};
use crate::line::Whatsat;
use crate::translate::{Found, Recorded};

/// The nodes that may answer for one text port.
///
/// One node serves all until it fails; so a client that reports and then asks finds what it
/// reported, without waiting for nodes to tell each other.
#[derive(Debug)]
pub(crate) struct Choice {
    links: Vec<Arc<NodeLink>>,
    favourite: AtomicUsize,
}

impl Choice {
    /// Any of these nodes.
    pub(crate) fn new(links: Vec<Arc<NodeLink>>) -> Self {
        Self { links, favourite: AtomicUsize::new(0) }
    }

    /// Has reports with lines of `line_bytes` together recorded by the first node that takes
    /// them. Repeating a report changes nothing, so they may be tried again elsewhere; `reports`
    /// makes them anew each time. `None` if no node answered.
    pub(crate) async fn report(
        &self,
        reports: impl Fn() -> Vec<v1::ReportRequest>,
        line_bytes: usize,
    ) -> Option<Recorded> {
        self.first_answer(|link| {
            let reports = reports();
            async move { link.report(reports, line_bytes).await }
        })
        .await
    }

    /// Asks what is near a client. `None` if no node answered.
    pub(crate) async fn search(&self, query: &Whatsat) -> Option<Found> {
        self.first_answer(|link| async move { link.search(query).await }).await
    }

    async fn first_answer<T, F>(&self, ask: impl Fn(Arc<NodeLink>) -> F) -> Option<T>
    where
        F: Future<Output = Result<T, LinkError>>,
    {
        for index in self.order() {
            let link = &self.links[index];
            let mut answer = ask(Arc::clone(link)).await;
            if matches!(answer, Err(LinkError::Broken)) {
                // The node may have restarted under an idle connection: it gets one more try.
                answer = ask(Arc::clone(link)).await;
            }
            if let Ok(answer) = answer {
                self.favourite.store(index, Ordering::Relaxed);
                return Some(answer);
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
