//! Makes a node the friend of text servers: a herd of original servers and one of nodes tell each
//! other by AT lines, so that servers can be replaced one at a time.
//!
//! The one place in the gateway that remembers anything beyond a line: what waits to be told, and
//! the newest time of each client, both limited.

mod crossing;
mod friend;
mod herd_link;
mod waiting;

use std::fmt;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use herd_proto::{LocationRecord, NodeName, Record};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::crossing::Crossing;
use crate::line::at;
use crate::upstream::Way;

/// Most text friends of one node; the original herd's servers have two or three.
pub(crate) const MAX_FRIENDS: usize = 16;

/// Between one node and its text friends.
#[derive(Debug)]
pub(crate) struct Bridge {
    /// By which the nodes know it: of this run of this gateway alone.
    name: NodeName,
    /// Names this run, so that a node need not tell everything again after a broken stream.
    instance: u64,
    friends: Vec<Friend>,
    crossing: Mutex<Crossing>,
    for_herd: Notify,
    for_friends: Vec<Notify>,
    herd_up: AtomicBool,
    heard: AtomicU64,
    news: AtomicU64,
}

/// One text server.
pub(crate) struct Friend {
    /// Host and port.
    pub(crate) address: String,
    /// Whose lines are believed: where its name led to when last looked up.
    believed: Mutex<Vec<IpAddr>>,
    /// Whether it took the last line.
    up: AtomicBool,
    tried: AtomicBool,
    told: AtomicU64,
    refused: AtomicU64,
}

impl fmt::Debug for Friend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Friend").field(&self.address).finish()
    }
}

/// What is told of a friend.
#[derive(Debug)]
pub(crate) struct FriendStatus<'a> {
    pub(crate) address: &'a str,
    pub(crate) up: bool,
    pub(crate) waiting: usize,
    pub(crate) told: u64,
    pub(crate) refused: u64,
    pub(crate) given_up: u64,
}

impl Bridge {
    /// A bridge between the first of `ways` that can be reached and text servers at `addresses`; its
    /// tasks run until `stop`.
    pub(crate) fn start(
        addresses: &[String],
        ways: Vec<Way>,
        tasks: &mut JoinSet<()>,
        stop: &CancellationToken,
    ) -> Option<Arc<Self>> {
        let instance = rand::random_range(1..=u64::MAX);
        let friend = |address: &String| Friend {
            address: address.clone(),
            believed: Mutex::default(),
            up: AtomicBool::new(false),
            tried: AtomicBool::new(false),
            told: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        };
        let bridge = Arc::new(Self {
            name: NodeName::parse(&format!("text-bridge-{instance:016x}")).ok()?,
            instance,
            friends: addresses.iter().map(friend).collect(),
            crossing: Mutex::new(Crossing::new(addresses.len())),
            for_herd: Notify::new(),
            for_friends: addresses.iter().map(|_| Notify::new()).collect(),
            herd_up: AtomicBool::new(false),
            heard: AtomicU64::new(0),
            news: AtomicU64::new(0),
        });
        for index in 0..addresses.len() {
            let (bridge, stop) = (Arc::clone(&bridge), stop.clone());
            tasks.spawn(async move {
                stop.run_until_cancelled(friend::tell(bridge, index)).await;
            });
        }
        let (own, stop) = (Arc::clone(&bridge), stop.clone());
        tasks.spawn(async move {
            stop.run_until_cancelled(herd_link::keep(own, ways)).await;
        });
        Some(bridge)
    }

    /// Takes a line that came from `peer`, if it is an AT line and `peer` a friend. Returns whether
    /// it was taken; any other line is a client's.
    pub(crate) fn takes(&self, peer: IpAddr, line: &[u8]) -> bool {
        let Some((from, record)) = self.read(peer, line) else { return false };
        self.heard.fetch_add(1, Ordering::Relaxed);
        if self.crossing().friend_says(from, record) {
            self.news.fetch_add(1, Ordering::Relaxed);
            self.wake();
        }
        true
    }

    /// Whether it would take a line.
    pub(crate) fn would_take(&self, peer: IpAddr, line: &[u8]) -> bool {
        self.read(peer, line).is_some()
    }

    /// Which friend says what; no friend where several have the address, as nobody knows which of them it
    /// was.
    fn read(&self, peer: IpAddr, line: &[u8]) -> Option<(Option<usize>, LocationRecord)> {
        if !line.trim_ascii_start().starts_with(b"AT") {
            return None;
        }
        let peer = peer.to_canonical();
        let friends = self.friends.iter().enumerate();
        let mut senders = friends.filter(|(_, friend)| lock(&friend.believed).contains(&peer));
        let (first, _) = senders.next()?;
        Some((senders.next().is_none().then_some(first), at::parse(line)?))
    }

    /// How many AT lines of friends came, and how many of them were news.
    pub(crate) fn heard(&self) -> (u64, u64) {
        (self.heard.load(Ordering::Relaxed), self.news.load(Ordering::Relaxed))
    }

    /// Whether its node takes part.
    pub(crate) fn is_up(&self) -> bool {
        self.herd_up.load(Ordering::Relaxed)
    }

    pub(crate) fn friends(&self) -> Vec<FriendStatus<'_>> {
        let crossing = self.crossing();
        let all = self.friends.iter().zip(&crossing.friends);
        all.map(|(friend, waiting)| FriendStatus {
            address: &friend.address,
            up: friend.up.load(Ordering::Relaxed),
            waiting: waiting.len(),
            told: friend.told.load(Ordering::Relaxed),
            refused: friend.refused.load(Ordering::Relaxed),
            given_up: waiting.given_up(),
        })
        .collect()
    }

    fn believe(&self, index: usize, addresses: Vec<IpAddr>) {
        *lock(&self.friends[index].believed) = addresses;
    }

    fn herd_says(&self, records: Vec<Record>) {
        let mut crossing = self.crossing();
        for record in records.into_iter().filter_map(|record| LocationRecord::try_from(record).ok())
        {
            crossing.herd_says(&record);
        }
        drop(crossing);
        self.wake();
    }

    /// What has waited longest for the herd.
    ///
    /// # Cancel safety
    /// Nothing is taken before the future is ready.
    async fn next_for_herd(&self) -> LocationRecord {
        loop {
            let filled = self.for_herd.notified();
            if let Some(record) = self.crossing().herd.pop() {
                return record;
            }
            filled.await;
        }
    }

    fn more_for_herd(&self, most: usize) -> Vec<LocationRecord> {
        let mut crossing = self.crossing();
        std::iter::from_fn(|| crossing.herd.pop()).take(most).collect()
    }

    fn give_back_for_herd(&self, records: Vec<LocationRecord>) {
        let mut crossing = self.crossing();
        for record in records {
            crossing.herd.give_back(record);
        }
    }

    fn waiting_for_herd(&self) -> usize {
        self.crossing().herd.len()
    }

    /// What has waited longest for a friend.
    ///
    /// # Cancel safety
    /// Nothing is taken before the future is ready.
    async fn next_for_friend(&self, index: usize) -> LocationRecord {
        loop {
            let filled = self.for_friends[index].notified();
            if let Some(record) = self.crossing().friends[index].pop() {
                return record;
            }
            filled.await;
        }
    }

    fn give_back_for_friend(&self, index: usize, record: LocationRecord) {
        self.crossing().friends[index].give_back(record);
    }

    fn wake(&self) {
        // Each has one who waits; a permit is kept for who does not wait just now.
        self.for_herd.notify_one();
        self.for_friends.iter().for_each(Notify::notify_one);
    }

    fn crossing(&self) -> MutexGuard<'_, Crossing> {
        lock(&self.crossing)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
