use std::io;
use std::net::SocketAddr;

use herd_edge::TlsError;
use herd_proto::topology::Problems;

use crate::front::TokensError;
use crate::store::OpenError;

/// Why a node cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration does not hold. Nothing was started.
    #[error(transparent)]
    Config(#[from] Problems),
    /// The port is taken, or the address is not this machine's. Nothing was started.
    #[error("cannot listen on {address}: {cause}{}", hint(cause))]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the operating system said.
        cause: io::Error,
    },
    /// The data directory cannot be used. Nothing was started.
    #[error("{0}")]
    Store(#[from] OpenError),
    /// Certificates or keys cannot be used. Nothing was started.
    #[error("TLS: {0}")]
    Tls(#[from] TlsError),
    /// The file of tokens cannot be used. Nothing was started.
    #[error("tokens_file: {0}")]
    Tokens(#[from] TokensError),
    /// DNS cannot be asked. Nothing was started.
    #[error("peers_dns: {0}")]
    Dns(String),
    /// The reflection service could not be built from the compiled-in descriptors: a bug.
    #[error("cannot build reflection: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
    /// The operating system lets no signal handler be installed.
    #[error("cannot listen for signals: {0}")]
    Signals(io::Error),
    /// A task ended that should run for as long as the node does.
    #[error("the node stopped by itself: {0}")]
    Ended(String),
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => " (is another herd running?)",
        io::ErrorKind::PermissionDenied => " (ports below 1024 need privileges)",
        _ => "",
    }
}
