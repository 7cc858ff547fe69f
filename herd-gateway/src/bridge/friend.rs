//! Tells one text server what it lacks, one connection a line, as the original servers do: they
//! read one message of each connection.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, lookup_host};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tracing::{info, warn};

use super::Bridge;
use crate::line::at;
use crate::upstream::Backoff;

/// Longest wait for a connection, and for a line to be taken.
const DELIVERY_LIMIT: Duration = Duration::from_secs(2);

/// How long a friend may take to close a connection after its line. To close before it does could
/// cut off what it has not read.
const FAREWELL: Duration = Duration::from_secs(2);

/// Connections that wait for the friend to close them.
const MAX_FAREWELLS: usize = 16;

/// Most that is read of what a friend says to a line; it should say nothing.
const MAX_ANSWER_BYTES: u64 = 4096;

/// How often the friend's name is looked up, to know whose lines to believe.
const LOOK_UP: Duration = Duration::from_secs(30);

/// Tells the friend for ever.
pub(super) async fn tell(bridge: Arc<Bridge>, index: usize) {
    let friend = &bridge.friends[index];
    let mut backoff = Backoff::new();
    let mut farewells = JoinSet::new();
    let mut looked_up: Option<Instant> = None;
    loop {
        if looked_up.is_none_or(|at| at.elapsed() >= LOOK_UP) {
            looked_up = Some(Instant::now());
            if let Ok(addresses) = addresses(&friend.address).await {
                bridge.believe(index, addresses);
            }
        }
        let next = bridge.next_for_friend(index);
        let Ok(record) = timeout(LOOK_UP, next).await else { continue };
        while farewells.len() >= MAX_FAREWELLS {
            let ended = farewells.join_next().await;
            bridge.note_farewell(index, matches!(ended, Some(Ok(true))));
        }
        while let Some(ended) = farewells.try_join_next() {
            bridge.note_farewell(index, matches!(ended, Ok(true)));
        }
        match deliver(&friend.address, &at::line(&record)).await {
            Ok(stream) => {
                farewells.spawn(farewell(stream));
                friend.told.fetch_add(1, Ordering::Relaxed);
                if !friend.up.swap(true, Ordering::Relaxed) {
                    info!(friend = friend.address, "text friend reached");
                }
                backoff = Backoff::new();
            }
            Err(error) => {
                bridge.give_back_for_friend(index, record);
                if friend.up.swap(false, Ordering::Relaxed)
                    || !friend.tried.swap(true, Ordering::Relaxed)
                {
                    warn!(friend = friend.address, %error, "text friend not reached");
                }
                looked_up = None;
                sleep(backoff.next_pause()).await;
            }
        }
        friend.tried.store(true, Ordering::Relaxed);
    }
}

async fn addresses(address: &str) -> io::Result<Vec<IpAddr>> {
    let found = timeout(DELIVERY_LIMIT, lookup_host(address)).await??;
    Ok(found.map(|address| address.ip().to_canonical()).collect())
}

async fn deliver(address: &str, line: &str) -> io::Result<TcpStream> {
    let delivery = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        stream.write_all(line.as_bytes()).await?;
        stream.shutdown().await?;
        Ok(stream)
    };
    timeout(DELIVERY_LIMIT, delivery).await?
}

/// Waits for the end of a connection. Returns whether the friend copied the line back with `?`, which
/// is what it does with a line that it does not understand.
async fn farewell(stream: TcpStream) -> bool {
    let mut answer = Vec::new();
    let _ = timeout(FAREWELL, stream.take(MAX_ANSWER_BYTES).read_to_end(&mut answer)).await;
    answer.starts_with(b"?")
}

impl Bridge {
    /// Notes that a connection to a friend ended, and whether the friend refused the line.
    fn note_farewell(&self, index: usize, refused: bool) {
        let friend = &self.friends[index];
        if refused && friend.refused.fetch_add(1, Ordering::Relaxed) == 0 {
            warn!(friend = friend.address, "text friend does not take AT lines of this form");
        }
    }
}
