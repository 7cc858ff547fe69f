//! Plays the transcripts in `tests/line`; their README tells the format.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use crate::fake_node::{FakeNode, Script};
use crate::support::{ask_bytes, named, start};

/// One connection of a transcript.
#[derive(Debug, Default)]
struct Exchange {
    sent: Vec<u8>,
    expected: Vec<u8>,
}

#[tokio::test]
async fn the_transcripts_are_true() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/line");
    let mut files: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "txt"))
        .collect();
    files.sort();
    assert!(files.len() >= 5, "transcripts are missing");
    for file in files {
        let node = FakeNode::start(&Script::new("Bailey"));
        let (gateway, address) = start(named(node.address)).await;
        for Exchange { sent, expected } in read(&fs::read_to_string(&file).unwrap()) {
            let answer = ask_bytes(address, &sent).await;
            assert_eq!(
                answer.escape_ascii().to_string(),
                expected.escape_ascii().to_string(),
                "{}: sent {}",
                file.display(),
                sent.escape_ascii()
            );
        }
        gateway.stop().await;
    }
}

fn read(transcript: &str) -> Vec<Exchange> {
    let mut exchanges = vec![Exchange::default()];
    for line in transcript.lines() {
        let exchange = exchanges.last_mut().unwrap();
        match line.split_at(line.len().min(2)) {
            ("> ", text) => exchange.sent.extend(unescape(text)),
            ("< ", text) => exchange.expected.extend(unescape(text)),
            ("--", _) => exchanges.push(Exchange::default()),
            ("# " | "#" | "", _) => {}
            _ => panic!("not a line of a transcript: {line:?}"),
        }
    }
    exchanges
}

/// Bytes of a line, with its LF unless it ends with `\c`.
fn unescape(text: &str) -> Vec<u8> {
    let (text, end) = text.strip_suffix("\\c").map_or((text, "\n"), |text| (text, ""));
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some((plain, escape)) = rest.split_once('\\') {
        bytes.extend_from_slice(plain.as_bytes());
        let (byte, length) = match escape.as_bytes()[0] {
            b't' => (b'\t', 1),
            b'r' => (b'\r', 1),
            b'v' => (0x0b, 1),
            b'f' => (0x0c, 1),
            b'\\' => (b'\\', 1),
            b'x' => (u8::from_str_radix(&escape[1..3], 16).unwrap(), 3),
            other => panic!("unknown escape {other:?}"),
        };
        bytes.push(byte);
        rest = &escape[length..];
    }
    bytes.extend_from_slice(rest.as_bytes());
    bytes.extend_from_slice(end.as_bytes());
    bytes
}

#[test]
fn escapes_stand_for_bytes() {
    let mut shown = String::new();
    write!(shown, "{}", unescape("a\\t\\xff\\\\b").escape_ascii()).unwrap();
    assert_eq!(shown, "a\\t\\xff\\\\b\\n");
    assert_eq!(unescape("x\\r\\c"), b"x\r");
}
