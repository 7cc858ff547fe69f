//! What the tests of a whole herd share: processes on free ports, a stand-in for Google, and a
//! client of the text protocol.
#![allow(dead_code, reason = "each test binary uses its own part")]

pub(crate) mod google;
pub(crate) mod processes;
pub(crate) mod text;

use std::fmt::Debug;
use std::thread;
use std::time::{Duration, Instant};

/// The names of the seed's nodes.
pub(crate) const NODES: [&str; 5] = ["Bailey", "Bona", "Campbell", "Clark", "Jaquez"];

/// Asks again and again until the answer is right, and fails with the last wrong one.
#[track_caller]
pub(crate) fn eventually<T: Debug>(limit: Duration, mut ask: impl FnMut() -> Result<(), T>) {
    let deadline = Instant::now() + limit;
    loop {
        match ask() {
            Ok(()) => return,
            Err(last) if Instant::now() > deadline => panic!("not within {limit:?}: {last:?}"),
            Err(_) => thread::sleep(Duration::from_millis(10)),
        }
    }
}
