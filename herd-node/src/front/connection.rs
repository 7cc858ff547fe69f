//! One accepted connection, as the HTTP/2 server sees it.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use herd_edge::{Place, Reason, Refusals};
use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};
use tokio_rustls::server::TlsStream;
use tonic::transport::server::Connected;

use super::pace::ConnectionPace;

/// What every HTTP/2 client sends first has this many bytes.
const PREFACE_BYTES: usize = 24;

/// How long a new connection may take to send that. hyper itself waits for ever.
const PREFACE: Duration = Duration::from_secs(10);

/// Who is at the other end of a connection. Stands among the extensions of its requests.
#[derive(Debug, Clone)]
pub(crate) struct Remote {
    /// Its address.
    pub(crate) address: SocketAddr,
    /// Its certificate, if it showed one; the CA's word for it has been checked.
    pub(crate) certificate: Option<CertificateDer<'static>>,
    /// How many reports it may bring.
    pub(crate) pace: ConnectionPace,
}

/// A connection that holds one of the places for connections.
#[derive(Debug)]
pub(crate) struct Connection {
    io: Io,
    remote: Remote,
    preface: Option<Preface>,
    _place: Place,
}

#[derive(Debug)]
enum Io {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

#[derive(Debug)]
struct Preface {
    missing: usize,
    deadline: Pin<Box<Sleep>>,
    refusals: Arc<Refusals>,
}

impl Connection {
    pub(crate) fn plain(
        stream: TcpStream,
        address: SocketAddr,
        place: Place,
        reports: ConnectionPace,
        refusals: Arc<Refusals>,
    ) -> Self {
        let remote = Remote { address, certificate: None, pace: reports };
        Self::new(Io::Plain(stream), remote, place, refusals)
    }

    pub(crate) fn tls(
        stream: TlsStream<TcpStream>,
        address: SocketAddr,
        place: Place,
        reports: ConnectionPace,
        refusals: Arc<Refusals>,
    ) -> Self {
        let shown = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
        let certificate = shown.map(|first| first.clone().into_owned());
        let remote = Remote { address, certificate, pace: reports };
        Self::new(Io::Tls(Box::new(stream)), remote, place, refusals)
    }

    fn new(io: Io, remote: Remote, place: Place, refusals: Arc<Refusals>) -> Self {
        let deadline = Box::pin(sleep(PREFACE));
        let preface = Some(Preface { missing: PREFACE_BYTES, deadline, refusals });
        Self { io, remote, preface, _place: place }
    }

    /// The socket below.
    #[cfg(test)]
    pub(crate) fn socket(&self) -> &TcpStream {
        match &self.io {
            Io::Plain(stream) => stream,
            Io::Tls(stream) => stream.get_ref().0,
        }
    }
}

impl Connected for Connection {
    type ConnectInfo = Remote;

    fn connect_info(&self) -> Remote {
        self.remote.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { io, preface, .. } = &mut *self;
        let before = buf.filled().len();
        let polled = match io {
            Io::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Io::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        };
        let Some(waiting) = preface else { return polled };
        if polled.is_pending() {
            if waiting.deadline.as_mut().poll(cx).is_ready() {
                waiting.refusals.count(Reason::Preface);
                let error = io::Error::new(io::ErrorKind::TimedOut, "no HTTP/2 came in time");
                return Poll::Ready(Err(error));
            }
        } else {
            waiting.missing = waiting.missing.saturating_sub(buf.filled().len() - before);
            if waiting.missing == 0 {
                *preface = None;
            }
        }
        polled
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.io {
            Io::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Io::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.io {
            Io::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Io::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.io {
            Io::Plain(stream) => stream.is_write_vectored(),
            Io::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.io {
            Io::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Io::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.io {
            Io::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Io::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
