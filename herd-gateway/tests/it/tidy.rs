use std::fs;
use std::path::Path;

#[test]
fn the_protocol_owns_no_socket_no_clock_and_no_task() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let line = fs::read_dir(source.join("line")).unwrap().map(|entry| entry.unwrap().path());
    let files: Vec<_> = line.chain([source.join("translate.rs")]).collect();
    assert!(files.len() >= 4);
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        for word in ["tokio", "std::net", "std::time", "::now()", "rand::", "async "] {
            assert!(!text.contains(word), "{} contains {word}", file.display());
        }
    }
}
