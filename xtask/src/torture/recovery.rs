//! Looks at all nodes once the last fault has ended: what they wait for until they agree.

use std::time::{Duration, Instant};

use herd_proto::v1::node_client::NodeClient;
use herd_proto::v1::{GetStatusRequest, GetStatusResponse, LinkState};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

/// How often each node is looked at.
const EVERY: Duration = Duration::from_millis(20);

/// Longest wait for a look. A node that starts, or is behind with its work, answers late.
const LOOK_LIMIT: Duration = Duration::from_millis(200);

/// One task for each node.
#[derive(Debug)]
pub(crate) struct Recovery {
    tasks: JoinSet<Seen>,
    over: CancellationToken,
}

/// What one node waited for, each counted from the start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    /// The node; empty if it never answered.
    pub name: String,
    /// Until it first answered.
    pub answered: Duration,
    /// Until its last link to a friend was up.
    pub linked: Duration,
    /// The friend of that link, and the reason why it was down.
    pub last_friend: Option<(String, String)>,
    /// Until its table last changed.
    pub changed: Duration,
    digest: Option<u64>,
}

impl Recovery {
    /// Starts to look.
    pub(crate) fn start(nodes: impl Iterator<Item = Channel>) -> Self {
        let (mut tasks, over) = (JoinSet::new(), CancellationToken::new());
        let begun = Instant::now();
        for node in nodes {
            let over = over.clone();
            tasks.spawn(async move {
                let mut client = NodeClient::new(node);
                let mut seen = Seen::default();
                while !over.is_cancelled() {
                    let answer = client.get_status(GetStatusRequest {});
                    if let Ok(Ok(status)) = timeout(LOOK_LIMIT, answer).await {
                        seen.note(begun.elapsed(), status.into_inner());
                    }
                    sleep(EVERY).await;
                }
                seen
            });
        }
        Self { tasks, over }
    }

    /// Stops looking; returns what each node waited for.
    pub(crate) async fn finish(self) -> Vec<Seen> {
        self.over.cancel();
        let mut seen = self.tasks.join_all().await;
        seen.sort_by(|one, other| one.name.cmp(&other.name));
        seen
    }
}

impl Seen {
    fn note(&mut self, at: Duration, status: GetStatusResponse) {
        if self.name.is_empty() {
            self.name = status.name;
            self.answered = at;
        }
        let mut down = status.peers.into_iter().filter(|peer| peer.friend);
        if let Some(peer) = down.rfind(|peer| peer.state() != LinkState::Up) {
            self.linked = at;
            self.last_friend = Some((peer.name, peer.last_error));
        }
        if self.digest.replace(status.digest) != Some(status.digest) {
            self.changed = at;
        }
    }
}

#[cfg(test)]
mod tests {
    use herd_proto::v1::PeerStatus;

    use super::*;

    fn status(digest: u64, state: LinkState) -> GetStatusResponse {
        let peer = PeerStatus {
            name: "Clark".into(),
            friend: true,
            state: state.into(),
            last_error: "gone".into(),
            ..PeerStatus::default()
        };
        let peers = vec![peer];
        GetStatusResponse { name: "Bona".into(), digest, peers, ..GetStatusResponse::default() }
    }

    #[test]
    fn the_last_link_that_came_up_and_the_last_change_are_told() {
        let mut seen = Seen::default();
        let ms = Duration::from_millis;
        seen.note(ms(10), status(1, LinkState::Down));
        seen.note(ms(20), status(1, LinkState::Down));
        seen.note(ms(30), status(2, LinkState::Up));
        seen.note(ms(40), status(2, LinkState::Up));
        assert_eq!((seen.answered, seen.linked, seen.changed), (ms(10), ms(20), ms(30)));
        assert_eq!(seen.last_friend, Some(("Clark".into(), "gone".into())));
    }
}
