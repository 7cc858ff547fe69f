#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| herd_fuzz::places(input));
