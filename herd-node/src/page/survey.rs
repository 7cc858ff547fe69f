//! What the other nodes say, asked while somebody looks at the page and not otherwise.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use herd_edge::Bearer;
use herd_proto::v1::locations_client::LocationsClient;
use herd_proto::v1::node_client::NodeClient;
use herd_proto::{ClientId, MAX_MESSAGE_BYTES, NodeName, v1};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};

use crate::link::Way;

/// How often the others are asked.
const EVERY: Duration = Duration::from_secs(2);

/// How long an answer may take before the node is shown as silent.
const PATIENCE: Duration = Duration::from_millis(1500);

/// The other nodes of the herd, and what they last said.
pub(crate) struct Survey {
    nodes: Vec<(NodeName, String)>,
    way: Way,
    viewers: watch::Sender<usize>,
    seen: Mutex<Vec<Seen>>,
    channels: Mutex<HashMap<NodeName, Channel>>,
}

/// What one other node said, or why it said nothing.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) name: NodeName,
    pub(super) address: String,
    pub(super) status: Result<v1::GetStatusResponse, String>,
}

type Calls = InterceptedService<Channel, Bearer>;

impl Survey {
    /// Asks `nodes`, by name and address.
    pub(crate) fn new(nodes: Vec<(NodeName, String)>, way: Way) -> Arc<Self> {
        let viewers = watch::Sender::new(0);
        let (seen, channels) = (Mutex::default(), Mutex::default());
        Arc::new(Self { nodes, way, viewers, seen, channels })
    }

    /// Notes that a viewer has come, or gone.
    pub(super) fn look(&self, comes: bool) {
        self.viewers.send_modify(|count| {
            *count = if comes { *count + 1 } else { count.saturating_sub(1) };
        });
    }

    /// What the others last said, in the order of the herd file; nothing before they were asked.
    pub(super) fn seen(&self) -> Vec<Seen> {
        lock(&self.seen).clone()
    }

    /// Asks again and again while there are viewers, for ever.
    pub(crate) async fn run(self: Arc<Self>) {
        let mut viewers = self.viewers.subscribe();
        while viewers.wait_for(|count| *count > 0).await.is_ok() {
            let this = &*self;
            let all = this.nodes.iter().map(|(name, address)| async move {
                let status = this.status_of(name, address).await;
                Seen { name: name.clone(), address: address.clone(), status }
            });
            let seen = join_all(all).await;
            *lock(&self.seen) = seen;
            sleep(EVERY).await;
            if *viewers.borrow() == 0 {
                lock(&self.channels).clear();
            }
        }
    }

    /// What each other node knows of a client.
    pub(super) async fn trace(
        &self,
        client: &ClientId,
    ) -> Vec<(NodeName, Result<v1::GetResponse, String>)> {
        let all = self.nodes.iter().map(|(name, address)| async move {
            let request = v1::GetRequest { client_id: client.as_str().into() };
            let asking = async {
                let mut locations = LocationsClient::new(self.calls(name, address).await?);
                self.answer(name, locations.get(request).await)
            };
            (name.clone(), in_time(asking).await)
        });
        join_all(all).await
    }

    async fn status_of(
        &self,
        name: &NodeName,
        address: &str,
    ) -> Result<v1::GetStatusResponse, String> {
        let asking = async {
            let calls = self.calls(name, address).await?;
            let mut node = NodeClient::new(calls).max_decoding_message_size(MAX_MESSAGE_BYTES);
            self.answer(name, node.get_status(v1::GetStatusRequest {}).await)
        };
        in_time(asking).await
    }

    /// What came of a call. After a failure the next one dials anew.
    fn answer<T>(
        &self,
        name: &NodeName,
        answer: Result<tonic::Response<T>, tonic::Status>,
    ) -> Result<T, String> {
        answer.map(tonic::Response::into_inner).map_err(|status| {
            if status.code() != tonic::Code::NotFound {
                lock(&self.channels).remove(name);
            }
            status.message().to_owned()
        })
    }

    async fn calls(&self, name: &NodeName, address: &str) -> Result<Calls, String> {
        let channel = self.channel(name, address).await?;
        Ok(InterceptedService::new(channel, self.way.bearer.clone()))
    }

    async fn channel(&self, name: &NodeName, address: &str) -> Result<Channel, String> {
        let known = lock(&self.channels).get(name).cloned();
        if let Some(channel) = known {
            return Ok(channel);
        }
        let endpoint = Endpoint::from_shared(format!("http://{address}"))
            .map_err(|error| error.to_string())?;
        let channel = (self.way.connect)(name.clone(), endpoint).await;
        let channel = channel.map_err(|_| "cannot be reached".to_owned())?;
        lock(&self.channels).insert(name.clone(), channel.clone());
        Ok(channel)
    }
}

async fn in_time<T>(asking: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    let silent = |_| Err(format!("did not answer within {PATIENCE:?}"));
    timeout(PATIENCE, asking).await.unwrap_or_else(silent)
}

impl fmt::Debug for Survey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Survey").field("nodes", &self.nodes).finish_non_exhaustive()
    }
}

/// Both are replaced in whole steps, so a panic elsewhere leaves them sound.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
