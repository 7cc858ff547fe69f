use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use herd_node::store::{OpenError, Storage as _};
use tempfile::TempDir;

use crate::{merge, open, record};

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn every_field_of_a_record_comes_back() {
    let directory = TempDir::new().unwrap();
    let (mut storage, first, _) = open(directory.path()).unwrap();
    let mut expected = crate::Known::new();
    for time in 1..20 {
        let batch: Vec<_> = (0..30).map(|client| record(client, time)).collect();
        storage.append(&mut batch.iter()).unwrap();
        for record in batch {
            merge(&mut expected, record);
        }
    }
    storage.sync().unwrap();
    drop(storage);
    let (_, second, known) = open(directory.path()).unwrap();
    assert_eq!(known, expected);
    assert_eq!((second.records, second.files, second.has_losses()), (19 * 30, 1, false));
    assert_eq!((second.store_id, first.boot, second.boot), (first.store_id, 1, 2));
    assert_ne!(second.store_id, 0);
}

#[test]
fn a_missing_directory_is_made_and_only_its_owner_reads_it() {
    let parent = TempDir::new().unwrap();
    let directory = parent.path().join("herds/Bailey");
    let (mut storage, ..) = open(&directory).unwrap();
    storage.append(&mut [record(1, 1)].iter()).unwrap();
    storage.begin_snapshot().unwrap().finish().unwrap();
    storage.append(&mut [record(1, 1)].iter()).unwrap();
    assert_eq!(mode(&directory), 0o700);
    let files: Vec<_> = fs::read_dir(&directory).unwrap().map(|file| file.unwrap()).collect();
    assert_eq!(files.len(), 4, "{files:?}");
    assert!(files.iter().all(|file| mode(&file.path()) == 0o600), "{files:?}");
}

#[test]
fn a_file_is_no_directory() {
    let file = tempfile::NamedTempFile::new().unwrap();
    for path in [file.path().to_owned(), file.path().join("below")] {
        let error = open(&path).unwrap_err();
        assert!(matches!(error, OpenError::NotADirectory { .. }), "{error}");
        assert!(error.to_string().ends_with("is not a directory"), "{error}");
    }
}

#[test]
fn a_directory_that_cannot_be_written_is_refused() {
    // Nobody may write there, root included.
    let error = open(Path::new("/proc/self/fd/herd")).unwrap_err();
    assert!(matches!(error, OpenError::Inaccessible { .. }), "{error}");
    assert!(error.to_string().starts_with("cannot make data directory /proc/"), "{error}");
}

#[test]
fn a_data_directory_of_another_herd_is_refused() {
    let directory = TempDir::new().unwrap();
    drop(open(directory.path()).unwrap());
    let opened =
        herd_node::store::open(directory.path(), "flock", &crate::node(), &mut |_| panic!("read"));
    let error = opened.unwrap_err();
    assert!(matches!(error, OpenError::OtherCluster { .. }), "{error}");
}

#[test]
fn directories_and_files_of_others_are_left_alone() {
    let directory = TempDir::new().unwrap();
    let names = ["notes.tmp", "log-1.herd", "ID.bak"];
    for name in names {
        fs::write(directory.path().join(name), "mine").unwrap();
    }
    fs::create_dir(directory.path().join("log-00000000000000000001.herd")).unwrap();
    let (mut storage, recovery, _) = open(directory.path()).unwrap();
    assert_eq!(recovery.files, 0);
    // The number is taken: that costs an attempt, not the store.
    storage.append(&mut [record(1, 1)].iter()).unwrap_err();
    storage.append(&mut [record(1, 1)].iter()).unwrap();
    drop(storage);
    assert_eq!(open(directory.path()).unwrap().2.len(), 1);
    assert!(names.iter().all(|name| directory.path().join(name).exists()));
}

#[test]
fn every_truncation_of_a_small_log_opens_and_yields_a_prefix() {
    let directory = TempDir::new().unwrap();
    let (mut storage, ..) = open(directory.path()).unwrap();
    let mut ends = Vec::new();
    for client in 0..4 {
        let bytes = storage.append(&mut [record(client, 1)].iter()).unwrap();
        ends.push(ends.last().unwrap_or(&0) + bytes);
    }
    drop(storage);
    let log = directory.path().join("log-00000000000000000001.herd");
    let whole = fs::read(&log).unwrap();
    for len in 0..=whole.len() {
        fs::write(&log, &whole[..len]).unwrap();
        let (_, recovery, known) = open(directory.path()).unwrap();
        let expected = ends.iter().filter(|end| **end <= len).count();
        assert_eq!(known.len(), expected, "{len}");
        assert!((0..expected as u32).all(|n| known.values().any(|k| *k == record(n, 1))));
        assert!(!recovery.has_losses(), "{len}: {recovery:?}");
    }
}
