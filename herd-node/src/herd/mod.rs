//! The pure core: what a node knows, who has yet to hear of it, and how two nodes talk.
//!
//! Nothing in here owns a socket, a task, a clock or randomness: time comes in as [`Now`], keys
//! come in at construction, and everything it wants done is returned. So the same code runs in
//! production and, thousands of times a second, in the simulator.
//!
//! - [`order`]: which of two records of one client wins
//! - [`table`]: the newest record of each client, in dense slots; `chunks`
//! - [`cells`]: which clients are in which cell of the Earth; [`near`]: who is near a point
//! - [`tree`]: sums over all records, by which two nodes agree or find what differs; [`hash`]
//! - [`expiry`]: when the time of a record is over
//! - [`outbox`]: who must hear of which slot: a dirty bit each and a FIFO
//! - [`membership`]: who belongs to the herd when DNS says so, and who is whose friend
//! - [`pace`]: how often one client may report
//! - [`interest`]: which changes a consumer wants; [`history`]: when each record was learnt, and
//!   from whom
//! - [`latencies`]: how long records take to get here, and batches to be acknowledged
//! - [`peers`]: the other nodes, and which of several streams to one of them stays
//! - [`state`]: all of the above under one roof; `report`, `merge`, `forget`, `expire`
//! - [`link`]: one stream to one peer, from Hello to Goodbye

mod bits;
pub mod cells;
mod chunks;
pub mod expiry;
pub mod hash;
pub mod history;
mod index;
pub mod interest;
pub mod latencies;
pub mod link;
pub mod membership;
pub mod near;
pub mod order;
pub mod outbox;
pub mod pace;
pub mod peers;

pub mod state;
pub mod table;
pub mod tree;

use std::time::Duration;

use herd_proto::Timestamp;

/// The present, as the caller's clocks tell it.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// Time of day. May jump.
    pub wall: Timestamp,
    /// Time since the node started. Never goes back.
    pub monotonic: Duration,
}

/// Names whoever is to be woken: a link, a watcher, a dialler.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Token(pub(crate) u64);
