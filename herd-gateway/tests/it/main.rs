//! The gateway over real sockets, in front of nodes that do what a test tells them to.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod admin;
mod batching;
mod bridge;
mod doors;
mod drain;
mod embedded;
mod fake_node;
mod framing;
mod limits;
mod line_log;
mod lines;
mod nodes;
mod places;
mod support;
mod tidy;
