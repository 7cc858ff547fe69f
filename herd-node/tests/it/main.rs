//! Real nodes over real sockets on this machine.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod admin;
mod bridge;
mod calls;
mod durability;
mod forget;
#[cfg(target_os = "linux")]
mod full_disk;
mod hostile;
mod limits;
mod locations;
mod min_peers;
mod near;
mod page;
mod places;
mod propagate;
mod shutdown;
mod support;
mod tidy;
mod tls;
mod tokens;
mod traces;
mod watch;
