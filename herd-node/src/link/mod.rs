//! Sockets around [`crate::herd::link`]: who dials, who accepts, and the pump between a stream
//! and its link.

mod backoff;
mod dial;
mod friends;
mod hops;
mod pump;

pub use dial::{Connect, Way, dial, over_tcp};
pub use friends::Friends;
pub use pump::{Frames, PIPE_FRAMES, pump};
