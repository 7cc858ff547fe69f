//! The disk as one more consumer of changes: what a report's answer waits for, and who writes.

mod snapshot;
#[cfg(test)]
mod tests;
mod writer;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use herd_proto::v1;
use tokio::sync::watch;
use tracing::{info, warn};

pub use self::writer::Writer;
use crate::error::Error;
use crate::shared::Shared;
use crate::store::{self, Recovery};

/// What must have happened to a report before it is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AckLevel {
    /// This node holds it in memory.
    Memory,
    /// The operating system has it: it survives the process, killed or not.
    Process,
    /// The disk has it: it survives the machine.
    Disk,
}

impl FromStr for AckLevel {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "memory" => Ok(Self::Memory),
            "process" => Ok(Self::Process),
            "disk" => Ok(Self::Disk),
            _ => Err("must be memory, process or disk".into()),
        }
    }
}

/// Where records outlive the node, and when a report counts as kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataConfig {
    /// The node's own data directory.
    pub directory: PathBuf,
    /// What an answer waits for.
    pub ack_level: AckLevel,
    /// How often what was written is forced to the disk where answers do not wait for it; what a
    /// power cut may cost.
    pub sync_interval: Duration,
}

/// How far the disk has come, counted in changes as [`crate::herd::state::State::changes`] does.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Progress {
    /// All changes up to this one are with the operating system.
    written: u64,
    /// All changes up to this one are on the disk.
    synced: u64,
    /// What fails at present, and why. Answers do not wait for what fails: the herd goes on without
    /// this disk, and says so.
    troubles: BTreeMap<Trouble, Arc<str>>,
}

/// What a disk can fail at, the gravest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Trouble {
    /// The files were lost in a panic, for good.
    Lost,
    /// Nothing can be written.
    Write,
    /// What was written may not outlive a power cut, until a snapshot stands for it.
    Sync,
    /// No snapshot can be begun, and the log grows.
    Snapshot,
}

impl Progress {
    fn failure(&self) -> Option<&Arc<str>> {
        self.troubles.values().next()
    }

    /// Whether what answers wait for fails.
    fn fails(&self, level: AckLevel) -> bool {
        let gravest = self.troubles.keys().next();
        gravest.is_some_and(|trouble| match level {
            AckLevel::Memory => false,
            AckLevel::Process => *trouble <= Trouble::Write,
            AckLevel::Disk => *trouble <= Trouble::Sync,
        })
    }
}

/// What the node's services know of its disk.
#[derive(Debug, Clone)]
pub struct Durability {
    level: AckLevel,
    /// `None` without a data directory.
    progress: Option<watch::Receiver<Progress>>,
    recovery: Recovery,
}

impl Durability {
    /// That of a node without a data directory.
    pub fn none() -> Self {
        Self { level: AckLevel::Memory, progress: None, recovery: Recovery::default() }
    }

    /// Opens the data directory, restores what is in it, and returns with it who writes from
    /// now on.
    ///
    /// # Errors
    /// The directory cannot be used, or another process uses it. Damage is no error: it is
    /// counted and logged, and friends make up for it.
    pub async fn open(shared: &Arc<Shared>, config: &DataConfig) -> Result<(Self, Writer), Error> {
        let (opening, directory) = (Arc::clone(shared), config.directory.clone());
        let opened = tokio::task::spawn_blocking(move || {
            opening.with(|state, _| {
                let identity = state.identity().clone();
                let mut restore = |record| state.restore(record);
                store::open(&directory, &identity.cluster, &identity.name, &mut restore)
            })
        });
        let (storage, recovery) = match opened.await {
            Ok(opened) => opened?,
            Err(panic) => return Err(Error::Ended(panic.to_string())),
        };
        let (node, clients) =
            shared.with(|state, _| (state.identity().name.clone(), state.table().len()));
        let (records, elapsed) = (recovery.records, recovery.elapsed);
        info!(%node, clients, records, ?elapsed, directory = %config.directory.display(), "restored");
        if recovery.has_losses() {
            warn!(%node, ?recovery, "the store was damaged; friends will be asked for what is missing");
        }
        let (sender, receiver) = watch::channel(Progress::default());
        let writer = Writer::new(Arc::clone(shared), config, Box::new(storage), sender);
        let durability = Self { level: config.ack_level, progress: Some(receiver), recovery };
        Ok((durability, writer))
    }

    /// Waits until all changes up to `change` are as safe as the configured level asks, or the
    /// disk is known to fail.
    ///
    /// # Cancel safety
    /// Dropping the future stops the waiting, not the writing.
    pub async fn wait(&self, change: u64) {
        let Some(progress) = &self.progress else { return };
        let safe = |progress: &Progress| {
            let reached = match self.level {
                AckLevel::Memory => return true,
                AckLevel::Process => progress.written,
                AckLevel::Disk => progress.synced,
            };
            reached >= change || progress.fails(self.level)
        };
        // An error means that the writer is gone: the node stops.
        let _ = progress.clone().wait_for(safe).await;
    }

    /// Waits until the disk has begun to fail, where it is `healthy` so far, or else has healed.
    /// False once the node has no disk, or no longer writes to it: nothing will change.
    ///
    /// # Cancel safety
    /// Dropping the future stops the waiting.
    pub async fn health_changed(&self, healthy: bool) -> bool {
        let Some(progress) = &self.progress else { return false };
        progress.clone().wait_for(|progress| progress.failure().is_none() != healthy).await.is_ok()
    }

    /// What the status tells of it.
    pub fn status(&self) -> v1::StoreStatus {
        let progress = self.progress.as_ref().map(|progress| progress.borrow().clone());
        let failure = progress.as_ref().and_then(|progress| progress.failure().cloned());
        v1::StoreStatus {
            ack_level: match self.level {
                AckLevel::Memory => v1::AckLevel::Memory,
                AckLevel::Process => v1::AckLevel::Process,
                AckLevel::Disk => v1::AckLevel::Disk,
            }
            .into(),
            persistent: self.progress.is_some(),
            healthy: failure.is_none(),
            last_error: failure.map(|failure| failure.to_string()).unwrap_or_default(),
            restored_records: self.recovery.records,
            damaged_frames: self.recovery.damaged_frames,
            bad_records: self.recovery.bad_records,
            missing_files: self.recovery.missing_files,
        }
    }
}
