//! Opening a data directory: everything readable is read, whatever else there is.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Buf as _, Bytes};
use herd_proto::{LocationRecord, NodeName, Record};
use prost::Message as _;

use super::disk::{Disk, RealDisk};
use super::format::{DataFile, FileHeader, Footer, ReadHeader};
use super::frame::Kind;
use super::identity::{self, Identity};
use super::lock::{DirectoryLock, Refused};
use super::log::{DiskStorage, Found, Limits};
use super::open_error::OpenError;
use super::scan::{Piece, Scan};

/// What was found in a data directory.
///
/// Damage is counted each time a damaged file is read, until a snapshot has replaced it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Recovery {
    /// Records handed to the caller. A client counts as often as it was appended.
    pub records: u64,
    /// Files read.
    pub files: u64,
    /// Their length together, in bytes.
    pub bytes: u64,
    /// Frames lost to damage, at least: where neighbours are gone they count as one.
    pub damaged_frames: u64,
    /// Bytes skipped for it.
    pub damaged_bytes: u64,
    /// Bytes of batches cut short at the end of segments, as a crash leaves them. They were
    /// never acknowledged.
    pub torn_tail_bytes: u64,
    /// Records in whole frames that broke a rule, and were skipped.
    pub bad_records: u64,
    /// Segments that a later one names and that are gone.
    pub missing_files: u64,
    /// Files that the operating system could not read to the end.
    pub unreadable_files: u64,
    /// How long it took.
    pub elapsed: Duration,
    /// Names the store: random, made with the directory, never 0. A new one is made if the old
    /// one cannot be read.
    pub store_id: u64,
    /// How often the store was opened, this time included.
    pub boot: u64,
}

impl Recovery {
    /// Whether records that were handed to the operating system are gone.
    pub fn has_losses(&self) -> bool {
        let Self { damaged_frames, bad_records, missing_files, unreadable_files, .. } = self;
        damaged_frames + bad_records + missing_files + unreadable_files > 0
    }
}

/// Opens a data directory, making it if it is not there, and hands every readable record to
/// `apply`: old and new ones of a client, in no particular order.
///
/// `node` only tells other processes who holds the directory; a directory may go to another node
/// of the same herd.
///
/// # Errors
/// Only those of [`OpenError`]. Damaged, cut, missing and foreign files are counted in
/// [`Recovery`] and logged instead. After an error, forget what `apply` was given.
pub fn open(
    directory: &Path,
    cluster: &str,
    node: &NodeName,
    apply: &mut dyn FnMut(LocationRecord),
) -> Result<(DiskStorage, Recovery), OpenError> {
    make_directory(directory)?;
    let lock = DirectoryLock::acquire(directory, node).map_err(|refused| match refused {
        Refused::Held(holder) => OpenError::Locked { directory: directory.into(), holder },
        Refused::Failed(source) => inaccessible(directory, "lock")(source),
    })?;
    let disk = Arc::new(RealDisk { directory: directory.into(), _lock: lock });
    open_on(disk, cluster, Limits::default(), apply)
}

fn make_directory(directory: &Path) -> Result<(), OpenError> {
    let not_a_directory = || OpenError::NotADirectory { directory: directory.into() };
    match fs::metadata(directory) {
        Ok(metadata) if metadata.is_dir() => return Ok(()),
        Ok(_) => return Err(not_a_directory()),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => return Err(not_a_directory()),
        Err(_) => {}
    }
    let made = DirBuilder::new().recursive(true).mode(0o700).create(directory);
    made.map_err(inaccessible(directory, "make"))?;
    // Its own entry has to survive a power cut as well.
    let parent = directory.parent().filter(|parent| !parent.as_os_str().is_empty());
    let synced =
        fs::File::open(parent.unwrap_or(Path::new("."))).and_then(|parent| parent.sync_all());
    synced.map_err(inaccessible(directory, "make"))
}

fn inaccessible(directory: &Path, action: &'static str) -> impl FnOnce(io::Error) -> OpenError {
    move |source| OpenError::Inaccessible { directory: directory.into(), action, source }
}

/// As [`open`], on any disk.
pub(super) fn open_on(
    disk: Arc<dyn Disk>,
    cluster: &str,
    limits: Limits,
    apply: &mut dyn FnMut(LocationRecord),
) -> Result<(DiskStorage, Recovery), OpenError> {
    let started = Instant::now();
    let listed = disk.list().map_err(inaccessible(disk.path(), "read"))?;
    let files: BTreeMap<DataFile, u64> =
        listed.iter().filter_map(|(name, len)| Some((DataFile::parse(name)?, *len))).collect();
    // Before anything is changed or handed out.
    check_owner(&*disk, identity::FILE, cluster)?;
    for file in files.keys() {
        check_owner(&*disk, &file.name(), cluster)?;
    }

    let mut reader = Reader { disk: &*disk, apply, recovery: Recovery::default() };
    let found = reader.read_all(&files);
    let mut recovery = reader.recovery;
    let identity = next_identity(&*disk, cluster)?;
    (recovery.store_id, recovery.boot) = (identity.store, identity.boot);
    recovery.elapsed = started.elapsed();
    if recovery.has_losses() || recovery.torn_tail_bytes > 0 {
        let directory = disk.path().display();
        tracing::warn!(%directory, ?recovery, "skipped what could not be read");
    }
    Ok((DiskStorage::new(disk, cluster, limits, found), recovery))
}

/// Refuses a file of another herd or of a later release. One whose header is damaged has to
/// pass: the other files know.
fn check_owner(disk: &dyn Disk, name: &str, cluster: &str) -> Result<(), OpenError> {
    let Ok(source) = disk.read(name) else { return Ok(()) };
    let mut scan = Scan::new(source);
    let Some(Piece::Frame(Kind::Header, payload)) = scan.next() else { return Ok(()) };
    let file = disk.path().join(name);
    match FileHeader::decode(payload) {
        Some(ReadHeader::Newer(found)) => Err(OpenError::NewerFormat { file, found }),
        Some(ReadHeader::Known(header)) if header.cluster != cluster => {
            let (found, expected) = (header.cluster, cluster.to_owned());
            Err(OpenError::OtherCluster { file, found, expected })
        }
        _ => Ok(()),
    }
}

/// Counts this opening.
fn next_identity(disk: &dyn Disk, cluster: &str) -> Result<Identity, OpenError> {
    let identity = match Identity::read(disk) {
        Some(known) => Identity { boot: known.boot.saturating_add(1), ..known },
        None => Identity::fresh(),
    };
    match identity.write(disk, cluster) {
        Ok(()) => Ok(identity),
        // A full disk must not keep a node from starting. A boot that is not counted would be
        // mistaken for the next one, so this run goes by a name of its own.
        Err(error) if is_full(&error) => Ok(Identity::fresh()),
        Err(error) => Err(inaccessible(disk.path(), "write to")(error)),
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

struct Reader<'a> {
    disk: &'a dyn Disk,
    apply: &'a mut dyn FnMut(LocationRecord),
    recovery: Recovery,
}

/// What one file turned out to be.
#[derive(Default)]
struct FileSummary {
    header: Option<FileHeader>,
    footer: Option<Footer>,
    records: u64,
    damaged: bool,
}

impl Reader<'_> {
    /// Reads the newest snapshot that is whole and all that it does not stand for.
    fn read_all(&mut self, files: &BTreeMap<DataFile, u64>) -> Found {
        let next = files.keys().map(|file| file.number() + 1).max().unwrap_or(1);
        let mut found = Found { next, ..Found::default() };
        for file in files.keys().filter(|file| matches!(file, DataFile::Unfinished(_))) {
            // Nothing reads it; what cannot be removed now goes with the next snapshot.
            let _ = self.disk.remove(&file.name());
        }
        let snapshots = files.iter().filter(|(file, _)| matches!(file, DataFile::Snapshot(_)));
        for (&file, &bytes) in snapshots.rev() {
            let number = file.number();
            let summary = self.read(file, bytes);
            let whole = Footer { number, records: summary.records };
            if summary.footer == Some(whole) && !summary.damaged {
                (found.snapshot, found.snapshot_bytes) = (number, bytes);
                break;
            }
            // Its records are as true as any, but it does not stand for others.
            found.is_damaged = true;
            found.logs.insert(number, bytes);
        }
        for (&file, &bytes) in files {
            if let DataFile::Log(number) = file
                && number > found.snapshot
            {
                let summary = self.read(file, bytes);
                found.is_damaged |= summary.damaged;
                if let Some(header) = summary.header {
                    let previous = header.previous;
                    let is_there = files.keys().any(|file| match file {
                        DataFile::Log(number) => *number == previous,
                        DataFile::Snapshot(number) => *number > previous,
                        DataFile::Unfinished(_) => false,
                    });
                    self.recovery.missing_files += u64::from(previous != 0 && !is_there);
                }
                found.logs.insert(number, bytes);
                found.newest_log = number;
            }
        }
        found.is_damaged |= self.recovery.missing_files > 0;
        found.is_unsynced = self.sync(&found, files).is_err();
        found
    }

    /// Makes sure of what was read: a process that was killed may have left it unsynced, and a
    /// record that is known already is not appended again.
    fn sync(&self, found: &Found, files: &BTreeMap<DataFile, u64>) -> io::Result<()> {
        for file in files.keys().filter(|file| found.logs.contains_key(&file.number())) {
            self.disk.sync_file(&file.name())?;
        }
        self.disk.sync()?;
        // A snapshot was synced before it got its name, and now has it for good.
        if files.keys().any(|file| file.number() < found.snapshot) {
            remove_covered(self.disk, found.snapshot);
        }
        Ok(())
    }

    fn read(&mut self, file: DataFile, bytes: u64) -> FileSummary {
        let mut summary = FileSummary::default();
        self.recovery.files += 1;
        self.recovery.bytes += bytes;
        let source = match self.disk.read(&file.name()) {
            Ok(source) => source,
            Err(error) => {
                self.unreadable(file, bytes, &error);
                summary.damaged = true;
                return summary;
            }
        };
        let mut scan = Scan::new(source);
        while let Some(piece) = scan.next() {
            match piece {
                Piece::Frame(Kind::Records, payload) => summary.records += self.records(payload),
                Piece::Frame(Kind::Footer, payload) => summary.footer = Footer::decode(payload),
                Piece::Frame(Kind::Header, payload) => {
                    if let Some(ReadHeader::Known(header)) = FileHeader::decode(payload) {
                        summary.header = Some(header);
                    }
                }
                Piece::Frame(Kind::Identity, _) => {}
                // Cut short, as a crash leaves a segment. A snapshot was finished before it
                // got its name.
                Piece::Gap(gap)
                    if gap.at_end && gap.changed == 0 && matches!(file, DataFile::Log(_)) =>
                {
                    self.recovery.torn_tail_bytes += gap.bytes;
                }
                Piece::Gap(gap) => {
                    self.recovery.damaged_frames += gap.changed.max(1);
                    self.recovery.damaged_bytes += gap.bytes;
                    summary.damaged = true;
                }
            }
        }
        if let Some(error) = scan.error() {
            self.unreadable(file, bytes.saturating_sub(scan.offset()), error);
            summary.damaged = true;
        }
        summary
    }

    fn unreadable(&mut self, file: DataFile, bytes: u64, error: &io::Error) {
        tracing::warn!(file = file.name(), %error, "cannot read on");
        self.recovery.unreadable_files += 1;
        self.recovery.damaged_bytes += bytes;
    }

    /// Hands out the records of a frame and returns how many there were, bad ones included.
    fn records(&mut self, payload: &[u8]) -> u64 {
        // One allocation that all texts of the frame are read from, not one for each.
        let mut payload = Bytes::copy_from_slice(payload);
        let mut count = 0;
        while payload.has_remaining() {
            count += 1;
            let bytes = prost::decode_length_delimiter(&mut payload).unwrap_or(usize::MAX);
            if bytes > payload.remaining() {
                self.recovery.bad_records += 1;
                break;
            }
            let record = Record::decode(payload.split_to(bytes)).ok();
            match record.and_then(|record| LocationRecord::try_from(record).ok()) {
                Some(record) => {
                    self.recovery.records += 1;
                    (self.apply)(record);
                }
                None => self.recovery.bad_records += 1,
            }
        }
        count
    }
}

/// Removes the files that a finished snapshot stands for, and unfinished snapshots before it.
/// What cannot be removed does no harm and is tried again at the next opening.
pub(super) fn remove_covered(disk: &dyn Disk, snapshot: u64) {
    let removed = disk.list().and_then(|files| {
        let covered = |name: &str| DataFile::parse(name).is_some_and(|f| f.number() < snapshot);
        let names = files.iter().map(|(name, _)| name).filter(|name| covered(name));
        // One that stays must not save the others.
        let each: Vec<_> = names.map(|name| disk.remove(name)).collect();
        each.into_iter().collect::<io::Result<()>>().and_then(|()| disk.sync())
    });
    if let Err(error) = removed {
        tracing::warn!(%error, "cannot remove files that a snapshot has replaced");
    }
}
