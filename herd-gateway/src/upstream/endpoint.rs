use std::time::Duration;

use herd_edge::{Bearer, Dialler};
use tonic::transport::{Endpoint, Error};

/// Longest wait for a TCP connection: a node that drops packets costs this much, once.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// A silent connection is probed this often, so that a vanished node is noticed before a client
/// has to.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(5);

/// Room for a whole message, so that no answer waits for a window update.
const STREAM_WINDOW_BYTES: u32 = 1 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 4 << 20;

/// How one node is reached, and with which token.
#[derive(Debug, Clone)]
pub(crate) struct Way {
    pub(crate) endpoint: Endpoint,
    pub(crate) dialler: Dialler,
    pub(crate) bearer: Bearer,
}

/// How a node at `address` (host and port) is dialled.
pub(crate) fn endpoint(address: &str) -> Result<Endpoint, Error> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))?
        .user_agent(concat!("herd-gateway/", env!("CARGO_PKG_VERSION")))?
        // A line's report must not wait for the acknowledgement of the one before.
        .tcp_nodelay(true)
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES);
    Ok(endpoint)
}
