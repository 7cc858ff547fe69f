//! The fuzzers' checks on random bytes, and on what the fuzzers kept.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;

use proptest::collection::vec;
use proptest::prelude::*;

fn corpus(name: &str, check: fn(&[u8])) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name);
    let mut seen = 0;
    for file in fs::read_dir(directory).unwrap() {
        check(&fs::read(file.unwrap().path()).unwrap());
        seen += 1;
    }
    assert!(seen > 0, "the corpus is empty");
}

#[test]
fn what_the_fuzzers_kept_still_holds() {
    corpus("line", herd_fuzz::line);
    corpus("frames", herd_fuzz::frames);
    corpus("config", herd_fuzz::config);
    corpus("places", herd_fuzz::places);
}

/// Bytes, and words that take a parser past its first look.
fn bytes_with(words: &'static [&'static str]) -> impl Strategy<Value = Vec<u8>> {
    let word = proptest::sample::select(words).prop_map(|word| word.as_bytes().to_vec());
    let piece = prop_oneof![3 => word, 1 => vec(any::<u8>(), 0..20)];
    vec(piece, 0..60).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn any_text_is_cut_into_the_same_lines(
        input in bytes_with(&["\n", "\r\n", " ", "IAMAT ", "WHATSAT ", "kiwi", "+1-1", "10", "\t"])
    ) {
        herd_fuzz::line(&input);
    }

    #[test]
    fn long_lines_are_cut_in_the_same_way(
        packets in any::<u8>(),
        lengths in vec(0_usize..20_000, 1..4),
        byte in any::<u8>(),
    ) {
        let lines = lengths.iter().map(|length| [vec![byte; *length], b"\n".to_vec()].concat());
        let input: Vec<u8> = [packets].into_iter().chain(lines.flatten()).collect();
        herd_fuzz::line(&input);
    }

    #[test]
    fn any_frames_are_survived(options in any::<u8>(), frames in vec(vec(any::<u8>(), 0..60), 0..20)) {
        let mut input = vec![options];
        for frame in frames {
            input.extend((frame.len() as u16).to_be_bytes());
            input.extend(frame);
        }
        herd_fuzz::frames(&input);
    }

    #[test]
    fn any_herd_file_is_understood_or_refused_in_words(
        input in bytes_with(&[
            "[[nodes]]\n", "name='a'\n", "name='b'\n", "address='h:1'\n", "address='[::1]:2'\n",
            "friends=['a']\n", "[node]\n", "[node.limits]\n", "max_watchers=1\n", "[gateway]\n",
            "text='127.0.0.1:1'\n", "cluster='x'\n", "retention='1h'\n", "tls_ca='x'\n", "=", "'",
        ])
    ) {
        herd_fuzz::config(&input);
    }

    #[test]
    fn any_answer_of_a_provider_is_legible_or_refused(
        input in bytes_with(&[
            "{", "}", "[", "]", ",", ":", "\"status\"", "\"OK\"", "\"results\"", "\n", " ", "1e9",
            "{\"status\":\"OK\",\"results\":[", "{\"name\":\"x\"}", "\"\\u0000\"", "]}",
        ])
    ) {
        herd_fuzz::places(&input);
    }
}
