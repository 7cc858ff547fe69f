//! The way to the nodes: one long-lived link to each, or none where it is in this process, and the
//! choice among nodes.

mod backoff;
mod choose;
mod embedded_link;
mod endpoint;
mod link_task;
mod node_link;
mod queue;
mod search;
mod session;

pub(crate) use backoff::Backoff;
pub(crate) use choose::{Choice, Link};
pub(crate) use embedded_link::EmbeddedLink;
pub(crate) use endpoint::{CONNECT_TIMEOUT, Way, endpoint};
pub(crate) use node_link::{LinkLimits, NodeLink, Seconds};
pub(crate) use search::Query;

/// Why a node did not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LinkError {
    /// There was no connection, so nothing was sent.
    Unreachable,
    /// The connection ended before the answer came; a repetition may succeed.
    Broken,
    /// No answer came in time.
    Silent,
}
