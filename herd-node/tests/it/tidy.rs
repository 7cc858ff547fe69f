//! What the layout promises, checked.

use std::fs;
use std::path::{Path, PathBuf};

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else {
            found.push(path);
        }
    }
}

#[test]
fn the_core_owns_no_socket_no_clock_no_task_and_no_randomness() {
    let mut files = Vec::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/herd"), &mut files);
    assert!(files.len() >= 10);
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        for word in [
            "tokio",
            "tonic::",
            "std::net",
            "std::thread",
            "Instant",
            "::now()",
            "rand::",
            "async ",
        ] {
            assert!(!text.contains(word), "{} contains {word}", file.display());
        }
    }
}
