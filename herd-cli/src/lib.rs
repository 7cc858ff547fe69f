//! A typed client of the herd.
//!
//! [`Client`] speaks to one node. What it takes and gives are the checked types of
//! [`herd_proto`], and each call has a deadline, so that no caller waits for ever. The program
//! `herd-cli` is built on it.

mod client;
mod error;
mod report_stream;
mod watch;

pub use client::{
    Access, CONNECT_TIMEOUT, Client, DEFAULT_DEADLINE, FoundPlaces, Known, Nearby, Neighbor,
    Recorded,
};
pub use error::{Error, Unreachable};
pub use report_stream::{MAX_BATCH_BYTES, MAX_BATCH_REPORTS, RefusedReport, ReportStream, Taken};
pub use watch::{Change, Watch, WatchQuery};
