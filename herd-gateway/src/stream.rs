//! One client's socket: plain, or inside TLS.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use bytes::BytesMut;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;
use tokio_util::io::poll_read_buf;

#[derive(Debug)]
pub(crate) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    /// Whether text may be there that [`Stream::readable`] does not wait for: what came with the end
    /// of the handshake.
    pub(crate) fn may_hold_text(&self) -> bool {
        matches!(self, Self::Tls(_))
    }

    /// Waits until something has arrived, or has been there since before. For a stream in TLS
    /// that may be no text yet; text that was decrypted already is not waited for, so all of it
    /// must have been read.
    ///
    /// # Cancel safety
    /// Nothing is read.
    pub(crate) async fn readable(&self) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.readable().await,
            Self::Tls(stream) => stream.get_ref().0.readable().await,
        }
    }

    /// Reads what is there into the room that `buffer` has: `Some(0)` at the end of input, `None`
    /// if there is nothing now.
    pub(crate) fn try_read(&mut self, buffer: &mut BytesMut) -> io::Result<Option<usize>> {
        // Nobody is woken: whoever waits does so by `readable`.
        let mut nobody = Context::from_waker(Waker::noop());
        let polled = match self {
            Self::Plain(stream) => poll_read_buf(Pin::new(stream), &mut nobody, buffer),
            Self::Tls(stream) => poll_read_buf(Pin::new(stream), &mut nobody, buffer),
        };
        match polled {
            Poll::Pending => Ok(None),
            Poll::Ready(read) => read.map(Some),
        }
    }

    /// Writes some of `bytes`, and says how many.
    pub(crate) async fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.write(bytes).await,
            Self::Tls(stream) => {
                let count = stream.write(bytes).await?;
                // What is encrypted must not wait for the next answer.
                stream.flush().await?;
                Ok(count)
            }
        }
    }

    /// Ends the direction to the client.
    pub(crate) async fn shutdown(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.shutdown().await,
            Self::Tls(stream) => stream.shutdown().await,
        }
    }
}
