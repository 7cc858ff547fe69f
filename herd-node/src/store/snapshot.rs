//! Writes a snapshot beside the log, under a name that does not count until it is whole.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use herd_proto::LocationRecord;

use super::SnapshotWriter;
use super::disk::{Disk, DiskFile};
use super::format::{DataFile, FileHeader, Footer};
use super::frame::{FrameWriter, Kind};
use super::recovery::remove_covered;

/// How the log and the snapshot beside it know of each other.
#[derive(Debug, Clone, Copy)]
pub(super) struct Progress {
    /// Whether one is being written.
    pub(super) is_running: bool,
    /// The number of the newest finished one; 0 for none.
    pub(super) newest: u64,
    pub(super) newest_bytes: u64,
}

/// A snapshot being written.
pub(super) struct DiskSnapshot {
    disk: Arc<dyn Disk>,
    progress: Arc<Mutex<Progress>>,
    number: u64,
    file: Box<dyn DiskFile>,
    frames: FrameWriter,
    records: u64,
    has_failed: bool,
}

impl DiskSnapshot {
    pub(super) fn begin(
        disk: Arc<dyn Disk>,
        progress: Arc<Mutex<Progress>>,
        number: u64,
        cluster: &str,
    ) -> io::Result<Self> {
        let file = disk.create(&DataFile::Unfinished(number).name())?;
        let mut frames = FrameWriter::default();
        let header = FileHeader { cluster: cluster.to_owned(), previous: 0 };
        frames.frame(Kind::Header, &header.encode());
        update(&progress, |progress| progress.is_running = true);
        let (records, has_failed) = (0, false);
        Ok(Self { disk, progress, number, file, frames, records, has_failed })
    }

    fn publish(&mut self) -> io::Result<()> {
        if self.has_failed {
            return Err(io::Error::other("an earlier part of the snapshot could not be written"));
        }
        let footer = Footer { number: self.number, records: self.records };
        self.frames.frame(Kind::Footer, &footer.encode());
        let bytes = self.frames.write(&mut *self.file)?;
        self.file.sync()?;
        let unfinished = DataFile::Unfinished(self.number).name();
        self.disk.rename(&unfinished, &DataFile::Snapshot(self.number).name())?;
        self.disk.sync()?;
        update(&self.progress, |progress| {
            (progress.newest, progress.newest_bytes) = (self.number, bytes);
        });
        Ok(())
    }
}

impl SnapshotWriter for DiskSnapshot {
    fn add(&mut self, records: &mut dyn Iterator<Item = &LocationRecord>) -> io::Result<()> {
        match self.frames.records(records, &mut *self.file) {
            Ok(count) => {
                self.records += count;
                Ok(())
            }
            Err(error) => {
                self.has_failed = true;
                Err(error)
            }
        }
    }

    fn finish(mut self: Box<Self>) -> io::Result<()> {
        self.publish()?;
        remove_covered(&*self.disk, self.number);
        Ok(())
    }
}

impl Drop for DiskSnapshot {
    fn drop(&mut self) {
        // Gone under this name if it was published; if it cannot be removed, the next snapshot
        // or the next opening does it.
        let _ = self.disk.remove(&DataFile::Unfinished(self.number).name());
        update(&self.progress, |progress| progress.is_running = false);
    }
}

fn update(progress: &Mutex<Progress>, change: impl FnOnce(&mut Progress)) {
    change(&mut progress.lock().unwrap_or_else(PoisonError::into_inner));
}
