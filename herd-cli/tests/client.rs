//! The library, against what is no node.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use herd_cli::{CONNECT_TIMEOUT, Client, Error, Unreachable};
use tokio::net::{TcpSocket, TcpStream};

/// A port whose queue of new connections is full, so that the system lets nobody in. The values
/// returned keep it so.
async fn full_port() -> (SocketAddr, impl Sized) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let mut waiting = Vec::new();
    // Two are let in with a queue of one; a third that does not get in proves that it is full.
    let patience = Duration::from_millis(100);
    while let Ok(stream) = tokio::time::timeout(patience, TcpStream::connect(address)).await {
        waiting.push(stream.unwrap());
        assert!(waiting.len() < 100, "the queue does not fill");
    }
    (address, (listener, waiting))
}

#[tokio::test]
async fn a_connection_is_waited_for_no_longer_than_its_limit() {
    let (address, _full) = full_port().await;
    let started = Instant::now();
    let error = Client::connect(&address.to_string(), Duration::from_mins(1)).await.unwrap_err();
    let reason = Unreachable::Silent { after: CONNECT_TIMEOUT };
    assert_eq!(error, Error::Unreachable { address: address.to_string(), reason });
    assert!(started.elapsed() < CONNECT_TIMEOUT * 2);
}

#[tokio::test]
async fn a_shorter_deadline_holds_for_connecting_too() {
    let (address, _full) = full_port().await;
    let deadline = Duration::from_millis(50);
    let error = Client::connect(&address.to_string(), deadline).await.unwrap_err();
    let reason = Unreachable::Silent { after: deadline };
    assert_eq!(error, Error::Unreachable { address: address.to_string(), reason });
}

#[tokio::test]
async fn what_is_no_host_and_port_is_refused_before_anything_is_sent() {
    for address in ["", "host", ":1", "host:", "host:x", "host:70000", "http://host:1", "a b:1"] {
        let error = Client::connect(address, Duration::from_secs(1)).await.unwrap_err();
        assert_eq!(error, Error::Address { address: address.into() }, "{address:?}");
    }
}
