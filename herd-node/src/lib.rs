//! A node of the herd: takes location reports, floods them to its friends, answers for all.
//!
//! [`herd`] is the pure core; everything else is edges around it: [`link`] the streams between
//! nodes, [`front`] who may connect and call what, [`service`] the gRPC services, [`places`] what is near a client, [`store`] the disk and
//! [`durability`] who writes to it. [`Node`] starts and
//! stops them; `main.rs`, tests and `herd-cli up` all start the same node.

pub mod config;
pub mod durability;
pub mod front;
pub mod health;
pub mod herd;
pub mod limits;
pub mod link;
pub mod places;
pub mod service;
pub mod settings;
pub mod shared;
pub mod store;
pub mod telemetry;

mod discovery;
mod dns;
mod error;
mod expiry;
mod metrics;
mod node;
mod page;
mod shutdown;

pub use config::Config;
pub use error::Error;
pub use limits::Limits;
pub use node::{Drained, Node};
pub use settings::Settings;
pub use shutdown::{at_hangups, terminated};
