use std::sync::Arc;

use futures_util::StreamExt as _;
use futures_util::stream::Map;
use herd_proto::v1::gossip_server::Gossip;
use herd_proto::v1::{Frame, Reason};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::{Request, Response, Status, Streaming};
use tracing::warn;

use crate::herd::link::Link;
use crate::link::{PIPE_FRAMES, pump};
use crate::shared::Shared;

/// `herd.v1.Gossip`: the accepting end of links.
#[derive(Debug)]
pub struct GossipService {
    shared: Arc<Shared>,
    links: TaskTracker,
    stop: CancellationToken,
}

impl GossipService {
    /// Runs accepted links in `links` until `stop` is cancelled.
    pub fn new(shared: Arc<Shared>, links: TaskTracker, stop: CancellationToken) -> Self {
        Self { shared, links, stop }
    }
}

#[tonic::async_trait]
impl Gossip for GossipService {
    type PropagateStream = Map<ReceiverStream<Frame>, fn(Frame) -> Result<Frame, Status>>;

    async fn propagate(
        &self,
        request: Request<Streaming<Frame>>,
    ) -> Result<Response<Self::PropagateStream>, Status> {
        let remote = request.remote_addr().map(|address| address.to_string()).unwrap_or_default();
        let inbound = request.into_inner();
        let (outbound, frames) = mpsc::channel(PIPE_FRAMES);
        let (shared, stop) = (Arc::clone(&self.shared), self.stop.clone());
        self.links.spawn(async move {
            let waker = shared.waker();
            let link = Link::accepted(waker.token(), shared.now());
            let ended = pump(&shared, link, &waker, inbound, outbound, &stop).await;
            let expected = [Reason::Duplicate, Reason::Draining];
            if ended.said_here && !expected.contains(&ended.reason) {
                let node = shared.with(|state, _| state.identity().name.clone());
                warn!(%node, %remote, reason = %ended.detail, "stream ended by this node");
            }
        });
        Ok(Response::new(ReceiverStream::new(frames).map(Ok)))
    }
}
