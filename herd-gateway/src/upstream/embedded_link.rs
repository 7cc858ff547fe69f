use std::sync::Arc;

use herd_proto::{NodeName, Report, TraceContext, v1};
use tokio::time::{self, Instant};
use tonic::Status;

use super::search::{Call, Calls, Query, search};
use super::{LinkError, LinkLimits, Seconds};
use crate::embedded::EmbeddedNode;
use crate::translate::{Found, Recorded};

/// A node in this process, as connections see it.
#[derive(Debug)]
pub(crate) struct EmbeddedLink {
    name: NodeName,
    node: Arc<dyn EmbeddedNode>,
    limits: LinkLimits,
    seconds: Seconds,
}

impl EmbeddedLink {
    pub(crate) fn new(
        name: NodeName,
        node: Arc<dyn EmbeddedNode>,
        limits: LinkLimits,
        seconds: Seconds,
    ) -> Self {
        Self { name, node, limits, seconds }
    }

    /// The node's name.
    pub(crate) fn name(&self) -> &NodeName {
        &self.name
    }

    /// As [`super::NodeLink::report`].
    pub(super) async fn report(
        &self,
        reports: &[Report],
        trace: Option<&TraceContext>,
    ) -> Result<Recorded, LinkError> {
        let asked = Instant::now();
        // A node whose disk has stopped answers late.
        let answer = self.node.report(reports, trace.cloned());
        let answer = time::timeout(self.limits.report_timeout, answer).await;
        self.seconds.report.observe(asked.elapsed().as_secs_f64());
        match answer {
            Ok(Ok(response)) => Recorded::from_response(response).ok_or(LinkError::Broken),
            Ok(Err(_)) => Err(LinkError::Unreachable),
            Err(_) => Err(LinkError::Silent),
        }
    }

    /// As [`super::NodeLink::search`].
    pub(super) async fn search(&self, query: &Query<'_>) -> Result<Found, LinkError> {
        search(self, query, self.limits.search_timeout).await
    }
}

impl Calls for EmbeddedLink {
    async fn search(
        &self,
        request: v1::SearchRequest,
        call: Call<'_>,
    ) -> Result<v1::SearchResponse, Status> {
        let asked = Instant::now();
        let answer = self.node.search(request, call.timeout, call.trace.cloned()).await;
        self.seconds.search.observe(asked.elapsed().as_secs_f64());
        answer
    }

    async fn get(&self, request: v1::GetRequest, _: Call<'_>) -> Result<v1::GetResponse, Status> {
        self.node.get(request).await
    }
}
