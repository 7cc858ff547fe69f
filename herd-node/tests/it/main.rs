//! Real nodes over real sockets on this machine.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod limits;
mod locations;
mod propagate;
mod shutdown;
mod support;
