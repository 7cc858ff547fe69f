//! One client's socket: plain, or inside TLS.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use bytes::BytesMut;
use tokio::io::{AsyncRead as _, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

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
        match self {
            Self::Plain(stream) => match stream.try_read_buf(buffer) {
                Ok(count) => Ok(Some(count)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
                Err(error) => Err(error),
            },
            Self::Tls(stream) => {
                let start = buffer.len();
                buffer.resize(buffer.capacity(), 0);
                let mut room = ReadBuf::new(&mut buffer[start..]);
                // Nobody is woken: whoever waits does so by `readable`.
                let mut nobody = Context::from_waker(Waker::noop());
                let polled = Pin::new(stream).poll_read(&mut nobody, &mut room);
                let count = room.filled().len();
                buffer.truncate(start + count);
                match polled {
                    Poll::Pending => Ok(None),
                    Poll::Ready(Ok(())) => Ok(Some(count)),
                    Poll::Ready(Err(error)) => Err(error),
                }
            }
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
