//! Five real nodes, tonic and all, over a simulated network in virtual time.
//!
//! The seed decides what breaks, when, and who reports what meanwhile; `NET_SEED=n` runs one seed.
//! What the nodes draw by themselves, such as how long they wait before they dial again, is not
//! the seed's: a seed that fails once will fail often, and not always.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, and names its seed")]

mod driver;
mod herd;

use std::env;

use driver::Faults;

/// Seeds of an ordinary run; each takes half a second.
const SEEDS: u64 = 20;

#[test]
fn parted_stalled_and_restarted_nodes_agree_once_the_network_is_whole() {
    let one = env::var("NET_SEED").ok().map(|seed| seed.parse().unwrap());
    let seeds = one.map_or(0..SEEDS, |seed| seed..seed + 1);
    let mut total = Faults::default();
    for seed in seeds {
        let result = std::panic::catch_unwind(|| herd::simulate(seed));
        let faults = result.unwrap_or_else(|panic| {
            eprintln!("failed with NET_SEED={seed}");
            std::panic::resume_unwind(panic)
        });
        total.add(&faults);
    }
    if one.is_none() {
        total.check_each_happened();
    }
}
