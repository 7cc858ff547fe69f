//! A client of the text protocol.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

/// Longest wait for any answer: three times the slowest that the stand-in for Google gives.
const PATIENCE: Duration = Duration::from_secs(5);

/// Connects, with limits on every later read and write.
pub(crate) fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect_timeout(&address, PATIENCE)
        .unwrap_or_else(|error| panic!("{address}: {error}"));
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// Sends, half-closes and reads to the end.
pub(crate) fn exchange(address: SocketAddr, input: &[u8]) -> Vec<u8> {
    let mut stream = connect(address);
    stream.write_all(input).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    read_to_end(&mut stream)
}

/// The same with text.
pub(crate) fn ask(address: SocketAddr, input: &str) -> String {
    String::from_utf8(exchange(address, input.as_bytes())).unwrap()
}

/// Reads until the other side closes.
pub(crate) fn read_to_end(stream: &mut TcpStream) -> Vec<u8> {
    let mut reply = Vec::new();
    if let Err(error) = stream.read_to_end(&mut reply) {
        panic!("no end of the answer: {error}, after {:?}", String::from_utf8_lossy(&reply));
    }
    reply
}

/// Reads until `done` says so, or the other side closes, or nothing comes for too long.
pub(crate) fn read_until(stream: &mut TcpStream, done: impl Fn(&[u8]) -> bool) -> Vec<u8> {
    let mut reply = Vec::new();
    let mut buffer = [0; 4096];
    while !done(&reply) {
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => break,
            Ok(count) => reply.extend(&buffer[..count]),
        }
    }
    reply
}
