//! Stops a node, politely or at once.

use tokio::time::{Instant, timeout_at};
use tracing::{info, warn};

use super::Node;

/// How a stop went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drained {
    /// All links and calls finished in time.
    Clean,
    /// Some were cut off when the grace was over.
    CutOff,
}

impl Node {
    /// Stops: closes the port, becomes not ready, ends streams, lets links send what their peers lack and say
    /// goodbye, and closes, all within the configured grace.
    pub async fn stop(mut self) -> Drained {
        let name = self.shared.with(|state, _| state.identity().name.clone());
        let deadline = Instant::now() + self.drain_grace;
        self.stop_listening.cancel();
        info!(node = %name, "stopping");
        // Whatever is answered from here on is a refusal, so that the links, which finish after
        // this, have heard of all that was acknowledged.
        self.stop.cancel();
        self.health.set_ready(false).await;
        self.stop_links.cancel();
        self.links.close();
        self.dialers.close();
        let links_done = async { tokio::join!(self.links.wait(), self.dialers.wait()) };
        let in_time = timeout_at(deadline, links_done).await.is_ok();
        self.stop_writing.cancel();
        self.writers.close();
        let in_time = timeout_at(deadline, self.writers.wait()).await.is_ok() && in_time;
        self.health.close().await;
        self.places.stop().await;
        self.stop_server.cancel();
        let server_done = async { while self.tasks.join_next().await.is_some() {} };
        let in_time = timeout_at(deadline, server_done).await.is_ok() && in_time;
        self.abort.cancel();
        tokio::join!(self.links.wait(), self.dialers.wait(), self.tasks.shutdown());
        if in_time {
            info!(node = %name, "stopped");
            return Drained::Clean;
        }
        warn!(node = %name, "stopped, some calls were cut off");
        Drained::CutOff
    }
}

impl Drop for Node {
    /// A node that is dropped without [`Node::stop`] stops at once.
    fn drop(&mut self) {
        self.stop.cancel();
        self.abort.cancel();
        self.stop_writing.cancel();
        self.stop_server.cancel();
    }
}
