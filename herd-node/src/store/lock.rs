//! One process at a time.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::process;

use herd_proto::NodeName;

use super::disk::FILE_MODE;

/// The longest holder's name that is read for the message: a process id and a node's name fit
/// twice over.
const MAX_HOLDER_BYTES: u64 = 200;

/// The right to a directory. The operating system takes it back however the process ends.
#[derive(Debug)]
pub(super) struct DirectoryLock {
    file: File,
}

impl Drop for DirectoryLock {
    /// Closing the file would do, were it not for a child process that another thread is just
    /// starting: until it is the other program, it holds everything that this one had open.
    fn drop(&mut self) {
        if let Err(error) = self.file.unlock() {
            tracing::debug!(%error, "the data directory stays locked until the process ends");
        }
    }
}

/// Why there is no lock.
#[derive(Debug)]
pub(super) enum Refused {
    /// Somebody has it: who, in words.
    Held(String),
    /// The file cannot be made or locked.
    Failed(io::Error),
}

impl DirectoryLock {
    pub(super) fn acquire(directory: &Path, node: &NodeName) -> Result<Self, Refused> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(FILE_MODE);
        let mut file = options.open(directory.join("LOCK")).map_err(Refused::Failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                let read = file.take(MAX_HOLDER_BYTES).read_to_string(&mut holder);
                let known = read.is_ok() && !holder.trim().is_empty();
                let holder = if known { holder.trim() } else { "another process" };
                return Err(Refused::Held(holder.to_owned()));
            }
            Err(TryLockError::Error(error)) => return Err(Refused::Failed(error)),
        }
        // Only a message reads it, so a full disk must not keep the node from starting.
        let text = format!("process {} (node {node})\n", process::id());
        if let Err(error) = file.set_len(0).and_then(|()| file.write_all(text.as_bytes())) {
            tracing::debug!(%error, "the lock file does not say who holds it");
        }
        Ok(Self { file })
    }
}
