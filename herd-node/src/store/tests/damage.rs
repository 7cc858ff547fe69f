//! Files that were cut, flipped, overwritten, swapped or lost: the store opens, and nothing but
//! what stood in damaged frames is missing.

use std::collections::HashMap;
use std::sync::Arc;

use herd_proto::{ClientId, LocationRecord, Record, Timestamp};
use prost::Message as _;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::super::format::{DataFile, VERSION};
use super::super::frame::{FrameHeader, FrameWriter, HEADER_BYTES, Kind, MAX_FRAME_BYTES};
use super::super::scan::{Gap, Piece, Scan};
use super::super::{OpenError, Storage as _};
use super::disk::TestDisk;
use super::{SMALL, batch, open, open_on, record, try_open};

/// Seeds of each kind of damage.
const SEEDS: u64 = 3000;

/// A frame of records on the disk.
struct Written {
    file: String,
    range: std::ops::Range<usize>,
    records: Vec<LocationRecord>,
}

fn read(disk: &TestDisk) -> (super::Recovery, Vec<LocationRecord>) {
    let mut records = Vec::new();
    let (_, recovery) =
        open_on(Arc::new(disk.clone()), "herd", SMALL, &mut |record| records.push(record)).unwrap();
    (recovery, records)
}

/// A snapshot and three segments of several frames.
fn some_store() -> (TestDisk, Vec<Written>) {
    let disk = TestDisk::default();
    let mut written = Vec::new();
    let (mut storage, ..) = open(&disk);
    let mut snapshot = storage.begin_snapshot().unwrap();
    // Long ones, so that few of them are more than a frame.
    let mut records = batch(90, 1);
    for (client, record) in records.iter_mut().enumerate() {
        record.client = ClientId::parse(&format!("{client:01000}")).unwrap();
    }
    snapshot.add(&mut records.iter()).unwrap();
    snapshot.finish().unwrap();
    for time in 2..20 {
        storage.append(&mut batch(3 + time % 4, time).iter()).unwrap();
    }
    drop(storage);
    for file in disk.names().into_iter().filter(|name| DataFile::parse(name).is_some()) {
        let bytes = disk.contents(&file);
        let mut at = 0;
        while let Some(header) = FrameHeader::decode(&bytes[at..], at as u64) {
            let range = at..at + HEADER_BYTES + header.payload_bytes;
            at = range.end;
            if header.kind == Kind::Records {
                let alone = TestDisk::default();
                let mut frames = FrameWriter::default();
                frames.frame(Kind::Records, &bytes[range.start + HEADER_BYTES..range.end]);
                alone.put(&DataFile::Log(1).name(), encoded(&mut frames));
                let (_, records) = read(&alone);
                written.push(Written { file: file.clone(), range, records });
            }
        }
        assert_eq!(at, bytes.len());
    }
    let snapshots = written.iter().filter(|frame| frame.file.starts_with("snapshot"));
    assert!(
        snapshots.count() > 1 && written.len() > 18 && disk.names().len() >= 5,
        "{:?}",
        disk.names()
    );
    (disk, written)
}

/// What a writer holds, as a file would.
fn encoded(frames: &mut FrameWriter) -> Vec<u8> {
    use super::super::disk::Disk as _;
    let disk = TestDisk::default();
    frames.write(&mut *disk.create("it").unwrap()).unwrap();
    disk.contents("it")
}

/// Opens what became of the disk: all frames without a damaged byte must be read, nothing that
/// was never written may be.
fn check(
    disk: &TestDisk,
    written: &[Written],
    is_hit: impl Fn(&Written) -> bool,
    why: &str,
) -> super::Recovery {
    let (recovery, found) = read(disk);
    let all: HashMap<_, _> =
        written.iter().flat_map(|frame| &frame.records).map(|r| (key(r), r)).collect();
    let found: HashMap<_, _> = found.iter().map(|record| (key(record), record)).collect();
    for (key, record) in &found {
        assert_eq!(all.get(key), Some(record), "{why}: a wrong record");
    }
    for frame in written.iter().filter(|frame| !is_hit(frame)) {
        let is_there = |record: &LocationRecord| found.contains_key(&key(record));
        assert!(frame.records.iter().all(is_there), "{why}: {recovery:?}");
    }
    recovery
}

fn key(record: &LocationRecord) -> (&str, Timestamp) {
    (record.client.as_str(), record.time)
}

#[test]
fn single_flipped_bits_cost_the_frame_they_are_in() {
    let (disk, written) = some_store();
    let mut random = StdRng::seed_from_u64(1);
    for _ in 0..SEEDS {
        let target = &written[random.random_range(0..written.len())];
        let spoilt = disk.after_kill();
        let mut bytes = spoilt.contents(&target.file);
        // Anywhere, file header and snapshot footer included.
        let at = random.random_range(0..bytes.len());
        bytes[at] ^= 1 << random.random_range(0..8);
        spoilt.put(&target.file, bytes);
        let is_hit = |frame: &Written| frame.file == target.file && frame.range.contains(&at);
        let recovery = check(&spoilt, &written, is_hit, &format!("{} byte {at}", target.file));
        assert!(recovery.has_losses() || recovery.torn_tail_bytes > 0, "{recovery:?}");
    }
}

#[test]
fn overwritten_pages_cost_the_frames_they_touch() {
    const PAGE: usize = 512;
    let (disk, written) = some_store();
    let mut random = StdRng::seed_from_u64(2);
    for _ in 0..SEEDS {
        let target = &written[random.random_range(0..written.len())];
        let spoilt = disk.after_kill();
        let mut bytes = spoilt.contents(&target.file);
        let start = random.random_range(0..bytes.len().div_ceil(PAGE)) * PAGE;
        let end = bytes.len().min(start + PAGE);
        match random.random_range(0..4) {
            0 => bytes[start..end].fill(0),
            1 => bytes[start..end].fill(0xff),
            2 => random.fill(&mut bytes[start..end]),
            _ => {
                // Another page of this or another file, headers and all.
                let from = disk.contents(&written[random.random_range(0..written.len())].file);
                let at = random.random_range(0..from.len().div_ceil(PAGE)) * PAGE;
                let len = (end - start).min(from.len() - at);
                bytes[start..start + len].copy_from_slice(&from[at..at + len]);
            }
        }
        spoilt.put(&target.file, bytes);
        let is_hit = |frame: &Written| {
            frame.file == target.file && frame.range.start < end && frame.range.end > start
        };
        check(&spoilt, &written, is_hit, &format!("{} page at {start}", target.file));
    }
}

#[test]
fn swapped_and_missing_files_cost_what_was_in_the_missing_ones() {
    let (disk, written) = some_store();
    let mut random = StdRng::seed_from_u64(3);
    let names: Vec<_> =
        disk.names().into_iter().filter(|name| DataFile::parse(name).is_some()).collect();
    for _ in 0..SEEDS / 10 {
        let spoilt = disk.after_kill();
        let mut shuffled = names.clone();
        for at in (1..shuffled.len()).rev() {
            shuffled.swap(at, random.random_range(0..=at));
        }
        let lost = random.random_range(0..2 * names.len());
        for (index, (old, new)) in names.iter().zip(&shuffled).enumerate() {
            let bytes = if index == lost { Vec::new() } else { disk.contents(old) };
            spoilt.put(new, bytes);
        }
        let is_hit = |frame: &Written| names.get(lost) == Some(&frame.file);
        check(&spoilt, &written, is_hit, &format!("{shuffled:?} without {lost}"));
    }
}

#[test]
fn every_truncation_of_a_segment_yields_its_first_frames() {
    let (disk, written) = some_store();
    let last = &written.iter().rfind(|frame| frame.file.starts_with("log")).unwrap().file;
    let whole = disk.contents(last);
    for len in 0..whole.len() {
        let spoilt = disk.after_kill();
        spoilt.put(last, whole[..len].to_vec());
        let is_hit = |frame: &Written| frame.file == *last && frame.range.end > len;
        let recovery = check(&spoilt, &written, is_hit, &format!("{len}"));
        assert_eq!(recovery.damaged_frames, 0, "{len}: {recovery:?}");
        let ends = written.iter().filter(|frame| frame.file == *last).map(|f| f.range.end);
        let header = HEADER_BYTES + 4 + 8 + "herd".len();
        let torn = len - ends.filter(|end| *end <= len).max().unwrap_or(header.min(len));
        let torn = if len < header { len } else { torn };
        assert_eq!(recovery.torn_tail_bytes, torn as u64, "{len}");
    }
}

#[test]
fn every_truncation_of_a_snapshot_is_damage_and_yields_its_first_frames() {
    let (disk, written) = some_store();
    let snapshot = written.iter().find(|frame| frame.file.starts_with("snapshot")).unwrap();
    let whole = disk.contents(&snapshot.file);
    for len in (0..whole.len()).rev().step_by(97).chain([1, 0]) {
        let spoilt = disk.after_kill();
        spoilt.put(&snapshot.file, whole[..len].to_vec());
        let hit = |f: &Written| f.file == snapshot.file && f.range.end > len;
        check(&spoilt, &written, hit, &format!("{len}"));
        let (storage, recovery, _) = open(&spoilt);
        assert_eq!(recovery.torn_tail_bytes, 0, "a finished file is never torn");
        assert!(storage.snapshot_due(), "the damaged one wants replacing");
    }
}

#[test]
fn garbage_opens() {
    let mut random = StdRng::seed_from_u64(4);
    for round in 0..300_usize {
        let disk = TestDisk::default();
        for name in ["ID", "ID.tmp", "LOCK", "log-00000000000000000003.herd", "notes.tmp"]
            .into_iter()
            .chain(["snapshot-00000000000000000009.herd", "snapshot-00000000000000000011.tmp"])
        {
            let mut bytes = vec![0; random.random_range(0..3000)];
            if round % 3 > 0 {
                random.fill(&mut bytes[..]);
            }
            disk.put(name, bytes);
        }
        let (mut storage, recovery, known) = open(&disk);
        assert_eq!((recovery.records, recovery.boot, known.len()), (0, 1, 0));
        storage.append(&mut [record(1, 1)].iter()).unwrap();
        assert_eq!(open(&disk).2.len(), 1);
        let names = disk.names();
        assert!(names.contains(&"notes.tmp".to_owned()), "files of others are left alone");
        assert!(!names.contains(&"snapshot-00000000000000000011.tmp".to_owned()));
    }
}

#[test]
fn a_file_of_another_herd_or_of_a_later_release_is_refused_and_left_alone() {
    let (disk, _) = some_store();
    let before: Vec<_> = disk.names().iter().map(|name| disk.contents(name)).collect();
    let error = open_on(Arc::new(disk.clone()), "flock", SMALL, &mut |_| {}).err().unwrap();
    assert!(matches!(&error, OpenError::OtherCluster { .. }), "{error}");
    assert_eq!(error.to_string(), "disk/ID belongs to the herd \"herd\", not to \"flock\"");
    // Without ID the segments tell.
    let without = disk.after_kill();
    super::super::disk::Disk::remove(&without, "ID").unwrap();
    let error = open_on(Arc::new(without), "flock", SMALL, &mut |_| panic!("read")).err().unwrap();
    assert!(error.to_string().contains("log-"), "{error}");

    let mut frames = FrameWriter::default();
    frames.frame(Kind::Header, &(VERSION + 1).to_le_bytes());
    let newer = disk.after_kill();
    newer.put("log-00000000000000000099.herd", encoded(&mut frames));
    let error = try_open(&newer, &mut super::Known::new()).err().unwrap();
    assert!(matches!(&error, OpenError::NewerFormat { found: 2, .. }), "{error}");

    assert_eq!(before, disk.names().iter().map(|name| disk.contents(name)).collect::<Vec<_>>());
}

#[test]
fn an_unreadable_id_makes_the_store_a_new_one() {
    let (disk, _) = some_store();
    let (_, before, known) = open(&disk);
    let mut id = disk.contents("ID");
    let last = id.len() - 1;
    id[last] ^= 1;
    disk.put("ID", id);
    let (_, after, same) = open(&disk);
    assert_ne!((after.store_id, after.boot), (before.store_id, before.boot + 1));
    assert_eq!((after.boot, same), (1, known));
}

#[test]
fn a_record_that_breaks_a_rule_is_skipped_alone() {
    let mut payload = Vec::new();
    for client in 0..3 {
        let mut wire = Record::from(&record(client, 1));
        if client == 1 {
            wire.latitude_e7 = i32::MAX;
        }
        wire.encode_length_delimited(&mut payload).unwrap();
    }
    payload.extend([100, 1, 2]); // the length of a record that is not there
    let mut frames = FrameWriter::default();
    frames.frame(Kind::Records, &payload);
    let disk = TestDisk::default();
    disk.put(&DataFile::Log(1).name(), encoded(&mut frames));
    let (recovery, found) = read(&disk);
    assert_eq!(found, [record(0, 1), record(2, 1)]);
    assert_eq!((recovery.bad_records, recovery.damaged_frames), (2, 0));
    assert!(recovery.has_losses());
}

#[test]
fn a_file_that_cannot_be_read_on_yields_what_stands_before() {
    let (disk, written) = some_store();
    let names = disk.names();
    let lengths: Vec<_> = names.iter().map(|name| disk.contents(name).len()).collect();
    for at in [0, 1, 20, 100, 300, 500] {
        let spoilt = disk.after_kill();
        spoilt.state().reads_break_at = Some(at);
        let recovery = check(&spoilt, &written, |f| f.range.end > at, &format!("{at}"));
        let beyond = names.iter().zip(&lengths).filter(|(name, len)| *name != "ID" && **len >= at);
        assert_eq!(recovery.unreadable_files, beyond.count() as u64, "{at}");
        assert!(open(&spoilt).0.snapshot_due());
    }
}

#[test]
fn the_longest_frame_is_read_and_a_longer_one_is_damage() {
    for (payload, is_read) in
        [(MAX_FRAME_BYTES - HEADER_BYTES, true), (MAX_FRAME_BYTES - HEADER_BYTES + 1, false)]
    {
        let mut frames = FrameWriter::default();
        frames.frame(Kind::Records, &vec![7; payload]);
        frames.frame(Kind::Footer, b"next");
        let bytes = encoded(&mut frames);
        let mut scan = Scan::new(&*bytes);
        match scan.next().unwrap() {
            Piece::Frame(Kind::Records, read) => assert!(is_read && read.len() == payload),
            piece => {
                let skipped = Gap { bytes: (HEADER_BYTES + payload) as u64, ..Gap::default() };
                assert!(!is_read && piece == Piece::Gap(skipped));
            }
        }
        assert_eq!(scan.next(), Some(Piece::Frame(Kind::Footer, b"next")));
        assert_eq!(scan.next(), None);
    }
}

#[test]
fn frames_copied_into_a_payload_or_to_another_place_are_not_read() {
    let mut inner = FrameWriter::default();
    inner.frame(Kind::Footer, b"copied");
    let inner = encoded(&mut inner);
    let mut frames = FrameWriter::default();
    frames.frame(Kind::Records, &inner);
    let mut bytes = encoded(&mut frames);
    bytes[5] ^= 1; // the outer frame's header
    bytes.extend_from_slice(&inner);
    let mut scan = Scan::new(&*bytes);
    let skipped = Gap { bytes: bytes.len() as u64, changed: 0, at_end: true };
    assert_eq!(scan.next(), Some(Piece::Gap(skipped)));
}

#[test]
fn a_file_full_of_markers_is_scanned_once() {
    let mut markers = FrameWriter::default();
    markers.frame(Kind::Records, &[]);
    let bytes = encoded(&mut markers)[..4].repeat(1 << 20);
    let mut reads = Counting { bytes: &bytes, read: 0 };
    let mut scan = Scan::new(&mut reads);
    while scan.next().is_some() {}
    assert_eq!(scan.offset(), bytes.len() as u64);
    assert_eq!(reads.read, bytes.len());
}

struct Counting<'a> {
    bytes: &'a [u8],
    read: usize,
}

impl std::io::Read for Counting<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let bytes = self.bytes.read(buffer)?;
        self.read += bytes;
        Ok(bytes)
    }
}
