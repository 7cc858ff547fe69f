//! What stands before the services: who may connect, who may call what, and for how long.

mod accept;
mod access;
mod call;
mod calls;
mod connection;
mod deadline;
mod guard;
mod layer;
mod pace;
mod request_id;
mod tokens;
mod whole;

pub(crate) use accept::Acceptor;
pub(crate) use access::{Access, Caller, Nodes, denied};
pub(crate) use calls::Calls;
pub(crate) use connection::Remote;
pub(crate) use deadline::time_left;
pub(crate) use guard::Guard;
pub(crate) use layer::FrontLayer;
pub(crate) use pace::ConnectionPace;
pub(crate) use tokens::Tokens;
pub use tokens::TokensError;
