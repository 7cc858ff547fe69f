//! A disk that is full or fails, and heals.

use std::io::ErrorKind;

use super::super::Storage as _;
use super::disk::TestDisk;
use super::{batch, open, record};

#[test]
fn a_batch_that_does_not_fit_leaves_nothing_behind_wherever_it_breaks_off() {
    for room in 0..400 {
        let disk = TestDisk::default();
        let (mut storage, ..) = open(&disk);
        storage.append(&mut batch(2, 1).iter()).unwrap();
        let before = disk.contents(&disk.names()[1]);
        disk.state().room = Some(room);
        let error = storage.append(&mut batch(9, 2).iter()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::StorageFull);
        assert_eq!(disk.contents(&disk.names()[1]), before);

        disk.state().room = None;
        storage.append(&mut batch(3, 3).iter()).unwrap();
        storage.sync().unwrap();
        let (_, recovery, known) = open(&disk.after_power_cut(0));
        assert_eq!((recovery.records, recovery.torn_tail_bytes), (5, 0));
        assert_eq!(known["client-0"], record(0, 3));
        assert!(disk.state().struck > 0);
    }
}

#[test]
fn the_first_batch_on_a_full_disk_can_be_repeated() {
    for room in 0..60 {
        let disk = TestDisk::default();
        let (mut storage, ..) = open(&disk);
        disk.state().room = Some(room);
        for _ in 0..10 {
            storage.append(&mut batch(2, 1).iter()).unwrap_err();
        }
        assert_eq!(disk.names().len(), 2, "attempts leave no files: {:?}", disk.names());
        disk.state().room = None;
        storage.append(&mut batch(2, 1).iter()).unwrap();
        assert_eq!(open(&disk.after_kill()).1.records, 2);
    }
}

#[test]
fn what_cannot_be_cut_off_is_left_behind_in_a_closed_segment() {
    for room in 0..400 {
        let disk = TestDisk::default();
        let (mut storage, ..) = open(&disk);
        storage.append(&mut batch(2, 1).iter()).unwrap();
        disk.state().room = Some(room);
        disk.state().cannot_cut = true;
        storage.append(&mut batch(9, 2).iter()).unwrap_err();
        disk.state().room = None;
        storage.append(&mut batch(3, 3).iter()).unwrap();
        storage.sync().unwrap();
        let (_, recovery, known) = open(&disk.after_kill());
        assert_eq!((recovery.records, recovery.has_losses()), (5, false));
        assert_eq!(recovery.torn_tail_bytes, room as u64);
        assert_eq!(known["client-2"], record(2, 3));
        assert_eq!(disk.names().len(), 3);
    }
}

#[test]
fn a_large_batch_is_all_or_nothing_although_it_takes_several_writes() {
    let disk = TestDisk::default();
    let (mut storage, ..) = open(&disk);
    let large = batch(60_000, 1); // about 3.5 MB
    disk.state().room = Some(2_500_000);
    let writes = disk.state().taken;
    storage.append(&mut large.iter()).unwrap_err();
    assert!(disk.state().taken > writes + 3, "it was not cut into several writes");
    assert_eq!(disk.contents(&disk.names()[1]).len(), 0);
    disk.state().room = None;
    let bytes = storage.append(&mut large.iter()).unwrap();
    assert_eq!(disk.contents(&disk.names()[1]).len(), bytes);
    assert_eq!(open(&disk.after_kill()).2.len(), large.len());
}

#[test]
fn a_node_starts_on_a_full_disk_under_a_new_name() {
    let disk = TestDisk::default();
    let (mut storage, first, _) = open(&disk);
    storage.append(&mut batch(2, 1).iter()).unwrap();
    disk.state().room = Some(10);
    let (_, crowded, known) = open(&disk);
    assert_eq!(known.len(), 2);
    assert_ne!(crowded.store_id, first.store_id, "its boot could not be counted");
    disk.state().room = None;
    let (_, healed, _) = open(&disk);
    assert_eq!((healed.store_id, healed.boot), (first.store_id, 2));
}

#[test]
fn after_a_failed_sync_only_a_snapshot_makes_the_log_durable_again() {
    let disk = TestDisk::default();
    let (mut storage, ..) = open(&disk);
    storage.append(&mut batch(2, 1).iter()).unwrap();
    disk.state().cannot_sync = true;
    storage.sync().unwrap_err();
    disk.state().cannot_sync = false;
    storage.append(&mut batch(2, 2).iter()).unwrap();
    storage.sync().unwrap_err();
    assert!(storage.snapshot_due());

    let mut snapshot = storage.begin_snapshot().unwrap();
    snapshot.add(&mut batch(2, 2).iter()).unwrap();
    storage.sync().unwrap_err();
    snapshot.finish().unwrap();
    storage.sync().unwrap();
    assert!(!storage.snapshot_due());
    assert_eq!(open(&disk.after_power_cut(0)).2["client-1"], record(1, 2));
}

#[test]
fn a_segment_that_cannot_be_synced_when_it_is_closed_fails_the_next_sync() {
    let disk = TestDisk::default();
    let (mut storage, ..) = open(&disk);
    disk.state().cannot_sync = true;
    for time in 0..10 {
        storage.append(&mut batch(3, time).iter()).unwrap();
    }
    assert!(disk.state().struck > 0, "no segment was full");
    disk.state().cannot_sync = false;
    storage.sync().unwrap_err();
}

#[test]
fn a_sync_that_fails_while_a_snapshot_is_written_needs_another_snapshot() {
    let disk = TestDisk::default();
    let (mut storage, ..) = open(&disk);
    let snapshot = storage.begin_snapshot().unwrap();
    storage.append(&mut batch(2, 2).iter()).unwrap();
    disk.state().cannot_sync = true;
    storage.sync().unwrap_err();
    disk.state().cannot_sync = false;
    snapshot.finish().unwrap();
    storage.sync().unwrap_err();
    assert!(storage.snapshot_due());
}
