//! Two processes at one directory, and one that is killed. The other process is this test
//! binary again, told by an environment variable what to be.

use std::env;
use std::io::{BufRead as _, BufReader, Lines};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};

use herd_node::store::{OpenError, Storage as _};
use tempfile::TempDir;

use crate::{open, record};

const DIRECTORY: &str = "HERD_TEST_STORE_DIRECTORY";

/// Not a test but the other process: appends for ever and says how far it is.
#[test]
fn the_other_process() {
    let Some(directory) = env::var_os(DIRECTORY) else { return };
    let (mut storage, ..) = open(Path::new(&directory)).unwrap();
    eprintln!("appended 0");
    for number in 1.. {
        let batch: Vec<_> = (0..3).map(|client| record(3 * number + client, number)).collect();
        storage.append(&mut batch.iter()).unwrap();
        eprintln!("appended {number}");
        if number % 50 == 0 {
            let all: Vec<_> = (3..3 * (number + 1)).map(|n| record(n, n / 3)).collect();
            let mut snapshot = storage.begin_snapshot().unwrap();
            snapshot.add(&mut all.iter()).unwrap();
            snapshot.finish().unwrap();
        }
    }
}

/// Starts it, and waits until it has the directory.
fn start(directory: &Path) -> (Child, Lines<BufReader<ChildStderr>>) {
    let mut child = Command::new(env::current_exe().unwrap())
        .args(["--exact", "processes::the_other_process", "--nocapture"])
        .env(DIRECTORY, directory)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap() == "appended 0"), "it could not open the directory");
    (child, lines)
}

#[test]
fn a_second_process_is_refused_and_told_who_holds_the_directory() {
    let directory = TempDir::new().unwrap();
    let (mut child, _lines) = start(directory.path());
    let error = open(directory.path()).unwrap_err();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(matches!(error, OpenError::Locked { .. }), "{error}");
    let expected = format!("is in use by process {} (node Bailey)", child.id());
    assert!(error.to_string().ends_with(&expected), "{error}");
    open(directory.path()).unwrap();
}

#[test]
fn a_second_store_in_the_same_process_is_refused() {
    let directory = TempDir::new().unwrap();
    let (mut storage, ..) = open(directory.path()).unwrap();
    let refused = || open(directory.path()).err().map(|error| error.to_string());
    let expected = format!("process {} (node Bailey)", std::process::id());
    assert!(refused().unwrap().ends_with(&expected));
    // A snapshot still writes there.
    let snapshot = storage.begin_snapshot().unwrap();
    drop(storage);
    assert!(refused().is_some());
    drop(snapshot);
    assert_eq!(refused(), None);
}

#[test]
fn a_lock_file_that_says_nothing_or_too_much_still_locks() {
    let directory = TempDir::new().unwrap();
    let _held = open(directory.path()).unwrap();
    for (text, holder) in
        [(String::new(), "another process".to_owned()), ("x".repeat(100_000), "x".repeat(200))]
    {
        std::fs::write(directory.path().join("LOCK"), text).unwrap();
        let error = open(directory.path()).unwrap_err();
        assert!(error.to_string().ends_with(&format!("in use by {holder}")), "{error}");
    }
}

#[test]
fn a_killed_process_has_lost_nothing_that_it_appended() {
    for kill_after in [1, 2, 30, 49, 50, 51, 99, 100, 101, 130] {
        let directory = TempDir::new().unwrap();
        let (mut child, mut lines) = start(directory.path());
        // The last line may be cut short; a cut number is a smaller one.
        let said = |line: String| line.strip_prefix("appended ")?.parse().ok();
        let mut last: u32 = 0;
        while last < kill_after {
            last = said(lines.next().unwrap().unwrap()).unwrap_or(last);
        }
        child.kill().unwrap();
        child.wait().unwrap();
        // What it said until it died.
        last = lines.map_while(Result::ok).filter_map(said).fold(last, u32::max);
        let (_, recovery, known) = open(directory.path()).unwrap();
        assert!(!recovery.has_losses(), "{recovery:?}");
        for n in 3..3 * (last + 1) {
            let expected = record(n, n / 3);
            assert_eq!(known.get(&expected.client), Some(&expected), "{n} of {last}");
        }
    }
}
