//! Looks at all nodes while they are attacked: what they hold against each other must stay 0.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use herd_proto::v1::node_client::NodeClient;
use herd_proto::v1::{GetStatusRequest, GetStatusResponse};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tonic::transport::Channel;

/// How often each node is looked at. A node's counters are gone when it is killed, so what it
/// counted within this before that goes unseen.
const EVERY: Duration = Duration::from_millis(250);

/// Longest wait for a look.
const LOOK_LIMIT: Duration = Duration::from_secs(2);

/// One task for each node.
#[derive(Debug)]
pub(crate) struct Watchdog(JoinSet<()>, Arc<Mutex<Runs>>);

/// The most of `divergent` that each run of each node told of.
type Runs = BTreeMap<(String, i64, i32), u64>;

impl Watchdog {
    /// Starts to look.
    pub(crate) fn start(nodes: impl Iterator<Item = Channel>) -> Self {
        let (mut tasks, runs) = (JoinSet::new(), Arc::<Mutex<Runs>>::default());
        for node in nodes {
            let runs = Arc::clone(&runs);
            tasks.spawn(async move {
                let mut client = NodeClient::new(node);
                loop {
                    let answer = client.get_status(GetStatusRequest {});
                    if let Ok(Ok(status)) = timeout(LOOK_LIMIT, answer).await {
                        let mut runs = runs.lock().unwrap_or_else(PoisonError::into_inner);
                        note(&mut runs, status.into_inner());
                    }
                    sleep(EVERY).await;
                }
            });
        }
        Self(tasks, runs)
    }

    /// Stops looking; returns how many differences had stayed while both nodes ran.
    pub(crate) async fn finish(mut self) -> u64 {
        // Two looks at the end, so that the last counters of each are in.
        sleep(2 * EVERY).await;
        self.0.shutdown().await;
        self.1.lock().unwrap_or_else(PoisonError::into_inner).values().sum()
    }
}

fn note(runs: &mut Runs, status: GetStatusResponse) {
    let start = status.start_time.unwrap_or_default();
    let divergent: u64 =
        status.peers.iter().filter_map(|peer| peer.records).map(|of| of.divergent).sum();
    let most = runs.entry((status.name, start.seconds, start.nanos)).or_default();
    *most = divergent.max(*most);
}

#[cfg(test)]
mod tests {
    use herd_proto::v1::{PeerStatus, RecordCounts};

    use super::*;

    fn status(divergent: u64, started: i64) -> GetStatusResponse {
        let records = Some(RecordCounts { divergent, ..RecordCounts::default() });
        let mut status = GetStatusResponse { name: "Bona".into(), ..GetStatusResponse::default() };
        status.start_time.get_or_insert_default().seconds = started;
        status.peers = vec![PeerStatus { records, ..PeerStatus::default() }];
        status
    }

    #[test]
    fn counters_of_a_killed_run_still_count() {
        let mut runs = Runs::new();
        for status in [status(1, 10), status(2, 10), status(0, 20), status(1, 20)] {
            note(&mut runs, status);
        }
        assert_eq!(runs.values().sum::<u64>(), 3);
    }
}
