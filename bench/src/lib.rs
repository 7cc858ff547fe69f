//! Load for nodes, gateways and their peers, and what is noted of the answers.
//!
//! A load keeps a fixed number of operations under way on each connection, for a while, from one
//! thread. Every report carries a time stamp that is greater than all before it of its client, so
//! that each one is applied.

pub mod hot;

mod calls;
mod flood;
mod measured;
mod node;
mod population;
mod propagation;
mod streams;
mod text;

pub use calls::{Call, CallLoad};
pub use flood::{FloodLoad, Flooded};
pub use measured::{Latency, Measured, Timing};
pub use node::Node;
pub use population::Population;
pub use propagation::PropagationLoad;
pub use streams::{StreamLoad, fill};
pub use text::{Dialect, TextLoad};
