use std::io;
use std::path::PathBuf;

use super::format::VERSION;

/// Why a data directory is not opened. Nothing in it was changed, but that it may have been made.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process, or another store in this one, has it open.
    #[error("data directory {} is in use by {holder}", directory.display())]
    Locked {
        /// The directory.
        directory: PathBuf,
        /// Process id and node name, as far as known.
        holder: String,
    },
    /// Something else than a directory has its name.
    #[error("{} is not a directory", directory.display())]
    NotADirectory {
        /// The path.
        directory: PathBuf,
    },
    /// It cannot be made, read, locked or written.
    #[error("cannot {action} data directory {}: {source}", directory.display())]
    Inaccessible {
        /// The directory.
        directory: PathBuf,
        /// What was tried.
        action: &'static str,
        /// What the operating system said.
        source: io::Error,
    },
    /// It holds the records of another herd: most likely the wrong directory.
    #[error("{} belongs to the herd {found:?}, not to {expected:?}", file.display())]
    OtherCluster {
        /// A file that says so.
        file: PathBuf,
        /// The herd it names.
        found: String,
        /// This node's herd.
        expected: String,
    },
    /// A later release has written it.
    #[error("{} has format {found}, this release reads up to {VERSION}", file.display())]
    NewerFormat {
        /// A file that says so.
        file: PathBuf,
        /// Its format version.
        found: u32,
    },
}
