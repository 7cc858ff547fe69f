//! Keeps a stream to one friend: dials, redials for ever, stands by while the friend's own
//! stream is up.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use herd_edge::{Bearer, Dialler, Lookup, Tls, is_refused};
use herd_proto::v1::gossip_client::GossipClient;
use herd_proto::{MAX_MESSAGE_BYTES, NodeName};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::Code;
use tonic::transport::{self, Channel, Endpoint};
use tracing::{debug, info, warn};

use super::backoff::Backoff;
use super::pump::{PIPE_FRAMES, describe, pump, with_causes};
use crate::herd::link::{Ended, Link};
use crate::shared::{Shared, Waker};

/// How long a connection may take to open. A friend in another region needs 0.3 s.
const CONNECT: Duration = Duration::from_secs(2);

/// How long the friend with the smaller name may dial first. Both dial, as either may be the only
/// one that can, and the larger name's stream would be the one to close.
const HEAD_START: Duration = Duration::from_millis(30);

/// Longest that a friend's wish to be left alone is heeded.
const MAX_ASKED: Duration = Duration::from_secs(15);

/// HTTP/2 ping interval and patience, to find a path that silently drops everything.
const KEEP_ALIVE: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(5));

/// HTTP/2 windows of the one stream and of the connection: enough for the window of records
/// that a link keeps, doubled; not so much that stale records pile up.
const WINDOWS: (u32, u32) = (512 << 10, 1 << 20);

/// Opens the connection to a node that an endpoint describes: over TCP, or over whatever network
/// a test puts in its place.
pub type Connect = Arc<
    dyn Fn(NodeName, Endpoint) -> BoxFuture<'static, Result<Channel, transport::Error>>
        + Send
        + Sync,
>;

/// Opens connections over TCP, and with TLS if there is any, to hosts that `lookup` finds; without
/// it, that the system finds.
pub fn over_tcp(tls: Option<Arc<Tls>>, lookup: Option<Lookup>) -> Connect {
    let dialler = Dialler::new(tls).finding_hosts_by(lookup);
    Arc::new(move |friend, endpoint| {
        let dialler = dialler.clone().for_node(friend.as_str());
        Box::pin(async move { dialler.connect(&endpoint).await })
    })
}

/// How friends are reached.
#[derive(Clone)]
pub struct Way {
    /// Opens connections.
    pub connect: Connect,
    /// The token that calls carry.
    pub bearer: Bearer,
}

impl fmt::Debug for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Way").field("bearer", &self.bearer).finish_non_exhaustive()
    }
}

/// Keeps a stream to `friend` until `stop` is cancelled. `waker` is the dialler that the state
/// knows for this friend.
pub async fn dial(
    shared: Arc<Shared>,
    friend: NodeName,
    address: String,
    way: Way,
    waker: Waker,
    stop: CancellationToken,
) {
    let node = shared.with(|state, _| state.identity().name.clone());
    let head_start = if node < friend { Duration::ZERO } else { HEAD_START };
    let mut backoff = Backoff::default();
    let mut was_reachable = true;
    let mut last_refusal = String::new();
    loop {
        let my_turn = async {
            no_stream(&shared, &friend, &waker).await;
            sleep(head_start).await;
            no_stream(&shared, &friend, &waker).await;
        };
        if stop.run_until_cancelled(my_turn).await.is_none() {
            return;
        }
        let attempt = tokio::select! {
            attempt = open(&way.connect, &friend, &address) => attempt,
            () = stop.cancelled() => return,
        };
        let wait = match attempt {
            Ok(channel) => {
                let begun = Instant::now();
                let ended = run(&shared, &friend, channel, &way.bearer, &stop).await;
                was_reachable = true;
                backoff.after_stream(begun.elapsed());
                if ended.is_refusal() && last_refusal != ended.detail {
                    warn!(%node, peer = %friend, reason = %ended.detail, "no link with this peer");
                    last_refusal.clone_from(&ended.detail);
                }
                let (refused, asked) = (ended.is_refusal(), ended.retry_after.unwrap_or_default());
                shared.with(|state, _| state.dial_failed(&friend, ended.detail));
                backoff.after_failure(refused).max(asked.min(MAX_ASKED))
            }
            Err(Failed { error, refused }) => {
                // Once for each time it goes away, not once an attempt.
                if std::mem::replace(&mut was_reachable, false) {
                    info!(%node, peer = %friend, %address, %error, "peer unreachable, will keep trying");
                } else {
                    debug!(%node, peer = %friend, %address, %error, "peer still unreachable");
                }
                shared.with(|state, _| state.dial_failed(&friend, error));
                backoff.after_failure(refused)
            }
        };
        tokio::select! {
            () = sleep(wait) => {}
            () = stop.cancelled() => return,
        }
    }
}

/// Waits until no stream to the friend is up.
async fn no_stream(shared: &Shared, friend: &NodeName, waker: &Waker) {
    while shared
        .with(|state, _| state.peers().get(friend).is_some_and(|peer| peer.active.is_some()))
    {
        waker.woken().await;
    }
}

/// Opens a connection of its own: a stalled stream must never hold up other calls, and the
/// address is resolved anew each time.
async fn open(connect: &Connect, friend: &NodeName, address: &str) -> Result<Channel, Failed> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))
        .map_err(|error| Failed { error: format!("bad address: {error}"), refused: true })?
        .connect_timeout(CONNECT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(KEEP_ALIVE.0)
        .keep_alive_timeout(KEEP_ALIVE.1)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(WINDOWS.0)
        .initial_connection_window_size(WINDOWS.1);
    connect(friend.clone(), endpoint).await.map_err(|error| Failed {
        error: with_causes(&error.to_string(), &error),
        refused: is_refused(&error),
    })
}

/// Why a connection did not come up.
struct Failed {
    error: String,
    /// Whether it will not until an operator acts.
    refused: bool,
}

async fn run(
    shared: &Arc<Shared>,
    friend: &NodeName,
    channel: Channel,
    bearer: &Bearer,
    stop: &CancellationToken,
) -> Ended {
    let mut client = GossipClient::with_interceptor(channel, bearer.clone())
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES);
    let (outbound, frames) = mpsc::channel(PIPE_FRAMES);
    let call = timeout(CONNECT, client.propagate(ReceiverStream::new(frames)));
    let inbound = match stop.run_until_cancelled(call).await {
        Some(Ok(Ok(response))) => response.into_inner(),
        Some(Ok(Err(status))) => {
            let refused = matches!(status.code(), Code::Unauthenticated | Code::PermissionDenied)
                || is_refused(&status);
            let end = if refused { Ended::not_allowed } else { Ended::broken };
            return end(describe(&status));
        }
        Some(Err(_)) => return Ended::broken("accepts connections and does not answer".into()),
        None => return Ended::broken("the node stops".into()),
    };
    let waker = shared.waker();
    let link = Link::dialled(waker.token(), friend.clone(), shared.now());
    pump(shared, link, &waker, inbound, outbound, stop).await
}
