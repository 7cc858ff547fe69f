//! Accepts connections, within limits, and does the TLS handshakes.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use herd_edge::{Doors, Place, Reason, Refusals, Tls, accept};
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tracing::{debug, warn};

use super::connection::Connection;
use super::pace::ConnectionPace;

/// Where the server takes connections from.
type Accepted = mpsc::Sender<io::Result<Connection>>;

/// A failed accept (most often: no file descriptors left) is tried again after this long.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Probes of a silent connection: a client whose machine vanished is let go after 90 s also while
/// HTTP/2 has nothing to ask it.
const KEEPALIVE: (Duration, Duration, u32) = (Duration::from_mins(1), Duration::from_secs(10), 3);

/// A port and who may come in.
#[derive(Debug)]
pub(crate) struct Acceptor {
    pub(crate) listener: TcpListener,
    pub(crate) tls: Option<Arc<Tls>>,
    pub(crate) doors: Arc<Doors>,
    /// Most reports a second that one connection may bring.
    pub(crate) max_connection_rate: Option<u32>,
    pub(crate) refusals: Arc<Refusals>,
}

impl Acceptor {
    /// Hands accepted connections on for as long as somebody takes them. A slow handshake holds up
    /// nobody else.
    ///
    /// # Cancel safety
    /// Dropping the future closes the port, and the connections whose handshake is not done.
    pub(crate) async fn run(self, accepted: Accepted) {
        let mut handshakes = JoinSet::new();
        let mut failing = false;
        loop {
            let incoming = tokio::select! {
                () = accepted.closed() => return,
                Some(_) = handshakes.join_next() => continue,
                incoming = self.listener.accept() => incoming,
            };
            let (stream, address) = match incoming {
                Ok(incoming) => incoming,
                Err(error) => {
                    if !std::mem::replace(&mut failing, true) {
                        warn!(%error, "cannot accept connections");
                    }
                    sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            failing = false;
            match self.doors.enter(address.ip()) {
                Err(reason) => {
                    self.refusals.count(reason);
                    debug!(%address, reason = reason.label(), "connection refused");
                }
                Ok(place) => self.take(stream, address, place, &accepted, &mut handshakes).await,
            }
        }
    }

    async fn take(
        &self,
        stream: TcpStream,
        address: SocketAddr,
        place: Place,
        accepted: &Accepted,
        handshakes: &mut JoinSet<()>,
    ) {
        prepare(&stream);
        let refusals = Arc::clone(&self.refusals);
        let reports = ConnectionPace::new(self.max_connection_rate);
        let Some(config) = self.tls.as_ref().and_then(|tls| tls.server()) else {
            let connection = Connection::plain(stream, address, place, reports, refusals);
            let _ = accepted.send(Ok(connection)).await;
            return;
        };
        let accepted = accepted.clone();
        handshakes.spawn(async move {
            match accept(config, stream).await {
                Ok(stream) => {
                    let connection = Connection::tls(stream, address, place, reports, refusals);
                    let _ = accepted.send(Ok(connection)).await;
                }
                Err(error) => {
                    refusals.count(Reason::Handshake);
                    debug!(%address, %error, "TLS handshake failed");
                }
            }
        });
    }
}

/// A socket that refuses an option has broken already, which the first read will tell.
fn prepare(stream: &TcpStream) {
    let (time, interval, retries) = KEEPALIVE;
    let keepalive =
        TcpKeepalive::new().with_time(time).with_interval(interval).with_retries(retries);
    let _ = stream.set_nodelay(true);
    let _ = SockRef::from(stream).set_tcp_keepalive(&keepalive);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// tonic ignores its own setting where connections are handed to it, and each call of a client
    /// that waits for the answer would then take 44 ms.
    #[tokio::test]
    async fn what_is_written_to_an_accepted_connection_is_sent_at_once() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let acceptor = Acceptor {
            listener,
            tls: None,
            doors: Doors::new(1, 1),
            max_connection_rate: None,
            refusals: Arc::default(),
        };
        let (accepted, mut connections) = mpsc::channel(1);
        let (_client, connection) = tokio::select! {
            () = acceptor.run(accepted) => unreachable!("it runs for as long as somebody takes"),
            both = async {
                (TcpStream::connect(address).await.unwrap(), connections.recv().await)
            } => both,
        };
        let connection = connection.unwrap().unwrap();
        assert!(connection.socket().nodelay().unwrap());
        assert!(SockRef::from(connection.socket()).keepalive().unwrap());
    }
}
