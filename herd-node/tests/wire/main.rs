//! What nodes of other releases send and expect: the bytes of protocol version 1, and peers that
//! are older or newer than this node.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod golden;
mod newer;
mod older;
mod support;
