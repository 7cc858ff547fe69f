//! Real nodes over real sockets on this machine.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod durability;
mod forget;
mod limits;
mod locations;
mod propagate;
mod shutdown;
mod support;
mod tidy;
