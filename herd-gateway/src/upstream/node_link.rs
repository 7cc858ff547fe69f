use std::sync::Arc;
use std::time::Duration;

use herd_edge::Bearer;
use herd_proto::v1::locations_client::LocationsClient;
use herd_proto::v1::places_client::PlacesClient;
use herd_proto::{MAX_MESSAGE_BYTES, NodeName, Report, TraceContext, v1};
use prometheus_client::metrics::histogram::Histogram;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{self, Instant};
use tokio_util::sync::CancellationToken;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Response, Status};

use super::LinkError;
use super::endpoint::{CONNECT_TIMEOUT, Way};
use super::link_task::{LinkState, LinkTask};
use super::queue::{self, Chunk};
use super::search::{Call, Calls, Query, search};
use crate::translate::{Found, Recorded};

/// One node, as connections see it.
///
/// Reports share one long-lived stream on a connection of its own. Queries are single calls on a
/// second connection, so that a large answer never stands in the way of reports.
#[derive(Debug)]
pub(crate) struct NodeLink {
    name: NodeName,
    queue: mpsc::Sender<Chunk>,
    state: Arc<LinkState>,
    calls: InterceptedService<Channel, Bearer>,
    report_timeout: Duration,
    search_timeout: Duration,
    search_seconds: Histogram,
}

/// Where it is noted how long a node took to answer.
#[derive(Debug, Clone)]
pub(crate) struct Seconds {
    /// A message of reports.
    pub(crate) report: Histogram,
    /// A search.
    pub(crate) search: Histogram,
}

/// What of the gateway's limits concerns a link.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LinkLimits {
    /// Longest wait for the answer to a message of reports.
    pub(crate) report_timeout: Duration,
    /// Longest wait for places; the node is told.
    pub(crate) search_timeout: Duration,
}

impl NodeLink {
    /// A link, and the work that keeps it open until `stop`.
    pub(crate) fn new(
        name: NodeName,
        way: Way,
        limits: LinkLimits,
        seconds: Seconds,
        stop: CancellationToken,
    ) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let LinkLimits { report_timeout, search_timeout } = limits;
        let (sender, queue) = queue::queue();
        let state = Arc::new(LinkState::default());
        let channel = way.dialler.connect_lazy(&way.endpoint);
        let calls = InterceptedService::new(channel, way.bearer.clone());
        let task = LinkTask {
            name: name.clone(),
            way,
            queue,
            state: Arc::clone(&state),
            answer_timeout: report_timeout,
            seconds: seconds.report,
        };
        let search_seconds = seconds.search;
        let link = Self {
            name,
            queue: sender,
            state,
            calls,
            report_timeout,
            search_timeout,
            search_seconds,
        };
        (link, task.run(stop))
    }

    /// The node's name.
    pub(crate) fn name(&self) -> &NodeName {
        &self.name
    }

    /// Whether the node answered last.
    pub(crate) fn is_up(&self) -> bool {
        self.state.is_up()
    }

    /// Whether there was a connection until at most this long ago.
    pub(super) fn was_lost_within(&self, time: Duration) -> bool {
        self.state.was_lost_within(time)
    }

    /// Reports, in order, at most [`herd_proto::MAX_BATCH`] with lines of
    /// `line_bytes` together. The first one belongs to `trace`.
    ///
    /// # Cancel safety
    /// Dropping the future stops the waiting; the reports may still be recorded.
    pub(super) async fn report(
        &self,
        reports: &[Report],
        line_bytes: usize,
        trace: Option<&TraceContext>,
    ) -> Result<Recorded, LinkError> {
        if self.state.is_silent() {
            return Err(LinkError::Unreachable);
        }
        let (reply, answer) = oneshot::channel();
        let exchange = async {
            let chunk = Chunk::new(reports, line_bytes, trace.cloned(), reply);
            self.queue.send(chunk).await.map_err(|_| LinkError::Unreachable)?;
            answer.await.unwrap_or(Err(LinkError::Broken))
        };
        // The link has limits of its own; this one is for waiting in its queue.
        time::timeout(self.report_timeout + CONNECT_TIMEOUT, exchange)
            .await
            .unwrap_or(Err(LinkError::Silent))
    }

    /// Asks what is near a client.
    ///
    /// # Cancel safety
    /// Dropping the future cancels the call.
    pub(super) async fn search(&self, query: &Query<'_>) -> Result<Found, LinkError> {
        if self.state.is_silent() {
            return Err(LinkError::Unreachable);
        }
        search(self, query, self.search_timeout).await
    }
}

impl Calls for NodeLink {
    async fn search(
        &self,
        request: v1::SearchRequest,
        call: Call<'_>,
    ) -> Result<v1::SearchResponse, Status> {
        let mut places = PlacesClient::new(self.calls.clone())
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES);
        let asked = Instant::now();
        let answer = places.search(call.of(request)).await;
        self.search_seconds.observe(asked.elapsed().as_secs_f64());
        answer.map(Response::into_inner)
    }

    async fn get(
        &self,
        request: v1::GetRequest,
        call: Call<'_>,
    ) -> Result<v1::GetResponse, Status> {
        let mut locations = LocationsClient::new(self.calls.clone())
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES);
        locations.get(call.of(request)).await.map(Response::into_inner)
    }
}
