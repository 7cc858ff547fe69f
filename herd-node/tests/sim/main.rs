//! Runs the pure core through simulated networks: virtual time, one seed a run, thousands of
//! runs in seconds. A failing run prints its seed; `SIM_SEED=n cargo test -p herd-node --test sim`
//! replays it, `SIM_SEEDS=n` runs that many.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test fails by panicking, and names its seed"
)]

mod acknowledgements;
mod checks;
mod faults;
mod graph;
mod membership;
mod model;
mod network;
mod one_node;
mod schedules;
mod stories;
