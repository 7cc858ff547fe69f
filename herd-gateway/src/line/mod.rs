//! The text protocol: bytes in, commands out; answers in, bytes out.
//!
//! Nothing here owns a socket, a clock or a task, so every rule can be tested with a byte string.

pub mod answer;
pub mod at;
mod command;
mod decoder;

pub use command::{Command, Echo, Iamat, Whatsat};
pub use decoder::{Decoder, MAX_COMMAND_BYTES, Piece};
