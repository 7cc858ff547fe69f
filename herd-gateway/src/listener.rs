//! Accepts the connections of one text port and owns their tasks.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use herd_edge::{Doors, Place, Reason, Tls, accept};
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{self, Instant};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, warn};

use crate::connection::Connection;
use crate::gateway::Port;
use crate::line_log::Direction;
use crate::proxied;
use crate::stream::Stream;

/// Connections that wait to be accepted; Linux caps it at `net.core.somaxconn`.
const BACKLOG: u32 = 1024;

/// A failed accept (most often: no file descriptors left) is tried again after this long, doubled
/// up to the second limit, so that a full process neither spins nor gives up.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);
const ACCEPT_PAUSE_MAX: Duration = Duration::from_secs(1);

/// A silent client is probed after a minute and dropped when three probes bring nothing, so that
/// machines that vanished do not hold connections for ever.
const KEEPALIVE_IDLE: Duration = Duration::from_mins(1);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_PROBES: u32 = 3;

/// Trouble that repeats is logged at most this often.
const LOG_INTERVAL: Duration = Duration::from_secs(1);

/// Numbers connections in the logs.
static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// Binds at once, also while connections of a predecessor linger in TIME_WAIT.
pub(crate) fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// A bound port and what its connections need.
#[derive(Debug)]
pub(crate) struct Listener {
    pub(crate) socket: TcpListener,
    pub(crate) port: Arc<Port>,
    /// One place a connection, shared by all ports.
    pub(crate) doors: Arc<Doors>,
    /// The certificate of text ports; `None` for plain text.
    pub(crate) tls: Option<Arc<Tls>>,
    /// Whether connections come through balancers that tell for whom, by PROXY protocol.
    pub(crate) proxied: bool,
}

impl Listener {
    /// Serves until `stop`, then closes the port and waits for the connections to finish. Dropping
    /// the future cuts them off.
    pub(crate) async fn serve(self, stop: CancellationToken) {
        let Self { socket, port, doors, tls, proxied } = self;
        let mut connections = JoinSet::new();
        let mut trouble = Trouble::default();
        let mut pause = ACCEPT_PAUSE;
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => break,
                Some(ended) = connections.join_next() => {
                    report_panic(ended);
                    continue;
                }
                accepted = socket.accept() => accepted,
            };
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    trouble.warn(format_args!("cannot accept connections: {error}"));
                    stop.run_until_cancelled(time::sleep(pause)).await;
                    pause = (pause * 2).min(ACCEPT_PAUSE_MAX);
                    continue;
                }
            };
            pause = ACCEPT_PAUSE;
            let place = if proxied { doors.enter_unknown() } else { doors.enter(peer.ip()) };
            let place = match place {
                Ok(place) => place,
                Err(reason) => {
                    port.refusals.count(reason);
                    trouble.warn("too many connections, closing new ones");
                    continue;
                }
            };
            let incoming = Incoming { stream, peer, place, tls: tls.clone(), proxied };
            let (port, stop) = (Arc::clone(&port), stop.clone());
            connections.spawn(async move { serve(incoming, port, &stop).await });
        }
        drop(socket);
        while let Some(ended) = connections.join_next().await {
            report_panic(ended);
        }
    }
}

/// A connection before its first line.
struct Incoming {
    stream: TcpStream,
    peer: SocketAddr,
    place: Place,
    tls: Option<Arc<Tls>>,
    proxied: bool,
}

impl Incoming {
    /// Does what precedes the first line: the balancer's word for whom it speaks, and the TLS
    /// handshake. Returns whence the client comes, and the place to keep.
    async fn open(mut self) -> Result<(Stream, SocketAddr, Place), (Reason, io::Error)> {
        let unusable = |error| (Reason::Handshake, error);
        prepare(&self.stream).map_err(unusable)?;
        let mut peer = self.peer;
        if self.proxied {
            peer = proxied::client(&mut self.stream, peer)
                .await
                .map_err(|error| (Reason::ProxyHeader, error))?;
            let too_many = |reason| (reason, io::Error::other("too many connections from there"));
            self.place.comes_from(peer.ip()).map_err(too_many)?;
        }
        let stream = match self.tls.as_ref().and_then(|tls| tls.server()) {
            None => Stream::Plain(self.stream),
            Some(config) => {
                Stream::Tls(Box::new(accept(config, self.stream).await.map_err(unusable)?))
            }
        };
        Ok((stream, peer, self.place))
    }
}

async fn serve(incoming: Incoming, port: Arc<Port>, stop: &CancellationToken) {
    let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
    // Boxed: a connection that waits for lines should not carry room for its handshake.
    let Some(opened) = stop.run_until_cancelled(Box::pin(incoming.open())).await else { return };
    let (stream, peer, _place) = match opened {
        Ok(opened) => opened,
        Err((reason, error)) => {
            port.refusals.count(reason);
            debug!(id, reason = reason.label(), %error, "refused");
            return;
        }
    };
    debug!(id, %peer, "connected");
    port.log(id, Direction::Note, format!("connected from {peer}").as_bytes());
    let served = Connection::new(id, stream, peer.ip(), Arc::clone(&port)).serve(stop).await;
    match served {
        Ok(()) => {
            debug!(id, "closed");
            port.log(id, Direction::Note, b"closed");
        }
        Err(error) => {
            debug!(id, %error, "lost");
            port.log(id, Direction::Note, format!("lost: {error}").as_bytes());
        }
    }
}

fn prepare(stream: &TcpStream) -> io::Result<()> {
    // Answers leave in as few writes as possible already; none should wait for another.
    stream.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE_IDLE)
        .with_interval(KEEPALIVE_INTERVAL)
        .with_retries(KEEPALIVE_PROBES);
    SockRef::from(stream).set_tcp_keepalive(&keepalive)
}

fn report_panic(ended: Result<(), JoinError>) {
    if let Err(error) = ended {
        error!(%error, "a connection ended by a bug");
    }
}

/// Counts what happens often and tells it seldom.
#[derive(Debug, Default)]
struct Trouble {
    untold: u64,
    told: Option<Instant>,
}

impl Trouble {
    fn warn(&mut self, what: impl std::fmt::Display) {
        self.untold += 1;
        if self.told.is_none_or(|told| told.elapsed() >= LOG_INTERVAL) {
            warn!(times = self.untold, "{what}");
            *self = Self { untold: 0, told: Some(Instant::now()) };
        }
    }
}

#[cfg(test)]
mod tests {
    use herd_edge::Refusals;

    use super::*;
    use crate::config::Limits;
    use crate::counts::Counts;
    use crate::upstream::Choice;

    async fn connected() -> (TcpStream, TcpStream) {
        let socket = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let client = TcpStream::connect(socket.local_addr().unwrap()).await.unwrap();
        (client, socket.accept().await.unwrap().0)
    }

    #[tokio::test]
    async fn a_client_that_vanished_is_found_out() {
        let (_client, stream) = connected().await;
        prepare(&stream).unwrap();
        let socket = SockRef::from(&stream);
        assert!(socket.keepalive().unwrap() && socket.tcp_nodelay().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), KEEPALIVE_IDLE);
    }

    #[tokio::test]
    async fn an_idle_connection_takes_little_memory() {
        let (_client, stream) = connected().await;
        let peer = stream.peer_addr().unwrap();
        let (refusals, counts) = (Arc::new(Refusals::default()), Arc::new(Counts::default()));
        let port = Port::new(Choice::any(Vec::new()), Limits::default(), refusals, counts, None);
        let stop = CancellationToken::new();
        let place = Doors::new(1, 1).enter_unknown().unwrap();
        let incoming = Incoming { stream, peer, place, tls: None, proxied: false };
        let size = size_of_val(&serve(incoming, Arc::new(port), &stop));
        assert!(size < 2048, "{size} bytes");
    }

    #[tokio::test(start_paused = true)]
    async fn trouble_is_told_once_a_second() {
        let mut trouble = Trouble::default();
        for untold in [0, 1, 2] {
            trouble.warn("no files");
            assert_eq!(trouble.untold, untold);
        }
        time::advance(LOG_INTERVAL).await;
        trouble.warn("no files");
        assert_eq!(trouble.untold, 0);
    }
}
