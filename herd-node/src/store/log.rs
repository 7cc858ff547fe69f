//! The log: one segment open at its end, older ones left alone until a snapshot replaces them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::{fmt, io};

use herd_proto::LocationRecord;

use super::disk::{Disk, DiskFile};
use super::format::{DataFile, FileHeader};
use super::frame::{FrameWriter, Kind};
use super::snapshot::{DiskSnapshot, Progress};
use super::{SnapshotWriter, Storage};

/// When to begin new files.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// A segment of this length is closed, so a file that a test, a person or a bad disk spoils
    /// is never all there is. One more batch may fit in.
    pub(super) segment_bytes: u64,
    /// A log shorter than this does not call for a snapshot: it is read in a tenth of a second.
    pub(super) min_log_bytes: u64,
    /// Nor does one shorter than this many snapshots: then a record is written at most
    /// one and a half times, and the directory is at most about three times the table.
    pub(super) snapshots: u64,
    /// More segments than this do, however short: each start makes one, and a node that
    /// restarts for ever must not fill the directory.
    pub(super) segments: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { segment_bytes: 64 << 20, min_log_bytes: 64 << 20, snapshots: 2, segments: 64 }
    }
}

/// What there was when the directory was opened.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// The number for the next file.
    pub(super) next: u64,
    /// Files that the next snapshot replaces, with their lengths in bytes.
    pub(super) logs: BTreeMap<u64, u64>,
    pub(super) newest_log: u64,
    /// The number of the newest whole snapshot; 0 for none.
    pub(super) snapshot: u64,
    pub(super) snapshot_bytes: u64,
    /// Whether a snapshot should replace what is there because it cannot all be read.
    pub(super) is_damaged: bool,
    /// Whether a power cut may still take what was read.
    pub(super) is_unsynced: bool,
}

/// A data directory, open for writing. Dropping it writes nothing; what was appended is with the
/// operating system already.
pub struct DiskStorage {
    /// Shared with a snapshot being written, which may outlive this.
    disk: Arc<dyn Disk>,
    limits: Limits,
    header: FileHeader,
    frames: FrameWriter,
    segment: Option<Segment>,
    next: u64,
    logs: BTreeMap<u64, u64>,
    /// The newest file that may lack what was appended to it, or that is damaged. Whole again
    /// with a later snapshot.
    doubtful: Option<Doubt>,
    progress: Arc<Mutex<Progress>>,
}

#[derive(Debug, Clone, Copy)]
struct Doubt {
    number: u64,
    /// Whether it is unsynced, rather than unreadable: then no sync may succeed.
    is_unsynced: bool,
}

/// The segment that grows.
struct Segment {
    number: u64,
    file: Box<dyn DiskFile>,
    /// What counts of the file, in bytes. Whatever is behind was not acknowledged.
    len: u64,
    is_synced: bool,
    /// Whether the directory's entry for it survives a power cut.
    is_entered: bool,
}

impl Segment {
    fn sync(&mut self, disk: &dyn Disk) -> io::Result<()> {
        if !self.is_entered {
            disk.sync()?;
            self.is_entered = true;
        }
        if !self.is_synced {
            self.file.sync()?;
            self.is_synced = true;
        }
        Ok(())
    }
}

impl DiskStorage {
    pub(super) fn new(disk: Arc<dyn Disk>, cluster: &str, limits: Limits, found: Found) -> Self {
        let progress = Progress {
            is_running: false,
            newest: found.snapshot,
            newest_bytes: found.snapshot_bytes,
        };
        let number = found.next.saturating_sub(1);
        let doubt = Doubt { number, is_unsynced: found.is_unsynced };
        Self {
            disk,
            limits,
            header: FileHeader { cluster: cluster.to_owned(), previous: found.newest_log },
            frames: FrameWriter::default(),
            segment: None,
            next: found.next,
            logs: found.logs,
            doubtful: (found.is_damaged || found.is_unsynced).then_some(doubt),
            progress: Arc::new(Mutex::new(progress)),
        }
    }

    fn progress(&self) -> Progress {
        *self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is still doubtful: a finished snapshot has the records from the table.
    fn doubt(&self) -> Option<Doubt> {
        let snapshot = self.progress().newest;
        self.doubtful.filter(|doubt| doubt.number > snapshot)
    }

    fn take_number(&mut self) -> u64 {
        self.next += 1;
        self.next - 1
    }

    /// Closes the segment. If it cannot be synced, the next [`Storage::sync`] says so.
    fn close_segment(&mut self) {
        if let Some(mut segment) = self.segment.take()
            && let Err(error) = segment.sync(&*self.disk)
        {
            tracing::warn!(%error, "cannot sync the log; a snapshot will replace it");
            self.doubtful = Some(Doubt { number: segment.number, is_unsynced: true });
        }
    }

    fn open_segment(&mut self) -> io::Result<Segment> {
        let number = self.take_number();
        let file = self.disk.create(&DataFile::Log(number).name())?;
        self.logs.insert(number, 0);
        Ok(Segment { number, file, len: 0, is_synced: true, is_entered: false })
    }
}

impl Storage for DiskStorage {
    fn append(&mut self, records: &mut dyn Iterator<Item = &LocationRecord>) -> io::Result<usize> {
        let mut records = records.peekable();
        if records.peek().is_none() {
            return Ok(0);
        }
        if self.segment.as_ref().is_some_and(|open| open.len >= self.limits.segment_bytes) {
            self.close_segment();
        }
        let mut segment = match self.segment.take() {
            Some(segment) => segment,
            None => self.open_segment()?,
        };
        self.frames.restart(segment.len);
        if segment.len == 0 {
            self.frames.frame(Kind::Header, &self.header.encode());
        }
        let written = (self.frames.records(&mut records, &mut *segment.file))
            .and_then(|_| self.frames.write(&mut *segment.file));
        segment.is_synced = false;
        match written {
            Ok(end) => {
                let bytes = (end - segment.len) as usize;
                segment.len = end;
                self.header.previous = segment.number;
                self.logs.insert(segment.number, end);
                self.segment = Some(segment);
                Ok(bytes)
            }
            Err(error) => {
                let cut = segment.file.set_len(segment.len);
                self.segment = Some(segment);
                if cut.is_err() {
                    // Nothing may follow what is there now.
                    self.close_segment();
                }
                Err(error)
            }
        }
    }

    fn sync(&mut self) -> io::Result<()> {
        if let Some(segment) = &mut self.segment
            && let Err(error) = segment.sync(&*self.disk)
        {
            self.doubtful = Some(Doubt { number: segment.number, is_unsynced: true });
            self.segment = None;
            return Err(error);
        }
        match self.doubt() {
            Some(Doubt { is_unsynced: true, .. }) => Err(io::Error::other(
                "the disk failed to write what was appended; waiting for a snapshot",
            )),
            _ => Ok(()),
        }
    }

    fn snapshot_due(&self) -> bool {
        let progress = self.progress();
        if progress.is_running {
            return false;
        }
        let newer = || self.logs.range(progress.newest + 1..);
        let most = self.limits.min_log_bytes.max(self.limits.snapshots * progress.newest_bytes);
        self.doubt().is_some()
            || newer().map(|(_, bytes)| bytes).sum::<u64>() > most
            || newer().count() > self.limits.segments
    }

    fn begin_snapshot(&mut self) -> io::Result<Box<dyn SnapshotWriter>> {
        let progress = self.progress();
        if progress.is_running {
            return Err(io::ErrorKind::ResourceBusy.into());
        }
        self.logs = self.logs.split_off(&(progress.newest + 1));
        self.doubtful = self.doubt();
        self.close_segment();
        let number = self.take_number();
        let snapshot = DiskSnapshot::begin(
            Arc::clone(&self.disk),
            Arc::clone(&self.progress),
            number,
            &self.header.cluster,
        )?;
        Ok(Box::new(snapshot))
    }
}

impl fmt::Debug for DiskStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let directory = self.disk.path();
        f.debug_struct("DiskStorage").field("directory", &directory).finish_non_exhaustive()
    }
}
