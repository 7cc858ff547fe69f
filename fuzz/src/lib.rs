//! What must hold for any bytes that come in. Each function panics where it does not.
//!
//! Fuzzers call them (`fuzz_targets`), and so do ordinary tests (`tests/any_bytes.rs`), with
//! random bytes and with what fuzzers have found worth keeping (`corpus`).

mod config;
mod frames;
mod line;
mod places;

pub use config::config;
pub use frames::frames;
pub use line::line;
pub use places::places;
