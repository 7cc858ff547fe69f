//! PROXY protocol, version 2: a balancer says for whom it opened a connection.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use proxy_header::{ParseConfig, ProxyHeader};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// What precedes the part whose length the header tells.
const FIXED_BYTES: usize = 16;

/// Longest such part that is read: addresses take 36 bytes, or 216 of Unix sockets, what
/// balancers add some hundreds.
const MAX_REST_BYTES: usize = 2048;

/// How long the header may take; a balancer sends it with the first packet.
const PATIENCE: Duration = Duration::from_secs(5);

/// Reads the header at the start of a connection from `proxy`, and nothing more. Returns the
/// client's address, or the proxy's where it speaks for itself.
///
/// # Errors
/// There was no sound header in time.
pub(crate) async fn client(stream: &mut TcpStream, proxy: SocketAddr) -> io::Result<SocketAddr> {
    let header = timeout(PATIENCE, read(stream));
    let header = header.await.map_err(|_| invalid("no PROXY header in time"))??;
    let config = ParseConfig { include_tlvs: false, allow_v1: false, allow_v2: true };
    let (header, _) = ProxyHeader::parse(&header, config)
        .map_err(|error| invalid(&format!("no sound PROXY header: {error}")))?;
    Ok(header.proxied_address().map_or(proxy, |address| address.source))
}

async fn read(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut header = vec![0; FIXED_BYTES];
    stream.read_exact(&mut header).await?;
    let rest = usize::from(u16::from_be_bytes([header[14], header[15]]));
    if rest > MAX_REST_BYTES {
        return Err(invalid("no PROXY header, or one that is far too long"));
    }
    header.resize(FIXED_BYTES + rest, 0);
    stream.read_exact(&mut header[FIXED_BYTES..]).await?;
    Ok(header)
}

fn invalid(problem: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, problem.to_owned())
}
