//! When snapshots are due, and what they replace.

use std::io::ErrorKind;

use super::super::Storage;
use super::super::log::Limits;
use super::disk::TestDisk;
use super::{SMALL, batch, open, record};

fn append_bytes(storage: &mut impl Storage, at_least: usize) {
    let mut bytes = 0;
    while bytes < at_least {
        bytes += storage.append(&mut batch(2, 1).iter()).unwrap();
    }
}

fn write_snapshot(storage: &mut impl Storage, clients: u32) {
    let mut snapshot = storage.begin_snapshot().unwrap();
    snapshot.add(&mut batch(clients, 1).iter()).unwrap();
    snapshot.finish().unwrap();
}

#[test]
fn a_full_segment_is_followed_by_another() {
    let disk = TestDisk::default();
    let (mut storage, ..) = open(&disk);
    append_bytes(&mut storage, 3 * SMALL.segment_bytes as usize);
    let logs: Vec<_> = disk.names().into_iter().filter(|name| name.starts_with("log-")).collect();
    assert!((2..=3).contains(&logs.len()), "{logs:?}");
    let most = SMALL.segment_bytes as usize + 200; // one batch more
    assert!(logs.iter().all(|name| disk.contents(name).len() <= most));
}

#[test]
fn a_long_log_calls_for_a_snapshot_also_after_a_restart() {
    let disk = TestDisk::default();
    let (mut storage, ..) = open(&disk);
    append_bytes(&mut storage, SMALL.min_log_bytes as usize / 2);
    assert!(!storage.snapshot_due());
    append_bytes(&mut storage, SMALL.min_log_bytes as usize / 2);
    assert!(storage.snapshot_due());
    let (mut storage, ..) = open(&disk.after_kill());
    assert!(storage.snapshot_due());
    write_snapshot(&mut storage, 2);
    assert!(!storage.snapshot_due());
}

#[test]
fn a_large_snapshot_waits_for_a_log_of_twice_its_length() {
    let disk = TestDisk::default();
    let (mut storage, ..) = open(&disk);
    write_snapshot(&mut storage, 100);
    let snapshot_bytes = disk.contents("snapshot-00000000000000000001.herd").len();
    assert!(snapshot_bytes > SMALL.min_log_bytes as usize);
    let few_segments = Limits { segments: usize::MAX, segment_bytes: u64::MAX, ..SMALL };
    for restarted in [false, true] {
        let disk = disk.after_kill();
        let mut storage =
            super::open_on(std::sync::Arc::new(disk.clone()), "herd", few_segments, &mut |_| {})
                .unwrap()
                .0;
        append_bytes(&mut storage, 2 * snapshot_bytes - 300);
        if restarted {
            storage = super::open_on(std::sync::Arc::new(disk), "herd", few_segments, &mut |_| {})
                .unwrap()
                .0;
        }
        assert!(!storage.snapshot_due());
        append_bytes(&mut storage, 301);
        assert!(storage.snapshot_due());
    }
}

#[test]
fn many_short_segments_call_for_a_snapshot() {
    let disk = TestDisk::default();
    for start in 0..SMALL.segments {
        let (mut storage, ..) = open(&disk);
        assert!(!storage.snapshot_due(), "after {start} starts");
        storage.append(&mut [record(0, 1)].iter()).unwrap();
    }
    let (mut storage, ..) = open(&disk);
    storage.append(&mut [record(0, 1)].iter()).unwrap();
    assert!(storage.snapshot_due());
}

#[test]
fn starts_without_appends_make_no_segments() {
    let disk = TestDisk::default();
    for boot in 1..10 {
        let (mut storage, recovery, _) = open(&disk);
        assert_eq!(storage.append(&mut [].iter()).unwrap(), 0);
        storage.sync().unwrap();
        assert_eq!((recovery.boot, recovery.files), (boot, 0));
    }
    assert_eq!(disk.names(), ["ID"]);
}

#[test]
fn a_snapshot_replaces_the_log_before_it_and_nothing_after() {
    let disk = TestDisk::default();
    let (mut storage, ..) = open(&disk);
    append_bytes(&mut storage, 2 * SMALL.segment_bytes as usize);
    let mut snapshot = storage.begin_snapshot().unwrap();
    storage.append(&mut [record(7, 7)].iter()).unwrap();
    snapshot.add(&mut batch(2, 1).iter()).unwrap();
    assert!(!storage.snapshot_due());
    let busy = storage.begin_snapshot().err().unwrap();
    assert_eq!(busy.kind(), ErrorKind::ResourceBusy);
    snapshot.finish().unwrap();
    storage.append(&mut [record(8, 8)].iter()).unwrap();
    assert_eq!(disk.names().len(), 3, "ID, a segment, a snapshot: {:?}", disk.names());
    let (_, recovery, known) = open(&disk.after_kill());
    assert_eq!((recovery.records, recovery.has_losses()), (4, false));
    assert!(known.contains_key("client-7") && known.contains_key("client-8"));
}

#[test]
fn a_snapshot_given_up_leaves_no_file_and_lets_another_begin() {
    let disk = TestDisk::default();
    let (mut storage, ..) = open(&disk);
    append_bytes(&mut storage, 200);
    let before = disk.names();
    let mut snapshot = storage.begin_snapshot().unwrap();
    snapshot.add(&mut batch(2, 1).iter()).unwrap();
    drop(snapshot);
    assert_eq!(disk.names(), before);
    write_snapshot(&mut storage, 2);
}

#[test]
fn a_snapshot_that_does_not_fit_is_never_finished() {
    let disk = TestDisk::default();
    let (mut storage, ..) = open(&disk);
    storage.append(&mut [record(7, 7)].iter()).unwrap();
    let mut snapshot = storage.begin_snapshot().unwrap();
    disk.state().room = Some(1_500_000);
    snapshot.add(&mut batch(60_000, 1).iter()).unwrap_err();
    disk.state().room = None;
    // Even if the caller goes on and there is room again.
    snapshot.add(&mut batch(2, 1).iter()).unwrap();
    snapshot.finish().unwrap_err();
    let (_, recovery, known) = open(&disk.after_kill());
    assert_eq!((recovery.records, known.len()), (1, 1));
}

#[test]
fn a_lost_segment_is_missed_and_a_replaced_one_is_not() {
    let disk = TestDisk::default();
    for time in 0..3 {
        open(&disk).0.append(&mut batch(2, time).iter()).unwrap();
    }
    let (spoilt, lost) = (disk.after_kill(), "log-00000000000000000002.herd");
    super::super::disk::Disk::remove(&spoilt, lost).unwrap();
    let (mut storage, recovery, known) = open(&spoilt);
    assert_eq!((recovery.missing_files, known.len()), (1, 2));
    assert!(storage.snapshot_due(), "a snapshot closes the gap");
    write_snapshot(&mut storage, 2);
    storage.append(&mut [record(1, 1)].iter()).unwrap();
    assert_eq!(open(&spoilt).1.missing_files, 0);
}
