use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use herd_edge::{BearerError, TlsError};

use crate::config::Upstream;

/// Why a gateway did not start. Nothing is left behind: no port stays bound.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A text port could not be bound, most often because another program has it.
    #[error(
        "cannot serve {upstream} at {address} (`ss -ltnp 'sport = :{}'` names the owner of a port)",
        address.port()
    )]
    Bind {
        /// Where it should have listened.
        address: SocketAddr,
        /// For whom.
        upstream: Upstream,
        /// What the system said.
        source: io::Error,
    },
    /// The port for operators could not be bound.
    #[error("cannot serve operators at {address}")]
    BindAdmin {
        /// Where it should have listened.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// A node's address is none.
    #[error("node {node}: {address:?} is no address")]
    Address {
        /// The node.
        node: String,
        /// What was given.
        address: String,
        /// What is wrong with it.
        source: tonic::transport::Error,
    },
    /// A port is to be served for a node that is not among the gateway's nodes.
    #[error("no node can serve {0}")]
    NoNode(Upstream),
    /// Certificates or keys cannot be used.
    #[error("TLS: {0}")]
    Tls(#[from] TlsError),
    /// The gateway's token cannot be used.
    #[error("token_file: {0}")]
    Token(#[from] BearerError),
    /// A log file could not be opened.
    #[error("cannot log lines in {}", directory.display())]
    LineLog {
        /// Where it should have been.
        directory: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}
