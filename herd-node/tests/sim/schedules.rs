//! Random schedules of every fault at once, by seed.

use std::env;
use std::time::Duration;

use rand::RngExt as _;

use crate::network::{Faults, Herd, SEED_GRAPH};

/// Long enough for silence to be noticed (5 s), dialled around (1 s) and made up for.
const SETTLE: Duration = Duration::from_secs(20);

/// Seeds to run: those of the environment, or a number that takes a few seconds.
fn seeds() -> std::ops::Range<u64> {
    let read = |name| env::var(name).ok().and_then(|text: String| text.parse().ok());
    match (read("SIM_SEED"), read("SIM_SEEDS")) {
        (Some(seed), _) => seed..seed + 1,
        (None, count) => 0..count.unwrap_or(150),
    }
}

/// What a crash does to a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Crash {
    Never,
    LosesMemory,
    KeepsDisk,
}

/// Runs one herd through `steps` random steps and heals it.
fn run(seed: u64, graph: (usize, &[(usize, usize)]), steps: u32, crash: Crash) -> Herd {
    let mut herd = Herd::new(seed, graph);
    let mut order: Vec<_> = (0..herd.size()).collect();
    for index in (1..order.len()).rev() {
        order.swap(index, herd.rng.random_range(0..=index));
    }
    for node in order {
        herd.start(node);
        let pause = herd.rng.random_range(0..500);
        herd.run(Duration::from_millis(pause));
    }
    for _ in 0..steps {
        let node = herd.rng.random_range(0..herd.size());
        match herd.rng.random_range(0..20) {
            0 => {
                let (edge, cut) = (herd.rng.random_range(0..herd.edges()), herd.rng.random());
                herd.set_cut(edge, cut);
            }
            1 if crash == Crash::LosesMemory => {
                if herd.is_up(node) {
                    herd.crash(node);
                } else {
                    herd.start(node);
                }
            }
            1 if crash == Crash::KeepsDisk => herd.restart_with_disk(node),
            _ => {
                let client = herd.rng.random_range(0..12);
                herd.report(node, client);
            }
        }
        let pause = herd.rng.random_range(0..700);
        herd.run(Duration::from_millis(pause));
    }
    for edge in 0..herd.edges() {
        herd.set_cut(edge, false);
    }
    for node in 0..herd.size() {
        if !herd.is_up(node) {
            herd.start(node);
        }
    }
    herd.run(SETTLE);
    herd
}

fn check_seeds(graph: (usize, &[(usize, usize)]), steps: u32, crash: Crash) -> Faults {
    let mut total = Faults::default();
    for seed in seeds() {
        let result = std::panic::catch_unwind(|| {
            let herd = run(seed, graph, steps, crash);
            herd.check_agreement();
            if crash != Crash::LosesMemory {
                herd.check_nothing_lost();
            }
            herd.faults
        });
        let faults = result.unwrap_or_else(|panic| {
            eprintln!("failed with SIM_SEED={seed}");
            std::panic::resume_unwind(panic)
        });
        total.frames_lost += faults.frames_lost;
        total.streams_broken += faults.streams_broken;
        total.half_open += faults.half_open;
        total.crashes += faults.crashes;
        total.restarts += faults.restarts;
        total.duplicate_streams += faults.duplicate_streams;
    }
    total
}

#[test]
fn cut_networks_heal_and_nothing_acknowledged_is_lost() {
    let faults = check_seeds(SEED_GRAPH, 150, Crash::Never);
    assert!(faults.frames_lost > 0, "{faults:?}");
    assert!(faults.streams_broken > 0, "{faults:?}");
    assert!(faults.half_open > 0, "{faults:?}");
    assert!(faults.duplicate_streams > 0, "{faults:?}");
}

#[test]
fn nodes_that_crash_and_come_back_agree_with_the_rest() {
    let faults = check_seeds(SEED_GRAPH, 150, Crash::LosesMemory);
    assert!(faults.crashes > 0 && faults.frames_lost > 0, "{faults:?}");
}

#[test]
fn nodes_that_restart_from_their_disks_lose_nothing_acknowledged() {
    let faults = check_seeds(SEED_GRAPH, 150, Crash::KeepsDisk);
    assert!(faults.restarts > 0 && faults.frames_lost > 0, "{faults:?}");
}

#[test]
fn one_seed_replays_one_run_exactly() {
    let trace = |seed| {
        let herd = run(seed, SEED_GRAPH, 100, Crash::LosesMemory);
        (herd.digests(), herd.frames, herd.records_sent, format!("{:?}", herd.faults))
    };
    assert_eq!(trace(7), trace(7));
    assert_ne!(trace(7), trace(8));
}
