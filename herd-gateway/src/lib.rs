//! Speaks the herd's text protocol to clients and gRPC to nodes.
//!
//! A gateway reads lines (`IAMAT`, `WHATSAT`), passes them to a node and writes the answers back in
//! order. It decides nothing and remembers nothing: whatever it knows is forgotten with the line
//! it belongs to. Only where a node has text servers as friends, a bridge keeps what they have yet to
//! be told.
//!
//! [`mod@line`] holds the protocol itself, free of sockets and clocks.

pub mod args;
mod bridge;
pub mod config;
mod connection;
mod counts;
mod embedded;
mod error;
mod gateway;
mod layers;
pub mod line;
mod line_log;
mod listener;
mod metrics;
mod proxied;
pub mod settings;
mod slow;
mod stream;
pub mod telemetry;
mod translate;
mod upstream;

pub use config::{Config, Limits, TextFriend, TextPort, Upstream, UpstreamNode};
pub use embedded::{Answer, EmbeddedNode};
pub use error::Error;
pub use gateway::{Drained, Gateway};
