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

use super::draining;
use crate::front::{Caller, Remote};
use crate::herd::link::Link;
use crate::link::{PIPE_FRAMES, pump};
use crate::shared::Shared;

/// `herd.v1.Gossip`: the accepting end of links.
#[derive(Debug)]
pub struct GossipService {
    shared: Arc<Shared>,
    links: TaskTracker,
    stop: CancellationToken,
    abort: CancellationToken,
}

impl GossipService {
    /// Runs accepted links in `links`. When `stop` is cancelled they send what is left to send,
    /// when `abort` is cancelled they end.
    pub fn new(
        shared: Arc<Shared>,
        links: TaskTracker,
        stop: CancellationToken,
        abort: CancellationToken,
    ) -> Self {
        Self { shared, links, stop, abort }
    }
}

#[tonic::async_trait]
impl Gossip for GossipService {
    type PropagateStream = Map<ReceiverStream<Frame>, fn(Frame) -> Result<Frame, Status>>;

    async fn propagate(
        &self,
        request: Request<Streaming<Frame>>,
    ) -> Result<Response<Self::PropagateStream>, Status> {
        if self.stop.is_cancelled() {
            return Err(draining());
        }
        let remote = request.extensions().get::<Remote>();
        let remote = remote.map(|remote| remote.address.to_string()).unwrap_or_default();
        let caller = request.extensions().get::<Caller>().cloned().unwrap_or_default();
        let inbound = request.into_inner();
        let (outbound, frames) = mpsc::channel(PIPE_FRAMES);
        let (shared, stop) = (Arc::clone(&self.shared), self.stop.clone());
        let abort = self.abort.clone();
        self.links.spawn(abort.run_until_cancelled_owned(async move {
            let waker = shared.waker();
            let link = Link::accepted(waker.token(), shared.now()).speaking_for(caller.speaks_for);
            let ended = pump(&shared, link, &waker, inbound, outbound, &stop).await;
            let expected = [Reason::Duplicate, Reason::Draining];
            if ended.said_here && !expected.contains(&ended.reason) {
                let node = shared.with(|state, _| state.identity().name.clone());
                warn!(%node, %remote, reason = %ended.detail, "stream ended by this node");
            }
        }));
        Ok(Response::new(ReceiverStream::new(frames).map(Ok)))
    }
}
