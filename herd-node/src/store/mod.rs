//! The durable side of a node: a checksummed log of what changed, and snapshots that replace it.
//!
//! The table is in memory anyway, so nothing is ever looked up here. All there is to do is to
//! append what changed and to read everything once at start; an engine with an index would do
//! several times the work of a report for each one. Everything is plain blocking file I/O, to be
//! called from a thread of its own.
//!
//! A data directory holds
//! - `LOCK`, locked by the process that uses the directory;
//! - `ID`, the store's number and how often it was opened;
//! - `log-<number>.herd`, the log in segments, the greatest number being the newest;
//! - `snapshot-<number>.herd`, which stands for all files of smaller numbers;
//! - `snapshot-<number>.tmp` and `ID.tmp` while they are written;
//! - what others keep there, such as `places-quota`, which is left alone.
//!
//! Each file is a sequence of frames, each with its own checksums, and each record in
//! it is true whatever became of the others. So recovery reads whatever is whole, in any order;
//! the caller merges. Damage is skipped, counted and logged, and what it hid comes back from the
//! node's friends.

mod disk;
mod format;
mod frame;
mod identity;
mod lock;
mod log;
mod open_error;
mod recovery;
mod scan;
mod snapshot;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io;

use herd_proto::LocationRecord;

pub use log::DiskStorage;
pub use open_error::OpenError;
pub use recovery::{Recovery, open};

/// Where a node's records outlive it. Small, so that something else can stand in.
///
/// Three promises, from cheap to dear: a record that was appended survives the process; after
/// [`sync`](Self::sync) it survives the machine; after a snapshot, the log before it is gone.
pub trait Storage: Send + fmt::Debug {
    /// Hands records to the operating system: all or none. Returns how many bytes they took; no
    /// records take none.
    ///
    /// # Errors
    /// The storage is as before the call, and the next call may succeed: a full disk heals when
    /// there is room. `records` may have been consumed in part.
    fn append(&mut self, records: &mut dyn Iterator<Item = &LocationRecord>) -> io::Result<usize>;

    /// Waits until everything appended is on the disk. Takes as long as the disk does; one call
    /// for many appends costs little more than for one.
    ///
    /// # Errors
    /// Any record since the last success may be missing after a power cut. An operating system
    /// that has failed to write may drop what it held and report success next time, so this
    /// keeps failing until a snapshot, [due](Self::snapshot_due) at once, has been finished.
    fn sync(&mut self) -> io::Result<()>;

    /// Whether a snapshot would pay: the log has outgrown what it describes, a sync has failed,
    /// or damage was found at start. Stays true after an attempt that failed, so the caller
    /// paces the attempts. False while one is being written.
    fn snapshot_due(&self) -> bool;

    /// Begins a snapshot, which stands for everything appended before. Records appended from now
    /// on need not be in it, so appends go on while another thread fills it, slice by slice.
    ///
    /// # Errors
    /// `ResourceBusy` while another is being written; else nothing has changed, except that the
    /// log goes on in a new segment.
    fn begin_snapshot(&mut self) -> io::Result<Box<dyn SnapshotWriter>>;
}

/// A snapshot being written. Dropping it gives it up and removes what was written.
pub trait SnapshotWriter: Send {
    /// Adds records. Every client known when the snapshot began must be added once, as it was
    /// then or newer; order does not matter.
    ///
    /// # Errors
    /// The snapshot cannot be finished any more.
    fn add(&mut self, records: &mut dyn Iterator<Item = &LocationRecord>) -> io::Result<()>;

    /// Makes the snapshot durable, and only then removes what it stands for.
    ///
    /// # Errors
    /// The log still holds everything.
    fn finish(self: Box<Self>) -> io::Result<()>;
}
