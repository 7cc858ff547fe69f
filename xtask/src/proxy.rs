//! One friendship's network: a TCP proxy that can be told to fail.
//!
//! It stands between two real processes, so what it does to them is what their own kernel and
//! HTTP/2 stack make of it, and it needs no rights that a test machine would not grant.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use serde::Serialize;
use socket2::SockRef;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::sleep;

/// Most connections through one link at a time. Two friends keep one each way; a flood of
/// dials beyond this is reset, which is what an overloaded firewall does.
const MAX_CONNECTIONS: usize = 64;

/// Bytes taken at a time: about what one frame of a busy link is cut into.
const CHUNK: usize = 16 << 10;

/// How often a slow link passes its share on.
const SLOW_TICK: Duration = Duration::from_millis(100);

/// What a link does with bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Condition {
    /// Passes them on.
    Open,
    /// Ends connections with RST, and each new one too.
    Reset,
    /// Swallows them; connections seem alive. Those that lost bytes are reset afterwards.
    Silent,
    /// Holds them back in both directions and passes them on afterwards.
    Stalled,
    /// Holds back what flows toward the second of the two friends.
    OneWay,
    /// Passes on so many bytes a second in each direction of each connection.
    Slow(u32),
}

/// The end of a link that bytes flow toward.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Toward {
    First,
    Second,
}

impl Condition {
    fn holds(self, toward: Toward) -> bool {
        self == Self::Stalled || (self == Self::OneWay && toward == Toward::Second)
    }
}

/// What a link has done so far: each fault's own proof that it happened.
#[derive(Debug, Default)]
struct Counters {
    passed_bytes: AtomicU64,
    dropped_bytes: AtomicU64,
    slowed_bytes: AtomicU64,
    resets: AtomicU64,
    held: AtomicU64,
}

/// [`Link::counts`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Counts {
    /// Bytes passed on, both directions together.
    pub passed_bytes: u64,
    /// Bytes swallowed.
    pub dropped_bytes: u64,
    /// Bytes passed on slowly.
    pub slowed_bytes: u64,
    /// Connections ended with RST.
    pub resets: u64,
    /// How often bytes that had arrived were held back.
    pub held: u64,
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.passed_bytes += other.passed_bytes;
        self.dropped_bytes += other.dropped_bytes;
        self.slowed_bytes += other.slowed_bytes;
        self.resets += other.resets;
        self.held += other.held;
    }
}

/// The proxies of one friendship, one for each of the two friends to dial.
#[derive(Debug)]
pub(crate) struct Link {
    condition: watch::Sender<Condition>,
    counters: Arc<Counters>,
    _acceptors: JoinSet<()>,
}

/// Where one of two friends dials, and where the other really is.
#[derive(Debug)]
pub(crate) struct Path {
    /// What the dialler's herd file names.
    pub listener: TcpListener,
    /// The friend.
    pub target: SocketAddr,
}

impl Link {
    /// Opens a link; `paths` are the first friend's and the second's, in this order.
    pub(crate) fn open(paths: [Path; 2]) -> Self {
        let (condition, _) = watch::channel(Condition::Open);
        let counters = Arc::new(Counters::default());
        let mut acceptors = JoinSet::new();
        for (path, out) in paths.into_iter().zip([Toward::Second, Toward::First]) {
            let wire = Wire { condition: condition.subscribe(), counters: Arc::clone(&counters) };
            acceptors.spawn(accept(path, out, wire));
        }
        Self { condition, counters, _acceptors: acceptors }
    }

    /// Changes what the link does, for the connections that it has as well.
    pub(crate) fn set(&self, condition: Condition) {
        self.condition.send_replace(condition);
    }

    /// What the link has done since it was opened.
    pub(crate) fn counts(&self) -> Counts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counters = &self.counters;
        Counts {
            passed_bytes: read(&counters.passed_bytes),
            dropped_bytes: read(&counters.dropped_bytes),
            slowed_bytes: read(&counters.slowed_bytes),
            resets: read(&counters.resets),
            held: read(&counters.held),
        }
    }
}

/// What every task of a link shares.
#[derive(Debug, Clone)]
struct Wire {
    condition: watch::Receiver<Condition>,
    counters: Arc<Counters>,
}

async fn accept(path: Path, out: Toward, wire: Wire) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            // An accept that fails (a dialler that left, no descriptors) is the dialler's to
            // repeat; the pause keeps a lasting failure from spinning.
            accepted = path.listener.accept() => match accepted {
                Ok((dialled, _)) => {
                    let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
                        reset(&dialled, &wire);
                        continue;
                    };
                    let wire = wire.clone();
                    connections.spawn(async move {
                        carry(dialled, path.target, out, wire).await;
                        drop(place);
                    });
                }
                Err(_) => sleep(SLOW_TICK).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

/// One connection, until either end or the condition ends it.
async fn carry(dialled: TcpStream, target: SocketAddr, out: Toward, mut wire: Wire) {
    if *wire.condition.borrow() == Condition::Reset {
        return reset(&dialled, &wire);
    }
    let Ok(friend) = TcpStream::connect(target).await else {
        // The process behind is gone: its kernel would have said the same.
        let _ = SockRef::from(&dialled).set_linger(Some(Duration::ZERO));
        return;
    };
    let _ = (dialled.set_nodelay(true), friend.set_nodelay(true));
    let back = if out == Toward::First { Toward::Second } else { Toward::First };
    let lossy = AtomicBool::new(false);
    let ((from_dialler, to_dialler), (from_friend, to_friend)) =
        (dialled.into_split(), friend.into_split());
    let pump = |from, to, toward| Pump { from, to, toward, wire: wire.clone(), lossy: &lossy };
    let mut outward = pump(from_dialler, to_friend, out);
    let mut inward = pump(from_friend, to_dialler, back);
    let cut = tokio::select! {
        ended = async { tokio::try_join!(outward.run(), inward.run()) } => match ended {
            Ok(_) => return,
            // One end is gone. Not this link's doing, so it does not count.
            Err(_) => false,
        },
        () = must_end(&mut wire, &lossy) => true,
    };
    wire.counters.resets.fetch_add(u64::from(cut), Ordering::Relaxed);
    for to in [outward.to, inward.to] {
        let _ = SockRef::from(to.as_ref()).set_linger(Some(Duration::ZERO));
        // Else it says FIN first, which would be a clean end.
        to.forget();
    }
}

/// Returns when the condition asks for the connection's end.
async fn must_end(wire: &mut Wire, lossy: &AtomicBool) {
    let ends = |condition: &Condition| match condition {
        Condition::Reset => true,
        Condition::Silent => false,
        // A TCP stream with a hole in it cannot go on.
        _ => lossy.load(Ordering::Relaxed),
    };
    if wire.condition.wait_for(ends).await.is_err() {
        // The link is gone, and this task with it.
        std::future::pending::<()>().await;
    }
}

fn reset(socket: &TcpStream, wire: &Wire) {
    let _ = SockRef::from(socket).set_linger(Some(Duration::ZERO));
    wire.counters.resets.fetch_add(1, Ordering::Relaxed);
}

/// One direction of one connection.
struct Pump<'a> {
    from: OwnedReadHalf,
    to: OwnedWriteHalf,
    toward: Toward,
    wire: Wire,
    lossy: &'a AtomicBool,
}

impl Pump<'_> {
    async fn run(&mut self) -> io::Result<()> {
        let mut buffer = vec![0; CHUNK];
        loop {
            let condition = *self.wire.condition.borrow_and_update();
            if condition.holds(self.toward) {
                self.hold().await?;
                continue;
            }
            let at_most = match condition {
                Condition::Slow(rate) => share(rate).min(CHUNK),
                _ => CHUNK,
            };
            let taken = tokio::select! {
                taken = self.from.read(&mut buffer[..at_most]) => taken?,
                // The next bytes belong to the next condition.
                changed = self.wire.condition.changed() => {
                    changed.map_err(io::Error::other)?;
                    continue;
                }
            };
            if taken == 0 {
                return self.to.shutdown().await;
            }
            self.pass(&buffer[..taken], condition).await?;
        }
    }

    async fn pass(&mut self, bytes: &[u8], condition: Condition) -> io::Result<()> {
        let (count, counters) = (bytes.len() as u64, &self.wire.counters);
        match condition {
            Condition::Silent => {
                self.lossy.store(true, Ordering::Relaxed);
                counters.dropped_bytes.fetch_add(count, Ordering::Relaxed);
                return Ok(());
            }
            Condition::Slow(_) => {
                counters.slowed_bytes.fetch_add(count, Ordering::Relaxed);
                sleep(SLOW_TICK).await;
            }
            _ => {}
        }
        counters.passed_bytes.fetch_add(count, Ordering::Relaxed);
        self.to.write_all(bytes).await
    }

    /// Leaves bytes with the kernel until the condition changes, so that the sender meets a full
    /// window and not a proxy with endless memory.
    async fn hold(&mut self) -> io::Result<()> {
        let ready = tokio::select! {
            ready = self.from.readable() => ready,
            changed = self.wire.condition.changed() => return changed.map_err(io::Error::other),
        };
        ready?;
        self.wire.counters.held.fetch_add(1, Ordering::Relaxed);
        self.wire.condition.changed().await.map_err(io::Error::other)
    }
}

/// How many bytes a slow link passes on at each tick.
fn share(rate: u32) -> usize {
    let ticks = (1000 / SLOW_TICK.as_millis()) as usize;
    (rate as usize / ticks).max(1)
}

#[cfg(test)]
mod tests;
