//! What node, gateway and client share where others reach them.
//!
//! Certificates and keys come from files and are read again when they change ([`Tls`]); new
//! connections use what was read last, and those that are open stay as they are. Which names a
//! certificate speaks for is in [`names`]. [`Bearer`] is a caller's own token. [`Doors`] limits
//! connections, [`Pace`] what one may bring, [`Refusals`] counts what was refused, and why; [`Seldom`] keeps
//! what happens often from filling the log.

mod bearer;
mod connect;
mod doors;
mod error;
mod file_limit;
mod material;
pub mod names;
mod pace;
mod refusals;
mod seldom;
#[cfg(feature = "testing")]
pub mod testing;
mod tls;

pub use bearer::{Bearer, BearerError, Hidden};
pub use connect::{Dialler, Lookup, wants_tls};
pub use doors::{Doors, Place};
pub use error::{TlsError, is_refused};
pub use file_limit::raise_file_limit;
pub use material::{ClientAuth, Pair, TlsFiles};
pub use pace::Pace;
pub use refusals::{Reason, Refusals};
pub use seldom::Seldom;
pub use tls::{Tls, TlsState, accept};
